"""From a trained Keras net to files that others load: HDF5, and ONNX with everything inside.

The ONNX takes images as they are, uint8 RGB (N, H, W, 3) of any size, and answers with calibrated
``probabilities``, raw ``logits``, ``features``, the class map ``cam`` and the ``unknown_score``; class names,
preprocessing, limits and the training data's fingerprint stand in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, ParityError
from georgia.export.graph.builder import GraphBuilder
from georgia.export.graph.class_map import add_class_map
from georgia.export.graph.image_features import add_image_features
from georgia.export.graph.ood_score import add_unknown_score
from georgia.export.graph.preprocessing import add_preprocessing
from georgia.export.graph.walker import Port, write_model
from georgia.files import atomic_path
from georgia.images.preprocess import NETWORK_INPUT, PreprocessSpec
from georgia.labels import Labels
from georgia.model.engines import OnnxRuntimeEngine, OpenVinoEngine, Outputs
from georgia.uncertainty.calibration import softmax
from georgia.uncertainty.decision import NOTHING_FITTED, Uncertainty

# |Δp| that float32 engines may differ by. Source: the parity aim of the project; measured 1e-6 to 1e-5.
PARITY_TOLERANCE = 1e-3
METADATA_KEY = "georgia"
# The layer of Georgia's own nets that holds the pooled features.
FEATURES = "head_features"
# The logits of two classes from one sigmoid's z: the same probabilities, and a class map for each.
SIGMOID_PAIR = (-0.5, 0.5)


@dataclass(frozen=True)
class Parity:
    """Over ``n_files`` images: largest |Δ probability| from Keras, by engine.

    ``outputs`` holds, for each other output, the largest difference between the two engines, in units
    of its own largest value (of 1 where that is smaller).
    """

    n_files: int
    differences: dict[str, float]
    outputs: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that ``bundle.json`` holds."""
        return {
            "n_files": self.n_files,
            "largest_difference": self.differences,
            "between_engines": self.outputs,
        }


def export_onnx(
    model: Any,
    spec: PreprocessSpec,
    labels: Labels,
    target: Path,
    metadata: dict[str, Any],
    weights_dtype: str = "float32",
    assurance: Uncertainty = NOTHING_FITTED,
    probe: Sequence[str] = (),
) -> None:
    """Write ``target`` whole or not at all.

    Args:
        model: Keras net on (N, size, size, 3) with one sigmoid output or one output a class.
        about: what goes in the metadata beside class names and preprocessing; plain JSON values.
        weights_dtype: "float16" halves the file; the arithmetic stays float32.
        assurance: temperature, unknown score and limits, once they are fitted.
        probe: layers whose means are given as ``picture_features`` as well, to fit the unknown score on.

    Raises:
        InputError: the net has a layer or an output that cannot be written.
    """
    from onnx import TensorProto

    graph = GraphBuilder()
    prepared = add_preprocessing(graph, "image", spec)
    found: dict[str, Port] = {}
    (output,) = write_model(graph, model, [prepared], found)
    found[NETWORK_INPUT] = (prepared, tuple(model.input_shape))
    outputs = _write_answers(graph, output, len(labels), assurance.temperature, found)
    outputs["features"] = ["N", _rename_features(graph, model, found)]
    if assurance.unknown is not None:
        measured = add_image_features(graph, prepared, spec, _tensors(found, assurance.unknown.layers))
        graph.rename(add_unknown_score(graph, measured, assurance.unknown), "unknown_score")
        outputs["unknown_score"] = ["N"]
    if probe:
        graph.rename(add_image_features(graph, prepared, spec, _tensors(found, probe)), "picture_features")
        outputs["picture_features"] = ["N", "D"]
    if weights_dtype == "float16":
        graph.halve_weights("net/")
    details = {
        **metadata,
        **assurance.to_dict(),
        "classes": list(labels.names),
        "preprocess": spec.to_dict(),
    }
    proto = graph.finish(
        {"image": (TensorProto.UINT8, ["N", "H", "W", 3])},
        outputs,
        {METADATA_KEY: json.dumps(details), "classes": ",".join(labels.names)},
    )
    with atomic_path(target) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def _write_answers(
    graph: GraphBuilder, output: str, n_classes: int, temperature: float, found: Mapping[str, Port]
) -> dict[str, Sequence[int | str]]:
    """Publish ``logits``, ``probabilities`` and, where the head allows it, ``cam``; return their shapes."""
    logits = _class_logits(graph, output, n_classes)
    graph.rename(logits, "logits")
    scaled = graph.add("Div", ["logits", graph.constant(temperature, "head/temperature")], "head/scaled")
    graph.rename(graph.add("Softmax", [scaled], "head/probabilities", axis=1), "probabilities")
    outputs: dict[str, Sequence[int | str]] = {
        "probabilities": ["N", n_classes],
        "logits": ["N", n_classes],
    }
    class_map = add_class_map(graph, logits, n_classes, dict(found.values()))
    if class_map is not None:
        tensor, (height, width) = class_map
        graph.rename(tensor, "cam")
        outputs["cam"] = ["N", n_classes, height, width]
    return outputs


def check_parity(
    model: Any,
    spec: PreprocessSpec,
    onnx_file: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    tolerance: float = PARITY_TOLERANCE,
    temperature: float = 1.0,
) -> Parity:
    """Compare the shipped file in each engine with the Keras net, image by image.

    Raises:
        ParityError: an engine's probability differs by more than ``tolerance`` from Keras, or another of
            its outputs, in units of its largest value, from the other engine's (``cam``: on most images).
    """
    batch = np.stack([spec.apply(image) for image in images])
    expected = softmax(_run_keras(model, batch), temperature)
    engines = (OnnxRuntimeEngine(onnx_file), OpenVinoEngine(onnx_file, spec))
    answers = {one.name: one.run([one.prepare(image) for image in images]) for one in engines}
    differences = {
        name: float(np.abs(answer["probabilities"] - expected).max()) for name, answer in answers.items()
    }
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= tolerance:
        raise ParityError(
            f"Cannot ship {onnx_file.name!r}",
            needs=f"probabilities must agree with Keras within {tolerance:g}",
            got=f"{differences[worst]:.3g} in {worst} over {len(images)} images",
        )
    outputs = _compare_engines(*answers.values())
    for name, difference in outputs.items():
        if not difference <= tolerance:
            raise ParityError(
                f"Cannot ship {onnx_file.name!r}",
                needs=f"the engines' {name} must agree within {tolerance:g}",
                got=f"{difference:.3g}",
            )
    return Parity(len(images), differences, outputs)


def _compare_engines(first: Outputs, second: Outputs) -> dict[str, float]:
    """Return by output the largest difference in units of the largest value; of ``cam`` the median image's.

    A class map jumps where a hidden unit of the head is about to switch off: on a few images in a thousand
    the last digit decides, in each engine its own way. A wrong map is wrong on most images.
    """
    found = {}
    for name, values in first.items():
        if name == "probabilities":
            continue
        by_image = np.abs(values - second[name]).reshape(len(values), -1).max(axis=1)
        judged = np.median(by_image) if name == "cam" else by_image.max()
        found[name] = float(judged / max(1.0, float(np.abs(values).max())))
    return found


def _run_keras(model: Any, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return Keras' own logits (N, C): the net without its last activation where that can be taken off."""
    import keras

    last = model.layers[-1]
    if type(last).__name__ == "Dense":
        before = keras.Model(model.input, last.input).predict(batch, verbose=0, batch_size=16)
        bias = np.asarray(last.bias, np.float64) if last.use_bias else 0.0
        logits = before.astype(np.float64) @ np.asarray(last.kernel, np.float64) + bias
    else:
        outputs = np.asarray(model.predict(batch, verbose=0, batch_size=16), np.float64)
        logits = np.log(np.maximum(outputs, 1e-38))
        if outputs.shape[1] == 1:
            logits -= np.log(np.maximum(1 - outputs, 1e-38))
    pair = np.array([SIGMOID_PAIR], np.float64)
    return np.asarray(logits @ pair if logits.shape[1] == 1 else logits, np.float64)


def _class_logits(graph: GraphBuilder, output: str, n_classes: int) -> str:
    """Take the last activation off and give every class a logit: a lone sigmoid z becomes (−z/2, z/2)."""
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


def _tensors(found: Mapping[str, Port], layers: Sequence[str]) -> list[str]:
    missing = [name for name in layers if name not in found]
    if missing:
        raise InputError(
            "Cannot export the net",
            needs="its layers must hold those that the unknown score reads",
            got=f"no {', '.join(missing)}",
        )
    return [found[name][0] for name in layers]


def _rename_features(graph: GraphBuilder, model: Any, found: Mapping[str, Port]) -> int:
    """Publish what the head reads as ``features``; return how many there are.

    That is the layer of that name in Georgia's own nets, else the last pooling.
    """
    kinds = ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Flatten")
    pooled = [
        layer for layer in _flat_layers(model) if layer.name == FEATURES or type(layer).__name__ in kinds
    ]
    if not pooled:
        raise InputError("Cannot export the net", needs="a pooling layer is needed for features", got="none")
    chosen = next((layer for layer in pooled if layer.name == FEATURES), pooled[-1])
    graph.rename(found[chosen.name][0], "features")
    return int(np.prod(chosen.output.shape[1:]))


def _flat_layers(model: Any) -> list[Any]:
    found = []
    for layer in model.layers:
        found.extend(_flat_layers(layer) if hasattr(layer, "layers") else [layer])
    return found
