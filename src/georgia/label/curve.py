"""The learning curve of a few labels, and what more of them would bring: an inverse power law, or nothing.

Source of the law: Viering and Loog 2022, "The shape of learning curves", doi 10.1109/TPAMI.2022.3220744;
of its use to plan labels: Figueroa et al. 2012, doi 10.1186/1472-6947-12-8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.label.heads import Flags, Floats, HeadConfig, HeadData, Ints, fit_head
from georgia.metrics.intervals import Interval

# Sizes of the curve, repeats of each, and resampled curves behind an interval.
_N_SIZES, _N_REPEATS, _N_BOOTSTRAP = 6, 2, 200
# Below so many labels, images that decide the figures, or errors among them, nothing is forecast. Chosen on
# simulated curves of known law: tests/unit/label/test_curve.py.
LEAST_LABELS, LEAST_SCORED, LEAST_ERRORS = 40, 30, 5
# A forecast whose interval is wider than this, in F1, says nothing.
_MOST_WIDTH = 0.25


@dataclass(frozen=True)
class CurvePoint:
    """Macro F1 after learning from ``n`` labels, cross-validated, with its 95 % interval."""

    n: int
    f1: float
    f1_ci95: Interval


@dataclass(frozen=True)
class LearningCurve:
    """``points`` by rising n; ``forecast`` likewise for all labels and for more; empty if ``why_not``.

    ``n_scored`` images decided the figures, ``on_even`` where these are the evenly sampled ones alone.
    """

    points: tuple[CurvePoint, ...]
    forecast: tuple[CurvePoint, ...] = ()
    why_not: str = ""
    n_scored: int = 0
    on_even: bool = False

    def describe(self) -> str:
        """Return what more labels would bring, in a sentence."""
        if not self.forecast:
            return f"What more labels would bring: not enough to say ({self.why_not})."
        low, high = self.forecast[-1].f1_ci95
        now, then = self.forecast[0], self.forecast[-1]
        return (
            f"With {then.n:,} labels instead of {now.n:,}, macro F1 would go from about {now.f1:.3f} to "
            f"{then.f1:.3f} (95 % interval {low:.3f}–{high:.3f}), if it goes on as so far."
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {**asdict(self), "text": self.describe()}


def measure_curve(
    data: HeadData,
    folds: Ints,
    config: HeadConfig,
    seed: int,
    scored: Flags | None = None,
    stop: Callable[[], None] = lambda: None,
) -> LearningCurve:
    """Return the curve of heads that learned from fewer and fewer of the other folds' groups.

    ``scored`` (N,) are the images that decide the figures, such as the evenly sampled ones: all that were
    chosen because they are hard make the curve too low. Too few of them, and all decide.
    """
    is_even = scored is not None and int(scored.sum()) >= LEAST_SCORED
    is_scored = scored if scored is not None and is_even else np.ones(len(data.targets), np.bool_)
    sizes = _choose_sizes(data, folds)
    found = [
        (size, _predict_with(data, folds, config, size, (seed, repeat), stop))
        for size in sizes
        for repeat in range(_N_REPEATS)
    ]
    kept = [(size, labels[is_scored]) for size, labels in found if labels is not None]
    rng = np.random.default_rng(seed)
    draws = _draw_groups(data.codes[is_scored], rng)
    curve = _Curve(data.targets[is_scored], data.n_classes, kept)
    real, resampled = curve.score(None), [curve.score(counts) for counts in draws]
    points = _list_points(curve.sizes, real, np.array(resampled))
    whole = LearningCurve(points, (), "", int(is_scored.sum()), is_even)
    n_errors = int((curve.last() != data.targets[is_scored]).sum()) if kept else 0
    why_not = _why_not(len(data.targets), whole, n_errors)
    if why_not:
        return LearningCurve(points, (), why_not, whole.n_scored, is_even)
    forecast, why_not = forecast_curve(
        np.array(curve.sizes), real, np.array(resampled), _choose_targets(len(data.targets))
    )
    return LearningCurve(points, forecast, why_not, whole.n_scored, is_even)


def forecast_curve(
    sizes: Ints, f1: Floats, resampled: Floats, targets: tuple[int, ...]
) -> tuple[tuple[CurvePoint, ...], str]:
    """Return the macro F1 at more labels, with intervals, and why there is none.

    ``f1`` (S,) at ``sizes`` (S,) labels, ``resampled`` (B, S) the same by other draws of the groups.
    """
    law = fit_law(sizes, 1 - f1)
    laws = [each for row in resampled if (each := fit_law(sizes, 1 - row)) is not None]
    if law is None or len(laws) < len(resampled) / 2:
        return (), "the curve follows no inverse power law"
    points = []
    for n in targets:
        # The scatter of the points themselves is not in a fitted law: the interval keeps it.
        residual = float(np.std(1 - f1 - _law(sizes.astype(float), *law)))
        values = np.array([float(1 - _law(np.array([float(n)]), *each)[0]) for each in laws])
        low, high = np.quantile(values, [0.025, 0.975])
        middle = float(1 - _law(np.array([float(n)]), *law)[0])
        interval = (
            float(np.clip(min(low, middle) - 2 * residual, 0, 1)),
            float(np.clip(max(high, middle) + 2 * residual, 0, 1)),
        )
        points.append(CurvePoint(int(n), middle, interval))
    low, high = points[-1].f1_ci95
    if high - low > _MOST_WIDTH:
        return (), f"the interval would reach from {low:.2f} to {high:.2f}"
    return tuple(points), ""


def fit_law(sizes: Ints, errors: Floats) -> tuple[float, float, float] | None:
    """Return a, b, c of ``error = a · n^−b + c``, b from 0.1 to 2, c from 0; None of fewer than three sizes.

    >>> n = np.array([20, 40, 80, 160, 320])
    >>> [round(value, 2) for value in fit_law(n, 2.0 * n**-0.5 + 0.02)]
    [2.0, 0.5, 0.02]
    """
    from scipy.optimize import nnls

    # For a given b the law is linear: the best of a fine grid is found without a start or a failure.
    best: tuple[float, tuple[float, float, float]] | None = None
    if len(sizes) < 3 or not np.isfinite(errors).all():
        return None
    for power in np.linspace(0.1, 2.0, 39):
        columns = np.column_stack([sizes.astype(np.float64) ** -power, np.ones(len(sizes))])
        (a, c), left = nnls(columns, errors)
        if best is None or left < best[0] - 1e-12:
            best = float(left), (float(a), float(power), float(c))
    return best[1] if best else None


def _law(n: Floats, a: float, b: float, c: float) -> Floats:
    return np.asarray(a * n**-b + c)


def _choose_sizes(data: HeadData, folds: Ints) -> list[int]:
    """Return numbers of labels, in equal steps of their logarithm, up to what the smallest part has."""
    most = int(len(data.targets) - np.bincount(folds).max())
    least = max(5 * data.n_classes, most // 10)
    if most <= least:
        return [most]
    return sorted({round(size) for size in np.geomspace(least, most, _N_SIZES).tolist()})


def _choose_targets(n: int) -> tuple[int, ...]:
    """Return the number of labels there are, which cross-validation never learns from at once, and more."""
    return n, n + 50, max(2 * n, n + 100)


def _predict_with(
    data: HeadData,
    folds: Ints,
    config: HeadConfig,
    size: int,
    seed: tuple[int, int],
    stop: Callable[[], None],
) -> Ints | None:
    """Return classes (N,) by heads of about ``size`` labels; None where a class would have none."""
    rng, found = np.random.default_rng(seed), np.zeros(len(data.targets), np.int64)
    for number in np.unique(folds):
        stop()
        rest = np.flatnonzero(folds != number)
        order = {code: place for place, code in enumerate(rng.permutation(np.unique(data.codes[rest])))}
        ranks = np.array([order[code] for code in data.codes[rest]])
        chosen = np.zeros(len(data.targets), np.bool_)
        chosen[rest[np.argsort(ranks, kind="stable")[:size]]] = True
        part = data.select(chosen)
        if len(np.unique(part.targets)) < data.n_classes:
            return None
        found[folds == number] = fit_head(part, config).logits(data.served[folds == number]).argmax(axis=1)
    return found


class _Curve:
    """Classes by heads of each size: macro F1 of them all on any draw of the images."""

    def __init__(self, truth: Ints, n_classes: int, found: list[tuple[int, Ints]]) -> None:
        self._truth, self._n_classes, self._found = truth, n_classes, found
        self.sizes = sorted({size for size, _ in found})

    def last(self) -> Ints:
        return self._found[-1][1]

    def score(self, counts: npt.NDArray[np.integer] | None) -> Floats:
        """Return macro F1 (S,), each image counted as often as ``counts`` (N,) says."""
        weight = np.ones(len(self._truth)) if counts is None else counts.astype(np.float64)
        scores: dict[int, list[float]] = {size: [] for size in self.sizes}
        for size, labels in self._found:
            scores[size].append(_macro_f1(self._truth, labels, weight, self._n_classes))
        return np.array([float(np.mean(scores[size])) for size in self.sizes])


def _macro_f1(truth: Ints, found: Ints, weight: Floats, n_classes: int) -> float:
    table = np.zeros((n_classes, n_classes))
    np.add.at(table, (truth, found), weight)
    total = table.sum(axis=0) + table.sum(axis=1)
    is_there = table.sum(axis=1) > 0
    scores = np.divide(2 * np.diag(table), total, out=np.zeros(n_classes), where=total > 0)
    return float(scores[is_there].mean()) if is_there.any() else 0.0


def _draw_groups(codes: Ints, rng: np.random.Generator) -> list[Ints]:
    """Return how often each image (N,) stands in resamples of the groups."""
    groups, place = np.unique(codes, return_inverse=True)
    return [
        np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))[place.reshape(-1)]
        for _ in range(_N_BOOTSTRAP)
    ]


def _list_points(sizes: list[int], real: Floats, resampled: Floats) -> tuple[CurvePoint, ...]:
    points = []
    for at, size in enumerate(sizes):
        low, high = np.quantile(resampled[:, at], [0.025, 0.975])
        points.append(CurvePoint(size, float(real[at]), (float(low), float(high))))
    return tuple(points)


def _why_not(n_labels: int, curve: LearningCurve, n_errors: int) -> str:
    if n_labels < LEAST_LABELS:
        return f"{LEAST_LABELS} labels are needed, {n_labels} are there"
    if curve.n_scored < LEAST_SCORED:
        return f"{LEAST_SCORED} images to score are needed, {curve.n_scored} are there"
    if len(curve.points) < 4:
        return "too few labels of a class to learn from fewer of them"
    if n_errors < LEAST_ERRORS:
        return f"only {n_errors} errors are left, too few to see how they fall"
    return ""
