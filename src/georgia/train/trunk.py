"""Run the frozen beginning of a net in an inference engine, once per picture and view."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.preprocess import PreprocessSpec

FloatArray = npt.NDArray[np.float32]
# Pictures an engine call: more only makes its working memory larger.
TRUNK_BATCH = 32


Features = list[FloatArray]


class Trunk:
    """Turns pictures into what the learning part takes: a list of (N, …) float32, channels last.

    Without a frozen part it only normalises. With one, it runs that part in OpenVINO, in float32.
    """

    def __init__(self, model: Any | None, spec: PreprocessSpec) -> None:
        self._spec = spec
        self._compiled = None if model is None else _compile(model, spec.size_px)
        self.is_frozen = model is not None

    def __call__(self, images: npt.NDArray[np.uint8]) -> Features:
        """Return the tail's inputs for images (N, size, size, 3), uint8 RGB."""
        if self._compiled is None:
            return [self._spec.normalize(images.astype(np.float32))]
        parts = [
            self._run(images[start : start + TRUNK_BATCH]) for start in range(0, len(images), TRUNK_BATCH)
        ]
        return (
            parts[0] if len(parts) == 1 else [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
        )

    def _run(self, images: npt.NDArray[np.uint8]) -> Features:
        pixels = self._spec.normalize(images.astype(np.float32))
        answer = self._compiled({0: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})  # type: ignore[misc]
        tensors = [np.asarray(answer[number]) for number in range(len(answer))]
        moved = [tensor.transpose(0, 2, 3, 1) if tensor.ndim == 4 else tensor for tensor in tensors]
        # Copies: the engine writes its next answer into the same memory.
        return [np.array(tensor, dtype=np.float32, order="C") for tensor in moved]


def _compile(model: Any, size_px: int) -> Any:
    import openvino
    from onnx import TensorProto

    from georgia.graph.builder import GraphBuilder
    from georgia.graph.walker import write_model

    graph = GraphBuilder()
    outputs: dict[str, Any] = {}
    for number, (name, tensor) in enumerate(
        zip(write_model(graph, model, ["input"]), model.outputs, strict=True)
    ):
        shape = tensor.shape[1:]
        axes = ["N", shape[2], shape[0], shape[1]] if len(shape) == 3 else ["N", *shape]
        outputs[graph.rename(name, f"features_{number}")] = axes
    proto = graph.finish({"input": (TensorProto.FLOAT, ["N", 3, size_px, size_px])}, outputs, {})
    core = openvino.Core()
    net = core.read_model(proto.SerializeToString())
    properties = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(net, "CPU", properties)
