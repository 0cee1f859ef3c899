"""What sets promise of new groups: kept where the fit knows the groups, and not where it does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from georgia.labels import Labels
from georgia.uncertainty.conformal import ConformalLimits, fit_conformal

LABELS = Labels(("CEX", "PG"))
RATE = 0.05
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Images whose classes look a little different in each group: features (N, D), classes, groups (N,)."""

    features: Floats
    truth: Ints
    groups: Ints

    def select(self, rows: npt.NDArray[np.bool_]) -> World:
        return World(self.features[rows], self.truth[rows], self.groups[rows])


def make_world(rng: np.random.Generator, n_groups: int, effect: float, n_each: int = 12) -> World:
    """Return groups of about ``n_each`` images; ``effect`` is the spread of a class between groups."""
    groups = np.repeat(np.arange(n_groups), rng.poisson(n_each, n_groups) + 1)
    truth = rng.integers(0, 2, len(groups))
    offsets = rng.normal(0, effect, (n_groups, 2, 40))
    features = rng.normal(size=(len(groups), 40)) + offsets[groups, truth]
    features[:, 0] += 2.0 * (2 * truth - 1)
    return World(features, truth, groups)


def learn(world: World, images: World) -> Floats:
    """Return probabilities (N, 2) of images, of a linear net learned from others."""
    columns, targets = np.c_[world.features, np.ones(len(world.truth))], 2.0 * world.truth - 1
    weights = np.linalg.solve(columns.T @ columns + np.eye(columns.shape[1]), columns.T @ targets)
    second = 1 / (1 + np.exp(-4 * (np.c_[images.features, np.ones(len(images.truth))] @ weights)))
    return np.stack([1 - second, second], axis=1)


def measure(limits: ConformalLimits, rows: Floats, world: World) -> tuple[float, float]:
    """Return the mean over groups of the coverage, and the mean size of a set."""
    least = np.array([limits.limits[RATE][name] for name in LABELS.names])
    is_in = rows >= least - 1e-6
    holds = is_in[np.arange(len(rows)), world.truth]
    return float((np.bincount(world.groups, holds) / np.bincount(world.groups)).mean()), float(
        is_in.sum(axis=1).mean()
    )


def simulate(n_groups: int, effect: float, n_repeats: int) -> dict[str, tuple[float, float]]:
    """Return coverage of new groups and mean size of their sets, by what the split and the fit know."""
    found: dict[str, list[tuple[float, float]]] = {"nothing": [], "groups": []}
    for seed in range(n_repeats):
        rng = np.random.default_rng(seed)
        own, new = make_world(rng, n_groups, effect), make_world(rng, 60, effect)
        for known, numbers in (("nothing", np.arange(len(own.truth))), ("groups", own.groups)):
            is_valid = rng.permutation(numbers.max() + 1)[numbers] % 2 == 0
            net, valid = own.select(~is_valid), own.select(is_valid)
            names = [str(number) for number in numbers[is_valid]]
            limits = fit_conformal(learn(net, valid), valid.truth, LABELS, names, (RATE,))
            found[known].append(measure(limits, learn(net, new), new))
    means = {known: np.mean(values, axis=0) for known, values in found.items()}
    return {known: (float(mean[0]), float(mean[1])) for known, mean in means.items()}


@pytest.mark.parametrize(("effect", "is_kept_by_images"), [(0.0, True), (1.0, False)])
def test_known_groups_keep_promise_for_new_ones(effect: float, is_kept_by_images: bool) -> None:
    found = simulate(60, effect, 40)
    assert 1 - RATE - 0.005 < found["groups"][0] < 1 - RATE + 0.035
    assert (found["nothing"][0] > 1 - RATE - 0.01) == is_kept_by_images


def test_few_groups_give_whole_sets() -> None:
    found = simulate(20, 1.0, 5)
    assert found["groups"] == (1.0, 2.0)
    assert found["nothing"][0] < 1 - RATE


def fit_groups(n_groups: int, n_each: int = 3) -> ConformalLimits:
    rng = np.random.default_rng(0)
    second = rng.uniform(0, 1, 2 * n_groups * n_each)
    truth = np.repeat([0, 1], n_groups * n_each)
    names = [f"batch {number // n_each}" for number in range(len(truth))]
    return fit_conformal(np.stack([1 - second, second], axis=1), truth, LABELS, names)


def test_promise_says_on_what_it_rests() -> None:
    text = fit_groups(120).describe_promise()
    assert "on average, for images of new groups that are like those of the fit: same apparatus" in text
    assert "They rest on 720 images in 120 groups of each class." in text
    assert "Too few groups" not in text
    assert "--group-regex" not in text


def test_too_few_groups_are_said_to_promise_nothing() -> None:
    limits = fit_groups(18)
    assert (limits.too_few(0.05), limits.too_few(0.1)) == ({"CEX": 18, "PG": 18}, {})
    assert set(limits.limits[0.05].values()) == {0.0}
    text = limits.describe_promise()
    assert text.endswith(
        "Too few groups to promise 1 % (99 groups needed), 5 % (19 groups needed): "
        "in every set at that rate there are CEX (18), PG (18)."
    )
    enough = fit_groups(19)
    assert enough.too_few(0.05) == {}
    assert min(enough.limits[0.05].values()) > 0


def test_images_without_groups_promise_nothing_for_a_batch() -> None:
    text = fit_groups(30, 1).describe_promise()
    assert "nothing is promised for another batch, probe or person" in text


def test_limits_of_version_0_1_say_their_groups() -> None:
    limits = fit_groups(30)
    values = limits.to_dict()
    assert ConformalLimits.from_dict(values, LABELS) == limits
    del values["n_images"]
    old = ConformalLimits.from_dict(values, LABELS)
    assert (old.limits, old.n_images) == (limits.limits, {})
    assert "They rest on 30 groups of each class." in old.describe_promise()
