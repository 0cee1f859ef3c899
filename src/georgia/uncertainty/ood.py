"""Out-of-distribution (OOD) detection: how far an image lies from the known ones, and where to reject.

The features of an image are its light and detail, and the means of several layers of the net, from fine to
coarse. Each of these parts has a Mahalanobis distance to several means of each class. The distance of an
image is that to the nearest mean: the sum over the parts, divided by the limit of the mean's class, which
accepts the stated fraction of the class's images. Where images of other material were at hand, a small net
tells these from the known ones, and its output, scaled in the same way, stands beside the distance. The
unknown score is the larger of the two: **an image with a score above 1 is rejected**.

Sources: the distance, Lee et al. 2018, arXiv 1807.03888; learning from other material, Hendrycks et al. 2019,
arXiv 1812.04606. Chosen by measurement: benchmarks/ood_methods.py, docs/measurements/uncertainty.md. The fit
is in `georgia.uncertainty.fit_ood`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import atomic_path, reading
from georgia.metrics.intervals import FloatArray

REFERENCE_FILE = "reference.npz"
THRESHOLD = 1.0
# Fraction of known images that are accepted: with 0.95 one in twenty known images would be rejected.
TRUE_ACCEPTANCE = 0.99
# Mean grey, colour, black, white, spread; then one value per scale of detail.
N_LIGHT = 5
LIGHT = "picture"
_COARSEST_PX = 7


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
    """One part of the features: means (M, D) and a whitening W (D, K); its distance is ‖(x − mean) W‖."""

    name: str
    mean: FloatArray
    whitening: FloatArray

    def distance(self, columns: FloatArray) -> FloatArray:
        """Return the distance (N, M) of columns (N, D) to each mean."""
        white = (columns - self.mean[0]) @ self.whitening
        means = (self.mean - self.mean[0]) @ self.whitening
        return np.stack([np.linalg.norm(white - mean, axis=1) for mean in means], axis=1)


@dataclass(frozen=True, eq=False)
class MaterialNet:
    """Tells other material from known: ``relu((x − mean) · scale · W + b) · v + c``, already in limits.

    ``mean`` and ``scale`` (D,), ``hidden`` W (D, H), ``hidden_bias`` b (H,), ``output`` v (H,), ``bias`` c.
    """

    mean: FloatArray
    scale: FloatArray
    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    bias: FloatArray

    def score(self, features: FloatArray) -> FloatArray:
        """Return the scores (N,) of features (N, D); above 1 an image is rejected."""
        scaled = (features - self.mean) * self.scale
        scores: FloatArray = np.maximum(scaled @ self.hidden + self.hidden_bias, 0) @ self.output + self.bias
        return scores


@dataclass(frozen=True, eq=False)
class OodDetector:
    """The fitted unknown score.

    ``limits`` (M,) are those of the distances to the means; ``metadata`` says how they were found, in plain
    JSON values.
    """

    parts: tuple[Part, ...]
    metadata: Mapping[str, Any]
    limits: FloatArray = field(default_factory=lambda: np.ones(1))
    material: MaterialNet | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the net whose means are features, in order."""
        return tuple(part.name for part in self.parts if part.name != LIGHT)

    @property
    def widths(self) -> list[int]:
        """The number of columns of each part, in order."""
        return [part.mean.shape[1] for part in self.parts]

    def distances(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the distance (N, M) of image features (N, D) to each mean, summed over the parts.

        Raises:
            InputError: the features have another width.
        """
        values = np.asarray(features, np.float64)
        if values.ndim != 2 or values.shape[1] != sum(self.widths):
            raise InputError(
                "Cannot compute the unknown score",
                needs=f"image features (N, {sum(self.widths)}) are needed",
                got=f"shape {values.shape}",
            )
        total = np.zeros((len(values), len(self.limits)))
        cuts = np.split(values, np.cumsum(self.widths)[:-1], axis=1)
        for part, columns in zip(self.parts, cuts, strict=True):
            total += part.distance(columns)
        return total

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the unknown score (N,) of image features (N, D); above 1 an image is rejected.

        Raises:
            InputError: the features have another width.
        """
        scores: FloatArray = (self.distances(features) / self.limits).min(axis=1)
        if self.material is None:
            return scores
        return np.maximum(scores, self.material.score(np.asarray(features, np.float64)))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that ``bundle.json`` and the ONNX metadata hold, without the arrays."""
        return {"threshold": THRESHOLD, "layers": list(self.layers), **self.metadata}

    def save(self, folder: str | Path) -> Path:
        """Write ``reference.npz`` into a folder; return its path."""
        folder = Path(folder)
        arrays = {f"{number}_mean": part.mean for number, part in enumerate(self.parts)}
        arrays |= {f"{number}_whitening": part.whitening for number, part in enumerate(self.parts)}
        arrays["limits"] = self.limits
        if self.material is not None:
            arrays |= {f"material_{name}": values for name, values in vars(self.material).items()}
        head = {"parts": [part.name for part in self.parts], "about": dict(self.metadata)}
        with atomic_path(folder / REFERENCE_FILE) as temporary, temporary.open("wb") as stream:
            small: dict[str, Any] = {name: values.astype(np.float32) for name, values in arrays.items()}
            np.savez_compressed(stream, head=np.array(json.dumps(head)), **small)
        return folder / REFERENCE_FILE

    @classmethod
    def load(cls, folder: str | Path) -> OodDetector:
        """Read what `save` wrote; files of version 0.1 have one mean and a limit of 1.

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
            found = {name: arrays[name].astype(np.float64) for name in arrays.files if name != "head"}
            parts = tuple(
                Part(str(name), np.atleast_2d(found[f"{number}_mean"]), found[f"{number}_whitening"])
                for number, name in enumerate(head["parts"])
            )
            limits = found.get("limits", np.ones(1))
            _check_arrays(parts, limits)
            names = [entry.name for entry in fields(MaterialNet)] if "material_bias" in found else []
            material = MaterialNet(*(found[f"material_{name}"] for name in names)) if names else None
            return cls(parts, head["about"], limits, material)


def _check_arrays(parts: tuple[Part, ...], limits: FloatArray) -> None:
    for part in parts:
        fits = part.whitening.ndim == 2 and part.mean.shape == (len(limits), len(part.whitening))
        if not fits or not np.isfinite(part.mean).all() or not np.isfinite(part.whitening).all():
            raise ValueError(f"arrays of part {part.name!r}")
    if not (np.isfinite(limits) & (limits > 0)).all():
        raise ValueError(f"limits {limits.tolist()}")
