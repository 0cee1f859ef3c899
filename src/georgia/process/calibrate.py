"""Calibration of the image fraction against laboratory results: a straight line with its prediction interval.

The laboratory's fraction y is regressed on the image fraction x by ordinary least squares, the line for
predicting y from a new x that is as noisy as those before. Source: Fuller, Measurement Error Models, 1987,
section 1.6.3; the interval of a new result is that of Draper and Smith, Applied Regression Analysis, 3rd ed.,
section 3.1. Outside of the range of x, with fewer than five pairs, or where the slope may be nought, nothing
is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest
from georgia.monitor.columns import iso_time
from georgia.monitor.process_record import StoredEntry
from georgia.monitor.records import FrameFilter
from georgia.process.queries import read_batch_process
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch
    from georgia.monitor.result import FrameResult

Floats = npt.NDArray[np.float64]
# With four pairs the interval of a new result is 4.3 standard deviations wide to either side and more, and a
# single outlier is not noticed; chosen.
LEAST_PAIRS = 5
# The image fraction of a sample is the mean of so many frames nearest to it, at most so far from it, s.
N_FRAMES, FARTHEST_S, _LEAST_FRAMES = 11, 600.0, 3


@dataclass(frozen=True)
class CalibrationPair:
    """A laboratory result beside the frames of its time; fractions in 0–1, ``sd`` of the image's mean."""

    batch: str
    time_s: float
    image: float
    image_sd: float
    laboratory: float
    n_frames: int


@dataclass(frozen=True)
class Calibration:
    """laboratory = ``intercept`` + ``slope`` × image, within ``low_x`` to ``high_x``.

    ``residual_sd`` is the standard deviation about the line. ``reason`` says why nothing can be predicted; ""
    where it can. ``notes`` name results that lie far off the line of the others, ``left_out`` those that are
    in no pair, each with why.
    """

    name: str
    pairs: tuple[CalibrationPair, ...]
    reason: str = ""
    intercept: float = float("nan")
    slope: float = float("nan")
    slope_low: float = float("nan")
    slope_high: float = float("nan")
    residual_sd: float = float("nan")
    low_x: float = float("nan")
    high_x: float = float("nan")
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def predict(self, image: float) -> tuple[float, float, float] | None:
        """Return the laboratory's fraction for an image fraction, with its 95 % prediction interval.

        None where nothing can be said: outside of the pairs' range, or where ``reason`` says why.
        """
        if self.reason or not self.low_x <= image <= self.high_x:
            return None
        x = np.array([pair.image for pair in self.pairs])
        middle = self.intercept + self.slope * image
        spread = 1 + 1 / len(x) + (image - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        half = _t95(len(x) - 2) * self.residual_sd * float(np.sqrt(spread))
        low, value, high = (min(1.0, max(0.0, each)) for each in (middle - half, middle, middle + half))
        return value, low, high

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form; numbers that are not known are null."""
        plain = {name: _known(value) for name, value in asdict(self).items() if name != "pairs"}
        shown = [
            {**asdict(pair), "time": iso_time(pair.time_s), "predicted": self.predict(pair.image)}
            for pair in self.pairs
        ]
        return {**plain, "can_predict": not self.reason, "pairs": shown}


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _t95(degrees: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, degrees))


def fit_calibration(name: str, pairs: Sequence[CalibrationPair], left_out: Sequence[str] = ()) -> Calibration:
    """Return the line through pairs, or why there is none; ``left_out`` says what is in no pair, and why."""
    found = Calibration(name, tuple(pairs), left_out=tuple(left_out))
    n = len(pairs)
    x, y = (np.array([getattr(pair, side) for pair in pairs]) for side in ("image", "laboratory"))
    if n < LEAST_PAIRS:
        reason = f"{LEAST_PAIRS} laboratory results beside frames are needed; there are {n}"
        return replace(found, reason=reason)
    scatter = float(((x - x.mean()) ** 2).sum())
    if scatter <= 1e-12:
        return replace(found, reason="the image fractions of all results are the same")
    if float(np.ptp(y)) <= 1e-12:
        return replace(found, reason="the laboratory's results are all the same")
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / scatter
    intercept = float(y.mean() - slope * x.mean())
    sd = float(np.sqrt(((y - intercept - slope * x) ** 2).sum() / (n - 2)))
    half = _t95(n - 2) * sd / float(np.sqrt(scatter))
    reason = ""
    if slope - half <= 0:
        reason = f"the slope may be nought: its 95 % interval is {slope - half:.2f} to {slope + half:.2f}"
    line = (intercept, slope, slope - half, slope + half, sd, float(x.min()), float(x.max()))
    notes = tuple(_list_outliers(pairs, x, y))
    return Calibration(name, found.pairs, reason, *line, notes=notes, left_out=found.left_out)


def _list_outliers(pairs: Sequence[CalibrationPair], x: Floats, y: Floats) -> Iterator[str]:
    """Yield the results that lie further off the line of all others than chance explains, over all of them.

    They stay in the line and in its interval: numbers do not tell whether one is an error of the laboratory.
    Source: deleted residuals with Bonferroni's limit, Cook and Weisberg 1982, Residuals and Influence in
    Regression, section 2.2.2.
    """
    from scipy import stats

    n = len(x)
    for at, pair in enumerate(pairs):
        others = np.arange(n) != at
        a, b = x[others], y[others]
        scatter = float(((a - a.mean()) ** 2).sum())
        if scatter <= 1e-12 or n < LEAST_PAIRS:
            continue
        slope = float(((a - a.mean()) * (b - b.mean())).sum()) / scatter
        line = float(b.mean()) + slope * (float(x[at]) - float(a.mean()))
        sd = float(np.sqrt(((b - b.mean() - slope * (a - a.mean())) ** 2).sum() / (n - 3)))
        spread = sd * float(np.sqrt(1 + 1 / (n - 1) + (x[at] - a.mean()) ** 2 / scatter))
        off = float(y[at]) - line
        if abs(off) > max(float(stats.t.ppf(1 - 0.025 / n, n - 3)) * spread, 1e-9):
            yield (
                f"the result {pair.laboratory:.4g} of {iso_time(pair.time_s)} lies {abs(off):.3g} "
                f"{'above' if off > 0 else 'below'} the line of the others: an outlier, which moves the line"
            )


def calibrate_fraction(store: StoreReader, name: str = "", batch: Batch | None = None) -> Calibration:
    """Return the calibration of the image fraction against the laboratory results of one name.

    Of all batches, or of one; only frames of the model that analysed the newest of them count.

    Raises:
        InputError: there is no result of that name, or several names and none is given.
    """
    batches = [batch] if batch is not None else store.batches(limit=10_000)[::-1]
    results = [
        (each, read_batch_process(store, each.id, 2, (0,), has_counts=False).laboratory) for each in batches
    ]
    names = sorted({entry.name for _, entries in results for entry in entries if entry.fraction is not None})
    if not name and len(names) == 1:
        name = names[0]
    if name not in names:
        raise InputError(
            "Cannot calibrate",
            needs="the name of laboratory results that are fractions (unit %, or none and 0 to 1) is needed",
            got=repr(name) if name else "several" if names else "no result",
            hint=(suggest(name, names) or f" There are: {', '.join(names)}.").strip() if names else "",
        )
    pairs: list[CalibrationPair] = []
    left_out: list[str] = []
    newest = _newest_model(store, [each for each, entries in results if entries])
    for each, entries in results:
        wanted = [entry for entry in entries if entry.name == name and entry.fraction is not None]
        for entry in wanted:
            found = _pair(store, each, entry, newest)
            if isinstance(found, str):
                left_out.append(f"the result of {iso_time(entry.time_s)} in batch {each.name!r}: {found}")
            else:
                pairs.append(found)
    return fit_calibration(name, pairs, left_out)


def _newest_model(store: StoreReader, batches: Sequence[Batch]) -> str:
    for batch in reversed(batches):
        for frame in store.frames(batch.id, limit=1):
            return frame.model_sha256
    return ""


def _pair(store: StoreReader, batch: Batch, entry: StoredEntry, model: str) -> CalibrationPair | str:
    """Return a result beside the frames nearest to it, or why it has none."""
    wanted = FrameFilter(batch.id, entry.time_s - FARTHEST_S, entry.time_s + FARTHEST_S)
    frames: list[FrameResult] = [
        frame for frame in store.iter_frames(batch.id, wanted) if frame.fraction is not None
    ]
    frames = sorted(frames, key=lambda frame: abs(frame.frame_time_s - entry.time_s))[:N_FRAMES]
    if len(frames) < _LEAST_FRAMES or entry.fraction is None:
        found = count_noun(len(frames), "frame")
        return f"{found} with a fraction within {FARTHEST_S / 60:.0f} min of it, {_LEAST_FRAMES} are needed"
    if any(frame.model_sha256 != model for frame in frames):
        return "another model than the newest analysed its frames"
    values = np.array([frame.fraction for frame in frames])
    sd = float(values.std(ddof=1) / np.sqrt(len(values)))
    return CalibrationPair(batch.name, entry.time_s, float(values.mean()), sd, entry.fraction, len(frames))
