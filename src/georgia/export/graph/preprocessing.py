"""Write ``PreprocessSpec`` into a graph: any image in, network input out."""

from __future__ import annotations

import numpy as np

from georgia.export.graph.builder import GraphBuilder
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec


def add_preprocessing(graph: GraphBuilder, image: str, spec: PreprocessSpec) -> str:
    """Append resize, colour order and normalisation; return the network input (N, 3, size, size).

    ``image`` names a uint8 tensor (N, H, W, 3), RGB. The resize is ``preprocess.resize_weights``, or
    ``window_weights`` where there is a window, computed in the graph from H and W, in float32.
    """
    pixels = graph.add("Cast", [image], "preprocess/float", to=1)
    planes = graph.add("Transpose", [pixels], "preprocess/planes", perm=[0, 3, 1, 2])
    shape = graph.add("Shape", [image], "preprocess/shape")
    rows = _resize_matrix(graph, shape, 1, spec, "rows")
    columns = _resize_matrix(graph, shape, 2, spec, "columns")
    tall = graph.add("MatMul", [rows, planes], "preprocess/resized_rows")
    transposed = graph.add("Transpose", [columns], "preprocess/columns_turned", perm=[1, 0])
    resized = graph.add("MatMul", [tall, transposed], "preprocess/resized")
    if spec.color_order == "BGR":
        order = graph.constant([2, 1, 0], "preprocess/bgr", np.int64)
        resized = graph.add("Gather", [resized, order], "preprocess/swapped", axis=1)
    mean = graph.constant(np.reshape(spec.mean, (1, 3, 1, 1)), "preprocess/mean")
    scale = graph.constant(np.reshape(spec.scale, (1, 3, 1, 1)), "preprocess/scale")
    centred = graph.add("Sub", [resized, mean], "preprocess/centred")
    normal = graph.add("Div", [centred, scale], "preprocess/normal")
    return graph.rename(normal, NETWORK_INPUT)


def _resize_matrix(graph: GraphBuilder, shape: str, axis: int, spec: PreprocessSpec, name: str) -> str:
    prefix, size = f"preprocess/{name}", spec.size_px
    zero = graph.constant(0, f"{prefix}_zero", np.int64)
    one = graph.constant(1, f"{prefix}_one", np.int64)
    where = graph.constant(axis, f"{prefix}_axis", np.int64)
    count = graph.add("Gather", [shape, where], f"{prefix}_count")
    steps = graph.add("Range", [zero, count, one], f"{prefix}_range")
    inner = graph.add("Cast", [steps], f"{prefix}_index", to=1)
    half = graph.constant(0.5, f"{prefix}_half")
    inner = graph.add("Add", [inner, half], f"{prefix}_centre_in")
    number = graph.add("Cast", [count], f"{prefix}_number", to=1)
    if spec.window_px:
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
    return graph.add("Div", [weights, total], f"{prefix}_matrix")


def _window_centres(graph: GraphBuilder, number: str, spec: PreprocessSpec, prefix: str) -> str:
    """Append the input position of each output line: around the middle, mirrored at the edges."""
    size = spec.size_px
    offsets = ((np.arange(size) + 0.5 - size / 2) * (spec.window_px / size)).reshape(size, 1)
    middle = graph.add("Mul", [number, graph.constant(0.5, f"{prefix}_of_two")], f"{prefix}_middle")
    centre = graph.add(
        "Add", [graph.constant(offsets, f"{prefix}_offsets"), middle], f"{prefix}_centre_plain"
    )
    centre = graph.add("Abs", [centre], f"{prefix}_centre_low")
    beyond = graph.add("Abs", [graph.add("Sub", [number, centre], f"{prefix}_to_end")], f"{prefix}_beyond")
    return graph.add(
        "Relu", [graph.add("Sub", [number, beyond], f"{prefix}_centre_high")], f"{prefix}_centre"
    )
