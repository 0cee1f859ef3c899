"""Laws of confidence intervals and of the effective number of groups."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.metrics.intervals import effective_count, f1_wilson_interval, upper_error_limit, wilson_interval


def test_wilson_interval_is_symmetric_and_narrows() -> None:
    for n in (1, 5, 684):
        for n_correct in range(0, n + 1, max(1, n // 5)):
            low, high = wilson_interval(n_correct / n, n)
            other = wilson_interval(1 - n_correct / n, n)
            assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high))
            assert 0.0 <= low <= n_correct / n <= high <= 1.0
    assert np.ptp(wilson_interval(0.9, 1000)) < np.ptp(wilson_interval(0.9, 100))
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


def test_wilson_interval_matches_published_case() -> None:
    # Source: Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E,
    # table I, score method: 81 of 263 and 15 of 148.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_error_limit_follows_rule_of_three() -> None:
    assert upper_error_limit(0, 684) == pytest.approx(3 / 684, rel=0.01)
    assert upper_error_limit(0, 684) == pytest.approx(0.0044, abs=5e-5)
    limits = [upper_error_limit(k, 100) for k in range(101)]
    assert (np.diff(limits) >= 0).all()
    assert limits[-1] == 1.0
    with pytest.raises(InputError, match="between 0 and n"):
        upper_error_limit(3, 2)


def test_error_limit_is_exact() -> None:
    from scipy.stats import binom

    assert binom.cdf(3, 200, upper_error_limit(3, 200)) == pytest.approx(0.05, abs=1e-9)


def test_effective_count_is_at_most_group_count() -> None:
    rng = np.random.default_rng(10)
    for _ in range(20):
        sizes = rng.integers(1, 9, 30)
        assert 1.0 <= effective_count(sizes) <= 30.0 + 1e-9
    assert effective_count(np.array([0])) == 0.0


def test_f1_limits_follow_wilson_limits() -> None:
    low, high = f1_wilson_interval(90, 100, 100.0)
    jaccard_low, jaccard_high = wilson_interval(0.9, 100)
    assert (low, high) == pytest.approx(
        (2 * jaccard_low / (1 + jaccard_low), 2 * jaccard_high / (1 + jaccard_high))
    )
    assert f1_wilson_interval(0, 0, 0.0) == (0.0, 1.0)
