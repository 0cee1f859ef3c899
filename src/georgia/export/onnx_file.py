"""Write a trained Keras net as an ONNX file that holds everything a prediction needs.

It takes images as they are, uint8 RGB (N, H, W, 3) of any size, and returns calibrated
``probabilities``, raw ``logits``, ``features``, the class map ``cam`` and the ``unknown_score``; its metadata
holds class names, preprocessing, thresholds and the fingerprint of the training data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.export.graph.builder import GraphBuilder
from georgia.export.graph.class_map import add_class_map
from georgia.export.graph.ood_score import add_image_features, add_unknown_score
from georgia.export.graph.preprocessing import add_preprocessing
from georgia.export.graph.symmetry import Views, add_views
from georgia.export.graph.walker import Port, iterate_layers, write_model
from georgia.files import write_bytes
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec
from georgia.labels import Labels
from georgia.model.description import METADATA_KEY
from georgia.uncertainty.decision import NOTHING_FITTED, Uncertainty

# The layer of Georgia's own nets that holds the pooled features.
FEATURES = "head_features"
# The logits of two classes from one sigmoid's z: the same probabilities, and a class map each.
SIGMOID_PAIR = (-0.5, 0.5)


def export_onnx(
    model: Any,
    spec: PreprocessSpec,
    labels: Labels,
    target: Path,
    metadata: dict[str, Any],
    weights_dtype: str = "float32",
    uncertainty: Uncertainty = NOTHING_FITTED,
    measured_layers: Sequence[str] = (),
) -> None:
    """Write ``target`` whole or not at all.

    Args:
        model: Keras net on (N, size, size, 3) with one sigmoid output or one output a class.
        metadata: further entries of the file's metadata, in plain JSON values.
        weights_dtype: "float16" halves the file; the arithmetic stays float32.
        uncertainty: temperature, unknown score and conformal limits, once they are fitted.
        measured_layers: layers whose means become the output ``picture_features``, which the unknown
            score is fitted on.

    Raises:
        InputError: the net has a layer or an output that cannot be written.
    """
    from onnx import TensorProto

    graph = GraphBuilder()
    prepared = add_preprocessing(graph, "image", spec)
    found: dict[str, Port] = {}
    views = add_views(graph, prepared, spec)
    (output,) = write_model(graph, model, [views.net_input], found)
    found[NETWORK_INPUT] = (views.net_input, tuple(model.input_shape))
    outputs = _add_class_outputs(graph, output, (len(labels), uncertainty.temperature), found, views)
    outputs["features"] = ["N", _add_features(graph, model, found, views)]
    if uncertainty.unknown is not None:
        measured = add_image_features(graph, views, spec, _find_tensors(found, uncertainty.unknown.layers))
        graph.rename(add_unknown_score(graph, measured, uncertainty.unknown), "unknown_score")
        outputs["unknown_score"] = ["N"]
    if measured_layers:
        graph.rename(
            add_image_features(graph, views, spec, _find_tensors(found, measured_layers)),
            "picture_features",
        )
        outputs["picture_features"] = ["N", "D"]
    if weights_dtype == "float16":
        graph.halve_weights("net/")
    details = {
        **metadata,
        **uncertainty.to_dict(),
        "classes": list(labels.names),
        "preprocess": spec.to_dict(),
    }
    proto = graph.finish(
        {"image": (TensorProto.UINT8, ["N", "H", "W", 3])},
        outputs,
        {METADATA_KEY: json.dumps(details), "classes": ",".join(labels.names)},
    )
    write_bytes(target, proto.SerializeToString())


def remove_output(file: Path, name: str) -> None:
    """Take an output out of a written file, with the nodes and weights that only it needs."""
    import onnx

    model = onnx.load(str(file))
    graph = model.graph
    kept = [output for output in graph.output if output.name != name]
    needed = {output.name for output in kept}
    nodes = []
    for node in reversed(graph.node):  # nodes are written after those that they depend on
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    weights = [weight for weight in graph.initializer if weight.name in needed]
    for field, entries in (("output", kept), ("node", nodes[::-1]), ("initializer", weights)):
        graph.ClearField(field)
        getattr(graph, field).extend(entries)
    onnx.checker.check_model(model)
    write_bytes(file, model.SerializeToString())


def _add_class_outputs(
    graph: GraphBuilder, output: str, head: tuple[int, float], found: Mapping[str, Port], views: Views
) -> dict[str, Sequence[int | str]]:
    """Add ``logits``, ``probabilities`` and, where the head allows it, ``cam``; return their shapes.

    ``head`` is the number of classes and the temperature.
    """
    n_classes, temperature = head
    logits = _class_logits(graph, output, n_classes)
    graph.rename(views.merge(logits, n_classes), "logits")
    scaled = graph.add("Div", ["logits", graph.constant(temperature, "head/temperature")], "head/scaled")
    graph.rename(graph.add("Softmax", [scaled], "head/probabilities", axis=1), "probabilities")
    outputs: dict[str, Sequence[int | str]] = {
        "probabilities": ["N", n_classes],
        "logits": ["N", n_classes],
    }
    class_map = add_class_map(graph, logits, n_classes, dict(found.values()))
    if class_map is not None:
        tensor, (height, width) = class_map
        graph.rename(views.restore(tensor, n_classes, (height, width)), "cam")
        outputs["cam"] = ["N", n_classes, height, width]
    return outputs


def _class_logits(graph: GraphBuilder, output: str, n_classes: int) -> str:
    """Remove the last activation and return a logit per class: a single sigmoid's z becomes (−z/2, z/2)."""
    last = graph.nodes[-1]
    if last.op_type not in ("Softmax", "Sigmoid") or last.output[0] != output:
        raise InputError(
            "Cannot export the net",
            needs="its last layer must be a softmax over the classes or one sigmoid",
            got=last.op_type,
        )
    graph.nodes.pop()
    logits = str(last.input[0])
    if last.op_type == "Softmax":
        return logits
    if n_classes != 2:
        raise InputError(
            "Cannot export the net",
            needs="one sigmoid output means two classes",
            got=f"{n_classes} class names",
        )
    return graph.add("MatMul", [logits, graph.constant([SIGMOID_PAIR], "head/pair")], "head/both")


def _find_tensors(found: Mapping[str, Port], layers: Sequence[str]) -> list[tuple[str, int]]:
    """Return layers' tensors and how many maps each has."""
    missing = [name for name in layers if name not in found]
    if missing:
        raise InputError(
            "Cannot export the net",
            needs="its layers must hold those that the unknown score reads",
            got=f"no {', '.join(missing)}",
        )
    return [(found[name][0], int(found[name][1][-1] or 0)) for name in layers]


def _add_features(graph: GraphBuilder, model: Any, found: Mapping[str, Port], views: Views) -> int:
    """Add the output ``features``, the input of the head; return their number.

    That is the layer ``FEATURES`` in Georgia's own nets, else the last pooling.
    """
    kinds = ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Flatten")
    pooled = [
        layer for layer in iterate_layers(model) if layer.name == FEATURES or type(layer).__name__ in kinds
    ]
    if not pooled:
        raise InputError("Cannot export the net", needs="a pooling layer is needed for features", got="none")
    chosen = next((layer for layer in pooled if layer.name == FEATURES), pooled[-1])
    width = int(np.prod(chosen.output.shape[1:]))
    graph.rename(views.merge(found[chosen.name][0], width), "features")
    return width
