"""A shipped model on an NVIDIA GPU: the net alone, in batches of few sizes, on prepared images."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec
from georgia.model.onnx_session import open_session
from georgia.model.openvino_async import explain_failed_run

CUDA = "CUDAExecutionProvider"
# Unless told otherwise, CUDA rounds what it multiplies to 10 bits (TF32): predictions would depend on the
# machine nearly as they do in bfloat16.
FULL_FLOAT32_CUDA = (CUDA, {"use_tf32": "0"})
# Views a call. cuDNN tries its algorithms anew for each size of a batch, for seconds: on an H200, batches of
# whatever came together, cut by image size, ran at 19 to 34 images/s. A batch is filled up to one of these.
N_VIEWS = (8, 64)
Outputs = Mapping[str, npt.NDArray[np.float32]]
T = TypeVar("T")


@cache
def has_gpu_runtime() -> bool:
    """Tell whether ONNX Runtime's GPU build is installed, on whatever machine."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    import onnxruntime

    return CUDA in onnxruntime.get_available_providers()


class GpuWarning(UserWarning):
    """Why a GPU is not used although ONNX Runtime's build for it is installed."""


def open_on_gpu(model: Path, spec: PreprocessSpec) -> GpuEngine | None:
    """Return a model on this machine's GPU, or None where none can be used; the reason is a warning, once."""
    if not has_gpu_runtime():
        return None
    reason = "CUDA found no GPU, or lacks one of its libraries"
    try:
        engine = GpuEngine(model, spec)
        if engine.device == "GPU":
            return engine
    except ImportError as error:
        reason = f"the package onnx is needed too ({error})"
    except InputError as error:
        reason = str(error)
    warn_once(reason)
    return None


@cache
def warn_once(reason: str) -> None:
    """Warn that the processor computes; of one reason only once a process."""
    message = f"ONNX Runtime's GPU build is installed, but {reason}: the processor computes."
    warnings.warn(message, GpuWarning, stacklevel=2)


class GpuEngine:
    """The net from ``network_input`` on, in float32, on images that ``PreprocessSpec`` prepared.

    ``device`` is "CPU" where CUDA cannot run here.
    """

    name = "onnxruntime"
    precision = "float32"

    def __init__(self, model: Path, spec: PreprocessSpec) -> None:
        self._spec = spec
        self._session = open_session(
            model,
            0,
            content=cut_onnx_at_network_input(model, spec.size_px),
            providers=[FULL_FLOAT32_CUDA, "CPUExecutionProvider"],
        )
        self._names = [output.name for output in self._session.get_outputs()]
        self._sizes = sorted({max(1, n // spec.n_views) for n in N_VIEWS})
        self.device = "GPU" if CUDA in self._session.get_providers() else "CPU"

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return network input (3, size, size), float32."""
        return self._spec.network_input(image)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs for any number of images."""
        parts: list[list[npt.NDArray[np.float32]]] = []
        done = 0
        while done < len(prepared):
            left = len(prepared) - done
            size = next((size for size in self._sizes if size >= left), self._sizes[-1])
            some = prepared[done : done + size]
            # Filled up with an image that is there: numbers of a net's own range.
            batch = np.stack([*some, *([some[-1]] * (size - len(some)))])
            parts.append([values[: len(some)] for values in self._run(batch)])
            done += len(some)
        return (
            {
                name: np.concatenate(values)
                for name, values in zip(self._names, zip(*parts, strict=True), strict=True)
            }
            if parts
            else {}
        )

    def _run(self, batch: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        try:
            return list(self._session.run(None, {NETWORK_INPUT: batch}))
        except Exception as error:  # its own types, without a shared public base
            raise explain_failed_run("ONNX Runtime", error) from error

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield batch after batch, in order, while the caller prepares the next batch."""
        return stream_in_thread(self.run, batches)


def stream_in_thread(
    run: Callable[[Sequence[npt.NDArray[Any]]], Outputs],
    batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]],
) -> Iterator[tuple[T, Outputs]]:
    """Yield each batch's token and outputs, in order; a thread runs the net while the caller goes on."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="georgia-engine") as pool:
        waiting: deque[tuple[T, Any]] = deque()
        for token, prepared in batches:
            waiting.append((token, pool.submit(run, prepared)))
            if len(waiting) > 1:
                first, outputs = waiting.popleft()
                yield first, outputs.result()
        for token, outputs in waiting:
            yield token, outputs.result()


def cut_onnx_at_network_input(model: Path, size_px: int) -> bytes:
    """Return an ONNX file's net from ``network_input`` (N, 3, size, size), float32, on.

    Raises:
        InputError: the graph has no such tensor, so Georgia did not write it.
        ImportError: the package onnx is not installed.
    """
    import onnx

    proto = onnx.load(str(model))
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    if NETWORK_INPUT not in makers:
        raise InputError(
            "Cannot cut the model",
            needs=f"a tensor {NETWORK_INPUT!r} is needed",
            got="none",
            hint="Export the model with Georgia.",
        )
    needed: set[str] = set()
    asked = [output.name for output in graph.output]
    while asked:
        name = asked.pop()
        if name in needed:
            continue
        needed.add(name)
        if name != NETWORK_INPUT and name in makers:
            asked += makers[name].input
    kept = [n for n in graph.node if NETWORK_INPUT not in n.output and needed.intersection(n.output)]
    weights = [weight for weight in graph.initializer if weight.name in needed]
    start = onnx.helper.make_tensor_value_info(
        NETWORK_INPUT, onnx.TensorProto.FLOAT, ["N", 3, size_px, size_px]
    )
    del graph.node[:], graph.initializer[:], graph.input[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    graph.input.append(start)
    return bytes(proto.SerializeToString())
