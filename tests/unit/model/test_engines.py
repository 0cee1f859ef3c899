"""Engines agree for all batches, in sequence and in parallel; bfloat16 runs only on request."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest
from tests.helpers.patience import PATIENCE_S

from georgia.errors import InputError
from georgia.model.engines import (
    OnnxRuntimeEngine,
    OpenVinoEngine,
    choose_output_name,
    choose_precision,
    cut_at_network_input,
    open_engine,
    split_behind_convolutions,
)
from georgia.model.load import load_bundled_model
from georgia.synthetic import render_crop

BUNDLE = load_bundled_model()
IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (60 + seed % 3, 70, 3), dtype=np.uint8) for seed in range(6)
]


@pytest.fixture(scope="module")
def openvino_engine() -> OpenVinoEngine:
    return OpenVinoEngine(BUNDLE.model_path, BUNDLE.preprocess)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_stream_yields_batches_in_order(name: str) -> None:
    engine = open_engine(BUNDLE.model_path, BUNDLE.preprocess, name)
    prepared = [engine.prepare(image) for image in IMAGES]
    whole = engine.run(prepared)
    batches = [("a", prepared[:4]), ("none", []), ("b", prepared[4:5]), ("c", prepared[5:])]
    results = list(engine.stream(iter(batches)))
    assert [token for token, _ in results] == ["a", "none", "b", "c"]
    for key in ("probabilities", "features"):
        joined = np.concatenate([outputs[key] for _, outputs in results if outputs])
        np.testing.assert_allclose(joined, whole[key], rtol=1e-4, atol=1e-5)


def test_stream_closed_early_leaves_engine_usable(openvino_engine: OpenVinoEngine) -> None:
    prepared = [openvino_engine.prepare(image) for image in IMAGES]
    whole = openvino_engine.run(prepared)
    stream = openvino_engine.stream((number, prepared[:2]) for number in range(5))
    assert next(stream)[0] == 0
    stream.close()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(openvino_engine.run(prepared)["logits"], whole["logits"])


@pytest.mark.slow
def test_engine_serves_several_threads(openvino_engine: OpenVinoEngine) -> None:
    prepared = [openvino_engine.prepare(image) for image in IMAGES]
    whole = openvino_engine.run(prepared)["logits"]
    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(lambda image: openvino_engine.run([image])["logits"][0], prepared * 2))
    np.testing.assert_allclose(rows, np.tile(whole, (2, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "capabilities", "chosen"),
    [
        ("auto", ["FP32", "BF16"], "float32"),
        ("auto", ["FP32", "INT8"], "float32"),
        ("float32", ["FP32", "BF16"], "float32"),
        ("bfloat16", ["FP32", "BF16"], "bfloat16"),
    ],
)
def test_bfloat16_runs_only_on_request(
    asked: str, capabilities: list[str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEORGIA_PRECISION", raising=False)
    assert choose_precision(asked, capabilities) == chosen


def test_precision_auto_follows_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEORGIA_PRECISION", "float32")
    assert choose_precision("auto", ["BF16"]) == "float32"
    assert choose_precision("bfloat16", ["BF16"]) == "bfloat16"
    monkeypatch.setenv("GEORGIA_PRECISION", "half")
    with pytest.raises(InputError, match="one of auto, float32, .*, rotations, views, fastest; got 'half'"):
        choose_precision("auto", ["BF16"])


def test_unavailable_bfloat16_is_rejected() -> None:
    with pytest.raises(InputError, match=r"the processor must compute in bfloat16"):
        choose_precision("bfloat16", ["FP32"])
    with pytest.raises(InputError, match="OpenVINO is needed; got ONNX Runtime"):
        open_engine(BUNDLE.model_path, BUNDLE.preprocess, "onnxruntime", precision="bfloat16")


@pytest.mark.slow
def test_split_net_equals_whole_net() -> None:
    core = openvino.Core()
    net = cut_at_network_input(core.read_model(str(BUNDLE.model_path)), BUNDLE.preprocess.size_px)
    body, head = split_behind_convolutions(net)
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    batch = np.stack([BUNDLE.preprocess.planes(BUNDLE.preprocess.resize(image)) for image in IMAGES])
    whole = core.compile_model(net, "CPU", properties)(batch)
    crossing = core.compile_model(body, "CPU", properties)(batch)
    parts = core.compile_model(head, "CPU", properties)([crossing[n] for n in range(len(crossing))])
    for number in range(len(whole)):
        np.testing.assert_allclose(parts[number], whole[number], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_clear_labels(openvino_engine: OpenVinoEngine) -> None:
    # OpenVINO computes in float32 where the processor has no bfloat16: the test holds on either.
    halves = OpenVinoEngine(BUNDLE.model_path, BUNDLE.preprocess, precision="bfloat16")
    assert halves.precision == "bfloat16"
    crops = [render_crop(name, seed).image for seed in range(16) for name in ("CEX", "PG")]
    prepared = [halves.prepare(crop) for crop in crops]
    low, full = (engine.run(prepared)["probabilities"] for engine in (halves, openvino_engine))
    difference = np.abs(low - full).max(axis=1)
    # Source: 2,000 other synthetic crops on a processor with AMX: mean 0.003, largest 0.31.
    assert difference.mean() < 0.02
    clear = np.abs(full[:, 0] - full[:, 1]) > 0.65
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(low.argmax(axis=1)[clear], full.argmax(axis=1)[clear])


@pytest.mark.slow
def test_opening_model_starts_no_telemetry() -> None:
    code = (
        "import sys, multiprocessing.process as p\n"
        "p.BaseProcess.start = lambda self: sys.exit('a process was started')\n"
        "from georgia.model import load_bundled_model\n"
        "from georgia.model.engines import OpenVinoEngine\n"
        "bundle = load_bundled_model()\n"
        "OpenVinoEngine(bundle.model_path, bundle.preprocess)\n"
        "sys.exit(sys.modules.get('openvino_telemetry') is not None)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


def test_split_head_has_no_convolution() -> None:
    net = cut_at_network_input(openvino.Core().read_model(str(BUNDLE.model_path)), BUNDLE.preprocess.size_px)
    body, head = split_behind_convolutions(net)
    assert head is not None
    assert len(body.outputs) == len(head.inputs)
    kinds = [{node.get_type_name() for node in part.get_ops()} for part in (body, head)]
    assert [any("Convolution" in kind for kind in names) for names in kinds] == [True, False]
    outputs = {choose_output_name(output.get_names()) for output in head.outputs}
    assert outputs >= {"probabilities", "logits", "features"}


def test_onnx_runtime_accepts_mixed_sizes(openvino_engine: OpenVinoEngine) -> None:
    shipped = OnnxRuntimeEngine(BUNDLE.model_path).run(IMAGES)["logits"]
    mine = openvino_engine.run([openvino_engine.prepare(image) for image in IMAGES])["logits"]
    np.testing.assert_allclose(mine, shipped, rtol=1e-3, atol=1e-3)


def test_engines_reject_what_they_cannot_open(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="Unknown engine: it must be one of auto, openvino, onnxruntime, ray; got 'tpu'"
    ):
        open_engine(tmp_path / "a.onnx", BUNDLE.preprocess, "tpu")
    (tmp_path / "a.onnx").write_bytes(b"no model")
    for cls in (OnnxRuntimeEngine, lambda path: OpenVinoEngine(path, BUNDLE.preprocess)):
        with pytest.raises(InputError, match="Cannot open model .*a.onnx"):
            cls(tmp_path / "a.onnx")


_DROPPED_ELSEWHERE = """
import gc, os, signal, threading
from georgia.model.engines import OpenVinoEngine
from georgia.model.load import load_bundled_model
bundle = load_bundled_model()
engines = [OpenVinoEngine(bundle.model_path, bundle.preprocess, threads=n) for n in (1, 2)]
received = []
signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
def drop():
    engines.clear()
    gc.collect()
thread = threading.Thread(target=drop)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
print(len(received), "received")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signal handlers of that kind there")
def test_signal_after_nets_dropped_by_other_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DROPPED_ELSEWHERE], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (0, "1 received\n"), done.stderr
