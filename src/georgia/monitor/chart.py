"""Control charts of the impurity's fraction: EWMA, CUSUM and p-chart, one value of each per frame.

All three detect a rise only. Limits are estimated from an in-control period, or given by hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from georgia.errors import InputError
from georgia.monitor.result import ChartPoint, LimitKind
from georgia.monitor.settings import ChartConfig, ChartName
from georgia.monitor.smoothed import Pool

# A CUSUM that has signalled is held at this many times its limit, so that it can come down again after a
# long alarm; it lies above the limit, so that it changes no signal.
_CUSUM_CAP = 2.0


@dataclass(frozen=True)
class ControlLimits:
    """What is in control: mean fraction 0–1, its spread from frame to frame, and the p-chart's dispersion.

    ``dispersion`` is the spread of the frames by the binomial one, 1 or more.
    Source: Laney 2002 (p′ chart), doi 10.1081/QEN-120006708.
    """

    mean: float
    sigma: float
    dispersion: float = 1.0


@dataclass(frozen=True)
class ChartState:
    """What the charts know after some frames; a restart continues from it.

    ``baseline`` holds (fraction, effective windows) of the in-control period while it lasts, ``pool`` what
    the smoothed fraction's interval is made of.
    """

    n: int = 0
    ewma: float | None = None
    cusum: float = 0.0
    limits: ControlLimits | None = None
    n_since_limits: int = 0
    baseline: tuple[tuple[float, float], ...] = ()
    pool: Pool = field(default_factory=Pool)

    def to_json(self) -> str:
        """Return the state as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChartState:
        """Read what ``to_json`` wrote; ``{}`` is the beginning."""
        values = json.loads(text)
        if values.get("limits"):
            values["limits"] = ControlLimits(**values["limits"])
        values["baseline"] = tuple((float(x), float(n)) for x, n in values.get("baseline", ()))
        values["pool"] = Pool.from_dict(values.get("pool"))
        return cls(**values)


def start_charts(config: ChartConfig) -> ChartState:
    """Return the state before the first frame: with limits if they are given by hand."""
    if config.mean is None or config.sigma is None:
        return ChartState()
    return ChartState(ewma=config.mean, limits=ControlLimits(config.mean, config.sigma))


def update_charts(
    state: ChartState, fraction: float, n_effective: float, config: ChartConfig, subset: int = 0
) -> tuple[ChartState, ChartPoint]:
    """Return the state and the charts' values after one more frame's fraction, 0–1.

    ``subset`` says which of its windows it is of: see ``Pool``.
    """
    pool = state.pool.add(fraction, n_effective, config.ewma_lambda, subset)
    if state.limits is None:
        state, point = _warm_up(state, fraction, n_effective, config)
    else:
        state, point = _advance(state, state.limits, fraction, n_effective, config)
    low, high = pool.find_interval(point.ewma or 0.0, config.ewma_lambda)
    return replace(state, pool=pool), replace(point, ewma_low=low, ewma_high=high)


def _advance(
    state: ChartState, limits: ControlLimits, fraction: float, n_effective: float, config: ChartConfig
) -> tuple[ChartState, ChartPoint]:
    before = limits.mean if state.ewma is None else state.ewma
    ewma = next_ewma(before, fraction, config.ewma_lambda)
    cusum = next_cusum(state.cusum, (fraction - limits.mean) / limits.sigma, config.cusum_k)
    cusum = min(cusum, _CUSUM_CAP * config.cusum_h)
    n_since = state.n_since_limits + 1
    state = replace(state, n=state.n + 1, ewma=ewma, cusum=cusum, n_since_limits=n_since)
    point = ChartPoint(
        ewma=ewma,
        ewma_limit=limits.mean
        + ewma_half_width(limits.sigma, config.ewma_lambda, config.ewma_width, n_since),
        cusum=cusum,
        cusum_limit=config.cusum_h,
        p_limit=p_limit(limits.mean, n_effective, config.p_width * limits.dispersion),
        centre=limits.mean,
        limit=config.limit,
    )
    over, leading = _measure_over(point, fraction, config)
    return state, replace(point, over=over, leading=leading)


def _warm_up(
    state: ChartState, fraction: float, n_effective: float, config: ChartConfig
) -> tuple[ChartState, ChartPoint]:
    ewma = fraction if state.ewma is None else next_ewma(state.ewma, fraction, config.ewma_lambda)
    baseline = (*state.baseline, (fraction, n_effective))
    state = ChartState(n=state.n + 1, ewma=ewma, baseline=baseline)
    over = None if config.limit is None else ewma / config.limit
    leading = None if config.limit is None else LimitKind.PLAIN
    if len(baseline) >= config.baseline_frames:
        limits = estimate_limits([x for x, _ in baseline], [n for _, n in baseline])
        state = ChartState(n=state.n, ewma=limits.mean, limits=limits)
    return state, ChartPoint(ewma=ewma, over=over, limit=config.limit, leading=leading)


def _measure_over(point: ChartPoint, fraction: float, config: ChartConfig) -> tuple[float, LimitKind]:
    """Return the distance from the centre in units of the limit's, of the chart or of the plain limit.

    That of the larger distance leads.
    """
    kind = LimitKind(config.chart)
    value, limit = read_limit(kind, point, fraction)
    start = 0.0 if config.chart == ChartName.CUSUM else point.centre or 0.0
    over = ((value or 0.0) - start) / max((limit or 0.0) - start, 1e-12)
    plain = -math.inf if config.limit is None else (point.ewma or 0.0) / config.limit
    return (plain, LimitKind.PLAIN) if plain > over else (over, kind)


def read_limit(
    kind: LimitKind, point: ChartPoint, fraction: float | None
) -> tuple[float | None, float | None]:
    """Return what a limit is compared with, and the limit itself: of a fraction 0–1, of the CUSUM in σ."""
    return {
        LimitKind.EWMA: (point.ewma, point.ewma_limit),
        LimitKind.P: (fraction, point.p_limit),
        LimitKind.CUSUM: (point.cusum, point.cusum_limit),
        LimitKind.PLAIN: (point.ewma, point.limit),
    }[kind]


def estimate_limits(fractions: Sequence[float], n_effective: Sequence[float]) -> ControlLimits:
    """Return the mean and spread of an in-control period; its spread is never below that of counting.

    The mean of m frames is itself uncertain by σ/√m, which widens the spread by √(1 + 1/m).

    >>> limits = estimate_limits([0.0, 0.0, 0.0, 0.0, 0.0], [40.0] * 5)
    >>> limits.mean, round(limits.sigma, 4)
    (0.0, 0.0086)

    Raises:
        InputError: fewer than two frames are given.
    """
    m = len(fractions)
    if m < 2 or m != len(n_effective):
        raise InputError("Cannot set limits", needs="two frames or more are needed", got=m)
    mean = math.fsum(fractions) / m
    n_mean = max(1.0, math.fsum(n_effective) / m)
    measured = math.sqrt(math.fsum((x - mean) ** 2 for x in fractions) / (m - 1))
    # No impurity in m frames does not prove that there is none: half a window more, as Jeffreys' prior adds.
    at_least = (mean * n_mean * m + 0.5) / (n_mean * m + 1)
    counting = math.sqrt(at_least * (1 - at_least) / n_mean)
    sigma = max(measured, counting) * math.sqrt(1 + 1 / m)
    return ControlLimits(mean, sigma, max(1.0, sigma / counting))


def next_ewma(before: float, value: float, weight: float) -> float:
    """Return the exponentially weighted mean after one more value: ``λx + (1 − λ)z``.

    Source: Roberts 1959, doi 10.1080/00401706.1959.10489860.
    """
    return weight * value + (1 - weight) * before


def ewma_half_width(sigma: float, weight: float, width: float, t: int) -> float:
    """Return how far the EWMA's limit lies from its centre after t values.

    ``L σ √(λ/(2 − λ) · (1 − (1 − λ)^2t))``. Source: Lucas and Saccucci 1990, doi
    10.1080/00401706.1990.10484583.
    """
    return width * sigma * math.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * t)))


def next_cusum(before: float, z: float, k: float) -> float:
    """Return the upper CUSUM after one more standardized value: ``max(0, C + z − k)``.

    Source: Page 1954, doi 10.1093/biomet/41.1-2.100.
    """
    return max(0.0, before + z - k)


def p_limit(mean: float, n: float, width: float = 3.0) -> float:
    """Return the upper limit of a fraction of n trials: ``p + L √(p (1 − p) / n)``, at most 1.

    >>> round(p_limit(0.2313, 50), 4)
    0.4102
    """
    return min(1.0, mean + width * math.sqrt(mean * (1 - mean) / max(n, 1.0)))
