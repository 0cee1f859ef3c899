"""What a second person's names say of slips, and the interval that allows for them."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.spotcheck.test_interval import draw_batch

from georgia.errors import InputError
from georgia.spotcheck.interval import Name, estimate_fraction
from georgia.spotcheck.second import allow_slips, choose_second, estimate_slips


def slip(names: list[Name], rate: float, rng: np.random.Generator) -> list[Name]:
    swapped = {Name.TARGET: Name.OTHER, Name.OTHER: Name.TARGET}
    return [swapped[name] if rng.random() < rate else name for name in names]


def test_second_names_one_of_every_ten() -> None:
    chosen = choose_second(60, 3)
    assert [at // 10 for at in chosen] == list(range(6))
    assert choose_second(0, 3) == []


def test_slips_are_found_from_disagreement() -> None:
    rng = np.random.default_rng(1)
    truth = [Name.TARGET if value else Name.OTHER for value in rng.random(4000) < 0.3]
    found = estimate_slips(slip(truth, 0.05, rng), slip(truth, 0.05, rng))
    assert found.low <= 0.05 <= found.high
    assert found.rate == pytest.approx(0.05, abs=0.01)


def test_few_pairs_say_little_of_slips() -> None:
    six, sixty = (estimate_slips(["PG"] * n, ["PG"] * n) for n in (6, 60))
    assert (six.rate, six.low) == (0.0, 0.0)
    assert six.high > 0.2
    assert sixty.high < 0.035


def test_opposite_names_say_nothing() -> None:
    _, population, draws, names = draw_batch(0.2, "good", 2, n=30)
    found, slips = allow_slips(population, draws, names, (["PG"] * 6, ["CEX"] * 6))
    assert slips.high == 0.5
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.slow
def test_interval_with_slips_holds_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(5)
    n_plain = n_allowed = 0
    for seed in range(12):
        truth, population, draws, names = draw_batch(0.0, "good", seed, n=200)
        first, second = slip(names, 0.05, rng), slip(names, 0.05, rng)
        plain = estimate_fraction(population, draws, first)
        found, _ = allow_slips(population, draws, first, (first, second))
        n_plain += plain.low <= truth.mean() <= plain.high
        n_allowed += found.low <= truth.mean() <= found.high
    assert n_plain < 6
    assert n_allowed >= 11


def test_slips_need_pairs() -> None:
    with pytest.raises(InputError, match="one name or more of both persons"):
        estimate_slips([], [])
