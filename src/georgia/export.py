"""From a trained Keras net to files that others load: HDF5, and ONNX with everything inside.

The ONNX takes pictures as they are, uint8 RGB (N, H, W, 3) of any size, and answers with
``probabilities``, ``logits`` and ``features``; class names, preprocessing and the training data's
fingerprint stand in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.atomic import atomic_path
from georgia.engines import OnnxRuntimeEngine, OpenVinoEngine
from georgia.errors import InputError, ParityError, describe_fault
from georgia.graph.builder import GraphBuilder
from georgia.graph.preprocessing import add_preprocessing
from georgia.graph.walker import write_model
from georgia.labels import Labels, outputs_to_probabilities
from georgia.preprocess import PreprocessSpec

# |Δp| that float32 engines may differ by. Source: the parity aim of the project; measured 1e-6 to 1e-5.
PARITY_TOLERANCE = 1e-3
METADATA_KEY = "georgia"
# The layer of Georgia's own nets that holds the pooled features.
FEATURES = "head_features"


@dataclass(frozen=True)
class Parity:
    """Largest |Δ probability| from Keras, over ``n_files`` pictures, by engine."""

    n_files: int
    differences: dict[str, float]


def export_onnx(
    model: Any,
    spec: PreprocessSpec,
    labels: Labels,
    target: Path,
    about: dict[str, Any],
    weights_dtype: str = "float32",
) -> None:
    """Write ``target`` whole or not at all.

    Args:
        model: Keras net on (N, size, size, 3) with one sigmoid output or one output a class.
        about: what goes in the metadata beside class names and preprocessing; plain JSON values.
        weights_dtype: "float16" halves the file; the arithmetic stays float32.

    Raises:
        InputError: the net has a layer or an output that cannot be written.
    """
    from onnx import TensorProto

    graph = GraphBuilder()
    prepared = add_preprocessing(graph, "image", spec)
    tensors: dict[str, str] = {}
    (output,) = write_model(graph, model, [prepared], tensors)
    logits = _class_logits(graph, output, len(labels))
    graph.rename(logits, "logits")
    graph.rename(graph.add("Softmax", ["logits"], "head/probabilities", axis=1), "probabilities")
    n_features = _rename_features(graph, model, tensors)
    if weights_dtype == "float16":
        graph.halve_weights("net/")
    details = {**about, "classes": list(labels.names), "preprocess": spec.to_dict()}
    proto = graph.finish(
        {"image": (TensorProto.UINT8, ["N", "H", "W", 3])},
        {"probabilities": ["N", len(labels)], "logits": ["N", len(labels)], "features": ["N", n_features]},
        {METADATA_KEY: json.dumps(details), "classes": ",".join(labels.names)},
    )
    with atomic_path(target) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def save_hdf5(model: Any, target: Path) -> None:
    """Write the whole net as HDF5 that plain ``keras.models.load_model`` opens."""
    import warnings

    with atomic_path(target) as temporary, warnings.catch_warnings():
        # Keras advises its own .keras format; HDF5 is what this deliverable is for.
        warnings.simplefilter("ignore")
        model.save(temporary, include_optimizer=False)


def check_parity(
    model: Any,
    spec: PreprocessSpec,
    onnx_file: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    tolerance: float = PARITY_TOLERANCE,
) -> Parity:
    """Compare the shipped file in each engine with the Keras net, picture by picture.

    Raises:
        ParityError: an engine's probability differs by more than ``tolerance``.
    """
    batch = np.stack([spec.apply(image) for image in images])
    expected = outputs_to_probabilities(np.asarray(model.predict(batch, verbose=0, batch_size=16)))
    differences = {}
    for engine in (OnnxRuntimeEngine(onnx_file), OpenVinoEngine(onnx_file, spec)):
        answer = engine.run([engine.prepare(image) for image in images])["probabilities"]
        differences[engine.name] = float(np.abs(answer - expected).max())
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= tolerance:
        rule = f"probabilities must agree with Keras within {tolerance:g}"
        got = f"{differences[worst]:.3g} in {worst} over {len(images)} pictures"
        raise ParityError(describe_fault(f"Cannot ship {onnx_file.name!r}", rule, got))
    return Parity(len(images), differences)


def _class_logits(graph: GraphBuilder, output: str, n_classes: int) -> str:
    """Take the last activation off and give every class a logit: a lone sigmoid z becomes (0, z)."""
    last = graph.nodes[-1]
    if last.op_type not in ("Softmax", "Sigmoid") or last.output[0] != output:
        rule = "its last layer must be a softmax over the classes or one sigmoid"
        raise InputError(describe_fault("Cannot export the net", rule, last.op_type))
    graph.nodes.pop()
    logits = str(last.input[0])
    if last.op_type == "Softmax":
        return logits
    if n_classes != 2:
        rule = "one sigmoid output means two classes"
        raise InputError(describe_fault("Cannot export the net", rule, f"{n_classes} class names"))
    zero = graph.add("Mul", [logits, graph.constant(0.0, "head/zero")], "head/first")
    return graph.add("Concat", [zero, logits], "head/both", axis=1)


def _rename_features(graph: GraphBuilder, model: Any, tensors: dict[str, str]) -> int:
    """Publish what the head reads as ``features``; return how many there are.

    That is the layer of that name in Georgia's own nets, else the last pooling.
    """
    kinds = ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Flatten")
    pooled = [
        layer for layer in _flat_layers(model) if layer.name == FEATURES or type(layer).__name__ in kinds
    ]
    if not pooled:
        raise InputError(
            describe_fault("Cannot export the net", "a pooling layer is needed for features", "none")
        )
    chosen = next((layer for layer in pooled if layer.name == FEATURES), pooled[-1])
    graph.rename(tensors[chosen.name], "features")
    return int(np.prod(chosen.output.shape[1:]))


def _flat_layers(model: Any) -> list[Any]:
    found = []
    for layer in model.layers:
        found.extend(_flat_layers(layer) if hasattr(layer, "layers") else [layer])
    return found
