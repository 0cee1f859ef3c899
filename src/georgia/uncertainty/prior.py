"""Probabilities for other class frequencies than a model was fitted with: stated, or estimated.

Only the frequencies may differ: images of a class must look as they did. What the net takes for one of its
classes and is none is not corrected by it.
Source: Saerens, Latinne and Decaestecker 2002, doi 10.1162/089976602753284446.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.metrics.intervals import Interval

Floats = npt.NDArray[np.float64]
ESTIMATE = "estimate"
# The steps end where no frequency changes by more; so many are enough for any data.
_TOLERANCE, _MOST_STEPS = 1e-6, 10_000
_N_BOOTSTRAP, _MOST_RESAMPLED = 200, 5000
# A stated prior may be rounded so far.
_ROUNDING = 0.01


@dataclass(frozen=True)
class Prior:
    """Class frequencies, each 0–1, that sum to 1, in label order.

    ``fitted`` are those that the model was fitted with. Of an estimate, ``ci95`` are 95 % intervals over the
    ``n`` images, without the error of the model's own probabilities; they are None where it was stated.
    """

    labels: Labels
    frequencies: tuple[float, ...]
    fitted: tuple[float, ...]
    ci95: tuple[Interval, ...] | None = None
    n: int = 0

    def correct(self, probabilities: npt.NDArray[np.floating]) -> Floats:
        """Return probabilities (N, C), 0–1, for these frequencies."""
        ratio = np.array(self.frequencies) / np.array(self.fitted)
        return weigh_classes(np.asarray(probabilities, np.float64), ratio)

    def to_json_dict(self) -> dict[str, Any]:
        """Return what a table says of it."""
        names = self.labels.names
        found: dict[str, Any] = {
            "kind": "stated" if self.ci95 is None else "estimated",
            "frequencies": dict(zip(names, self.frequencies, strict=True)),
            "fitted_with": dict(zip(names, self.fitted, strict=True)),
        }
        if self.ci95 is not None:
            found |= {"ci95": dict(zip(names, map(list, self.ci95), strict=True)), "n": self.n}
        return found

    def describe(self) -> str:
        """Return the frequencies in a sentence."""
        values = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(self.labels.names, self.frequencies, strict=True)
        )
        if self.ci95 is None:
            return f"probabilities are for the stated class frequencies {values}; prediction sets are not"
        return (
            f"probabilities are for class frequencies estimated from these {self.n:,} images: {values}; "
            "prediction sets are not"
        )


def weigh_classes(probabilities: Floats, ratio: Floats) -> Floats:
    """Return probabilities (N, C) times ``ratio`` (C,), each row scaled to sum to 1.

    >>> weigh_classes(np.array([[0.5, 0.5]]), np.array([9.0, 1.0])).round(3).tolist()
    [[0.9, 0.1]]
    """
    weighed = probabilities * ratio
    total = weighed.sum(axis=1, keepdims=True)
    # A row whose only possible class has frequency 0 keeps what the net said.
    return np.where(total > 0, weighed / np.where(total > 0, total, 1.0), probabilities)


def estimate_frequencies(probabilities: npt.NDArray[np.floating], fitted: Floats) -> Floats:
    """Return the class frequencies (C,) of images by their calibrated probabilities (N, C), by EM.

    Raises:
        InputError: there is no image.
    """
    table = np.asarray(probabilities, np.float64)
    if table.ndim != 2 or not len(table):
        raise InputError("Cannot estimate class frequencies", needs="an image is needed", got=len(table))
    found = np.array(fitted, np.float64)
    for _ in range(_MOST_STEPS):
        new = weigh_classes(table, found / fitted).mean(axis=0)
        if np.abs(new - found).max() < _TOLERANCE:
            return np.asarray(new)
        found = new
    return found


def estimate_prior(probabilities: npt.NDArray[np.floating], labels: Labels, fitted: Floats) -> Prior:
    """Return the estimated class frequencies of images (N, C) with their intervals, by the bootstrap.

    Raises:
        InputError: there is no image.
    """
    table = np.asarray(probabilities, np.float64)
    found = estimate_frequencies(table, fitted)
    rng = np.random.default_rng(0)
    n = min(len(table), _MOST_RESAMPLED)
    draws = np.array(
        [estimate_frequencies(table[rng.integers(len(table), size=n)], fitted) for _ in range(_N_BOOTSTRAP)]
    )
    # Fewer images resampled than there are: deviations are as much wider.
    deviation = (draws - found) * np.sqrt(n / len(table))
    low, high = np.clip(found + np.quantile(deviation, [0.025, 0.975], axis=0), 0, 1)
    intervals = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
    return Prior(labels, tuple(found.tolist()), tuple(fitted.tolist()), intervals, len(table))


def read_prior(text: str, labels: Labels, fitted: Floats) -> Prior:
    """Return the prior that a text such as "CEX=0.9,PG=0.1" states.

    Raises:
        InputError: a class is missing or unknown, or the numbers are no frequencies that sum to 1.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        try:
            frequency = float(value) if sign else -1.0
        except ValueError:
            frequency = -1.0
        if name.strip() not in labels.names or name.strip() in found or not 0 <= frequency <= 1:
            raise _reject_text(text, labels)
        found[name.strip()] = frequency
    total = sum(found.values())
    if len(found) != len(labels) or abs(total - 1) > _ROUNDING:
        raise _reject_text(text, labels)
    return Prior(labels, tuple(found[name] / total for name in labels.names), tuple(fitted.tolist()))


def _reject_text(text: str, labels: Labels) -> InputError:
    form = ",".join(f"{name}=…" for name in labels.names)
    return InputError(
        "Cannot use --prior",
        needs=f"{form} with frequencies from 0 to 1 that sum to 1, or {ESTIMATE!r}",
        got=repr(text),
    )


def find_fitted_frequencies(labels: Labels, metadata: Mapping[str, Any]) -> Floats:
    """Return the class frequencies (C,) that a model was fitted with, by what its bundle says.

    Equal ones where classes were weighted to count alike, else those of its training images.

    Raises:
        InputError: the bundle does not say, as that of a foreign model.
    """
    recipe, data = metadata.get("recipe"), metadata.get("data")
    if isinstance(recipe, Mapping) and recipe.get("class_weights"):
        return np.full(len(labels), 1 / len(labels))
    counts = data.get("counts", {}).get("train") if isinstance(data, Mapping) else None
    numbers = [counts.get(name, 0) if isinstance(counts, Mapping) else 0 for name in labels.names]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise InputError(
            "Cannot use --prior",
            needs="the model must say with which class frequencies it was fitted",
            got="no recipe and no numbers of training images",
            hint="Train it with Georgia, or leave --prior out.",
        )
    return np.array(numbers, np.float64) / sum(numbers)
