"""What bfloat16 changes for a model, shown on its validation images, and what float32 computes again.

A net in bfloat16 is served with a second look: images whose outputs lie near a threshold are computed again
in float32 (``rejudge``), so that labels, rejections and sets are those of float32. The trial measures how far
bfloat16 moves the outputs, how wide "near" has to be for that, and what is left. 8-bit integers are tried and
served in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.model.engines import Outputs
from georgia.text import count_noun
from georgia.uncertainty.decision import DecisionThresholds

# What bfloat16 may change in a probability of an image that is not computed again.
BFLOAT16_TOLERANCE = 0.02
# What a cheaper way may change in the probability of a window of a frame, whose fraction is the mean over
# some sixty of them. Source: 28 synthetic frames of 1112×1000 px with 2-50 % PG: no label or rejection of
# 1,639 windows changes with it, probabilities by 0.07 at most, the fraction by 0.002 (in others by 0.005) at
# most; with 0.02 the fraction by 0.0004, for a third more time.
WINDOW_TOLERANCE = 0.2
# So many validation images show it: if none of 50 changes, fewer than 6 % do (rule of three, 95 %).
MIN_TRIAL = 50
# Where float32 computes more than this fraction again, bfloat16 no longer pays.
MAX_REJUDGED = 0.5
# Images that come later may differ more than the validation images: the band of the unknown score is so many
# times the largest difference. Rounding is noise, which takes images farther from those of training, so that
# the score mostly rises and few images show how far it falls: the narrower band is half the wider or more.
# Source: 1,000 synthetic crops and the bundled model: bands from 200 of them left no change in the others;
# without the half, one.
SCORE_SAFETY, FALLS_LESS = 1.5, 0.5
# The odds of an uncertain image move less than those of a certain one. Where so many images and more are
# tried, the margin follows from the largest of so many moves, and of all of smaller odds, times the safety
# above; what it lets a probability move is this. Source: 1,000 synthetic crops (bfloat16, int8, four of eight
# views) and 359 digits (int8 of a ResNet-18): with any of 20 draws of 100 or 200 other images no label,
# rejection or set changed, and probabilities moved by 0.0145 at most, as with one band for all odds. Of the
# digits 17 % are computed again in place of 73 %, of the crops as many. With 50, some draws changed labels.
MIN_MARGIN_TRIAL, N_MOVES, MARGIN_TOLERANCE = 100, 100, 0.015
# Emulated rounding leaves out that of additions: a real processor differs by up to twice as much.
EMULATED_SAFETY = 2
# What "int8" holds besides: the file beside the model, its hash, and the units that it was tried on.
INT8_KEYS = ("file", "sha256", "units")
_TINY, _RARE = 1e-9, 1e-4
Flags = npt.NDArray[np.bool_]


class PrecisionWarning(UserWarning):
    """Predictions are made in another precision than the one asked for, or in one that was not shown."""


@dataclass(frozen=True)
class Bands:
    """How near to a threshold an image is computed again in float32.

    ``odds``: by so much bfloat16 may move the logarithm of the odds of a class. ``above`` and ``below``: so
    much it may raise and lower the unknown score. What that could turn into another label, rejection or set,
    or into a probability that moves by half of the tolerance, is near. ``margin``, of the two largest
    probabilities, is where a trial found that probabilities move less, below 1.
    """

    odds: float = 2 * BFLOAT16_TOLERANCE
    above: float = BFLOAT16_TOLERANCE
    below: float = BFLOAT16_TOLERANCE
    margin: float = 1.0

    def find_margin(self, tolerance: float = BFLOAT16_TOLERANCE) -> float:
        """The difference of the two largest probabilities below which an image is near.

        Probabilities (1 + m)/2 and (1 - m)/2 whose odds move by d move by d (1 - m²)/4; the larger one stays
        the larger one from tanh(d/2) on.
        """
        furthest = max(0.0, 1 - 2 * tolerance / max(self.odds, _TINY))
        least = float(np.tanh(self.odds / 2))
        own = self.margin if tolerance >= BFLOAT16_TOLERANCE else 1.0
        return max(least, 2 * BFLOAT16_TOLERANCE, min(own, float(np.sqrt(furthest))))

    def find_near(
        self, outputs: Outputs, thresholds: DecisionThresholds, tolerance: float = BFLOAT16_TOLERANCE
    ) -> Flags:
        """Return which rows of bfloat16 outputs (N,) float32 must compute again; undefined ones too."""
        probabilities = np.asarray(outputs["probabilities"], np.float64)
        ordered = np.sort(probabilities, axis=1)
        is_far: Flags = ordered[:, -1] - ordered[:, -2] >= self.find_margin(tolerance)
        if thresholds.threshold is not None:
            scores = np.asarray(outputs["unknown_score"], np.float64)
            beyond = scores - thresholds.threshold
            is_far &= (beyond >= self.above) | (beyond <= -self.below)
        if thresholds.conformal is not None:
            odds = _log_odds(probabilities)
            below, above = (
                thresholds.conformal.sets(1 / (1 + np.exp(-(odds + shift))), thresholds.labels)
                for shift in (-self.odds, self.odds)
            )
            is_far &= np.array([a == b for a, b in zip(below, above, strict=True)], np.bool_)
        return ~is_far


@dataclass(frozen=True)
class PrecisionTrial:
    """bfloat16 against float32 on ``n`` images: largest |Δ probability| and |Δ unknown score|.

    ``n_changed`` counts other labels and rejections where float32 is clear, farther from a border than the
    tolerance; ``n_changed_near`` counts those nearer to it. ``odds_band``, ``band_above``, ``band_below``
    and ``margin`` are the ``Bands`` that follow from it; ``rejudged`` is the fraction of images inside them,
    ``n_changed_kept`` and ``largest_kept`` are what bfloat16 changes outside: in labels, rejections or sets,
    and in probabilities.
    ``is_emulated``: rounded like bfloat16 on a processor without it.
    """

    n: int
    largest_difference: float
    largest_score_difference: float
    n_changed: int
    n_changed_near: int
    is_emulated: bool = False
    odds_band: float = Bands.odds
    band_above: float = Bands.above
    band_below: float = Bands.below
    rejudged: float = 1.0
    n_changed_kept: int = 0
    largest_kept: float = 0.0
    margin: float = Bands.margin

    @property
    def bands(self) -> Bands:
        """How near to a threshold float32 computes again."""
        return Bands(self.odds_band, self.band_above, self.band_below, self.margin)

    @property
    def reason(self) -> str:
        """Why the lower precision may not serve this model; "" where it may."""
        limit = BFLOAT16_TOLERANCE / (EMULATED_SAFETY if self.is_emulated else 1)
        if self.n < MIN_TRIAL:
            return f"{self.n:,} validation images do not show it; {MIN_TRIAL} are needed"
        if self.n_changed_kept or self.largest_kept > limit:
            return (
                f"on {self.n:,} validation images it changed {count_noun(self.n_changed_kept, 'label')} far "
                f"from any threshold and probabilities by up to {self.largest_kept:.2g}"
            )
        if self.rejudged > MAX_REJUDGED:
            return (
                f"on {self.n:,} validation images float32 had to compute {self.rejudged:.0%} again, so that "
                "nothing is gained"
            )
        return ""

    @property
    def is_shown(self) -> bool:
        """Whether it keeps what float32 predicts, with float32 near the thresholds, and pays."""
        return not self.reason

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object under its name in ``bundle.json``'s "precision", with the stated tolerances."""
        tolerance = {
            "probability": BFLOAT16_TOLERANCE,
            "unknown_score": max(self.band_above, self.band_below),
        }
        return {**vars(self), "is_shown": self.is_shown, "tolerance": tolerance}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], name: str = "bfloat16") -> PrecisionTrial | None:
        """Read that of "bfloat16" or "int8" from ``bundle.json``; None if there is none that can be read."""
        try:
            values = dict(metadata["precision"][name])
            for key in ("is_shown", "tolerance", *INT8_KEYS):
                values.pop(key, None)
            _ = values["odds_band"]  # without the bands it was another trial
            trial = cls(**values)
            numbers = [float(value) for value in vars(trial).values()]
            return trial if all(np.isfinite(numbers)) and min(numbers) >= 0 else None
        except (KeyError, TypeError, ValueError):
            return None


def compare_precisions(
    full: Outputs, low: Outputs, thresholds: DecisionThresholds, is_emulated: bool = False
) -> PrecisionTrial:
    """Return how far outputs in bfloat16 (``low``) lie from those in float32 (``full``), image by image."""
    p_full, p_low = (np.asarray(outputs["probabilities"], np.float64) for outputs in (full, low))
    if not len(p_full):
        return PrecisionTrial(0, 0.0, 0.0, 0, 0, is_emulated)
    differences = np.abs(p_full - p_low).max(axis=1)
    raised = np.zeros(len(p_full))
    if thresholds.threshold is not None:
        s_full, s_low = (np.asarray(outputs["unknown_score"], np.float64) for outputs in (full, low))
        raised = s_low - s_full
    decided = [[(d.label, d.set) for d in thresholds.decide(outputs)] for outputs in (full, low)]
    is_other = np.array([a != b for a, b in zip(*decided, strict=True)], np.bool_)
    is_changed = np.array([a[0] != b[0] for a, b in zip(*decided, strict=True)], np.bool_)
    is_clear = _find_clear(p_full, full, thresholds)
    bands = _fit_bands(p_full, p_low, raised, EMULATED_SAFETY if is_emulated else 1)
    is_kept = ~bands.find_near(low, thresholds)
    return PrecisionTrial(
        n=len(p_full),
        largest_difference=float(differences.max()),
        largest_score_difference=float(np.abs(raised).max()),
        n_changed=int((is_changed & is_clear).sum()),
        n_changed_near=int((is_changed & ~is_clear).sum()),
        is_emulated=is_emulated,
        odds_band=bands.odds,
        band_above=bands.above,
        band_below=bands.below,
        rejudged=float(1 - is_kept.mean()),
        n_changed_kept=int((is_other & is_kept).sum()),
        largest_kept=float(differences[is_kept].max(initial=0.0)),
        margin=bands.margin,
    )


def _fit_bands(
    p_full: npt.NDArray[np.float64],
    p_low: npt.NDArray[np.float64],
    raised: npt.NDArray[np.float64],
    factor: int,
) -> Bands:
    """Return bands as wide as bfloat16 moved the odds, and wider than it raised and lowered the score."""
    odds = _log_odds(p_low)
    moves = factor * np.abs(_log_odds(p_full) - odds)
    rise, fall = (factor * SCORE_SAFETY * max(0.0, float(value)) for value in (raised.max(), -raised.min()))
    above, below = max(rise, FALLS_LESS * fall), max(fall, FALLS_LESS * rise)
    margin = _fit_margin(odds, moves) if len(p_full) >= MIN_MARGIN_TRIAL else Bands.margin
    return Bands(
        max(Bands.odds, float(moves.max())), max(Bands.above, above), max(Bands.below, below), margin
    )


def _fit_margin(odds: npt.NDArray[np.float64], moves: npt.NDArray[np.float64]) -> float:
    """Return the margin of the two largest probabilities from which on they move less than is let.

    ``odds`` and ``moves`` (N, C) are logarithms of odds and how far float32 is from them. The largest move of
    smaller odds, of a hundred and more, bounds that of an image; never is it more than the largest of all.
    """
    order = np.argsort(np.abs(odds), axis=None)
    sizes, largest = np.abs(odds).ravel()[order], np.maximum.accumulate(moves.ravel()[order])
    margins = np.linspace(0, 1, 500, endpoint=False)
    p = (1 + margins) / 2
    n_smaller = np.searchsorted(sizes, np.log(p / (1 - p)), side="right").clip(N_MOVES, len(sizes))
    bounds = np.minimum(largest[-1], SCORE_SAFETY * largest[n_smaller - 1])
    too_far = np.flatnonzero(bounds * p * (1 - p) > MARGIN_TOLERANCE)
    return float(margins[too_far[-1]] + margins[1]) if len(too_far) else 0.0


def _log_odds(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Beyond 1 in 10⁴ no move of the odds matters that bfloat16 could cause.
    clipped = np.clip(probabilities, _RARE, 1 - _RARE)
    odds: npt.NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return odds


def _find_clear(
    probabilities: npt.NDArray[np.float64], full: Outputs, thresholds: DecisionThresholds
) -> Flags:
    """Return where float32 is farther from every border than the tolerance."""
    ordered = np.sort(probabilities, axis=1)
    is_clear: Flags = ordered[:, -1] - ordered[:, -2] > 2 * BFLOAT16_TOLERANCE
    if thresholds.threshold is None:
        return is_clear
    beyond = np.asarray(full["unknown_score"], np.float64) - thresholds.threshold
    # A rejected image has no class: only its distance from the threshold counts.
    return np.where(beyond > 0, True, is_clear) & (np.abs(beyond) > BFLOAT16_TOLERANCE)
