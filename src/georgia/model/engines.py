"""Run an exported model: ONNX Runtime takes the file as it ships, OpenVINO its net alone.

Both have one interface, ``Engine``. ONNX Runtime is the reference: every step, the resize too, runs
inside the shipped graph. OpenVINO runs the graph from ``network_input`` on, and ``PreprocessSpec``
prepares its input; parity of the two is checked on real files before a model may ship.

Both compute in float32. Where the processor has bfloat16 and it is requested by name, OpenVINO runs
the net's convolutions in it; preprocessing before them and the head behind them stay float32. Whether a
model may be served so is decided in ``georgia.predict.rejudge``.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.config import Rule
from georgia.errors import InputError, MissingDependencyError
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec
from georgia.model.description import parse_metadata
from georgia.model.few_views import CLASS_MAP, keep_rotations
from georgia.model.gpu_engine import open_on_gpu, stream_in_thread
from georgia.model.onnx_session import open_session
from georgia.model.openvino_async import AsyncNet, NetChoice, explain_failed_run, explain_unread

# "ray" is ``georgia predict`` on a cluster, whose workers open one of the others: ``distributed``.
ENGINES: tuple[str, ...] = ("auto", "openvino", "onnxruntime", "ray")
PRECISIONS: tuple[str, ...] = ("auto", "float32", "bfloat16")
# What predictions may ask for besides: an 8-bit file, four of eight views, as many views as an image needs,
# and the quickest that is shown.
SERVED_PRECISIONS: tuple[str, ...] = (*PRECISIONS, "int8", "rotations", "views", "fastest")
# Types of the settings ``engine`` and ``precision``.
EngineName = Annotated[str, Rule("one of " + ", ".join(ENGINES), ENGINES.__contains__)]
PrecisionName = Annotated[str, Rule("one of " + ", ".join(SERVED_PRECISIONS), SERVED_PRECISIONS.__contains__)]
# Images a call: enough to fill two to sixteen cores, small enough for memory with large frames.
BATCH_SIZE = 16
# |Δ| of a probability and of the unknown score that engines, batch sizes, file counts and processors may
# differ by in float32. A label or rejection may differ only where its margin is smaller.
# Source: the parity aim of the project; measured 1e-6 to 3e-5.
FLOAT32_TOLERANCE = 1e-3
# What "auto" means can be fixed for a whole machine.
PRECISION_VARIABLE = "GEORGIA_PRECISION"
T = TypeVar("T")
Outputs = Mapping[str, npt.NDArray[np.float32]]


_EXPLAINED = {
    "rotations": "float32 on four of eight views",
    "views": "float32 on as many of eight views as an image needs",
}


@dataclass(frozen=True)
class Computation:
    """What predictions were computed with: engine, precision, and the kind of processor."""

    engine: str = ""
    precision: str = ""
    processor: str = ""

    @classmethod
    def of(cls, engine: Engine) -> Computation:
        """Return what an opened engine computes with."""
        kind = "GPU" if engine.device == "GPU" else describe_processor()
        return cls(engine.name, engine.precision, kind)

    @property
    def arithmetic(self) -> str:
        """The precision in words, for those that are no kind of number."""
        return _EXPLAINED.get(self.precision, self.precision)

    def to_json_dict(self) -> dict[str, str]:
        """Return the keys that results hold."""
        return dict(vars(self))


class Engine(Protocol):
    """One loaded model; ``precision`` is one of ``SERVED_PRECISIONS``, ``device`` "CPU" or "GPU"."""

    name: str
    precision: str
    device: str

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-image work, in any thread, on an image (H, W, 3), uint8 RGB."""

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs for prepared images, such as ``probabilities`` (N, C), ``features`` (N, F)."""

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield each batch's token and outputs, in order, while the caller prepares the next batch."""


def open_engine(
    model: Path,
    spec: PreprocessSpec,
    name: str = "auto",
    threads: int = 0,
    precision: str = "auto",
    is_wide: bool = False,
) -> Engine:
    """Load an exported model; ``auto`` is a GPU where ONNX Runtime can use one, else OpenVINO.

    Args:
        model: an ONNX file written by Georgia.
        spec: the preprocessing that the file holds.
        name: see ``ENGINES``.
        threads: processor threads for the net; 0 leaves it to the engine.
        precision: see ``choose_precision``; ONNX Runtime always computes in float32.
        is_wide: OpenVINO's threads run images of their own from the first batch on; see ``NetChoice``.

    Raises:
        InputError: a name is not known, the engine cannot read the file, or bfloat16 is requested
            and not available.
        MissingDependencyError: the requested engine is not installed.
    """
    check_engine_name(name)
    check_precision_name(precision)
    if name == "ray":
        raise InputError(
            "Cannot use engine ray",
            needs="only georgia predict runs on a Ray cluster",
            got="another command",
            hint="Use auto, openvino or onnxruntime.",
        )
    if name in ("auto", "onnxruntime") and precision != "bfloat16":
        engine = open_on_gpu(model, spec)
        if engine is not None:
            return engine
    if name in ("auto", "openvino"):
        try:
            return OpenVinoEngine(model, spec, threads, choose_precision(precision), is_wide=is_wide)
        except ImportError as error:
            if name == "openvino":
                raise MissingDependencyError(
                    "Cannot start OpenVINO",
                    needs="it must be installed",
                    got=error,
                    hint="pip install 'georgia[openvino]'.",
                ) from error
    if precision == "bfloat16":
        raise InputError(
            "Cannot use bfloat16",
            needs="OpenVINO is needed",
            got="ONNX Runtime",
            hint="Leave --precision out, or use --engine openvino.",
        )
    return OnnxRuntimeEngine(model, threads)


def check_engine_name(name: str) -> None:
    """Check that a name is one of ``ENGINES``.

    Raises:
        InputError: it is not; the message lists them.
    """
    if name not in ENGINES:
        raise InputError("Unknown engine", needs="it must be one of " + ", ".join(ENGINES), got=repr(name))


def check_precision_name(name: str, known: Sequence[str] = PRECISIONS) -> None:
    """Check that a name is one of ``known``.

    Raises:
        InputError: it is not; the message lists them.
    """
    if name not in known:
        raise InputError("Unknown precision", needs="it must be one of " + ", ".join(known), got=repr(name))


def choose_precision(asked: str, capabilities: Sequence[str] | None = None) -> str:
    """Return "float32" or "bfloat16" for this processor.

    "auto" is the environment's GEORGIA_PRECISION, else float32: the same predictions on every
    processor. bfloat16 changes predictions and must be requested by name. ``capabilities`` is what
    OpenVINO lists for the processor.

    Raises:
        InputError: bfloat16 is requested on a processor without it, or the name is not known.
    """
    if find_asked_precision(asked) != "bfloat16":
        return "float32"
    if "BF16" not in (list_capabilities() if capabilities is None else capabilities):
        raise InputError(
            "Cannot use bfloat16",
            needs="the processor must compute in bfloat16 (AVX-512 BF16 or AMX)",
            got="one without",
            hint="Use precision auto.",
        )
    return "bfloat16"


def find_asked_precision(asked: str) -> str:
    """Return one of ``SERVED_PRECISIONS``; for "auto" that of GEORGIA_PRECISION, which may be "auto" again.

    Raises:
        InputError: one of the names is not known.
    """
    check_precision_name(asked, SERVED_PRECISIONS)
    if asked == "auto":
        asked = os.environ.get(PRECISION_VARIABLE) or "auto"
        check_precision_name(asked, SERVED_PRECISIONS)
    return asked


def import_openvino() -> Any:
    """Return the package ``openvino`` with its usage reports switched off.

    Unless configured otherwise on each machine, a process of ``openvino_telemetry`` reports which models
    are read and where. Georgia opens no connection that the user did not request.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    # None marks a package as not importable; OpenVINO then runs without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


_opening = threading.Lock()


def open_core() -> Any:
    """Return the one ``openvino.Core`` of this process, which is kept until it ends.

    OpenVINO's CPU plugin gives the thread that loads it a stack for signals, and frees that stack where the
    last Core and net are dropped. Where another thread drops them, the next signal, such as SIGTERM, ends the
    program with a segmentation fault. Seen with 2026.4: a monitor drops one of two nets in its own thread.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    with _opening:  # two at once would make two, one of which would be dropped
        return _make_core()


@cache
def _make_core() -> Any:
    return import_openvino().Core()


@cache
def list_capabilities() -> tuple[str, ...]:
    """Return what OpenVINO lists for this processor, such as ("FP32", "INT8", "BF16")."""
    return tuple(open_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@cache
def describe_processor() -> str:
    """Return the kind of this processor: its name where the system tells it, else its instruction set."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(named, "").split()) or platform.processor() or platform.machine() or "CPU"


@cache
def find_int8_units() -> str:
    """Return the names of this processor's units for 8-bit integers, "" where it has none or tells none.

    They decide how sums are rounded and where they saturate, so that 8-bit nets differ between them.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return " ".join(name for name in ("avx_vnni", "avx512_vnni", "amx_int8") if name in flags)


class OnnxRuntimeEngine:
    """The shipped graph whole, on the processor: uint8 images in."""

    name = "onnxruntime"
    precision = "float32"
    device = "CPU"

    def __init__(self, model: Path, threads: int = 0) -> None:
        self._session = open_session(model, threads)
        self._names = [output.name for output in self._session.get_outputs()]
        described = parse_metadata(self._session.get_modelmeta().custom_metadata_map, model) or {}
        symmetry = described.get("preprocess", {}).get("symmetry", "none")
        self._batch_size = max(1, BATCH_SIZE // PreprocessSpec(symmetry=symmetry).n_views)
        self._input = self._session.get_inputs()[0].name

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the image itself: the graph does the rest."""
        return image

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs; images of one size run together."""
        if not prepared:
            return {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(prepared):
            by_shape.setdefault(image.shape, []).append(position)
        results: dict[str, npt.NDArray[np.float32]] = {}
        for positions in (
            cut for same_shape in by_shape.values() for cut in _split_batches(same_shape, self._batch_size)
        ):
            batch = np.stack([prepared[position] for position in positions])
            for name, values in zip(self._names, self._run(batch), strict=True):
                target = results.setdefault(name, np.empty((len(prepared), *values.shape[1:]), np.float32))
                target[positions] = values
        return results

    def _run(self, batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        try:
            return list(self._session.run(None, {self._input: batch}))
        except Exception as error:  # its own types, without a shared public base
            raise explain_failed_run("ONNX Runtime", error) from error

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield batch after batch, in order, while the caller prepares the next batch."""
        return stream_in_thread(self.run, batches)


class OpenVinoEngine:
    """The net from ``network_input`` on, on images that ``PreprocessSpec`` prepared.

    ``precision`` "bfloat16" is for the net up to its last convolution; the head is float32 in any case.
    "int8" says that the file holds 8-bit integers: it is run as it is. "rotations" is float32 on four of the
    eight views that a net averages, without class map.
    ``is_emulated`` rounds to bfloat16 in float32, slowly: to try on any processor what bfloat16 changes.
    ``is_wide`` has each thread run images of its own from the first on, see ``NetChoice``.
    """

    name = "openvino"
    device = "CPU"

    def __init__(
        self,
        model: Path,
        spec: PreprocessSpec,
        threads: int = 0,
        precision: str = "float32",
        is_emulated: bool = False,
        is_wide: bool = False,
    ) -> None:
        self._spec = spec
        core = open_core()
        try:
            whole = core.read_model(str(model))
            # Before cutting, which gives a tensor further names.
            self._names = [choose_output_name(output.get_names()) for output in whole.outputs]
            net = cut_at_network_input(whole, spec.size_px)
            if precision == "rotations":
                places = [place for place, name in enumerate(self._names) if name != CLASS_MAP]
                net = keep_rotations(net, places)
                self._names = [self._names[place] for place in places]
            body, head = split_behind_convolutions(net) if precision == "bfloat16" else (net, None)
            self.precision = "float32" if precision == "bfloat16" and head is None else precision
            hint = "bf16" if self.precision == "bfloat16" else "f32"
            if is_emulated and head:
                body, hint = round_as_bfloat16(body), "f32"

            def compile_net(how: str) -> AsyncNet:
                common = {"PERFORMANCE_HINT": how, "INFERENCE_PRECISION_HINT": "f32"}
                properties = {**common, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
                compiled = core.compile_model(body, "CPU", {**properties, "INFERENCE_PRECISION_HINT": hint})
                return AsyncNet(compiled, head and core.compile_model(head, "CPU", properties))

            if is_wide:
                self._net = NetChoice(compile_net("THROUGHPUT"))
            else:
                self._net = NetChoice(compile_net("LATENCY"), lambda: compile_net("THROUGHPUT"))
        except RuntimeError as error:
            raise explain_unread(model, error) from error

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return network input (3, size, size), float32."""
        return self._spec.network_input(image)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs for any number of images, ``BATCH_SIZE`` at a time."""
        batches = ((None, batch) for batch in _split_batches(prepared, BATCH_SIZE))
        results = [outputs for _, outputs in self.stream(batches)]
        return {name: np.concatenate([each[name] for each in results]) for name in self._names if results}

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield batch after batch, in order, while the caller prepares the next batch."""
        for net, some, rate in self._net.split(iter(batches)):
            for token, outputs in self._stream_on(net, some):
                rate.note(len(next(iter(outputs.values()), ())))
                yield token, outputs

    def _stream_on(
        self, net: AsyncNet, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]
    ) -> Iterator[tuple[T, Outputs]]:
        found: list[Sequence[npt.NDArray[np.float32]]] = []
        for (token, is_last), outputs in net.stream(self._cut(batches, net.n_at_once)):
            found.append(outputs)
            if is_last:
                whole = (
                    found[0]
                    if len(found) == 1
                    else [np.concatenate(parts) for parts in zip(*found, strict=True)]
                )
                yield token, dict(zip(self._names, whole, strict=False))
                found = []

    def _cut(
        self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]], n_at_once: int
    ) -> Iterator[tuple[tuple[T, bool], npt.NDArray[Any] | None]]:
        """Yield each batch in as many parts as run at once, and in smaller ones of several views an image.

        So all threads work at one batch, and it takes no more memory than in one part.
        """
        for token, prepared in batches:
            most = max(1, BATCH_SIZE // self._spec.n_views) if self._spec.n_views > 1 else len(prepared)
            most = max(1, min(most, -(-len(prepared) // n_at_once)))
            parts = _split_batches(prepared, most) if prepared else [[]]
            for number, part in enumerate(parts, start=1):
                yield (token, number == len(parts)), np.stack(part) if part else None


def _split_batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def choose_output_name(names: Iterable[str]) -> str:
    """Return the public name of an output; tensors inside the graph have a stroke in theirs.

    OpenVINO up to 2025.3 merges an output with the tensor that it is an Identity of, and knows both names.

    >>> choose_output_name({"head/probabilities", "probabilities"})
    'probabilities'
    """
    return min(names, key=lambda name: ("/" in name, name))


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

    What crosses over (maps to pool, the network input to measure) is the outputs of the first and, in the
    same order, the inputs of the second. The second is None where nothing is left for it.
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


def round_as_bfloat16(net: Any) -> Any:
    """Return an OpenVINO model that rounds, in float32, what bfloat16 would: inputs of convolutions, outputs.

    With c = (2¹⁶ + 1) x, c − (c − x) is x in 8 significant bits, those of bfloat16.
    Source: Veltkamp 1968 and Dekker 1971, doi 10.1007/BF01397083.
    """
    from openvino import opset13

    copy = net.clone()
    factor = opset13.constant(np.float32(2**16 + 1))
    for node in copy.get_ordered_ops():
        if "Convolution" not in node.get_type_name() and node.get_type_name() != "Result":
            continue
        for port in node.inputs():
            source = port.get_source_output()
            if not source.get_element_type().is_real():
                continue
            larger = opset13.multiply(source, factor)
            rest = opset13.subtract(larger, source)
            port.replace_source_output(opset13.subtract(larger, rest).output(0))
    return copy


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
