"""The engine of GPUs, on the processor: same predictions, few sizes of batches, a word where CUDA fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from georgia.images.preprocess import PreprocessSpec
from georgia.model import gpu_engine
from georgia.model.engines import FLOAT32_TOLERANCE, OnnxRuntimeEngine, OpenVinoEngine, open_engine
from georgia.model.gpu_engine import GpuEngine, GpuWarning, open_on_gpu
from georgia.model.load import load_bundled_model

pytest.importorskip("onnx")
BUNDLE = load_bundled_model()
IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (60 + seed % 3, 70, 3), dtype=np.uint8) for seed in range(11)
]


class CountingSession:
    """Stands for a session, and notes what it is given."""

    def __init__(self, session: Any) -> None:
        self._session, self.shapes = session, list[tuple[int, ...]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Any, inputs: Mapping[str, Any]) -> Any:
        self.shapes += [values.shape for values in inputs.values()]
        return self._session.run(names, inputs)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The GPU build is installed; what it is asked for is noted, and the processor computes."""
    providers: list[object] = []
    open_session = gpu_engine.open_session

    def open_on_processor(model: Path, threads: int, **options: Any) -> CountingSession:
        providers.extend(options.pop("providers"))
        return CountingSession(open_session(model, threads, **options))

    monkeypatch.setattr(gpu_engine, "has_gpu_runtime", lambda: True)
    monkeypatch.setattr(gpu_engine, "open_session", open_on_processor)
    gpu_engine.warn_once.cache_clear()
    return providers


def test_float32_is_not_rounded(asked: list[object]) -> None:
    GpuEngine(BUNDLE.model_path, BUNDLE.preprocess)
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


def test_predictions_are_those_of_other_engines(asked: list[object]) -> None:
    engine = GpuEngine(BUNDLE.model_path, BUNDLE.preprocess)
    for other in (OnnxRuntimeEngine(BUNDLE.model_path), OpenVinoEngine(BUNDLE.model_path, BUNDLE.preprocess)):
        outputs, expected = (each.run([each.prepare(image) for image in IMAGES]) for each in (engine, other))
        assert set(outputs) == set(expected)
        for name in ("probabilities", "unknown_score"):
            np.testing.assert_allclose(outputs[name], expected[name], atol=FLOAT32_TOLERANCE)
    assert engine.run([]) == {}


@pytest.mark.parametrize(("n", "sizes"), [(1, [1]), (2, [8]), (8, [8]), (9, [8, 1]), (11, [8, 8])])
def test_batches_come_in_few_sizes(asked: list[object], n: int, sizes: list[int]) -> None:
    engine = GpuEngine(BUNDLE.model_path, BUNDLE.preprocess)  # it averages eight views
    prepared = [engine.prepare(image) for image in IMAGES]
    alone = engine.run(prepared[n - 1 : n])["probabilities"][0]
    session = engine._session
    session.shapes.clear()
    outputs = engine.run(prepared[:n])
    assert [shape[0] for shape in session.shapes] == sizes
    assert len(outputs["probabilities"]) == n
    np.testing.assert_allclose(outputs["probabilities"][-1], alone, atol=1e-5)
    streamed = dict(engine.stream([("a", prepared[:n]), ("b", [])]))
    np.testing.assert_array_equal(streamed["a"]["probabilities"], outputs["probabilities"])
    assert streamed["b"] == {}


def test_plain_nets_have_larger_batches(asked: list[object]) -> None:
    spec = PreprocessSpec(BUNDLE.preprocess.size_px)
    assert GpuEngine(BUNDLE.model_path, spec)._sizes == [8, 64]


def test_missing_gpu_is_told_once_and_processor_computes(asked: list[object]) -> None:
    with pytest.warns(GpuWarning, match="GPU build is installed, but CUDA found no GPU"):
        assert open_on_gpu(BUNDLE.model_path, BUNDLE.preprocess) is None
    engine = open_engine(BUNDLE.model_path, BUNDLE.preprocess)
    assert (engine.name, engine.device) == ("openvino", "CPU")
    engine = open_engine(BUNDLE.model_path, BUNDLE.preprocess, "onnxruntime")
    assert (engine.name, engine.device) == ("onnxruntime", "CPU")


def test_foreign_graph_is_left_to_other_engines(asked: list[object], tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(str(BUNDLE.model_path))
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == "network_input":
                    names[place] = "other"
    onnx.save(proto, str(tmp_path / "foreign.onnx"))
    with pytest.warns(GpuWarning, match="network_input"):
        assert open_on_gpu(tmp_path / "foreign.onnx", BUNDLE.preprocess) is None
