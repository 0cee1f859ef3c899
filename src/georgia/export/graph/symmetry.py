"""Write ``PreprocessSpec.symmetry`` into a graph: what the net sees of an image, and one output from it.

"average": the net runs on all eight rotations and reflections, stacked along the batch, view after view;
what it gives is averaged over the views, each class map rotated and flipped back first. "canonical": each
image is rotated and flipped into one orientation before the net, and its class map back after it. Both lie
behind ``network_input``, so that every engine computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from georgia.export.graph.builder import GraphBuilder
from georgia.images.preprocess import PreprocessSpec
from georgia.images.symmetry import SYMMETRIES, Symmetry

_ROWS, _COLUMNS = 2, 3


class Views(Protocol):
    """What the net sees, ``net_input`` (M, 3, S, S), and the ways from its outputs back to N images."""

    net_input: str

    def merge(self, tensor: str, width: int) -> str:
        """Return one row for each image (N, width) of a net's output (M, width)."""

    def restore(self, class_map: str, n_classes: int, grid: tuple[int, int]) -> str:
        """Return a class map (N, C, h, w) that lies on the images as they are, of one (M, C, h, w)."""


def add_views(graph: GraphBuilder, network_input: str, spec: PreprocessSpec) -> Views:
    """Append what a spec's ``symmetry`` shows the net of ``network_input`` (N, 3, S, S)."""
    if spec.symmetry == "average":
        return _AllViews(graph, network_input, spec)
    if spec.symmetry == "canonical":
        return _CanonicalView(graph, network_input, spec)
    return _PlainView(network_input)


class _PlainView:
    def __init__(self, network_input: str) -> None:
        self.net_input = network_input

    def merge(self, tensor: str, width: int) -> str:
        return tensor

    def restore(self, class_map: str, n_classes: int, grid: tuple[int, int]) -> str:
        return class_map


class _AllViews:
    def __init__(self, graph: GraphBuilder, network_input: str, spec: PreprocessSpec) -> None:
        self._graph = graph
        views = [_apply(graph, network_input, symmetry, spec.size_px) for symmetry in SYMMETRIES]
        self.net_input = graph.add("Concat", views, "symmetry/views", axis=0)

    def merge(self, tensor: str, width: int) -> str:
        return self._average(self._split(tensor, (width,)))

    def restore(self, class_map: str, n_classes: int, grid: tuple[int, int]) -> str:
        graph = self._graph
        by_view = self._split(class_map, (n_classes, *grid))
        upright = []
        for number, symmetry in enumerate(SYMMETRIES):
            index = graph.constant(number, "symmetry/number", np.int64)
            one = graph.add("Gather", [by_view, index], "symmetry/map", axis=0)
            upright.append(_apply(graph, one, symmetry.inverse, grid[0]))
        total = graph.add("Sum", upright, "symmetry/map_sum")
        return graph.add(
            "Div", [total, graph.constant(len(SYMMETRIES), "symmetry/count")], "symmetry/map_mean"
        )

    def _split(self, tensor: str, shape: Sequence[int]) -> str:
        by_view = self._graph.constant([len(SYMMETRIES), -1, *shape], "symmetry/shape", np.int64)
        return self._graph.add("Reshape", [tensor, by_view], "symmetry/by_view")

    def _average(self, by_view: str) -> str:
        return self._graph.add("ReduceMean", [by_view], "symmetry/mean", axes=[0], keepdims=0)


class _CanonicalView:
    """``orient_images`` in the graph."""

    def __init__(self, graph: GraphBuilder, network_input: str, spec: PreprocessSpec) -> None:
        self._graph, self._size_px = graph, spec.size_px
        # The spec's mean adds the same on both sides of the middle.
        scale = graph.constant(np.reshape(spec.scale, (1, 3, 1, 1)), "symmetry/scale")
        light = graph.add("Mul", [network_input, scale], "symmetry/light")
        grey = graph.add("ReduceMean", [light], "symmetry/grey", axes=[1], keepdims=1)
        self._x = self._measure_moment(grey, _COLUMNS)
        self._y = self._measure_moment(grey, _ROWS)
        zero = graph.constant(0.0, "symmetry/zero")
        view = self._flip_where(
            graph.add("Less", [self._x, zero], "symmetry/is_left"), network_input, _COLUMNS
        )
        view = self._flip_where(graph.add("Less", [self._y, zero], "symmetry/is_top"), view, _ROWS)
        sizes = [graph.add("Abs", [moment], "symmetry/size") for moment in (self._x, self._y)]
        self.net_input = self._transpose_where(graph.add("Less", sizes, "symmetry/is_tall"), view)

    def merge(self, tensor: str, width: int) -> str:
        return tensor

    def restore(self, class_map: str, n_classes: int, grid: tuple[int, int]) -> str:
        graph = self._graph
        # Compared anew, from numbers: OpenVINO's head, cut off behind the convolutions, takes no booleans.
        zero = graph.constant(0.0, "symmetry/zero")
        sizes = [graph.add("Abs", [moment], "symmetry/size_again") for moment in (self._y, self._x)]
        restored = self._transpose_where(graph.add("Greater", sizes, "symmetry/was_tall"), class_map)
        for moment, axis in ((self._y, _ROWS), (self._x, _COLUMNS)):
            was_flipped = graph.add("Greater", [zero, moment], "symmetry/was_flipped")
            restored = self._flip_where(was_flipped, restored, axis, grid[0])
        return restored

    def _measure_moment(self, grey: str, axis: int) -> str:
        """Return the first moment (N, 1, 1, 1) along an axis; lines first, so that few numbers are added."""
        other = _ROWS if axis == _COLUMNS else _COLUMNS
        lines = self._graph.add("ReduceMean", [grey], "symmetry/lines", axes=[other], keepdims=1)
        place = np.arange(self._size_px) - (self._size_px - 1) / 2
        shape = (1, 1, 1, -1) if axis == _COLUMNS else (1, 1, -1, 1)
        weighted = self._graph.add(
            "Mul", [lines, self._graph.constant(place.reshape(shape), "symmetry/place")], "symmetry/weighted"
        )
        return self._graph.add("ReduceMean", [weighted], "symmetry/moment", axes=[axis], keepdims=1)

    def _flip_where(self, condition: str, tensor: str, axis: int, size: int = 0) -> str:
        flipped = _flip(self._graph, tensor, axis, size or self._size_px)
        return self._graph.add("Where", [condition, flipped, tensor], "symmetry/flipped")

    def _transpose_where(self, condition: str, tensor: str) -> str:
        transposed = self._graph.add("Transpose", [tensor], "symmetry/transposed", perm=[0, 1, 3, 2])
        return self._graph.add("Where", [condition, transposed, tensor], "symmetry/oriented")


def _apply(graph: GraphBuilder, tensor: str, symmetry: Symmetry, size: int) -> str:
    """Append ``symmetry.apply`` on the squares of a tensor (N, C, size, size)."""
    if symmetry.is_flip:
        tensor = _flip(graph, tensor, _COLUMNS, size)
    for _ in range(symmetry.n_rotations % 2):
        tensor = graph.add("Transpose", [tensor], "symmetry/transposed", perm=[0, 1, 3, 2])
    if symmetry.n_rotations in (1, 2):
        tensor = _flip(graph, tensor, _ROWS, size)
    if symmetry.n_rotations in (2, 3):
        tensor = _flip(graph, tensor, _COLUMNS, size)
    return tensor


def _flip(graph: GraphBuilder, tensor: str, axis: int, size: int) -> str:
    backwards = graph.constant(np.arange(size)[::-1], "symmetry/backwards", np.int64)
    return graph.add("Gather", [tensor, backwards], "symmetry/flip", axis=axis)
