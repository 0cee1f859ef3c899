"""Run an exported model: ONNX Runtime takes the file as it ships, OpenVINO its net alone.

Both answer the same question behind one call. ONNX Runtime is the reference: every step, the
resize too, runs inside the shipped graph. OpenVINO runs the graph from ``network_input`` on, fed
by ``PreprocessSpec``; export proves that the two agree on real files before a model may ship.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, MissingDependencyError, describe_fault
from georgia.preprocess import NETWORK_INPUT, PreprocessSpec

EngineName = Literal["auto", "openvino", "onnxruntime"]
ENGINES: tuple[str, ...] = ("auto", "openvino", "onnxruntime")
# Pictures a call: enough to fill two to sixteen cores, small enough for memory with large frames.
BATCH_SIZE = 16
Outputs = Mapping[str, npt.NDArray[np.float32]]


class Engine(Protocol):
    """One loaded model."""

    name: str

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-picture work, in any thread, on an image (H, W, 3), uint8 RGB."""

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Answer for prepared pictures: ``probabilities`` and ``logits`` (N, C), ``features`` (N, F)."""


def open_engine(model: Path, spec: PreprocessSpec, name: str = "auto", threads: int = 0) -> Engine:
    """Load an exported model; ``auto`` is OpenVINO where it is installed.

    Args:
        model: an ONNX file written by Georgia.
        spec: the preprocessing that the file holds.
        name: see ``ENGINES``.
        threads: processor threads for the net; 0 leaves it to the engine.

    Raises:
        InputError: the name is none of ``ENGINES``, or the engine cannot read the file.
        MissingDependencyError: the engine asked for is not installed.
    """
    check_engine_name(name)
    if name in ("auto", "openvino"):
        try:
            return OpenVinoEngine(model, spec, threads)
        except ImportError as error:
            if name == "openvino":
                raise MissingDependencyError(
                    describe_fault(
                        "Cannot start OpenVINO", "it must be installed", error, "pip install openvino."
                    )
                ) from error
    return OnnxRuntimeEngine(model, threads)


def check_engine_name(name: str) -> None:
    """Refuse a name that is none of ``ENGINES``.

    Raises:
        InputError: it is none; the message lists them.
    """
    if name not in ENGINES:
        raise InputError(
            describe_fault("Unknown engine", "it must be one of " + ", ".join(ENGINES), repr(name))
        )


class OnnxRuntimeEngine:
    """The shipped graph whole: uint8 pictures in."""

    name = "onnxruntime"

    def __init__(self, model: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own types, without a shared public base
            rule = "an ONNX file that ONNX Runtime reads is needed"
            got = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(describe_fault(f"Cannot open model {str(model)!r}", rule, got)) from error
        self._names = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the image itself: the graph does the rest."""
        return image

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Answer; pictures of one size go through together."""
        if not prepared:
            return {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(prepared):
            by_shape.setdefault(image.shape, []).append(position)
        results: dict[str, npt.NDArray[np.float32]] = {}
        for positions in by_shape.values():
            batch = np.stack([prepared[position] for position in positions])
            for name, values in zip(self._names, self._session.run(None, {self._input: batch}), strict=True):
                target = results.setdefault(name, np.empty((len(prepared), *values.shape[1:]), np.float32))
                target[positions] = values
        return results


class OpenVinoEngine:
    """The net from ``network_input`` on, on pictures that ``PreprocessSpec`` prepared; float32."""

    name = "openvino"

    def __init__(self, model: Path, spec: PreprocessSpec, threads: int = 0) -> None:
        import openvino

        self._spec = spec
        core = openvino.Core()
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        try:
            whole = core.read_model(str(model))
            # Cutting gives a tensor further names, and any of them may come back: keep the first ones.
            self._names = [output.get_any_name() for output in whole.outputs]
            net = cut_at_network_input(whole, spec.size_px)
            self._compiled = core.compile_model(net, "CPU", properties)
        except RuntimeError as error:
            rule = "an ONNX file that OpenVINO reads is needed"
            got = str(error).strip().splitlines()[-1] if str(error).strip() else "an empty message"
            raise InputError(describe_fault(f"Cannot open model {str(model)!r}", rule, got)) from error

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return network input (3, size, size), float32."""
        return np.ascontiguousarray(self._spec.apply(image).transpose(2, 0, 1))

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Answer for any number of pictures, ``BATCH_SIZE`` at a time."""
        results: dict[str, list[npt.NDArray[np.float32]]] = {}
        for start in range(0, len(prepared), BATCH_SIZE):
            answer = self._compiled({0: np.stack(prepared[start : start + BATCH_SIZE])})
            for number, name in enumerate(self._names):
                results.setdefault(name, []).append(np.array(answer[number], np.float32))
        return {name: np.concatenate(parts) for name, parts in results.items()}


def cut_at_network_input(model: Any, size_px: int) -> Any:
    """Return an OpenVINO model that starts at ``network_input`` (N, 3, size, size), float32.

    Raises:
        InputError: the graph has no such tensor, so Georgia did not write it.
    """
    import openvino
    from openvino import opset13

    for node in model.get_ordered_ops():
        for output in node.outputs():
            if NETWORK_INPUT in output.get_names():
                start = opset13.parameter([-1, 3, size_px, size_px], np.float32, name=NETWORK_INPUT)
                for target in output.get_target_inputs():
                    target.replace_source_output(start.output(0))
                return openvino.Model(model.get_results(), [start], "georgia")
    do = "Use --engine onnxruntime, or export the model with Georgia."
    raise InputError(
        describe_fault("Cannot cut the model", f"a tensor {NETWORK_INPUT!r} is needed", "none", do)
    )
