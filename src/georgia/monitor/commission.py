"""Commissioning: whether a probe's frames are like the images that the model was trained on.

A model names what it knows, and also some of what it does not. Before its fractions are believed, the first
frames of a probe are compared with the model's validation images: how many of their windows it rejects,
where their unknown scores lie, and light, focus and size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.files import write_json
from georgia.metrics.intervals import wilson_interval
from georgia.monitor.result import FrameInput

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle

# Source of the limits: docs/monitor.md; synthetic frames of the right kind (with noise and
# light within the recipe's range) against mosaics and whole frames of 17 kinds of foreign material.
# Rejected fraction of the windows: to the first ok, from the second bad. Where its 95 % confidence interval
# lies above the first, it is bad too: many frames of which 12 % are rejected are no chance. Source: 1,230
# windows of right synthetic frames, of which 2 % are rejected, and 7 % with noise of 4 grey levels
# (docs/measurements/monitor.md); with 8 % in place of 10 %, 3 % of right sets of 30 frames would be bad.
REJECTED_OK, REJECTED_BAD = 0.10, 0.15
# Windows overlap and have their light in common: a frame's are worth so many of independent ones.
INDEPENDENT = 0.5
# The validation images below whose scores the probe's median lies, 0–1.
SCORE_OK, SCORE_BAD = 0.8, 0.95
# The same where their scores are not known, as a fraction of the threshold.
SCORE_OK_UNKNOWN = 0.85
# Fraction of black and white pixels.
CLIPPED_OK, CLIPPED_BAD = 0.05, 0.15
# How far outside of the 1st to 99th percentile light and detail may lie, as factors, and structure,
# in octaves.
LIGHT_FACTOR, DETAIL_FACTOR, STRUCTURE_OCTAVES = 1.25, 1.5, 0.35
# Fewer windows say little.
FEWEST_WINDOWS = 50
# A frame's windows overlap and have their light in common; a verdict "bad" needs at least so many.
FEWEST_BAD = 20
# Quantiles in which the training images are described.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99)
REPORT_FILE, RESULT_FILE = "commissioning.html", "commissioning.json"


class Finding(StrEnum):
    """How one measure, or all of them, compare with the training images."""

    OK = "ok"
    CAUTION = "caution"
    BAD = "bad"
    NOT_KNOWN = "not known"


_RANK = {Finding.OK: 0, Finding.NOT_KNOWN: 0, Finding.CAUTION: 1, Finding.BAD: 2}


@dataclass(frozen=True)
class CheckLine:
    """One line: what was measured, the limit, and what to do where it is not met."""

    name: str
    finding: Finding
    measured: str
    limit: str
    remedy: str = ""


@dataclass(frozen=True)
class Commissioning:
    """The verdict over some frames, with its lines."""

    verdict: Finding
    lines: tuple[CheckLine, ...]
    n_frames: int
    n_windows: int

    def describe(self) -> str:
        """Return the verdict in one clause: what is worst, and by how much."""
        worst = [line for line in self.lines if line.finding == self.verdict and line.remedy]
        if not worst:
            return "the frames are like the training images"
        return "; ".join(f"{line.name} {line.measured}, limit {line.limit}" for line in worst)

    def to_event(self) -> dict[str, Any]:
        """Return what the audit log holds of it."""
        numbers = {"n_frames": self.n_frames, "n_windows": self.n_windows}
        return {"verdict": str(self.verdict), "reason": self.describe(), **numbers}

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Commissioning:
        """Return what an entry of the audit log holds; one of an earlier version has no lines."""
        lines = tuple(
            CheckLine(**{**line, "finding": Finding(line["finding"])}) for line in entry.get("lines") or ()
        )
        return cls(Finding(entry["verdict"]), lines, int(entry["n_frames"]), int(entry["n_windows"]))

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {**asdict(self), "verdict": str(self.verdict), "reason": self.describe()}


def compare_input(inputs: Sequence[FrameInput], known: Mapping[str, Any]) -> Commissioning:
    """Return how frames compare with the images that a model was validated on.

    Args:
        inputs: the frames that have windows which are not empty.
        known: the entry "unknown" of the model's description; what it does not hold is "not known".
    """
    n_windows = sum(one.n_full for one in inputs)
    summary = known.get("validation") or {}
    lines = [_check_count(len(inputs), n_windows)]
    if inputs:
        lines += [
            _check_rejected(inputs, n_windows, bool(known)),
            _check_score(inputs, summary.get("score"), bool(known)),
            _check_range("light", [one.grey for one in inputs], summary.get("grey"), LIGHT_FACTOR, _LIGHT),
            _check_clipped(inputs),
            _check_range(
                "focus", [one.detail for one in inputs], summary.get("detail"), DETAIL_FACTOR, _FOCUS
            ),
            _check_structure(inputs, summary.get("structure")),
        ]
    verdict = max((line.finding for line in lines), key=lambda finding: _RANK[finding])
    if verdict == Finding.NOT_KNOWN or (known == {} and verdict == Finding.OK):
        verdict = Finding.CAUTION
    return Commissioning(verdict, tuple(lines), len(inputs), n_windows)


_LIGHT = (
    "Set lamp, exposure and gain as they were for the training images, or train with images of this light."
)
_FOCUS = "Clean and focus the probe; without success train with images of this probe."
_SIZE = "Set tile_px so that a window holds as much of a crystal as a training image, or train at this size."
_MATERIAL = (
    "Look at the rejected windows on the page. If they show other material, train with images of it; "
    "do not go on with this model."
)


def _grade(value: float, ok: float, bad: float) -> Finding:
    return Finding.OK if value <= ok else Finding.BAD if value > bad else Finding.CAUTION


def _check_count(n_frames: int, n_windows: int) -> CheckLine:
    finding = Finding.OK if n_windows >= FEWEST_WINDOWS else Finding.CAUTION
    remedy = "" if finding == Finding.OK else "Compare more frames, and frames with crystals in them."
    measured = f"{n_windows} in {n_frames} frames"
    return CheckLine("windows with detail", finding, measured, f"{FEWEST_WINDOWS} or more", remedy)


def _check_rejected(inputs: Sequence[FrameInput], n_windows: int, has_score: bool) -> CheckLine:
    name = "rejected windows"
    limit = f"{REJECTED_OK:.0%}, bad from {REJECTED_BAD:.0%}, or an interval above {REJECTED_OK:.0%}"
    if not has_score:
        return CheckLine(
            name, Finding.NOT_KNOWN, "none can be: the model has no unknown score", limit, _RETRAIN
        )
    fraction = sum(one.n_unknown for one in inputs) / max(1, n_windows)
    finding = _grade(fraction, REJECTED_OK, REJECTED_BAD)
    if finding == Finding.BAD and n_windows < FEWEST_BAD:
        finding = Finding.CAUTION
    low, high = wilson_interval(fraction, INDEPENDENT * max(1, n_windows))
    if low > REJECTED_OK and n_windows >= FEWEST_BAD:
        finding = Finding.BAD
    measured = f"{fraction:.1%} (95 % confidence interval {low:.1%} to {high:.1%})"
    return CheckLine(name, finding, measured, limit, "" if finding == Finding.OK else _MATERIAL)


_RETRAIN = "Train the model again with this version: its description then holds what is compared."


def _check_score(
    inputs: Sequence[FrameInput], table: Mapping[str, float] | None, has_score: bool
) -> CheckLine:
    name, scores = "unknown score", [one.score for one in inputs if one.score is not None]
    if not has_score or not scores:
        return CheckLine(name, Finding.NOT_KNOWN, "–", "–", _RETRAIN)
    middle = _median(scores)
    if not table:
        is_ok = middle <= SCORE_OK_UNKNOWN
        measured = f"median {middle:.2f}; those of the validation images are not known"
        limit = f"{SCORE_OK_UNKNOWN:g}; 1 is rejected"
        return CheckLine(
            name, Finding.OK if is_ok else Finding.CAUTION, measured, limit, "" if is_ok else _MATERIAL
        )
    place = _find_place(middle, table)
    finding = _grade(place, SCORE_OK, SCORE_BAD)
    measured = f"median {middle:.2f}, above {place:.0%} of the validation images"
    limit = f"{SCORE_OK:.0%}, bad from {SCORE_BAD:.0%}"
    return CheckLine(name, finding, measured, limit, "" if finding == Finding.OK else _MATERIAL)


def _check_range(
    name: str, values: Sequence[float], table: Mapping[str, float] | None, factor: float, remedy: str
) -> CheckLine:
    middle = _median(values)
    measured = f"{middle:.0f} grey levels" if name == "light" else f"{middle:.2f}"
    if not table:
        return CheckLine(name, Finding.NOT_KNOWN, measured, "not known")
    low, high = table["0.01"] / factor, table["0.99"] * factor
    digits = 0 if name == "light" else 2
    is_ok = low <= middle <= high
    limit = f"{low:.{digits}f} to {high:.{digits}f}"
    return CheckLine(name, Finding.OK if is_ok else Finding.CAUTION, measured, limit, "" if is_ok else remedy)


def _check_clipped(inputs: Sequence[FrameInput]) -> CheckLine:
    fraction = math.fsum(one.clipped for one in inputs) / len(inputs)
    finding = _grade(fraction, CLIPPED_OK, CLIPPED_BAD)
    limit = f"{CLIPPED_OK:.0%}, bad from {CLIPPED_BAD:.0%}"
    remedy = "" if finding == Finding.OK else _LIGHT
    return CheckLine("black and white pixels", finding, f"{fraction:.1%}", limit, remedy)


def _check_structure(inputs: Sequence[FrameInput], table: Mapping[str, float] | None) -> CheckLine:
    middle, name = _median([one.structure for one in inputs]), "size of structures"
    measured = f"{2**-middle:.0%} of a window"
    if not table:
        return CheckLine(name, Finding.NOT_KNOWN, measured, "not known")
    low, high = table["0.01"] - STRUCTURE_OCTAVES, table["0.99"] + STRUCTURE_OCTAVES
    is_ok = low <= middle <= high
    limit = f"{2**-high:.0%} to {2**-low:.0%}"
    return CheckLine(name, Finding.OK if is_ok else Finding.CAUTION, measured, limit, "" if is_ok else _SIZE)


def _median(values: Sequence[float]) -> float:
    ranked = sorted(values)
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2


def _find_place(value: float, table: Mapping[str, float]) -> float:
    """Return the largest of the known quantiles that a value lies above, between them linearly, 0–1."""
    points = [(0.0, 0.0), *((table[f"{q:g}"], q) for q in QUANTILES if f"{q:g}" in table)]
    for (low, place), (high, above) in pairwise(points):
        if value <= high:
            return place + (above - place) * (value - low) / max(high - low, 1e-9)
    return 1.0


def known_of(bundle: Bundle) -> Mapping[str, Any]:
    """Return what a model's description holds of its validation images; empty where it has no such score."""
    known = getattr(bundle, "metadata", {}).get("unknown")
    return known if isinstance(known, Mapping) else {}


def save_commissioning(result: Commissioning, folder: Path, head: Mapping[str, Any]) -> Path:
    """Write the result as JSON beside its page's place; return its path. ``head`` names model and frames.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT_FILE, {**head, **result.to_json_dict()})
    return folder / RESULT_FILE
