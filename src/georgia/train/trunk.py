"""Run the frozen beginning of a net in an inference engine, once per picture and view."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.preprocess import PreprocessSpec

FloatArray = npt.NDArray[np.float32]


class Trunk:
    """Turns pictures into what the learning part takes: (N, …) float32, channels last.

    Without a frozen part it only normalises. With one, it runs that part in OpenVINO, in float32.
    """

    def __init__(self, model: Any | None, spec: PreprocessSpec) -> None:
        self._spec = spec
        self._compiled = None if model is None else _compile(model, spec.size_px)
        self.is_frozen = model is not None

    def __call__(self, images: npt.NDArray[np.uint8]) -> FloatArray:
        """Return the tail's input for images (N, size, size, 3), uint8 RGB."""
        pixels = self._spec.normalize(images.astype(np.float32))
        if self._compiled is None:
            return pixels
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        features = self._compiled({0: planes})[0]
        if features.ndim == 4:
            features = features.transpose(0, 2, 3, 1)
        return np.array(features, dtype=np.float32, order="C")


def _compile(model: Any, size_px: int) -> Any:
    import openvino
    from onnx import TensorProto

    from georgia.graph.builder import GraphBuilder
    from georgia.graph.walker import write_model

    graph = GraphBuilder()
    (output,) = write_model(graph, model, ["input"])
    graph.rename(output, "features")
    shape = model.output.shape[1:]
    axes = ["N", shape[2], shape[0], shape[1]] if len(shape) == 3 else ["N", *shape]
    proto = graph.finish({"input": (TensorProto.FLOAT, ["N", 3, size_px, size_px])}, {"features": axes}, {})
    core = openvino.Core()
    net = core.read_model(proto.SerializeToString())
    properties = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(net, "CPU", properties)
