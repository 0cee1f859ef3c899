"""The 8-bit file: integers between preprocessing and head only, kept only where it predicts as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from georgia.export.int8 import compare_int8, list_float_nodes, quantize_model
from georgia.labels import Labels
from georgia.metrics.classification import Metrics, compute_metrics
from georgia.model.load import load_bundle, load_bundled_model
from georgia.predict.predictor import PredictConfig, predict_files

BUNDLE = load_bundled_model()
LABELS = Labels(("CEX", "PG"))


def test_int8_keeps_preprocessing_and_head_float() -> None:
    model = onnx.load(str(BUNDLE.model_path))
    kept = set(list_float_nodes(model))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = {node.name: next(a.i for a in node.attribute if a.name == "group") for node in convolutions}
    depthwise = {name for name, count in groups.items() if count > 1}
    assert (len(convolutions), len(depthwise)) == (45, 15)
    assert groups.keys() & kept == depthwise | {convolutions[0].name}
    makers = {name: node.name for node in model.graph.node for name in node.output}
    assert {makers["network_input"], makers["probabilities"], makers["logits"]} <= kept


def _metrics(n_wrong: int) -> Metrics:
    truth = np.repeat([0, 1], 100)
    predicted = truth.copy()
    predicted[:n_wrong] = 1
    return compute_metrics(truth, predicted, LABELS, n_bootstrap=50)


@pytest.mark.parametrize(("n_wrong", "kept"), [(0, True), (1, True), (40, False)])
def test_int8_kept_only_inside_confidence_intervals(
    n_wrong: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("georgia.export.int8.measure_speeds", lambda *_: (10.0, 20.0))
    file = BUNDLE.model_path
    result = compare_int8(file, file, BUNDLE.preprocess, [], (_metrics(1), _metrics(n_wrong)))
    assert result.kept is kept
    assert result.f1["CEX"] == (_metrics(1).per_class["CEX"].f1, _metrics(n_wrong).per_class["CEX"].f1)
    assert any("2.00 × float32" in line for line in result.lines())
    if not kept:
        assert "accuracy 0.8000 below" in result.why_not
        assert "F1 of CEX" in result.why_not


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # NNCF's own imports are not ours to mend
def test_quantised_file_loads_as_model(synthetic_crops: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    from georgia.images.decode import read_image

    paths = sorted(synthetic_crops.rglob("*.png"))[::4]
    target = tmp_path / "model_int8.onnx"
    quantize_model(BUNDLE.model_path, target, [read_image(path) for path in paths])
    bundle = load_bundle(target)
    assert (bundle.labels, bundle.preprocess) == (BUNDLE.labels, BUNDLE.preprocess)
    kinds = {node.op_type for node in onnx.load(str(target)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    config = PredictConfig("openvino", precision="float32")
    before, after = (predict_files(model, paths, config) for model in (BUNDLE, bundle))
    same = [a.label == b.label for a, b in zip(before.items, after.items, strict=True)]
    assert np.mean(same) >= 0.9
    assert np.abs(before.probability_array() - after.probability_array()).mean() < 0.1
