"""Parity: an exported file ships only if its outputs agree with those of the trained net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import ParityError
from georgia.export.onnx_file import SIGMOID_PAIR, remove_output
from georgia.images.preprocess import PreprocessSpec
from georgia.images.symmetry import SYMMETRIES
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
    expected = softmax(run_keras(model, spec, images), temperature)
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


def run_keras(
    model: Any, spec: PreprocessSpec, images: Sequence[npt.NDArray[np.uint8]]
) -> npt.NDArray[np.float64]:
    """Return the logits (N, C) that the net's exported file has to give, from Keras.

    They are those of the net on each image, or their mean over its eight symmetries.
    """
    resized = spec.orient(np.stack([spec.resize(image) for image in images]))
    run = _open_net(model)
    if spec.symmetry != "average":
        return run(spec.normalize(resized))
    views = (np.stack([symmetry.apply(pixels) for pixels in resized]) for symmetry in SYMMETRIES)
    mean: npt.NDArray[np.float64] = np.mean([run(spec.normalize(view)) for view in views], axis=0)
    return mean


def _open_net(model: Any) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]:
    """Return a function from network input to Keras' own logits (N, C).

    That is the net without its last activation where that is separable.
    """
    import keras

    pair, last = np.array([SIGMOID_PAIR], np.float64), model.layers[-1]
    is_open = type(last).__name__ == "Dense"
    net = keras.Model(model.input, last.input) if is_open else model

    def run(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        outputs = np.asarray(net.predict(batch, verbose=0, batch_size=16), np.float64)
        if is_open:
            bias = np.asarray(last.bias, np.float64) if last.use_bias else 0.0
            logits = outputs @ np.asarray(last.kernel, np.float64) + bias
        else:
            logits = np.log(np.maximum(outputs, 1e-38))
            if outputs.shape[1] == 1:
                logits -= np.log(np.maximum(1 - outputs, 1e-38))
        return np.asarray(logits @ pair if logits.shape[1] == 1 else logits, np.float64)

    return run
