"""What to label next: order, reasons, and an even fraction that stays a simple random sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from georgia.errors import InputError
from georgia.label.choose import ChoiceConfig, FeatureChooser, find_medoids
from georgia.label.records import NEITHER, UNCLEAR, ChoiceReason

N, N_RARE = 400, 40


def make_pool(seed: int = 0) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Two clouds of features that touch; the second is a tenth of the items."""
    rng = np.random.default_rng(seed)
    names = ["PG" if at < N_RARE else "CEX" for at in range(N)]
    features = rng.normal(size=(N, 20)).astype(np.float32)
    features[:N_RARE, :2] += 3.0
    return features, names


def label_all(chooser: FeatureChooser, names: list[str], n: int, step: int = 10) -> dict[int, str]:
    labelled: dict[int, str] = {}
    while len(labelled) < n:
        labelled |= {
            choice.index: names[choice.index]
            for choice in chooser.next(min(step, n - len(labelled)), labelled)
        }
    return labelled


def test_order_is_the_same_after_restart() -> None:
    features, names = make_pool()
    labelled = label_all(FeatureChooser(features), names, 60)
    assert FeatureChooser(features).next(12, labelled) == FeatureChooser(features).next(12, labelled)
    backwards = dict(reversed(labelled.items()))
    assert FeatureChooser(features).next(12, backwards) == FeatureChooser(features).next(12, labelled)
    other = FeatureChooser(features, ChoiceConfig(seed=7)).next(12, {})
    assert other != FeatureChooser(features).next(12, {})


def test_chosen_items_are_new_and_distinct() -> None:
    features, names = make_pool()
    labelled = label_all(FeatureChooser(features), names, 50)
    held = [choice.index for choice in FeatureChooser(features).next(10, labelled)]
    chosen = [choice.index for choice in FeatureChooser(features).next(30, labelled, held=held)]
    assert len(set(chosen)) == 30
    assert not set(chosen) & {*labelled, *held}


def test_whole_pool_is_given_and_no_more() -> None:
    features, names = make_pool()
    chooser = FeatureChooser(features[:30])
    labelled = label_all(chooser, names[:30], 30)
    assert sorted(labelled) == list(range(30))
    assert not chooser.next(5, labelled)


def test_even_fraction_is_kept_at_every_length() -> None:
    features, names = make_pool()
    chooser = FeatureChooser(features, ChoiceConfig(even=0.25))
    labelled: dict[int, str] = {}
    for step in (3, 5, 9, 20, 40):
        labelled |= {choice.index: names[choice.index] for choice in chooser.next(step, labelled)}
        sample = chooser.find_even_sample(labelled)
        assert len(sample.labelled) == len(labelled) // 4
        assert not sample.missing


@pytest.mark.slow
def test_even_sample_estimates_the_rare_fraction() -> None:
    """The chosen labels hold far too much of the rare class, the even ones of all seeds just enough."""
    fractions, of_all = [], []
    for seed in range(12):
        features, names = make_pool(seed)
        chooser = FeatureChooser(features, ChoiceConfig(seed=seed, spread=10))
        labelled = label_all(chooser, names, 80, step=20)
        sample = chooser.find_even_sample(labelled)
        fractions += [names[position] == "PG" for position in sample.labelled]
        of_all += [name == "PG" for name in labelled.values()]
    assert np.mean(fractions) == pytest.approx(N_RARE / N, abs=3 * (0.1 * 0.9 / len(fractions)) ** 0.5)
    assert np.mean(of_all) > 1.3 * N_RARE / N


def test_even_draw_tells_its_probability() -> None:
    features, _ = make_pool()
    choices = FeatureChooser(features).next(8, {})
    even = [choice for choice in choices if choice.reason is ChoiceReason.EVEN]
    # The fourth and the eighth: among what is left when these are sampled.
    assert [choice.probability for choice in even] == [pytest.approx(1 / (N - 3)), pytest.approx(1 / (N - 7))]
    assert {choice.probability for choice in choices if choice.reason is ChoiceReason.SPREAD} == {None}


def test_skipped_even_item_is_missing_from_the_sample() -> None:
    features, names = make_pool()
    chooser = FeatureChooser(features)
    choices = chooser.next(8, {})
    skipped = next(choice.index for choice in choices if choice.reason is ChoiceReason.EVEN)
    labelled = {choice.index: names[choice.index] for choice in choices if choice.index != skipped}
    labelled |= {choice.index: "CEX" for choice in chooser.next(3, labelled, held=[skipped])}
    assert chooser.find_even_sample(labelled).missing == (skipped,)


def test_spread_covers_every_tenth_of_the_time() -> None:
    features, _ = make_pool()
    times_s = np.arange(N, dtype=np.float64)[::-1] * 60
    chosen = FeatureChooser(features, ChoiceConfig(spread=5, even=0.05), times_s).next(15, {})
    spread = [choice.index for choice in chosen if choice.reason is ChoiceReason.SPREAD]
    assert {int(times_s[position] // (N * 6)) for position in spread} == set(range(10))


def test_doubtful_items_lie_between_the_classes() -> None:
    features, names = make_pool()
    chooser = FeatureChooser(features, ChoiceConfig(spread=10, even=0.05))
    labelled = label_all(chooser, names, 40)
    doubtful = [c.index for c in chooser.next(10, labelled) if c.reason is ChoiceReason.UNCERTAIN]
    axis = features[:, :2].sum(axis=1)
    assert len(doubtful) >= 7
    assert np.abs(axis[doubtful] - 3).mean() < np.abs(axis - 3).mean()


def test_prediction_against_its_neighbours_is_suspected() -> None:
    features, names = make_pool()
    chooser = FeatureChooser(features, ChoiceConfig(spread=10, even=0.05))
    labelled = label_all(chooser, names, 60)
    model = np.array([[0.05, 0.95] if name == "PG" else [0.95, 0.05] for name in names])
    deep = next(at for at in range(N_RARE, N) if at not in labelled and features[at, :2].sum() < -2)
    model[deep] = (0.05, 0.95)
    reasons = {choice.index: choice.reason for choice in chooser.next(10, labelled, model)}
    assert reasons.get(deep) is ChoiceReason.SUSPECTED


def test_duplicates_cost_one_label() -> None:
    features, names = make_pool()
    duplicates = np.full(N, -1)
    duplicates[100:300] = 5
    chooser = FeatureChooser(features, duplicates=duplicates)
    chosen = [choice.index for choice in chooser.next(60, {})]
    assert sum(duplicates[position] == 5 for position in chosen) == 1
    labelled = {position: names[position] for position in [*chosen, *range(100, 300)]}
    assert len(chooser.find_even_sample(labelled).labelled) == 15


def test_unclear_and_neither_names_are_taken() -> None:
    features, names = make_pool()
    chooser = FeatureChooser(features)
    labelled = label_all(chooser, names, 40)
    odd = dict.fromkeys(list(labelled)[:10], UNCLEAR) | dict.fromkeys(list(labelled)[10:20], NEITHER)
    chosen = chooser.next(20, {**labelled, **odd})
    assert len(chosen) == 20
    assert not {choice.index for choice in chosen} & set(labelled)


def test_unreadable_items_are_never_chosen() -> None:
    features, names = make_pool()
    features[::2] = np.nan
    labelled = label_all(FeatureChooser(features), names, 60)
    assert all(position % 2 for position in labelled)


def test_chooser_needs_features_that_fit() -> None:
    features, _ = make_pool()
    with pytest.raises(InputError, match="Cannot choose what to label.*0 readable"):
        FeatureChooser(np.full((4, 3), np.nan))
    with pytest.raises(InputError, match=r"as many times.*\[3\]"):
        FeatureChooser(features, times_s=np.arange(3.0))


def test_medoids_are_one_of_each_cloud() -> None:
    rng = np.random.default_rng(1)
    points = np.repeat(np.eye(4) * 50, [40, 30, 20, 10], axis=0) + rng.normal(size=(100, 4))
    found = find_medoids(points, 4, seed=0)
    assert [int(points[at].argmax()) for at in found] == [0, 1, 2, 3]
