"""Settings and facts of a model as lines of text."""

from __future__ import annotations

import re

import pytest
from tests.helpers.report import MakeEvaluation, read_page

from georgia.evaluate.assessment import Acceptance
from georgia.model.load import load_bundled_model
from georgia.predict.precision import PrecisionTrial
from georgia.report.page import ReportInputs, render_report
from georgia.report.settings import describe_model, describe_parity, flatten


def test_settings_leave_out_measurements() -> None:
    metadata = {
        "parity": {"n_files": 50, "largest_difference": {"onnxruntime": 2.9136419296264647e-06}},
        "without_refusal": {"CEX": {"precision": 0.98, "precision_ci95": [0.97, 0.99]}},
        "backbone": {"name": "efficientnet-lite0", "sha256": "57ab"},
        "data": {"source": "synthetic", "counts": {"train": {"a_b.c": 4802, "PG": 4762}}},
        "int8": {"kept": True, "accuracy": [0.99, 0.98], "f1": {"PG": [0.9, 0.9]}},
        "temperature": 0.41712811612550976,
    }
    assert describe_model(metadata) == {
        "backbone": "efficientnet-lite0",
        "backbone weights, sha256": "57ab",
        "data": "synthetic",
        "temperature": "0.4171",
        "training images": "a_b.c 4802, PG 4762",
        "8-bit file": "kept",
        "accuracy of the 8-bit file": "0.9800, float32 0.9900",
    }
    assert "training images" not in describe_model(metadata, has_counts=True)
    parity = {"images compared": "50", "from the trained model, onnxruntime": "2.914×10⁻⁶"}
    assert describe_parity(metadata) == parity
    assert describe_parity({}) == {}


@pytest.mark.usefixtures("no_figures")
def test_bundled_model_has_readable_settings(make_evaluation: MakeEvaluation) -> None:
    metadata = load_bundled_model().metadata
    text = read_page(render_report(ReportInputs("S", make_evaluation(8), metadata=metadata))).text
    settings = text[text.index("Settings") : text.index("Confidence intervals are two-sided")]
    assert "without_refusal".replace("_", " ") not in settings
    assert not re.search(r"\d\.\d{5}", settings)
    assert "Parity of the exported file: largest differences images compared50" in settings


def test_settings_keep_whole_numbers_whole() -> None:
    shown = flatten({"mean": [127.0, 127.0], "dropout": (0.4, 0.25), "epochs": 40, "rate": 1e-5})
    assert shown == {"mean": "127, 127", "dropout": "0.4, 0.25", "epochs": "40", "rate": "1×10⁻⁵"}


def test_precision_and_acceptance_are_described() -> None:
    trial = PrecisionTrial(64, 0.31, 0.1, 2, 1, is_emulated=True).to_json_dict()
    acceptance = Acceptance(0.985, 0.99, 400, 200).to_json_dict()
    metadata = {"acceptance": acceptance, "precision": {"served": "float32", "bfloat16": trial}}
    assert describe_model(metadata) == {
        "precision": "float32",
        "bfloat16": "not shown to keep predictions: 3 labels of 64 changed, probabilities by up to 0.31, "
        "emulated; float32 computes 100 % again, after which 0 are changed",
        "validation images accepted": "98.5 % of 400; stated 99.0 %",
    }
