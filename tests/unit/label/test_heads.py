"""Linear heads on stored features: what they are fitted to, and that no group stands on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.label.heads import (
    HeadConfig,
    HeadData,
    choose_head,
    fit_head,
    make_folds,
    make_head_data,
    predict_folds,
)


def make_data(n: int = 120, n_views: int = 1, n_classes: int = 2, seed: int = 0) -> HeadData:
    """Clouds around one point for each class, a fifth of the features tells."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    middle = rng.normal(size=(n_classes, 20))
    served = (middle[targets] + rng.normal(size=(n, 20))).astype(np.float32)
    views = served[:, None] + rng.normal(scale=0.1, size=(n, n_views, 20)).astype(np.float32)
    return HeadData(views.astype(np.float32), served, targets, np.arange(n), n_classes)


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_head_learns_the_clouds(kind: str, n_classes: int) -> None:
    data, new = make_data(n_classes=n_classes), make_data(n=300, n_classes=n_classes, seed=0)
    logits = fit_head(data, HeadConfig(kind, 0.1)).logits(new.served)  # type: ignore[arg-type]
    assert logits.shape == (300, n_classes)
    assert (logits.argmax(axis=1) == new.targets).mean() > 0.9


def test_rare_class_counts_as_much() -> None:
    rng = np.random.default_rng(0)
    targets = np.array([0] * 190 + [1] * 10)
    served = (rng.normal(size=(200, 4)) + np.where(targets, 0.8, 0.0)[:, None]).astype(np.float32)
    found = fit_head(HeadData(served[:, None], served, targets, np.arange(200), 2), HeadConfig())
    assert found.logits(served)[targets == 1].argmax(axis=1).mean() > 0.7


def test_constant_feature_does_not_matter() -> None:
    data = make_data()
    wide = HeadData(
        np.concatenate([data.learned, np.full((120, 1, 1), 7, np.float32)], axis=2),
        np.concatenate([data.served, np.full((120, 1), 7, np.float32)], axis=1),
        data.targets,
        data.codes,
        2,
    )
    found = fit_head(wide, HeadConfig()).logits(wide.served)
    assert found == pytest.approx(fit_head(data, HeadConfig()).logits(data.served), abs=1e-6)


def test_head_needs_every_class() -> None:
    with pytest.raises(InputError, match=r"an image of each class.*\[0, 1\]"):
        fit_head(HeadData(*_arrays(make_data()), 3), HeadConfig())


def test_folds_hold_whole_groups_and_every_class() -> None:
    data = make_data()
    groups = [f"frame {at // 6}" for at in range(120)]
    data = make_head_data(data.learned, data.served, data.targets, groups, 2)
    folds = make_folds(data, seed=3)
    assert folds is not None
    assert {len(np.unique(folds[data.codes == code])) for code in range(20)} == {1}
    assert {len(np.unique(data.targets[folds == number])) for number in range(5)} == {2}


def test_one_group_of_a_class_makes_no_folds() -> None:
    data = make_data()
    groups = ["one" if target else f"frame {at}" for at, target in enumerate(data.targets)]
    assert make_folds(make_head_data(data.learned, data.served, data.targets, groups, 2), seed=0) is None


def test_folds_predict_no_better_than_chance_on_noise() -> None:
    """Groups of equal images with random classes: whoever sees a group on both sides knows its class."""
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(40, 30)), 5, axis=0).astype(np.float32)
    targets = np.repeat(rng.permutation(np.arange(40) % 2), 5)
    data = make_head_data(points[:, None], points, targets, [str(at // 5) for at in range(200)], 2)
    folds = make_folds(data, seed=0)
    assert folds is not None
    logits = predict_folds(data, folds, lambda part: choose_head(part, 1))
    assert (logits.argmax(axis=1) == targets).mean() < 0.75
    assert (fit_head(data, HeadConfig()).logits(points).argmax(axis=1) == targets).mean() > 0.9


def test_choice_is_the_same_twice() -> None:
    assert choose_head(make_data(n_views=3), 5) == choose_head(make_data(n_views=3), 5)


def test_views_are_taken_where_they_help() -> None:
    """Served images are shifted as only the second view shows."""
    rng = np.random.default_rng(2)
    targets = np.arange(160) % 2
    telling, place = np.where(targets, 1.0, -1.0), rng.choice([-4.0, 4.0], 160)
    first = np.column_stack([telling + 4, np.full(160, 4.0)])
    served = np.column_stack([telling + place, place])
    views = np.stack([first, np.column_stack([telling - 4, np.full(160, -4.0)])], axis=1)
    noise = rng.normal(scale=0.4, size=(160, 2, 2))
    data = HeadData((views + noise).astype(np.float32), served.astype(np.float32), targets, np.arange(160), 2)
    assert choose_head(data, 0, [HeadConfig("logistic", 100.0)]).views == 2


def test_stop_is_asked_between_candidates() -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        choose_head(make_data(), 0, stop=stop)


def _arrays(data: HeadData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return data.learned, data.served, data.targets, data.codes
