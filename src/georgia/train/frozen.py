"""Run the frozen beginning of a net in the machine's fastest engine, once per image and view."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.images.preprocess import PreprocessSpec
from georgia.model.engines import import_openvino, open_core
from georgia.model.openvino_async import AsyncNet
from georgia.train.feature_cache import Features
from georgia.train.frozen_gpu import compile_on_gpu

T = TypeVar("T")
UInt8Images = npt.NDArray[np.uint8]
# Images an engine call: more only makes its working memory larger.
FROZEN_BATCH = 32
# A GPU is idle for part of a smaller call.
GPU_BATCH = 128


class FrozenBackbone:
    """Turns images into what the trainable head takes: a list of (N, …) float32, channels last.

    Without a frozen part it only normalises. With one, it runs that part: in OpenVINO on a
    processor, in ``precision`` "float32" or "bfloat16", or as a compiled Keras net ``on_gpu``. ``key``
    (hex) names all that decides its numbers. Images keep the orientation that they come in, also where the
    exported file brings them into a canonical one: a net that has learned all of them is steady where a small
    change of an image changes which one that is.
    """

    def __init__(
        self, model: Any | None, spec: PreprocessSpec, precision: str = "float32", on_gpu: bool = False
    ) -> None:
        self._spec = spec
        self.is_frozen = model is not None
        self.batch_size = GPU_BATCH if on_gpu else FROZEN_BATCH
        self.key = ""
        self._net: AsyncNet | None = None
        self._on_gpu: Callable[[UInt8Images], list[Any]] | None = None
        if on_gpu:
            self._on_gpu = compile_on_gpu(model, spec, precision)
        if model is None:
            return
        proto = _write_graph(model, spec.size_px)
        self.key = _name_features(proto, spec, "gpu" if on_gpu else "cpu", precision)
        if not on_gpu:
            self._net = _compile_openvino(proto, precision)

    def __call__(self, images: UInt8Images) -> Features:
        """Return the head's inputs for images (N, size, size, 3), uint8 RGB."""
        cuts = range(0, max(1, len(images)), self.batch_size)
        batches = ((None, images[start : start + self.batch_size]) for start in cuts)
        parts = [features for _, features in self.stream(batches)]
        return (
            parts[0] if len(parts) == 1 else [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
        )

    def stream(
        self, batches: Iterable[tuple[T, UInt8Images]], stays_on_gpu: bool = False
    ) -> Iterator[tuple[T, Features]]:
        """Yield each batch's token and head inputs, in order, while the caller makes the next batch.

        A batch of no images has no head inputs. Those that ``stays_on_gpu``, where a GPU computes them, are
        the backend's own arrays, which a head there takes as they are.
        """
        if self._on_gpu is not None:
            yield from _stream_gpu(self._on_gpu, batches, stays_on_gpu)
            return
        if self._net is None:
            for token, images in batches:
                yield token, self._normalize(images) if len(images) else []
            return
        planes = ((token, self._spec.planes(images) if len(images) else None) for token, images in batches)
        for token, tensors in self._net.stream(planes):
            moved = [tensor.transpose(0, 2, 3, 1) if tensor.ndim == 4 else tensor for tensor in tensors]
            yield token, [np.ascontiguousarray(tensor) for tensor in moved]

    def _normalize(self, images: UInt8Images) -> Features:
        return [self._spec.normalize(images.astype(np.float32))]


def _stream_gpu(
    run: Callable[[UInt8Images], list[Any]], batches: Iterable[tuple[T, UInt8Images]], stays_on_gpu: bool
) -> Iterator[tuple[T, Features]]:
    """Yield what the GPU computes; while the caller takes a batch from it, the GPU has the next."""
    waiting: deque[tuple[T, list[Any]]] = deque()

    def take() -> tuple[T, Features]:
        token, tensors = waiting.popleft()
        return token, tensors if stays_on_gpu else [np.asarray(tensor, np.float32) for tensor in tensors]

    for token, images in batches:
        waiting.append((token, run(images) if len(images) else []))
        if len(waiting) > 1:
            yield take()
    while waiting:
        yield take()


def _write_graph(model: Any, size_px: int) -> bytes:
    from onnx import TensorProto

    from georgia.export.graph.builder import GraphBuilder
    from georgia.export.graph.walker import write_model

    graph = GraphBuilder()
    outputs: dict[str, Any] = {}
    for number, (name, tensor) in enumerate(
        zip(write_model(graph, model, ["input"]), model.outputs, strict=True)
    ):
        shape = tensor.shape[1:]
        axes = ["N", shape[2], shape[0], shape[1]] if len(shape) == 3 else ["N", *shape]
        outputs[graph.rename(name, f"features_{number}")] = axes
    proto = graph.finish({"input": (TensorProto.FLOAT, ["N", 3, size_px, size_px])}, outputs, {})
    _number_names(proto.graph)
    return bytes(proto.SerializeToString(deterministic=True))


def _number_names(graph: Any) -> None:
    """Name tensors by their place: Keras counts its unnamed layers on, so that one net has many names."""
    numbers: dict[str, str] = {}

    def name(old: str) -> str:
        return numbers.setdefault(old, f"t{len(numbers)}") if old else old

    for value in (*graph.input, *graph.initializer):
        value.name = name(value.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [name(old) for old in node.input]
        node.output[:] = [name(old) for old in node.output]
    for value in graph.output:
        value.name = name(value.name)


def _name_features(graph: bytes, spec: PreprocessSpec, device: str, precision: str) -> str:
    """Return a digest (hex) of all that decides the features: net, weights, input, arithmetic."""
    # What predictions do with the symmetries is done behind the training, which sees all orientations.
    spec = replace(spec, symmetry="none")
    parts = [spec.to_dict(), device, precision, import_openvino().__version__ if device == "cpu" else ""]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
    digest.update(graph)
    return digest.hexdigest()


def _compile_openvino(graph: bytes, precision: str) -> AsyncNet:
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    properties = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    core = open_core()
    return AsyncNet(core.compile_model(core.read_model(graph), "CPU", properties))
