"""Run an exported model: ONNX Runtime takes the file as it ships, OpenVINO its net alone.

Both answer the same question behind one call. ONNX Runtime is the reference: every step, the
resize too, runs inside the shipped graph. OpenVINO runs the graph from ``network_input`` on, fed
by ``PreprocessSpec``; export proves that the two agree on real files before a model may ship.

Both compute in float32. Where the processor has bfloat16 and it is asked for by name, OpenVINO runs
the net's convolutions in it; what comes before (preprocessing) and after (the head) stays float32.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, MissingDependencyError
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec
from georgia.model.openvino_async import AsyncNet

EngineName = Literal["auto", "openvino", "onnxruntime", "ray"]
# "ray" is ``georgia predict`` on a cluster, whose workers open one of the others: ``distributed``.
ENGINES: tuple[str, ...] = ("auto", "openvino", "onnxruntime", "ray")
# Images a call: enough to fill two to sixteen cores, small enough for memory with large frames.
BATCH_SIZE = 16
PrecisionName = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = ("auto", "float32", "bfloat16")
# What "auto" means can be fixed for a whole machine.
PRECISION_VARIABLE = "GEORGIA_PRECISION"
T = TypeVar("T")
Outputs = Mapping[str, npt.NDArray[np.float32]]


class Engine(Protocol):
    """One loaded model; ``precision`` is "float32" or "bfloat16", ``device`` "CPU" or "GPU"."""

    name: str
    precision: str
    device: str

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-image work, in any thread, on an image (H, W, 3), uint8 RGB."""

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Answer for prepared images: ``probabilities`` and ``logits`` (N, C), ``features`` (N, F)."""

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Answer batch after batch, in order, while the caller makes the next; ``T`` comes back with each."""


def open_engine(
    model: Path, spec: PreprocessSpec, name: str = "auto", threads: int = 0, precision: str = "auto"
) -> Engine:
    """Load an exported model; ``auto`` is the GPU's ONNX Runtime where that is installed, else OpenVINO.

    Args:
        model: an ONNX file written by Georgia.
        spec: the preprocessing that the file holds.
        name: see ``ENGINES``.
        threads: processor threads for the net; 0 leaves it to the engine.
        precision: see ``choose_precision``; ONNX Runtime always computes in float32.

    Raises:
        InputError: a name is not known, the engine cannot read the file, or bfloat16 is asked for
            and cannot be had.
        MissingDependencyError: the engine asked for is not installed.
    """
    check_engine_name(name)
    check_precision_name(precision)
    if name == "ray":
        raise InputError(
            "Cannot open a model by ray",
            needs="it serves georgia predict",
            got="another",
            hint="Use auto, openvino or onnxruntime.",
        )
    if name == "openvino" or (name == "auto" and not has_gpu_runtime()):
        try:
            return OpenVinoEngine(model, spec, threads, choose_precision(precision))
        except ImportError as error:
            if name == "openvino":
                raise MissingDependencyError(
                    "Cannot start OpenVINO",
                    needs="it must be installed",
                    got=error,
                    hint="pip install openvino.",
                ) from error
    if precision == "bfloat16":
        raise InputError(
            "Cannot use bfloat16",
            needs="OpenVINO is needed",
            got="ONNX Runtime",
            hint="Leave --precision out, or use --engine openvino.",
        )
    return OnnxRuntimeEngine(model, threads)


def check_precision_name(name: str) -> None:
    """Refuse a precision that is none of ``PRECISIONS``.

    Raises:
        InputError: it is none; the message lists them.
    """
    if name not in PRECISIONS:
        raise InputError(
            "Unknown precision", needs="it must be one of " + ", ".join(PRECISIONS), got=repr(name)
        )


def choose_precision(asked: str, capabilities: Sequence[str] | None = None) -> str:
    """Return "float32" or "bfloat16" for this processor.

    "auto" is what the environment's GEORGIA_PRECISION says, else float32: one answer on every
    processor. bfloat16 changes answers and must be asked for by name. ``capabilities`` is what
    OpenVINO names.

    Raises:
        InputError: bfloat16 is asked for by name on a processor without it, or no such precision.
    """
    check_precision_name(asked)
    if asked == "auto":
        asked = os.environ.get(PRECISION_VARIABLE) or "auto"
        check_precision_name(asked)
    if asked != "bfloat16":
        return "float32"
    if "BF16" not in (list_capabilities() if capabilities is None else capabilities):
        raise InputError(
            "Cannot use bfloat16",
            needs="the processor must compute in bfloat16 (AVX-512 BF16 or AMX)",
            got="one without",
            hint="Use precision auto.",
        )
    return "bfloat16"


def import_openvino() -> Any:
    """Return the package ``openvino``, kept from reporting on its use.

    It sends what it reads and where to its makers through ``openvino_telemetry``, from a process of its
    own, unless told otherwise on each machine. Georgia opens no connection that it was not asked for.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    # Python's own way to say that a package may not be imported; OpenVINO then goes without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def list_capabilities() -> tuple[str, ...]:
    """Return what OpenVINO names of this processor, such as ("FP32", "INT8", "BF16")."""
    openvino = import_openvino()
    return tuple(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@cache
def has_gpu_runtime() -> bool:
    """Tell whether ONNX Runtime's GPU build is installed and offers CUDA."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def check_engine_name(name: str) -> None:
    """Refuse a name that is none of ``ENGINES``.

    Raises:
        InputError: it is none; the message lists them.
    """
    if name not in ENGINES:
        raise InputError("Unknown engine", needs="it must be one of " + ", ".join(ENGINES), got=repr(name))


class OnnxRuntimeEngine:
    """The shipped graph whole: uint8 images in; on an NVIDIA GPU where the GPU build is installed."""

    name = "onnxruntime"
    precision = "float32"

    def __init__(self, model: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        wanted = ["CUDAExecutionProvider"] if has_gpu_runtime() else []
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=[*wanted, "CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own types, without a shared public base
            raise InputError(
                f"Cannot open model {str(model)!r}",
                needs="an ONNX file that ONNX Runtime reads is needed",
                got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            ) from error
        self._names = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name
        self.device = "GPU" if "CUDAExecutionProvider" in self._session.get_providers() else "CPU"

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the image itself: the graph does the rest."""
        return image

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Answer; images of one size go through together."""
        if not prepared:
            return {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(prepared):
            by_shape.setdefault(image.shape, []).append(position)
        results: dict[str, npt.NDArray[np.float32]] = {}
        for positions in (part for whole in by_shape.values() for part in _cut(whole, BATCH_SIZE)):
            batch = np.stack([prepared[position] for position in positions])
            for name, values in zip(self._names, self._session.run(None, {self._input: batch}), strict=True):
                target = results.setdefault(name, np.empty((len(prepared), *values.shape[1:]), np.float32))
                target[positions] = values
        return results

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Answer batch after batch; a thread runs the net while the caller makes the next batch."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, thread_name_prefix="georgia-engine") as pool:
            waiting: deque[tuple[T, Any]] = deque()
            for token, prepared in batches:
                waiting.append((token, pool.submit(self.run, prepared)))
                if len(waiting) > 1:
                    first, answer = waiting.popleft()
                    yield first, answer.result()
            for token, answer in waiting:
                yield token, answer.result()


class OpenVinoEngine:
    """The net from ``network_input`` on, on images that ``PreprocessSpec`` prepared.

    ``precision`` "bfloat16" is for the net up to its last convolution; the head is float32 in any case.
    """

    name = "openvino"
    device = "CPU"

    def __init__(
        self, model: Path, spec: PreprocessSpec, threads: int = 0, precision: str = "float32"
    ) -> None:
        openvino = import_openvino()
        self._spec = spec
        core = openvino.Core()
        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        try:
            whole = core.read_model(str(model))
            # Cutting gives a tensor further names, and any of them may come back: keep the first ones.
            self._names = [output.get_any_name() for output in whole.outputs]
            net = cut_at_network_input(whole, spec.size_px)
            body, head = (net, None) if precision == "float32" else split_behind_convolutions(net)
            self.precision = precision if head else "float32"
            hint = {"bfloat16": "bf16", "float32": "f32"}[self.precision]
            compiled = core.compile_model(body, "CPU", {**properties, "INFERENCE_PRECISION_HINT": hint})
            self._net = AsyncNet(compiled, head and core.compile_model(head, "CPU", properties))
        except RuntimeError as error:
            raise InputError(
                f"Cannot open model {str(model)!r}",
                needs="an ONNX file that OpenVINO reads is needed",
                got=str(error).strip().splitlines()[-1] if str(error).strip() else "an empty message",
            ) from error

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return network input (3, size, size), float32."""
        return self._spec.planes(self._spec.resize(image))

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Answer for any number of images, ``BATCH_SIZE`` at a time."""
        parts = [answer for _, answer in self.stream((None, part) for part in _cut(prepared, BATCH_SIZE))]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._names if parts}

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Answer batch after batch, in order, while the caller makes the next."""
        stacked = ((token, np.stack(prepared) if prepared else None) for token, prepared in batches)
        for token, outputs in self._net.stream(stacked):
            yield token, dict(zip(self._names, outputs, strict=False))


def _cut(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def cut_at_network_input(model: Any, size_px: int) -> Any:
    """Return an OpenVINO model that starts at ``network_input`` (N, 3, size, size), float32.

    Raises:
        InputError: the graph has no such tensor, so Georgia did not write it.
    """
    openvino = import_openvino()
    from openvino import opset13

    for node in model.get_ordered_ops():
        for output in node.outputs():
            if NETWORK_INPUT in output.get_names():
                start = opset13.parameter([-1, 3, size_px, size_px], np.float32, name=NETWORK_INPUT)
                for target in output.get_target_inputs():
                    target.replace_source_output(start.output(0))
                return openvino.Model(model.get_results(), [start], "georgia")
    raise InputError(
        "Cannot cut the model",
        needs=f"a tensor {NETWORK_INPUT!r} is needed",
        got="none",
        hint="Use --engine onnxruntime, or export the model with Georgia.",
    )


def split_behind_convolutions(net: Any) -> tuple[Any, Any | None]:
    """Return an OpenVINO model as two: all that leads to a convolution, and the rest up to the outputs.

    What crosses over (maps that are pooled, the network input that is measured) is the first one's
    outputs and the second one's inputs, in one order. The second is None where nothing is left for it.
    """
    openvino = import_openvino()
    from openvino import opset13

    copy = net.clone()
    body = _lead_to_convolutions(copy)
    crossing: dict[tuple[str, int], tuple[Any, Any]] = {}
    for node in copy.get_ordered_ops():
        if node.get_name() in body:
            continue
        for port in node.inputs():
            source = port.get_source_output()
            maker = source.get_node()
            if maker.get_name() not in body or maker.get_type_name() == "Constant":
                continue
            place = (maker.get_name(), source.get_index())
            if place not in crossing:
                name = f"crossing_{len(crossing)}"
                start = opset13.parameter(source.get_partial_shape(), np.float32, name=name)
                crossing[place] = (source, start)
            port.replace_source_output(crossing[place][1].output(0))
    if not crossing:
        return net, None
    head = openvino.Model(copy.get_results(), [start for _, start in crossing.values()], "georgia_head")
    ends = [opset13.result(source) for source, _ in crossing.values()]
    return openvino.Model(ends, copy.get_parameters(), "georgia_body"), head


def _lead_to_convolutions(net: Any) -> set[str]:
    """Return the names of the convolutions and of all that they depend on."""
    found: set[str] = set()
    waiting = [node for node in net.get_ordered_ops() if "Convolution" in node.get_type_name()]
    while waiting:
        node = waiting.pop()
        if node.get_name() not in found:
            found.add(node.get_name())
            waiting += [port.get_source_output().get_node() for port in node.inputs()]
    return found
