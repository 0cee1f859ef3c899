"""Parity: an exported file ships only if its outputs agree with those of the trained net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import ParityError
from georgia.export.onnx_file import SIGMOID_PAIR, remove_output
from georgia.images.preprocess import PreprocessSpec
from georgia.model.engines import FLOAT32_TOLERANCE, OnnxRuntimeEngine, OpenVinoEngine, Outputs
from georgia.uncertainty.calibration import softmax

# |Δp| by which an engine may differ from the trained net: what engines may differ by among themselves.
PARITY_TOLERANCE = FLOAT32_TOLERANCE


@dataclass(frozen=True)
class Parity:
    """Over ``n_files`` images: largest |Δ probability| from Keras, by engine.

    ``outputs`` holds, for each other output, the largest difference between the two engines, in units
    of its own largest value (of 1 where that is smaller). ``lost_map`` is the class map's difference
    where it was too large, and the map was taken out of the file.
    """

    n_files: int
    differences: dict[str, float]
    outputs: dict[str, float] = field(default_factory=dict)
    lost_map: float | None = None

    @property
    def notice(self) -> str:
        """One line on what the file lacks, empty where it is whole."""
        if self.lost_map is None:
            return ""
        return (
            f"the file ships without a class map: the engines' maps differ by {self.lost_map:.3g}; "
            "georgia explain covers parts of the image instead (occlusion)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that ``bundle.json`` holds."""
        return {
            "n_files": self.n_files,
            "largest_difference": self.differences,
            "between_engines": self.outputs,
            **({} if self.lost_map is None else {"lost_class_map": self.lost_map}),
        }


def check_parity(
    model: Any,
    spec: PreprocessSpec,
    onnx_file: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    tolerance: float = PARITY_TOLERANCE,
    temperature: float = 1.0,
) -> Parity:
    """Compare the shipped file in each engine with the Keras net, image by image.

    A class map (``cam``) on which the engines disagree on most images is taken out of the file; no label
    or probability depends on it.

    Raises:
        ParityError: an engine's probability differs by more than ``tolerance`` from Keras, or another of
            its outputs, in units of its largest value, from the other engine's.
    """
    batch = np.stack([spec.apply(image) for image in images])
    expected = softmax(_run_keras(model, batch), temperature)
    engines = (OnnxRuntimeEngine(onnx_file), OpenVinoEngine(onnx_file, spec))
    outputs = {engine.name: engine.run([engine.prepare(image) for image in images]) for engine in engines}
    differences = {
        name: float(np.abs(arrays["probabilities"] - expected).max()) for name, arrays in outputs.items()
    }
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= tolerance:
        raise ParityError(
            f"Cannot ship {onnx_file.name!r}",
            needs=f"probabilities must agree with Keras within {tolerance:g}",
            got=f"{differences[worst]:.3g} in {worst} over {len(images)} images",
        )
    between_engines = _compare_engines(*outputs.values())
    lost_map = None
    if not between_engines.get("cam", 0.0) <= tolerance:
        lost_map = between_engines.pop("cam")
        remove_output(onnx_file, "cam")
    for name, difference in between_engines.items():
        if not difference <= tolerance:
            raise ParityError(
                f"Cannot ship {onnx_file.name!r}",
                needs=f"the engines' {name} must agree within {tolerance:g}",
                got=f"{difference:.3g}",
            )
    return Parity(len(images), differences, between_engines, lost_map)


def _compare_engines(first: Outputs, second: Outputs) -> dict[str, float]:
    """Return each output's largest difference in units of its largest value; for ``cam`` the median image's.

    A class map jumps where a hidden unit of the head is about to switch off: on a few images in a thousand
    rounding decides, differently in each engine. A wrong map is wrong on most images.
    """
    found = {}
    for name, values in first.items():
        if name == "probabilities":
            continue
        by_image = np.abs(values - second[name]).reshape(len(values), -1).max(axis=1)
        difference = np.median(by_image) if name == "cam" else by_image.max()
        found[name] = float(difference / max(1.0, float(np.abs(values).max())))
    return found


def _run_keras(model: Any, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return Keras' own logits (N, C): the net without its last activation where that is separable."""
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
