"""The logistic regression beside the net: on the same features, with groups kept together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.network import QUICK, make_inputs

pytest.importorskip("keras")
from georgia.progress import QUIET
from georgia.train.baseline import measure_baseline

pytestmark = pytest.mark.usefixtures("tiny_backbone")


def test_baseline_learns_what_the_features_tell(tmp_path: Path) -> None:
    inputs = make_inputs(QUICK, tmp_path)
    found = measure_baseline(QUICK, inputs.network, inputs.train, inputs.valid, inputs.labels, QUIET)
    assert found is not None
    assert found.n_images == len(inputs.train)
    assert found.f1 > 0.9
    assert found.cross_f1 is not None
    assert found.cross_f1 > 0.9
    assert "logistic regression" in found.describe()


def test_baseline_of_one_group_has_no_folds(tmp_path: Path) -> None:
    inputs = make_inputs(QUICK, tmp_path)
    one = replace(inputs.train, records=tuple(replace(record, group="g") for record in inputs.train.records))
    found = measure_baseline(QUICK, inputs.network, one, inputs.valid, inputs.labels, QUIET)
    assert found is not None
    assert (found.n_folds, found.cross_f1) == (0, None)
    assert "folds" not in found.describe()


def test_trained_backbone_has_no_baseline(tmp_path: Path) -> None:
    inputs = make_inputs(QUICK, tmp_path)
    network = replace(inputs.network, trainable_layers=("conv",))
    assert measure_baseline(QUICK, network, inputs.train, inputs.valid, inputs.labels, QUIET) is None
