"""Run the frozen beginning of a net in the machine's fastest engine, once per image and view."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.images.preprocess import PreprocessSpec
from georgia.model.engines import import_openvino
from georgia.model.openvino_async import AsyncNet
from georgia.train.feature_cache import Features

T = TypeVar("T")
UInt8Images = npt.NDArray[np.uint8]
# Images an engine call: more only makes its working memory larger.
FROZEN_BATCH = 32


class FrozenBackbone:
    """Turns images into what the trainable head takes: a list of (N, …) float32, channels last.

    Without a frozen part it only normalises. With one, it runs that part: in OpenVINO on a
    processor, in ``precision`` "float32" or "bfloat16", or as a compiled Keras net ``on_gpu``. ``key``
    (hex) names all that decides its numbers.
    """

    def __init__(
        self, model: Any | None, spec: PreprocessSpec, precision: str = "float32", on_gpu: bool = False
    ) -> None:
        self._spec = spec
        self.is_frozen = model is not None
        self.key = ""
        self._net: AsyncNet | None = None
        self._on_gpu: Callable[[UInt8Images], Features] | None = None
        if model is None:
            return
        proto = _write_graph(model, spec.size_px)
        self.key = _name_features(proto, spec, "gpu" if on_gpu else "cpu", precision)
        if on_gpu:
            self._on_gpu = _compile_keras(model, spec, precision)
        else:
            self._net = _compile_openvino(proto, precision)

    def __call__(self, images: UInt8Images) -> Features:
        """Return the head's inputs for images (N, size, size, 3), uint8 RGB."""
        cuts = range(0, max(1, len(images)), FROZEN_BATCH)
        batches = ((None, images[start : start + FROZEN_BATCH]) for start in cuts)
        parts = [features for _, features in self.stream(batches)]
        return (
            parts[0] if len(parts) == 1 else [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
        )

    def stream(self, batches: Iterable[tuple[T, UInt8Images]]) -> Iterator[tuple[T, Features]]:
        """Yield each batch's token and head inputs, in order, while the caller makes the next batch."""
        if self._net is None:
            for token, images in batches:
                yield token, self._on_gpu(images) if self._on_gpu else [self._normalize(images)]
            return
        planes = ((token, self._spec.planes(images)) for token, images in batches)
        for token, tensors in self._net.stream(planes):
            moved = [tensor.transpose(0, 2, 3, 1) if tensor.ndim == 4 else tensor for tensor in tensors]
            yield token, [np.ascontiguousarray(tensor) for tensor in moved]

    def _normalize(self, images: UInt8Images) -> npt.NDArray[np.float32]:
        return self._spec.normalize(images.astype(np.float32))


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
    parts = [spec.to_dict(), device, precision, import_openvino().__version__ if device == "cpu" else ""]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
    digest.update(graph)
    return digest.hexdigest()


def _compile_openvino(graph: bytes, precision: str) -> AsyncNet:
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    properties = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    core = import_openvino().Core()
    return AsyncNet(core.compile_model(core.read_model(graph), "CPU", properties))


def _compile_keras(model: Any, spec: PreprocessSpec, precision: str) -> Callable[[UInt8Images], Features]:
    """Return the frozen part as one compiled call of Keras' backend, images in as bytes."""
    import keras
    from keras import layers

    from georgia.train.device import use_precision

    image = keras.Input((spec.size_px, spec.size_px, 3), dtype="uint8")
    pixels = layers.Rescaling(1.0, dtype="float32")(image)
    pixels = pixels[..., ::-1] if spec.color_order == "BGR" else pixels
    mean, scale = np.asarray(spec.mean, np.float32), np.asarray(spec.scale, np.float32)
    whole = keras.Model(image, model((pixels - mean) / scale))
    whole.compile(jit_compile="auto")

    def run(images: UInt8Images) -> Features:
        with use_precision(model, precision):
            outputs = whole.predict_on_batch(images)
        tensors = outputs if isinstance(outputs, list) else [outputs]
        return [np.asarray(tensor, np.float32) for tensor in tensors]

    return run
