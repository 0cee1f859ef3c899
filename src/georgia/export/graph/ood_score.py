"""Write the unknown score into a graph: the image features that it reads, and ``OodDetector.score``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georgia.export.graph.builder import GraphBuilder
from georgia.export.graph.symmetry import Views
from georgia.images.preprocess import PreprocessSpec
from georgia.uncertainty.ood import N_LIGHT, MaterialNet, OodDetector, count_scales

# Added to every spread before its logarithm, grey levels: half of the step between two levels.
FLOOR = 0.5
# Grey levels at which a pixel counts as black or white: within three per cent of the ends of the scale, and
# off all whole numbers and simple means of them, where rounding would decide.
BLACK, WHITE = 7.7, 247.3


def add_image_features(
    graph: GraphBuilder, views: Views, spec: PreprocessSpec, layers: Sequence[tuple[str, int]]
) -> str:
    """Append ``picture_features`` (N, D), float32: image statistics, then the means of layers' maps.

    The statistics are, in order: mean grey and mean colourfulness (0–1), the fractions of black and of
    white pixels, the logarithm of the grey levels' standard deviation, and that of the detail at each
    scale, from fine to coarse. ``layers`` are tensors (M, K, h, w) with their K; of several views of an
    image, the mean is measured.
    """
    parts = _measure_light(graph, views.net_input, spec)
    for layer, _ in layers:
        pooled = graph.add("GlobalAveragePool", [layer], "picture/pooled")
        parts.append(graph.add("Flatten", [pooled], "picture/means", axis=1))
    features = graph.add("Concat", parts, "picture/features", axis=1)
    return views.merge(features, N_LIGHT + count_scales(spec.size_px) + sum(width for _, width in layers))


def add_unknown_score(graph: GraphBuilder, features: str, detector: OodDetector) -> str:
    """Append the unknown score (N,), float32, of ``picture_features`` (N, D); above 1 is rejected."""
    total, start = "", 0
    axis = graph.constant([1], "unknown/axis", np.int64)
    for part, width in zip(detector.parts, detector.widths, strict=True):
        bounds = [graph.constant([value], "unknown/limit", np.int64) for value in (start, start + width, 1)]
        columns = graph.add("Slice", [features, *bounds], "unknown/columns")
        # Centred before it is whitened, so that no difference of large numbers is taken in float32.
        middle = graph.constant(part.mean[0], "unknown/mean")
        centred = graph.add("Sub", [columns, middle], "unknown/centred")
        whitening = graph.constant(part.whitening, "unknown/whitening")
        white = graph.add("MatMul", [centred, whitening], "unknown/white")
        row = graph.add("Unsqueeze", [white, axis], "unknown/row")
        means = graph.constant(((part.mean - part.mean[0]) @ part.whitening)[np.newaxis], "unknown/means")
        apart = graph.add("Sub", [row, means], "unknown/apart")
        distance = graph.add("ReduceL2", [apart], "unknown/distance", axes=[2], keepdims=0)
        total = graph.add("Add", [total, distance], "unknown/sum") if total else distance
        start += width
    limits = graph.constant(detector.limits[np.newaxis], "unknown/limits")
    ratios = graph.add("Div", [total, limits], "unknown/ratios")
    score = graph.add("ReduceMin", [ratios], "unknown/nearest", axes=[1], keepdims=0)
    if detector.material is None:
        return score
    return graph.add("Max", [score, _add_material_net(graph, features, detector.material)], "unknown/larger")


def _add_material_net(graph: GraphBuilder, features: str, net: MaterialNet) -> str:
    """Append the score (N,) of other material."""
    centred = graph.add(
        "Sub", [features, graph.constant(net.mean, "unknown/material_mean")], "unknown/material"
    )
    scaled = graph.add(
        "Mul", [centred, graph.constant(net.scale, "unknown/material_scale")], "unknown/scaled"
    )
    inner = graph.add("MatMul", [scaled, graph.constant(net.hidden, "unknown/hidden")], "unknown/inner")
    shifted = graph.add(
        "Add", [inner, graph.constant(net.hidden_bias, "unknown/hidden_bias")], "unknown/shifted"
    )
    units = graph.add("Relu", [shifted], "unknown/units")
    weights = graph.constant(net.output[np.newaxis], "unknown/weights")
    weighed = graph.add("Mul", [units, weights], "unknown/weighed")
    axis = graph.constant([1], "unknown/axis", np.int64)
    total = graph.add("ReduceSum", [weighed, axis], "unknown/total", keepdims=0)
    return graph.add(
        "Add", [total, graph.constant(float(net.bias), "unknown/bias")], "unknown/material_score"
    )


def _measure_light(graph: GraphBuilder, network_input: str, spec: PreprocessSpec) -> list[str]:
    scale = graph.constant(np.reshape(spec.scale, (1, 3, 1, 1)), "picture/scale")
    mean = graph.constant(np.reshape(spec.mean, (1, 3, 1, 1)), "picture/mean")
    pixels = graph.add(
        "Add", [graph.add("Mul", [network_input, scale], "picture/spread"), mean], "picture/rgb"
    )
    channels = graph.add("ReduceMean", [pixels], "picture/grey", axes=[1], keepdims=1)
    brightest = graph.add("ReduceMax", [pixels], "picture/brightest", axes=[1], keepdims=1)
    darkest = graph.add("ReduceMin", [pixels], "picture/darkest", axes=[1], keepdims=1)
    colour = graph.add("Sub", [brightest, darkest], "picture/colour")
    black = graph.add("Less", [channels, graph.constant(BLACK, "picture/black_level")], "picture/is_black")
    white = graph.add("Greater", [channels, graph.constant(WHITE, "picture/white_level")], "picture/is_white")
    full = graph.constant(255.0, "picture/full")
    parts = [
        _mean(graph, graph.add("Div", [channels, full], "picture/grey_share")),
        _mean(graph, graph.add("Div", [colour, full], "picture/colour_share")),
        _mean(graph, graph.add("Cast", [black], "picture/black", to=1)),
        _mean(graph, graph.add("Cast", [white], "picture/white", to=1)),
        _log_spread(graph, _centre(graph, channels)),
    ]
    if len(parts) != N_LIGHT:
        raise RuntimeError(f"{N_LIGHT} statistics of the light are promised; got {len(parts)}")
    return parts + _measure_detail(graph, channels, spec.size_px)


def _measure_detail(graph: GraphBuilder, grey: str, size_px: int) -> list[str]:
    """Return the log spread (N, 1) of the detail beyond its own blur at each scale, each half the last."""
    parts = []
    for number in range(count_scales(size_px)):
        if number:
            grey = graph.add(
                "AveragePool", [grey], "picture/half", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]
            )
        blurred = graph.add(
            "AveragePool",
            [grey],
            "picture/blurred",
            kernel_shape=[3, 3],
            strides=[1, 1],
            pads=[1, 1, 1, 1],
            count_include_pad=0,
        )
        parts.append(_log_spread(graph, graph.add("Sub", [grey, blurred], "picture/detail")))
    return parts


def _centre(graph: GraphBuilder, tensor: str) -> str:
    middle = graph.add("ReduceMean", [tensor], "picture/middle", axes=[2, 3], keepdims=1)
    return graph.add("Sub", [tensor, middle], "picture/centred")


def _mean(graph: GraphBuilder, tensor: str) -> str:
    """Return the mean (N, 1) of a plane (N, 1, H, W)."""
    pooled = graph.add("GlobalAveragePool", [tensor], "picture/plane_mean")
    return graph.add("Flatten", [pooled], "picture/number", axis=1)


def _log_spread(graph: GraphBuilder, tensor: str) -> str:
    """Return the logarithm (N, 1) of a plane's root mean square."""
    power = _mean(graph, graph.add("Mul", [tensor, tensor], "picture/power"))
    spread = graph.add("Sqrt", [power], "picture/rms")
    floored = graph.add("Add", [spread, graph.constant(FLOOR, "picture/floor")], "picture/floored")
    return graph.add("Log", [floored], "picture/log")
