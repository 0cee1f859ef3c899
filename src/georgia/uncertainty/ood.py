"""How far an image lies from everything that a model was trained on, and from where on it is refused.

Looked at are the image's light and detail, and the means of several of the net's layers, from fine to
coarse. Each of these parts has a Mahalanobis distance to the training images; the score is the mean
of the distances, each divided by what is usual, and divided by the limit: **above 1 an image is
refused**. The limit lets the stated share of the validation images through.

Source of the distance: Lee et al. 2018, arXiv 1807.03888. Chosen by measurement against kNN and ViM,
on last and middle stages:
benchmarks/refusal_methods.py, docs/assurance.md.
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
from georgia.files import atomic_path
from georgia.metrics.intervals import group_codes
from georgia.uncertainty.calibration import group_weights

FloatArray = npt.NDArray[np.float64]
REFERENCE_FILE = "reference.npz"
THRESHOLD = 1.0
# Share of good images that are let through: with 0.95 one in twenty good images would go unanswered.
TRUE_ACCEPTANCE = 0.99
# Fewer validation groups than this say too little about the last per cent: see `_find_limit`.
ENOUGH_GROUPS = 300
# Mean grey, colour, black, white, spread; then one number a scale of detail.
N_LIGHT = 5
LIGHT = "picture"
_COARSEST_PX = 7
# Least spread of a feature, of its part's median spread, and of the image statistics (shares of the
# whole or logarithms): what hardly moves in training may move a little later.
_LEAST_SHARE, _LEAST_LIGHT = 0.05, 0.01


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
    """One part of the image features: its mean (D,) and whitening W (D, D); ‖(x − mean) W‖ adds up."""

    name: str
    mean: FloatArray
    whitening: FloatArray


@dataclass(frozen=True, eq=False)
class OodDetector:
    """What the unknown score is computed from; ``layers`` names the net's layers, in order.

    ``about`` says how the limit was found, in plain JSON values.
    """

    parts: tuple[Part, ...]
    about: Mapping[str, Any]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose means are looked at."""
        return tuple(part.name for part in self.parts if part.name != LIGHT)

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the unknown score (N,) of image features (N, D); above 1 is refused.

        Raises:
            InputError: the features have another width.
        """
        values = np.asarray(features, np.float64)
        widths = [len(part.mean) for part in self.parts]
        if values.ndim != 2 or values.shape[1] != sum(widths):
            raise InputError(
                "Cannot tell the unknown",
                needs=f"image features (N, {sum(widths)}) are needed",
                got=f"shape {values.shape}",
            )
        total = np.zeros(len(values))
        for part, columns in zip(self.parts, np.split(values, np.cumsum(widths)[:-1], axis=1), strict=True):
            total += np.linalg.norm((columns - part.mean) @ part.whitening, axis=1)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that ``bundle.json`` and the ONNX metadata hold, without the arrays."""
        return {"threshold": THRESHOLD, "layers": list(self.layers), **self.about}

    def save(self, folder: Path) -> Path:
        """Write ``reference.npz`` into a folder; return its path."""
        arrays = {f"{number}_mean": part.mean for number, part in enumerate(self.parts)}
        arrays |= {f"{number}_whitening": part.whitening for number, part in enumerate(self.parts)}
        head = {"parts": [part.name for part in self.parts], "about": dict(self.about)}
        with atomic_path(folder / REFERENCE_FILE) as temporary, temporary.open("wb") as stream:
            small: dict[str, Any] = {name: values.astype(np.float32) for name, values in arrays.items()}
            np.savez_compressed(stream, head=np.array(json.dumps(head)), **small)
        return folder / REFERENCE_FILE

    @classmethod
    def load(cls, folder: Path) -> OodDetector:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = folder / REFERENCE_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
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
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"Cannot read {str(path)!r}", needs="the file that Georgia wrote is needed", got=error
            ) from error


@dataclass(frozen=True, eq=False)
class Measured:
    """Image features (N, D) of some images, and their groups."""

    features: npt.NDArray[np.floating]
    groups: Sequence[str] | None = None


def fit_unknown(
    train: Measured,
    valid: Measured,
    widths: Mapping[str, int],
    true_acceptance: float = TRUE_ACCEPTANCE,
) -> OodDetector | None:
    """Return the score fitted on training images, with its limit from validation images.

    Args:
        train: images that the distances are measured to.
        valid: images of other groups, which only set the limit; each group weighs 1.
        widths: the parts of the features in order, with their numbers of columns.
        true_acceptance: share of validation images to let through.

    Returns:
        None where there are too few groups: two for training and two for validation are needed.

    Raises:
        InputError: the parts' widths are not those of the features.
    """
    codes = {"train": group_codes(train.groups, len(train.features))}
    codes["valid"] = group_codes(valid.groups, len(valid.features))
    counts = {word: len(np.unique(numbers)) for word, numbers in codes.items()}
    if min(counts.values()) < 2:
        return None
    if train.features.shape[1] != sum(widths.values()) or valid.features.shape[1] != sum(widths.values()):
        raise InputError(
            "Cannot fit the unknown score",
            needs=f"features of {sum(widths.values())} columns are needed",
            got=f"{train.features.shape[1]} and {valid.features.shape[1]}",
        )
    weights = {word: group_weights(numbers) for word, numbers in codes.items()}
    parts, usual, start = [], np.zeros(len(valid.features)), 0
    for name, width in widths.items():
        columns = slice(start, start + width)
        mean, whitening = _fit_part(train.features[:, columns], weights["train"], name == LIGHT)
        distance = np.linalg.norm((valid.features[:, columns] - mean) @ whitening, axis=1)
        whitening = whitening / (len(widths) * _quantile(distance, weights["valid"], 0.5))
        usual += np.linalg.norm((valid.features[:, columns] - mean) @ whitening, axis=1)
        parts.append(Part(name, mean, whitening))
        start += width
    limit = _find_limit(usual, weights["valid"], counts["valid"], true_acceptance)
    about = {
        "true_acceptance": true_acceptance,
        "n_train": len(train.features),
        "n_valid": len(valid.features),
        "n_valid_groups": counts["valid"],
    }
    return OodDetector(tuple(Part(part.name, part.mean, part.whitening / limit) for part in parts), about)


def _fit_part(
    features: npt.NDArray[np.floating], weights: FloatArray, is_light: bool
) -> tuple[FloatArray, FloatArray]:
    """Return mean (D,) and whitening W (D, D): ``‖(x − mean) W‖`` is the Mahalanobis distance."""
    values = np.asarray(features, np.float64)
    share = weights / weights.sum()
    mean = share @ values
    spread = np.sqrt(share @ (values - mean) ** 2)
    least = _LEAST_LIGHT if is_light else max(_LEAST_SHARE * float(np.median(spread)), 1e-6)
    spread = np.maximum(spread, least)
    scaled = (values - mean) / spread
    covariance = _shrink((scaled * share[:, np.newaxis]).T @ scaled, float(weights.sum()))
    powers, directions = np.linalg.eigh(covariance)
    whitening: FloatArray = (directions / np.sqrt(powers)) @ directions.T
    return mean, whitening / spread[:, np.newaxis]


def _shrink(covariance: FloatArray, n: float) -> FloatArray:
    """Return a covariance (D, D) drawn towards its mean variance as far as ``n`` samples call for.

    Source: oracle approximating shrinkage, Chen et al. 2010, doi 10.1109/TSP.2010.2053029.
    """
    size = len(covariance)
    variance = float(np.trace(covariance)) / size
    alpha = float(np.mean(covariance**2))
    share = min(1.0, (alpha + variance**2) / ((n + 1) * (alpha - variance**2 / size) + 1e-12))
    # A little is drawn in any case, so that what never varied together keeps a finite distance.
    share = max(share, 1e-3)
    result: FloatArray = (1 - share) * covariance + share * max(variance, 1e-6) * np.eye(size)
    return result


def _find_limit(scores: FloatArray, weights: FloatArray, n_groups: int, true_acceptance: float) -> float:
    """Return the score that the stated share of images stays below.

    With few groups the highest scores say little about the last per cent: there the limit is that of a new
    draw from a log-normal distribution, where that is larger. Source: prediction limit of the normal
    distribution, Hahn and Meeker 1991, doi 10.1002/9780470316771.
    """
    limit = _quantile(scores, weights, true_acceptance)
    if n_groups >= ENOUGH_GROUPS:
        return limit
    from scipy.stats import t

    logs = np.log(scores)
    share = weights / weights.sum()
    mean = share @ logs
    spread = np.sqrt(share @ (logs - mean) ** 2 * n_groups / (n_groups - 1))
    reach = t.ppf(true_acceptance, n_groups - 1) * np.sqrt(1 + 1 / n_groups)
    return max(limit, float(np.exp(mean + min(reach, 10.0) * spread)))


def _quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, share - 1e-12)), len(values) - 1)])
