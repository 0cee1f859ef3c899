"""Out-of-distribution (OOD) detection: how far an image lies from the training images, and where to reject.

The features of an image are its light and detail, and the means of several layers of the net, from fine to
coarse. Each of these parts has a Mahalanobis distance to the training images. The unknown score is the
mean of the distances, each divided by its median, and divided by the limit: **an image with a score above
1 is rejected**. The limit accepts the stated fraction of the validation images.

Source of the distance: Lee et al. 2018, arXiv 1807.03888. Chosen by measurement against kNN and ViM, on
last and middle stages: benchmarks/ood_methods.py, docs/measurements/uncertainty.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import atomic_path, reading
from georgia.metrics.intervals import FloatArray, group_codes, group_weights

REFERENCE_FILE = "reference.npz"
THRESHOLD = 1.0
# Fraction of known images that are accepted: with 0.95 one in twenty known images would be rejected.
TRUE_ACCEPTANCE = 0.99
# Fewer validation groups than this do not determine the last per cent: see `_find_acceptance_limit`.
ENOUGH_GROUPS = 300
# Mean grey, colour, black, white, spread; then one value per scale of detail.
N_LIGHT = 5
LIGHT = "picture"
_COARSEST_PX = 7
# Lowest spread of a feature, as a fraction of the median spread of its part, and of the image statistics
# (fractions or logarithms): what hardly varies in training may vary a little later.
_LOWEST_SPREAD, _LOWEST_LIGHT_SPREAD = 0.05, 0.01


def count_scales(size_px: int) -> int:
    """Return at how many scales detail is measured: halving the image until 7 px are left.

    >>> count_scales(224)
    6
    """
    n_scales = 0
    while size_px >= _COARSEST_PX:
        n_scales, size_px = n_scales + 1, size_px // 2
    return n_scales


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the image features: mean (D,) and whitening W (D, D); its distance is ‖(x − mean) W‖."""

    name: str
    mean: FloatArray
    whitening: FloatArray


@dataclass(frozen=True, eq=False)
class OodDetector:
    """The fitted unknown score; ``metadata`` says how its limit was found, in plain JSON values."""

    parts: tuple[Part, ...]
    metadata: Mapping[str, Any]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the net whose means are features, in order."""
        return tuple(part.name for part in self.parts if part.name != LIGHT)

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the unknown score (N,) of image features (N, D); above 1 an image is rejected.

        Raises:
            InputError: the features have another width.
        """
        values = np.asarray(features, np.float64)
        widths = [len(part.mean) for part in self.parts]
        if values.ndim != 2 or values.shape[1] != sum(widths):
            raise InputError(
                "Cannot compute the unknown score",
                needs=f"image features (N, {sum(widths)}) are needed",
                got=f"shape {values.shape}",
            )
        total = np.zeros(len(values))
        for part, columns in zip(self.parts, np.split(values, np.cumsum(widths)[:-1], axis=1), strict=True):
            total += np.linalg.norm((columns - part.mean) @ part.whitening, axis=1)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that ``bundle.json`` and the ONNX metadata hold, without the arrays."""
        return {"threshold": THRESHOLD, "layers": list(self.layers), **self.metadata}

    def save(self, folder: str | Path) -> Path:
        """Write ``reference.npz`` into a folder; return its path."""
        folder = Path(folder)
        arrays = {f"{number}_mean": part.mean for number, part in enumerate(self.parts)}
        arrays |= {f"{number}_whitening": part.whitening for number, part in enumerate(self.parts)}
        head = {"parts": [part.name for part in self.parts], "about": dict(self.metadata)}
        with atomic_path(folder / REFERENCE_FILE) as temporary, temporary.open("wb") as stream:
            small: dict[str, Any] = {name: values.astype(np.float32) for name, values in arrays.items()}
            np.savez_compressed(stream, head=np.array(json.dumps(head)), **small)
        return folder / REFERENCE_FILE

    @classmethod
    def load(cls, folder: str | Path) -> OodDetector:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        folder = Path(folder)
        path = folder / REFERENCE_FILE
        with (
            reading(f"Cannot read {str(path)!r}", "the file that Georgia wrote is needed"),
            np.load(path, allow_pickle=False) as arrays,
        ):
            head = json.loads(str(arrays["head"]))
            parts = tuple(
                Part(
                    str(name),
                    arrays[f"{number}_mean"].astype(np.float64),
                    arrays[f"{number}_whitening"].astype(np.float64),
                )
                for number, name in enumerate(head["parts"])
            )
            return cls(parts, head["about"])


@dataclass(frozen=True, eq=False)
class Measured:
    """Image features (N, D) of some images, and their groups."""

    features: npt.NDArray[np.floating]
    groups: Sequence[str] | None = None


def fit_ood_detector(
    train: Measured,
    valid: Measured,
    widths: Mapping[str, int],
    true_acceptance: float = TRUE_ACCEPTANCE,
) -> OodDetector | None:
    """Return the detector fitted on training images, with its limit from validation images.

    Args:
        train: images to which the distances are measured.
        valid: images of other groups, which set the scale and the limit; each group has weight 1.
        widths: the parts of the features in order, with their numbers of columns.
        true_acceptance: fraction of validation images to accept.

    Returns:
        None if there are too few groups: two for training and two for validation are needed.

    Raises:
        InputError: the parts' widths are not those of the features.
    """
    codes = {"train": group_codes(train.groups, len(train.features))}
    codes["valid"] = group_codes(valid.groups, len(valid.features))
    counts = {split: len(np.unique(numbers)) for split, numbers in codes.items()}
    if min(counts.values()) < 2:
        return None
    if train.features.shape[1] != sum(widths.values()) or valid.features.shape[1] != sum(widths.values()):
        raise InputError(
            "Cannot fit the unknown score",
            needs=f"features of {sum(widths.values())} columns are needed",
            got=f"{train.features.shape[1]} and {valid.features.shape[1]}",
        )
    weights = {split: group_weights(numbers) for split, numbers in codes.items()}
    parts, usual, start = [], np.zeros(len(valid.features)), 0
    for name, width in widths.items():
        columns = slice(start, start + width)
        mean, whitening = _fit_part(train.features[:, columns], weights["train"], name == LIGHT)
        distance = np.linalg.norm((valid.features[:, columns] - mean) @ whitening, axis=1)
        whitening = whitening / (len(widths) * _quantile(distance, weights["valid"], 0.5))
        usual += np.linalg.norm((valid.features[:, columns] - mean) @ whitening, axis=1)
        parts.append(Part(name, mean, whitening))
        start += width
    limit = _find_acceptance_limit(usual, weights["valid"], counts["valid"], true_acceptance)
    metadata = {
        "true_acceptance": true_acceptance,
        "n_train": len(train.features),
        "n_valid": len(valid.features),
        "n_valid_groups": counts["valid"],
    }
    return OodDetector(tuple(Part(part.name, part.mean, part.whitening / limit) for part in parts), metadata)


def _fit_part(
    features: npt.NDArray[np.floating], weights: FloatArray, is_light: bool
) -> tuple[FloatArray, FloatArray]:
    """Return mean (D,) and whitening W (D, D): ``‖(x − mean) W‖`` is the Mahalanobis distance."""
    values = np.asarray(features, np.float64)
    normalised = weights / weights.sum()
    mean = normalised @ values
    spread = np.sqrt(normalised @ (values - mean) ** 2)
    least = _LOWEST_LIGHT_SPREAD if is_light else max(_LOWEST_SPREAD * float(np.median(spread)), 1e-6)
    spread = np.maximum(spread, least)
    scaled = (values - mean) / spread
    covariance = _shrink((scaled * normalised[:, np.newaxis]).T @ scaled, float(weights.sum()))
    powers, directions = np.linalg.eigh(covariance)
    whitening: FloatArray = (directions / np.sqrt(powers)) @ directions.T
    return mean, whitening / spread[:, np.newaxis]


def _shrink(covariance: FloatArray, n: float) -> FloatArray:
    """Return a covariance (D, D) shrunk towards its mean variance as far as ``n`` samples call for.

    Source: oracle approximating shrinkage, Chen et al. 2010, doi 10.1109/TSP.2010.2053029.
    """
    size = len(covariance)
    variance = float(np.trace(covariance)) / size
    alpha = float(np.mean(covariance**2))
    shrinkage = min(1.0, (alpha + variance**2) / ((n + 1) * (alpha - variance**2 / size) + 1e-12))
    # Some shrinkage in any case, so that directions without variance keep a finite distance.
    shrinkage = max(shrinkage, 1e-3)
    result: FloatArray = (1 - shrinkage) * covariance + shrinkage * max(variance, 1e-6) * np.eye(size)
    return result


def _find_acceptance_limit(
    scores: FloatArray, weights: FloatArray, n_groups: int, true_acceptance: float
) -> float:
    """Return the score that the stated fraction of images stays below.

    Few groups do not determine the last per cent of the scores: there the limit is the prediction limit of a
    log-normal distribution if that is larger.
    Source: Hahn and Meeker 1991, doi 10.1002/9780470316771.
    """
    limit = _quantile(scores, weights, true_acceptance)
    if n_groups >= ENOUGH_GROUPS:
        return limit
    from scipy.stats import t

    logs = np.log(scores)
    normalised = weights / weights.sum()
    mean = normalised @ logs
    spread = np.sqrt(normalised @ (logs - mean) ** 2 * n_groups / (n_groups - 1))
    reach = t.ppf(true_acceptance, n_groups - 1) * np.sqrt(1 + 1 / n_groups)
    return max(limit, float(np.exp(mean + min(reach, 10.0) * spread)))


def _quantile(values: FloatArray, weights: FloatArray, fraction: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, fraction - 1e-12)), len(values) - 1)])
