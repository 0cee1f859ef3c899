"""The second training of the head: what it learns from, and that the average of heads is one head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.network import QUICK, make_inputs, predict_validation

from georgia.report.training_run import Refit
from georgia.train.loop import copy_weights, run_loop, set_weights
from georgia.train.recipes import SMALL_SET, TrainConfig, recipe_config
from georgia.train.refit import (
    average_heads,
    choose_folds,
    count_heads,
    cross_fit,
    needs_refit,
    refit_head,
    vary_weights,
)
from georgia.train.state import TrainState
from georgia.uncertainty.decision import NOTHING_FITTED

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.mark.parametrize(
    ("changes", "n_images", "is_needed"),
    [
        ({}, SMALL_SET - 1, True),
        ({}, SMALL_SET, False),
        ({"refit": "yes"}, 10**6, True),
        ({"refit": "no"}, 10, False),
        ({"rehearse": True}, 10, False),
        ({"trainable_fraction": 0.1, "standardize": False}, 10, False),
    ],
)
def test_small_sets_are_refitted(changes: dict[str, Any], n_images: int, is_needed: bool) -> None:
    assert needs_refit(TrainConfig(**changes), n_images) is is_needed


def test_source_study_is_never_refitted() -> None:
    frozen = {"trainable_fraction": 0.0}
    assert not needs_refit(recipe_config("georgia", frozen), 10)
    assert count_heads(recipe_config("georgia")) == 1


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("head_units", [(), (32,)])
@pytest.mark.parametrize("output", ["softmax", "auto"])
def test_averaged_head_has_mean_logits(
    tmp_path: Path, n_classes: int, head_units: tuple[int, ...], output: Any
) -> None:
    config = replace(QUICK, head_units=head_units, dropout=(), output=output)
    inputs = make_inputs(config, tmp_path, n_classes)
    initial = copy_weights(inputs.network)
    heads = [vary_weights(inputs.network, initial, 1, number) for number in range(3)]
    logits = []
    for head in heads:
        set_weights(inputs.network, head)
        outputs = predict_validation(inputs)
        logits.append(np.log(outputs) - (np.log1p(-outputs) if outputs.shape[1] == 1 else 0))
    wide = average_heads(inputs.network, config, n_classes, heads)
    found = predict_validation(replace(inputs, network=wide))
    mean = np.mean(logits, axis=0)
    if found.shape[1] == 1:
        expected = 1 / (1 + np.exp(-mean))
    else:
        expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(np.diff(logits, axis=0)).max() > 1e-2


@pytest.mark.slow
def test_refit_forgets_the_first_training(tmp_path: Path) -> None:
    config, found = replace(QUICK, epochs=3, heads=2), []
    for name, is_trained in (("a", True), ("b", False)):
        keras.backend.clear_session()
        inputs = make_inputs(config, tmp_path / name)
        initial = copy_weights(inputs.network)
        if is_trained:
            run_loop(config, inputs, TrainState("k"))
        first = predict_validation(inputs)
        refitted = refit_head(config, replace(inputs, folder=tmp_path / name / "refit"), initial, 2)
        assert refitted.made == Refit(40, 2, 2, 5)
        found.append(predict_validation(replace(inputs, network=refitted.network)))
        assert np.abs(found[-1] - first).max() > 1e-3
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


@pytest.mark.slow
def test_refitted_heads_are_equally_good(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=10, heads=3)
    inputs = make_inputs(config, tmp_path)
    refitted = refit_head(config, inputs, copy_weights(inputs.network), 10)
    predicted = predict_validation(replace(inputs, network=refitted.network)).argmax(axis=1)
    assert (predicted == inputs.valid.targets).mean() > 0.9
    fitted = cross_fit(refitted, inputs.train, inputs.labels, NOTHING_FITTED)
    assert fitted.calibration is not None
    assert fitted.calibration.n == len(inputs.train)
    assert fitted.conformal is not None
    assert sum(fitted.conformal.n_groups.values()) == len(inputs.train)


@pytest.mark.slow
def test_limits_are_of_images_not_learned(tmp_path: Path) -> None:
    """Labels at random: what a head has learned by heart, the heads without it do not know."""
    config = replace(QUICK, epochs=60, heads=1, dropout=())
    inputs = make_inputs(config, tmp_path)
    shuffled = np.random.default_rng(3).permutation(inputs.train.targets)
    inputs = replace(inputs, train=replace(inputs.train, targets=shuffled))
    refitted = refit_head(config, inputs, copy_weights(inputs.network), 60)
    assert refitted.logits is not None
    assert (refitted.logits.argmax(axis=1) == shuffled).mean() < 0.7


def test_no_group_lies_in_two_folds(tmp_path: Path) -> None:
    train = make_inputs(QUICK, tmp_path).train
    named = [replace(record, group=f"g{at // 3}") for at, record in enumerate(train.records)]
    folds = choose_folds(replace(train, records=tuple(named)), seed=0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(train)))
    groups = [{named[at].group for at in fold} for fold in folds]
    assert len(set.union(*groups)) == sum(map(len, groups))
    pairs = zip(named, train.targets, strict=True)
    one = [replace(record, group="one" if target else "") for record, target in pairs]
    assert choose_folds(replace(train, records=tuple(one)), seed=0) == []
