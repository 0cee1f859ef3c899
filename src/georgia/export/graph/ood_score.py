"""Write the unknown score into a graph: ``unknown.OodDetector.score``, its numbers as initialisers."""

from __future__ import annotations

import numpy as np

from georgia.export.graph.builder import GraphBuilder
from georgia.uncertainty.ood import OodDetector


def add_unknown_score(graph: GraphBuilder, features: str, model: OodDetector) -> str:
    """Append the unknown score (N,), float32, of ``picture_features`` (N, D); above 1 is refused."""
    total, start = "", 0
    for part in model.parts:
        end = start + len(part.mean)
        limits = [graph.constant([value], "unknown/limit", np.int64) for value in (start, end, 1)]
        columns = graph.add("Slice", [features, *limits], "unknown/columns")
        centred = graph.add("Sub", [columns, graph.constant(part.mean, "unknown/mean")], "unknown/centred")
        white = graph.add(
            "MatMul", [centred, graph.constant(part.whitening, "unknown/whitening")], "unknown/white"
        )
        distance = graph.add("ReduceL2", [white], "unknown/distance", axes=[1], keepdims=0)
        total = graph.add("Add", [total, distance], "unknown/sum") if total else distance
        start = end
    return total
