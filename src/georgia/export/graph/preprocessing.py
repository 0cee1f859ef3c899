"""Write ``PreprocessSpec`` into a graph: any image in, network input out."""

from __future__ import annotations

import numpy as np

from georgia.export.graph.builder import GraphBuilder
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec

# Axes of images (N, H, W, 3).
_ROWS, _COLUMNS = 1, 2


def add_preprocessing(graph: GraphBuilder, image: str, spec: PreprocessSpec) -> str:
    """Append resize, colour order and normalisation; return the network input (N, 3, size, size).

    ``image`` names a uint8 tensor (N, H, W, 3), RGB. The resize is ``preprocess.resize_weights``, or
    ``window_weights`` where there is a window, computed in the graph from H and W, in float32.
    """
    pixels = graph.add("Cast", [image], "preprocess/float", to=1)
    planes = graph.add("Transpose", [pixels], "preprocess/planes", perm=[0, 3, 1, 2])
    shape = graph.add("Shape", [image], "preprocess/shape")
    rows, columns = (_resize_matrix(graph, shape, axis, spec) for axis in (_ROWS, _COLUMNS))
    tall = graph.add("MatMul", [rows, planes], "preprocess/resized_rows")
    transposed = graph.add("Transpose", [columns], "preprocess/columns_turned", perm=[1, 0])
    resized = graph.add("MatMul", [tall, transposed], "preprocess/resized")
    if spec.keeps_aspect:
        resized = _pad(graph, resized, planes, (rows, transposed))
    if spec.color_order == "BGR":
        order = graph.constant([2, 1, 0], "preprocess/bgr", np.int64)
        resized = graph.add("Gather", [resized, order], "preprocess/swapped", axis=1)
    mean = graph.constant(np.reshape(spec.mean, (1, 3, 1, 1)), "preprocess/mean")
    scale = graph.constant(np.reshape(spec.scale, (1, 3, 1, 1)), "preprocess/scale")
    centred = graph.add("Sub", [resized, mean], "preprocess/centred")
    normal = graph.add("Div", [centred, scale], "preprocess/normal")
    return graph.rename(normal, NETWORK_INPUT)


def _pad(graph: GraphBuilder, resized: str, planes: str, matrices: tuple[str, str]) -> str:
    """Append ``border_level`` where rows or columns of the resized image show nothing of it."""
    height, width = (
        graph.add("Shape", [planes], f"preprocess/{side}_px", start=axis, end=axis + 1)
        for side, axis in (("height", 2), ("width", 3))
    )
    ends = graph.constant([0, -1], "preprocess/ends", np.int64)
    total, count = "", ""
    for axis, length in ((2, width), (3, height)):
        lines = graph.add("Gather", [planes, ends], "preprocess/edges", axis=axis)
        both = graph.constant([2, 3], "preprocess/both_axes", np.int64)
        level = graph.add("ReduceSum", [lines, both], "preprocess/edge_sum", keepdims=1)
        pixels = graph.add("Cast", [length], "preprocess/edge_length", to=1)
        total = graph.add("Add", [total, level], "preprocess/edges_sum") if total else level
        count = graph.add("Add", [count, pixels], "preprocess/edges_length") if count else pixels
    twice = graph.add("Mul", [count, graph.constant(2.0, "preprocess/two")], "preprocess/edge_pixels")
    level = graph.add("Div", [total, twice], "preprocess/border_level")
    # A row of the matrix sums to 1 where it shows the image and to 0 where it does not.
    sums = [
        graph.add(
            "ReduceSum",
            [matrix, graph.constant([axis], "preprocess/sum_axis", np.int64)],
            "preprocess/shown",
            keepdims=1,
        )
        for matrix, axis in zip(matrices, (1, 0), strict=True)
    ]
    shown = graph.add("MatMul", sums, "preprocess/is_image")
    hidden = graph.add("Sub", [graph.constant(1.0, "preprocess/one"), shown], "preprocess/is_padding")
    padding = graph.add("Mul", [level, hidden], "preprocess/padding")
    return graph.add("Add", [resized, padding], "preprocess/padded")


def _resize_matrix(graph: GraphBuilder, shape: str, axis: int, spec: PreprocessSpec) -> str:
    prefix, size = f"preprocess/{'rows' if axis == _ROWS else 'columns'}", spec.size_px
    zero = graph.constant(0, f"{prefix}_zero", np.int64)
    one = graph.constant(1, f"{prefix}_one", np.int64)
    where = graph.constant(axis, f"{prefix}_axis", np.int64)
    count = graph.add("Gather", [shape, where], f"{prefix}_count")
    steps = graph.add("Range", [zero, count, one], f"{prefix}_range")
    inner = graph.add("Cast", [steps], f"{prefix}_index", to=1)
    half = graph.constant(0.5, f"{prefix}_half")
    inner = graph.add("Add", [inner, half], f"{prefix}_centre_in")
    number = graph.add("Cast", [count], f"{prefix}_number", to=1)
    inside = ""
    if spec.keeps_aspect:
        ratio, outer, inside = _fit_centres(graph, shape, (count, number), spec, prefix)
    elif spec.window_px:
        ratio = graph.constant(spec.window_px / size, f"{prefix}_ratio")
        outer = _window_centres(graph, number, spec, prefix)
    else:
        ratio = graph.add("Div", [number, graph.constant(size, f"{prefix}_size")], f"{prefix}_ratio")
        outer = graph.constant((np.arange(size) + 0.5).reshape(size, 1), f"{prefix}_centre_out")
        outer = graph.add("Mul", [outer, ratio], f"{prefix}_centre_scaled")
    distance = graph.add("Abs", [graph.add("Sub", [inner, outer], f"{prefix}_offset")], f"{prefix}_distance")
    unit = graph.constant(1.0, f"{prefix}_unit")
    width = graph.add("Max", [ratio, unit], f"{prefix}_width")
    fraction = graph.add("Div", [distance, width], f"{prefix}_fraction")
    weights = graph.add("Relu", [graph.add("Sub", [unit, fraction], f"{prefix}_height")], f"{prefix}_weights")
    axes = graph.constant([1], f"{prefix}_axes", np.int64)
    total = graph.add("ReduceSum", [weights, axes], f"{prefix}_total", keepdims=1)
    matrix = graph.add("Div", [weights, total], f"{prefix}_matrix")
    return graph.add("Mul", [matrix, inside], f"{prefix}_inside") if inside else matrix


def _fit_centres(
    graph: GraphBuilder, shape: str, side: tuple[str, str], spec: PreprocessSpec, prefix: str
) -> tuple[str, str, str]:
    """Append scale, input positions (S, 1) and 1 or 0 (S, 1) for lines in the image, by ``padding_px``.

    ``side`` is the image's side as a whole number and in float32.
    """
    size, (count, number) = spec.size_px, side

    def whole(value: int) -> str:
        return graph.constant(value, f"{prefix}_whole", np.int64)

    ends = [graph.add("Gather", [shape, whole(axis)], f"{prefix}_side") for axis in (_ROWS, _COLUMNS)]
    longest = graph.add("Max", ends, f"{prefix}_longest")
    missing = graph.add("Sub", [longest, count], f"{prefix}_missing")
    spread = graph.add("Mul", [missing, whole(size)], f"{prefix}_spread")
    above = graph.add("Add", [spread, longest], f"{prefix}_above")
    padding = graph.add(
        "Div", [above, graph.add("Mul", [longest, whole(2)], f"{prefix}_twice")], f"{prefix}_half_padding"
    )
    padding = graph.add("Min", [padding, whole((size - 1) // 2)], f"{prefix}_padding")
    padding = graph.add("Cast", [padding], f"{prefix}_padding_px", to=1)
    full = graph.constant(size, f"{prefix}_full")
    two = graph.constant(2.0, f"{prefix}_two")
    shown = graph.add(
        "Sub", [full, graph.add("Mul", [padding, two], f"{prefix}_paddings")], f"{prefix}_shown"
    )
    ratio = graph.add("Div", [number, shown], f"{prefix}_ratio")
    offsets = (np.arange(size) + 0.5 - size / 2).reshape(size, 1)
    # Half a line of room on both sides: nothing lies on the border.
    distance = graph.constant(np.abs(offsets), f"{prefix}_from_middle")
    limit = graph.add("Div", [shown, two], f"{prefix}_reach")
    inside = graph.add(
        "Cast", [graph.add("Less", [distance, limit], f"{prefix}_is_inside")], f"{prefix}_mask", to=1
    )
    middle = graph.add("Div", [number, two], f"{prefix}_middle")
    moved = graph.add("Mul", [graph.constant(offsets, f"{prefix}_offsets"), ratio], f"{prefix}_moved")
    centre = graph.add("Add", [moved, middle], f"{prefix}_centre_plain")
    # Outside, the image's edge, which ``inside`` takes out again.
    low = graph.add("Relu", [centre], f"{prefix}_centre_low")
    return ratio, graph.add("Min", [low, number], f"{prefix}_centre"), inside


def _window_centres(graph: GraphBuilder, number: str, spec: PreprocessSpec, prefix: str) -> str:
    """Append the input position of each output line: around the middle, mirrored at the edges."""
    size = spec.size_px
    offsets = ((np.arange(size) + 0.5 - size / 2) * (spec.window_px / size)).reshape(size, 1)
    middle = graph.add("Mul", [number, graph.constant(0.5, f"{prefix}_of_two")], f"{prefix}_middle")
    centre = graph.add(
        "Add", [graph.constant(offsets, f"{prefix}_offsets"), middle], f"{prefix}_centre_plain"
    )
    if spec.repeats_mirror:
        period = graph.add("Add", [number, number], f"{prefix}_period")
        cycles = graph.add(
            "Floor", [graph.add("Div", [centre, period], f"{prefix}_cycles")], f"{prefix}_whole_cycles"
        )
        centre = graph.add(
            "Sub", [centre, graph.add("Mul", [cycles, period], f"{prefix}_passed")], f"{prefix}_centre_low"
        )
    else:
        centre = graph.add("Abs", [centre], f"{prefix}_centre_low")
    beyond = graph.add("Abs", [graph.add("Sub", [number, centre], f"{prefix}_to_end")], f"{prefix}_beyond")
    return graph.add(
        "Relu", [graph.add("Sub", [number, beyond], f"{prefix}_centre_high")], f"{prefix}_centre"
    )
