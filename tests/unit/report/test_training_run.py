"""The record of a training run: what ``bundle.json`` gets, before and after the steps that fill it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.training import make_training_run

from georgia.report.inputs import NO_AUDIT, NO_OOD, ReportInputs
from georgia.report.training_run import DataAudit

AFTER_LEARNING = [
    *("name", "created", "recipe", "backbone", "trainable_base_layers", "data", "audit", "training"),
    "versions",
]


def test_metadata_grows_with_the_steps() -> None:
    run = make_training_run()
    assert list(run.metadata) == AFTER_LEARNING
    assert run.metadata["training"] == {"epochs": 5, "kept_epoch": 4, "stopped": "", "device": "cpu:0"}
    assert run.metadata["data"]["counts"]["train"] == {"CEX": 7, "PG": 6}
    exported = replace(run, files={"weights": Path("run/w.h5")}, parity={"n_files": 3})
    assert list(exported.metadata)[3] == "weights_file"
    assert list(exported.metadata)[-1] == "parity"


def test_run_without_evaluation_is_said() -> None:
    run = make_training_run()
    assert repr(run) == "<TrainingRun: recipe fast, stopped after epoch 5; kept: epoch 4>"
    with pytest.raises(RuntimeError, match="has not been evaluated yet"):
        ReportInputs.of_run(run)


def test_leak_of_split_outweighs_audit() -> None:
    assert (DataAudit().gate, DataAudit().verdict) == ("", "")
    data = DataAudit(leak="This split leaks.", is_at_one_scale=True)
    assert data.gate == "stop"
    assert data.verdict == "This split leaks. The net was shown all images at one scale."
    assert data.to_json_dict() == {"gate": "stop", "verdict": data.verdict}


def test_unchecked_points_need_no_training() -> None:
    inputs = ReportInputs("S", None)  # type: ignore[arg-type]
    assert {*NO_AUDIT, NO_OOD} < set(inputs.not_checked)
    assert (inputs.settings, inputs.split_counts) == ({}, {})
