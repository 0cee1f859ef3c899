"""The interval of the smoothed fraction: whether it holds, and that it knows frames that are alike."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from georgia.metrics.intervals import wilson_interval
from georgia.monitor.fraction import DESIGN_EFFECT
from georgia.monitor.smoothed import COMMON_ERROR, N_LAGS, Pool

WEIGHT = 0.2
# Independent trials of a frame.
N = 20


def sample_frames(p: float, n: int, shared: float, seed: int) -> list[float]:
    """Return fractions of frames that have so much of their crystals in common with the frame before."""
    step = round(N * (1 - shared))
    tape = np.random.default_rng(seed).random(N + step * n) < p
    return [float(tape[step * at : step * at + N].mean()) for at in range(n)]


def pool_all(frames: list[float], weight: float = WEIGHT) -> Pool:
    pool = Pool()
    for fraction in frames:
        pool = pool.add(fraction, N * DESIGN_EFFECT, weight)
    return pool


def test_one_frame_has_its_own_interval() -> None:
    pool = pool_all([0.3])
    low, high = wilson_interval(0.3, N)
    assert pool.find_interval(0.3, WEIGHT) == pytest.approx((low - COMMON_ERROR, high + COMMON_ERROR))


def test_many_frames_leave_error_in_common() -> None:
    pool = pool_all([0.008] * 200, weight=0.01)
    low, high = pool.find_interval(0.008, 0.01)
    assert low == 0.0, "what a net names without impurity does not prove that there is some"
    assert high - low >= 2 * COMMON_ERROR
    assert pool_all([1.0] * 50).find_interval(1.0, WEIGHT)[1] == 1.0


def test_mean_is_the_ewma_of_all_frames() -> None:
    frames = sample_frames(0.2, 80, 0.0, 1)
    smoothed = frames[0]
    for fraction in frames[1:]:
        smoothed = WEIGHT * fraction + (1 - WEIGHT) * smoothed
    assert pool_all(frames).mean == pytest.approx(smoothed, abs=1e-6)


def test_pooled_frames_narrow_interval() -> None:
    low, high = pool_all([0.3, 0.25, 0.35, 0.3, 0.2, 0.4] * 5).find_interval(0.3, WEIGHT)
    alone_low, alone_high = wilson_interval(0.3, N)
    assert high - low < 0.6 * (alone_high - alone_low)


def follow_crystals(p: float, shared: float, seed: int, n: int = 50) -> list[Pool]:
    """Return the pool after each frame of crystals of random sizes, a part of which stays in view."""
    rng, pools = np.random.default_rng(seed), [Pool()]
    sizes, impure = np.exp(rng.normal(0, 0.9, 40)), rng.random(40) < p
    for _ in range(n):
        is_new = rng.random(40) >= shared
        sizes = np.where(is_new, np.exp(rng.normal(0, 0.9, 40)), sizes)
        impure = np.where(is_new, rng.random(40) < p, impure)
        trials = sizes.sum() ** 2 / (sizes @ sizes)
        pools.append(pools[-1].add(float(sizes @ impure / sizes.sum()), trials * DESIGN_EFFECT, WEIGHT))
    return pools[1:]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("p", [0.05, 0.3])
def test_interval_holds_the_slurry(p: float, shared: float) -> None:
    held, widths = [], []
    for seed in range(60):
        found = [pool.find_interval(pool.mean, WEIGHT) for pool in follow_crystals(p, shared, seed)]
        held.append([low <= p <= high for low, high in found])
        widths.append([high - low for low, high in found])
    # The error of 60 batches' mean is 2 points where frames are alike: 95 % is what many batches show.
    assert np.mean(held) >= 0.95 - 0.02
    assert np.mean(np.array(held)[:, -20:]) >= 0.95 - 0.03
    if not shared:
        alone = np.subtract(*reversed(wilson_interval(p, 20)))
        assert np.mean(np.array(widths)[:, -20:]) < 0.6 * alone, "frames that differ are worth many"


def test_crystals_in_common_are_known_by_sizes_alone() -> None:
    # No crystal is impure, so the fractions are all alike whatever the flow.
    inflations = [
        np.mean([follow_crystals(0.0, shared, seed)[-1].find_inflation(WEIGHT) for seed in range(10)])
        for shared in (0.0, 0.5, 0.9)
    ]
    assert inflations[0] < 2 < inflations[1] < inflations[2] <= 9.01


def test_first_frames_are_taken_for_alike() -> None:
    pools = [follow_crystals(0.3, 0.0, seed, n=40) for seed in range(10)]
    worth = [np.mean([frames[at].find_inflation(WEIGHT) for frames in pools]) for at in (0, 2, -1)]
    assert worth[0] == pytest.approx(1)
    assert worth[1] > 2, "three frames do not tell whether they are alike"
    assert worth[2] < worth[1]


def test_pool_of_earlier_version_goes_on() -> None:
    pool = follow_crystals(0.2, 0.0, 3, n=20)[-1]
    old = asdict(pool)
    del old["likeness"]
    resumed = Pool.from_dict(old)
    assert resumed.mean == pool.mean
    for _ in range(3):
        resumed = resumed.add(0.2, N * DESIGN_EFFECT, WEIGHT)
    assert resumed.likeness.n == 3
    assert sum(resumed.likeness.counts[:2]) > 0 == resumed.likeness.counts[N_LAGS - 1]
    low, high = resumed.find_interval(resumed.mean, WEIGHT)
    assert 0 <= low < high <= 1


def test_frames_alike_widen_interval() -> None:
    inflations = [
        np.mean([pool_all(sample_frames(0.3, 60, shared, seed)).find_inflation(WEIGHT) for seed in range(20)])
        for shared in (0.0, 0.5, 0.8)
    ]
    assert inflations[0] < inflations[1] < inflations[2]


def test_change_widens_interval() -> None:
    rng = np.random.default_rng(0)
    noise, trials = rng.normal(0, 0.09, 60), N * DESIGN_EFFECT * rng.uniform(0.8, 1.2, 60)

    def follow(means: list[float]) -> Pool:
        pool = Pool()
        for mean, deviation, n in zip(means, noise, trials, strict=True):
            pool = pool.add(mean + deviation, n, WEIGHT)
        return pool

    steady, stepped = follow([0.3] * 60), follow([0.3] * 40 + [0.6] * 20)
    assert steady.find_inflation(WEIGHT) < 3
    assert stepped.find_inflation(WEIGHT) > steady.find_inflation(WEIGHT) + 1


def test_same_frame_again_is_worth_one() -> None:
    low, high = pool_all([0.3] * 60).find_interval(0.3, WEIGHT)
    assert (low, high) == pytest.approx(pool_all([0.3]).find_interval(0.3, WEIGHT), abs=0.03)


def test_interval_holds_the_ewma_itself() -> None:
    low, high = pool_all([0.5] * 3).find_interval(0.01, WEIGHT)
    assert low <= 0.01 < high
    assert pool_all([0.0] * 30).find_interval(0.0, WEIGHT)[0] == 0
    assert pool_all([1.0] * 30).find_interval(1.0, WEIGHT)[1] == 1


def test_subsets_of_a_slurry_that_stands_still_do_not_pass_for_many_frames() -> None:
    """Each half of the windows tells its own fraction, again and again: no frame adds anything."""
    rng, told = np.random.default_rng(3), {}
    for name, subsets in (("in turns", (1, 2)), ("as if of all windows", (0, 0))):
        pool = Pool()
        for at in range(60):
            trials = N * DESIGN_EFFECT * (1 + 0.01 * rng.normal())
            pool = pool.add((0.1, 0.3)[at % 2], trials, WEIGHT, subsets[at % 2])
        low, high = pool.find_interval(pool.mean, WEIGHT)
        told[name] = high - low
    alone = np.subtract(*wilson_interval(0.2, N)[::-1])
    assert told["in turns"] > 0.95 * alone
    assert told["as if of all windows"] < 0.75 * alone, "what subsets are told for"


@pytest.mark.parametrize("n_subsets", [2, 3])
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_interval_of_subsets_holds_the_slurry(n_subsets: int, shared: float) -> None:
    """Each subset has crystals of its own, of which most stay in view; the first frames count as well."""
    p, n_held, n_all = 0.2, 0, 0
    for seed in range(60):
        rng, pool = np.random.default_rng([seed, n_subsets]), Pool()
        impure = rng.random((n_subsets, N)) < p
        for at in range(40):
            impure = np.where(rng.random(impure.shape) < shared, impure, rng.random(impure.shape) < p)
            own, subset = impure[at % n_subsets], at % n_subsets + 1
            pool = pool.add(float(own.mean()), N * DESIGN_EFFECT, WEIGHT, subset)
            low, high = pool.find_interval(pool.mean, WEIGHT)
            n_held, n_all = n_held + (low <= p <= high), n_all + 1
    assert n_held >= 0.95 * n_all


def test_restart_among_subsets_leaves_frames_alike() -> None:
    """A start begins with the first subset: two neighbours have the same windows, once."""
    rng, widths = np.random.default_rng(5), []
    for restart_at in (1000, 31):
        pool, numbers = (
            Pool(),
            [at % 2 + 1 if at < restart_at else (at - restart_at) % 2 + 1 for at in range(60)],
        )
        for number in numbers:
            trials = N * DESIGN_EFFECT * (1 + 0.01 * rng.normal())
            pool = pool.add((0.1, 0.3)[number - 1], trials, WEIGHT, number)
        low, high = pool.find_interval(pool.mean, WEIGHT)
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_pool_before_subsets_goes_on_with_all_windows() -> None:
    values = asdict(pool_all([0.2, 0.3, 0.25]))
    before = Pool.from_dict({**values, "recent": [each[:2] for each in values["recent"]]})
    assert before == pool_all([0.2, 0.3, 0.25])


def test_pool_survives_its_text() -> None:
    pool = pool_all(sample_frames(0.2, 15, 0.0, 3))
    assert Pool.from_dict(json.loads(json.dumps(asdict(pool)))) == pool
    assert Pool.from_dict(None) == Pool()
