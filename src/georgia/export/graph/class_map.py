"""Write the exact class map into a graph: which places of the image contribute to each logit.

A head behind global average pooling that is made of linear layers, ReLUs and batch norms is a linear
function of the pooled features within one region of its ReLUs. Its Jacobian J (N, C, K) follows from
the ReLUs' masks and the transposed weights, and ``cam_c(x, y) = Σ_k J_ck · F_k(x, y)`` splits each
logit over the map F exactly: its mean over the map, plus what the head's biases add, is the logit.

Source: class activation mapping, Zhou et al. 2016, doi 10.1109/CVPR.2016.319, carried through the
head's ReLUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from georgia.export.graph.builder import GraphBuilder
from georgia.images.preprocess import resize_weights

Shape = tuple[int | None, ...]
FloatArray = npt.NDArray[np.float32]
_ROUNDS = 500


@dataclass(frozen=True)
class PooledMap:
    """A feature map (N, K, h, w) before its pooling, and the logits' Jacobian (N or 1, C, K) for it."""

    feature_map: str
    jacobian: str
    grid: tuple[int, int]


def add_class_map(
    graph: GraphBuilder, logits: str, n_classes: int, shapes: Mapping[str, Shape]
) -> tuple[str, tuple[int, int]] | None:
    """Append ``cam`` (N, C, h, w) on the finest of the pooled maps' grids; return its tensor and (h, w).

    ``shapes`` are the Keras shapes of the net's tensors. None where the head is not piecewise linear
    behind global average pooling: then there is no exact map.
    """
    before = graph.mark()
    start = graph.constant(np.eye(n_classes)[np.newaxis], "cam/start")
    pooled_maps = _GradientWalk(graph, shapes).pull(logits, start)
    if not pooled_maps:
        graph.rewind(before)
        return None
    height, width = max(pooled.grid for pooled in pooled_maps)
    total = ""
    for pooled in pooled_maps:
        contribution = _spread(graph, pooled, n_classes, (height, width))
        total = graph.add("Add", [total, contribution], "cam/sum") if total else contribution
    return total, (height, width)


def spread_matrix(n_in: int, n_out: int) -> FloatArray:
    """Return weights (n_out, n_in), float32, that resize a row of cells and keep its mean exactly.

    The triangle filter of the network input, balanced so that each row sums to 1 and each column to
    ``n_out / n_in``: no cell gains or loses weight. Source: Sinkhorn and Knopp 1967, doi
    10.2140/pjm.1967.21.343.

    >>> float(spread_matrix(9, 33).mean(axis=0).sum().round(6))
    1.0
    """
    weights = resize_weights(n_in, n_out).astype(np.float64)
    for _ in range(_ROUNDS):
        weights = weights * (n_out / n_in / weights.sum(axis=0))
        weights = weights / weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _spread(graph: GraphBuilder, pooled: PooledMap, n_classes: int, grid: tuple[int, int]) -> str:
    """Return one pooled map's class map (N, C, h, w) on the common grid."""
    flat = graph.constant([0, 0, -1], "cam/flat", np.int64)
    cells = graph.add("Reshape", [pooled.feature_map, flat], "cam/cells")
    product = graph.add("MatMul", [pooled.jacobian, cells], "cam/product")
    square = graph.constant([-1, n_classes, *pooled.grid], "cam/square", np.int64)
    result = graph.add("Reshape", [product, square], "cam/map")
    if pooled.grid == grid:
        return result
    rows = graph.constant(spread_matrix(pooled.grid[0], grid[0]), "cam/rows")
    columns = graph.constant(spread_matrix(pooled.grid[1], grid[1]).T, "cam/columns")
    tall = graph.add("MatMul", [rows, result], "cam/tall")
    return graph.add("MatMul", [tall, columns], "cam/wide")


class _GradientWalk:
    """Propagates a gradient (N or 1, C, width) from the logits back to the pooled maps."""

    def __init__(self, graph: GraphBuilder, shapes: Mapping[str, Shape]) -> None:
        self._graph, self._shapes = graph, shapes
        self._made = {output: node for node in graph.nodes for output in node.output}

    def pull(self, tensor: str, gradient: str) -> list[PooledMap]:
        """Return all pooled maps behind a tensor; empty where one is not reached linearly."""
        node = self._made.get(tensor)
        if node is None:
            return []
        kind = node.op_type
        if kind == "GlobalAveragePool":
            return self._arrive(node, gradient)
        if kind in ("Identity", "Flatten"):
            return self.pull(node.input[0], gradient)
        if kind == "Concat":
            return self._split(node, gradient)
        if kind == "Add":
            return self._add(node, gradient)
        step = {
            "MatMul": self._linear,
            "Mul": self._scale,
            "BatchNormalization": self._norm,
            "Relu": self._mask,
            "Clip": self._mask,
        }.get(kind)
        carried = step(node, gradient) if step else None
        return self.pull(node.input[0], carried) if carried else []

    def _arrive(self, node: onnx.NodeProto, gradient: str) -> list[PooledMap]:
        shape = self._shapes.get(node.input[0], ())
        if len(shape) != 4 or not shape[1] or not shape[2]:
            return []
        return [PooledMap(node.input[0], gradient, (shape[1], shape[2]))]

    def _add(self, node: onnx.NodeProto, gradient: str) -> list[PooledMap]:
        found: list[PooledMap] = []
        for name in node.input:
            if name in self._graph.weights:
                continue
            behind = self.pull(name, gradient)
            if not behind:
                return []
            found += behind
        return found

    def _split(self, node: onnx.NodeProto, gradient: str) -> list[PooledMap]:
        widths = [self._shapes.get(name, ())[-1:] for name in node.input]
        if not all(width and width[0] for width in widths):
            return []
        ends = np.cumsum([width[0] for width in widths])
        found: list[PooledMap] = []
        for name, start, end in zip(node.input, [0, *ends[:-1]], ends, strict=True):
            bounds = [self._graph.constant([value], "cam/limit", np.int64) for value in (start, end, 2)]
            behind = self.pull(name, self._graph.add("Slice", [gradient, *bounds], "cam/slice"))
            if not behind:
                return []
            found += behind
        return found

    def _linear(self, node: onnx.NodeProto, gradient: str) -> str | None:
        if node.input[1] not in self._graph.weights:
            return None
        # A constant of its own: OpenVINO computes a product with the Transpose of a square kernel that the
        # net uses too as if it were not transposed. Under the kernel's name, it is halved with the kernel.
        kernel = node.input[1]
        transposed = self._graph.constant(self._values(kernel).T, f"{kernel}_transposed")
        return self._graph.add("MatMul", [gradient, transposed], "cam/linear")

    def _scale(self, node: onnx.NodeProto, gradient: str) -> str | None:
        if node.input[1] not in self._graph.weights:
            return None
        return self._graph.add("Mul", [gradient, node.input[1]], "cam/scaled")

    def _norm(self, node: onnx.NodeProto, gradient: str) -> str | None:
        gamma, _, _, variance = (self._values(name) for name in node.input[1:])
        epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        scale = self._graph.constant(gamma / np.sqrt(variance + epsilon), "cam/norm")
        return self._graph.add("Mul", [gradient, scale], "cam/normed")

    def _mask(self, node: onnx.NodeProto, gradient: str) -> str:
        """Pass the gradient on where the activation is on its slope."""
        graph, tensor = self._graph, node.input[0]
        bounds: Sequence[str] = node.input[1:] or [graph.constant(0.0, "cam/zero")]
        mask = graph.add("Greater", [tensor, bounds[0]], "cam/above")
        if len(bounds) == 2:
            below = graph.add("Less", [tensor, bounds[1]], "cam/below")
            mask = graph.add("And", [mask, below], "cam/between")
        slope = graph.add("Cast", [mask], "cam/slope", to=1)
        axes = graph.constant([1], "cam/axes", np.int64)
        row = graph.add("Unsqueeze", [slope, axes], "cam/slope_row")
        return graph.add("Mul", [gradient, row], "cam/masked")

    def _values(self, name: str) -> FloatArray:
        return np.asarray(numpy_helper.to_array(self._graph.weights[name]), np.float32)
