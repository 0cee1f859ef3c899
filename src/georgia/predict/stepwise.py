"""As many of a net's eight views as an image needs: two, four where it lies near a threshold, then all.

What two or four views give is tried on validation images, as a lower precision is (``precision``): how far it
lies from what all eight give says how near to a threshold an image needs more of them. Fewer views raise the
unknown score, by much the same for all images; that is taken off first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.model.engines import Outputs
from georgia.model.views_net import STEPS, ViewsNet
from georgia.predict.precision import (
    BFLOAT16_TOLERANCE,
    MIN_TRIAL,
    Bands,
    compare_precisions,
)
from georgia.text import count_noun
from georgia.uncertainty.decision import DecisionThresholds

# Above so many views of an image, four rotations first would do as well.
MAX_VIEWS = 5.0
# Scores above so many times the threshold are rejected whatever is taken off: they would bend the line.
_FITTED_TO = 1.5
_FEWEST_FITTED = 10
# Views of an image after each step.
N_VIEWS = tuple(accumulate(map(len, STEPS)))
T = TypeVar("T")
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ViewStep:
    """What stands in for eight views after ``n_views``: a line for the unknown score, and its ``Bands``.

    ``kept`` is the fraction of the trial's images that needed no more.
    """

    n_views: int
    score_scale: float
    score_offset: float
    odds_band: float
    band_above: float
    band_below: float
    kept: float

    @property
    def bands(self) -> Bands:
        """How near to a threshold an image needs more views."""
        return Bands(self.odds_band, self.band_above, self.band_below)

    def correct(self, outputs: Outputs) -> Outputs:
        """Return the outputs with the unknown score that all views are expected to give."""
        if "unknown_score" not in outputs:
            return outputs
        score = np.float32(self.score_scale) * outputs["unknown_score"] + np.float32(self.score_offset)
        return {**outputs, "unknown_score": score}


@dataclass(frozen=True)
class ViewsTrial:
    """Views as needed against all eight, on ``n`` images, which took ``n_views`` of them in the mean.

    ``n_changed_kept`` counts other labels, rejections and sets, ``largest_kept`` and ``largest_score_kept``
    are the largest |Δ probability| and |Δ unknown score|.
    """

    n: int
    n_views: float
    n_changed_kept: int
    largest_kept: float
    largest_score_kept: float
    steps: tuple[ViewStep, ...]

    @property
    def reason(self) -> str:
        """Why it may not serve this model; "" where it may."""
        if self.n < MIN_TRIAL:
            return f"{self.n:,} validation images do not show it; {MIN_TRIAL} are needed"
        if self.n_changed_kept or self.largest_kept > BFLOAT16_TOLERANCE:
            return (
                f"on {self.n:,} validation images it changed {count_noun(self.n_changed_kept, 'label')} and "
                f"probabilities by up to {self.largest_kept:.2g}"
            )
        if self.n_views > MAX_VIEWS:
            return (
                f"{self.n:,} validation images needed {self.n_views:.1f} of 8 views, so that little is gained"
            )
        return ""

    @property
    def is_shown(self) -> bool:
        """Whether it keeps what eight views predict, and pays."""
        return not self.reason

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object "views" of ``bundle.json``'s "precision", with the stated tolerances."""
        widest = max((max(step.band_above, step.band_below) for step in self.steps), default=0.0)
        tolerance = {"probability": BFLOAT16_TOLERANCE, "unknown_score": widest}
        return {**asdict(self), "is_shown": self.is_shown, "tolerance": tolerance}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> ViewsTrial | None:
        """Read it from ``bundle.json``; None if there is none that can be read."""
        try:
            values = dict(metadata["precision"]["views"])
            values = {key: value for key, value in values.items() if key not in ("is_shown", "tolerance")}
            trial = cls(**{**values, "steps": tuple(ViewStep(**step) for step in values["steps"])})
            plain = [float(v) for key, v in vars(trial).items() if key != "steps"]
            bands = [float(v) for step in trial.steps for v in (step.odds_band, *vars(step.bands).values())]
            lines = [float(v) for step in trial.steps for v in (step.score_scale, step.score_offset)]
            n_views = [step.n_views for step in trial.steps]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        is_sound = all(np.isfinite([*plain, *bands, *lines])) and min(*plain, *bands) >= 0
        return trial if is_sound and n_views == list(N_VIEWS[:-1]) else None


def try_steps(found: Sequence[Outputs], full: Outputs, thresholds: DecisionThresholds) -> ViewsTrial:
    """Return how far the outputs after each step lie from those of all views (``full``), image by image."""
    n = len(full["probabilities"])
    left = np.ones(n, np.bool_)
    served = {name: np.array(values) for name, values in full.items()}
    steps, n_used = list[ViewStep](), 0
    for n_views, numbers, outputs in zip(N_VIEWS, STEPS, found[:-1], strict=False):
        n_used += len(numbers) * int(left.sum())
        scale, offset = _fit_score(outputs, full, thresholds)
        corrected = ViewStep(n_views, scale, offset, 0.0, 0.0, 0.0, 0.0).correct(outputs)
        trial = compare_precisions(full, corrected, thresholds)
        step = ViewStep(n_views, scale, offset, trial.odds_band, trial.band_above, trial.band_below, 0.0)
        is_done = left & ~step.bands.find_near(corrected, thresholds)
        steps.append(replace(step, kept=float(is_done.mean()) if n else 0.0))
        for name, values in served.items():
            values[is_done] = corrected[name][is_done]
        left &= ~is_done
    n_used += len(STEPS[-1]) * int(left.sum())
    for name, values in served.items():
        values[left] = found[-1][name][left]
    decided = [[(d.label, d.set) for d in thresholds.decide(each)] for each in (full, served)]
    return ViewsTrial(
        n=n,
        n_views=n_used / max(1, n),
        n_changed_kept=sum(a != b for a, b in zip(*decided, strict=True)),
        largest_kept=_find_largest(full, served, "probabilities"),
        largest_score_kept=_find_largest(full, served, "unknown_score"),
        steps=tuple(steps),
    )


def _fit_score(few: Outputs, full: Outputs, thresholds: DecisionThresholds) -> tuple[float, float]:
    """Return the line (scale, offset) from the unknown score of few views to that of all."""
    if thresholds.threshold is None or "unknown_score" not in full:
        return 1.0, 0.0
    low, high = (np.asarray(outputs["unknown_score"], np.float64) for outputs in (few, full))
    chosen = low < _FITTED_TO * thresholds.threshold
    if chosen.sum() < _FEWEST_FITTED or float(np.std(low[chosen])) < 1e-6:
        return 1.0, 0.0
    scale, offset = np.polyfit(low[chosen], high[chosen], 1)
    # A line that falls, or hardly rises, would turn what is unknown into what is known.
    return (float(scale), float(offset)) if 0.5 <= scale <= 2 else (1.0, 0.0)


def _find_largest(full: Outputs, served: Outputs, name: str) -> float:
    if name not in full:
        return 0.0
    difference: Doubles = np.abs(np.asarray(full[name], np.float64) - np.asarray(served[name], np.float64))
    return float(difference.max(initial=0.0))


class StepwiseEngine:
    """An ``Engine`` that gives each image as many views as it needs; ``n_images`` and ``n_views`` count."""

    name, precision, device = "openvino", "views", "CPU"

    def __init__(
        self,
        net: ViewsNet,
        steps: Sequence[ViewStep],
        thresholds: DecisionThresholds,
        tolerance: float = BFLOAT16_TOLERANCE,
    ) -> None:
        self.net, self._steps, self._thresholds = net, tuple(steps), thresholds
        self._tolerance = tolerance
        self.n_images = self.n_views = 0

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-image work, in any thread, on an image (H, W, 3), uint8 RGB."""
        return self.net.prepare(image)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs for any number of prepared images."""
        left, gathered = np.arange(len(prepared)), self.net.start(prepared)
        joined: dict[str, npt.NDArray[np.float32]] = {}
        for numbers, step in zip(STEPS, (*self._steps, None), strict=True):
            if not len(left):
                break
            images = [prepared[index] for index in left.tolist()]
            gathered = self.net.add_views(gathered, images, numbers)
            self.n_views += len(numbers) * len(left)
            outputs = self.net.finish(gathered)
            if step is not None:
                outputs = step.correct(outputs)
            for name, values in outputs.items():
                if name not in joined:
                    joined[name] = np.empty((len(prepared), *values.shape[1:]), np.float32)
                joined[name][left] = values
            if step is not None:
                is_near = step.bands.find_near(outputs, self._thresholds, self._tolerance)
                left, gathered = left[is_near], gathered.keep(is_near)
        self.n_images += len(prepared)
        return joined

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield each batch's token and outputs, in order; a thread runs the net meanwhile."""
        with ThreadPoolExecutor(1, thread_name_prefix="georgia-views") as pool:
            before: tuple[T, Any] | None = None
            for token, prepared in batches:
                following = (token, pool.submit(self.run, prepared))
                if before is not None:
                    yield before[0], before[1].result()
                before = following
            if before is not None:
                yield before[0], before[1].result()
