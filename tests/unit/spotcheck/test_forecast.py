"""How many names a wished width takes: fewer for a good net, and about as many as it then really takes."""

from __future__ import annotations

import pytest
from tests.unit.spotcheck.test_interval import draw_batch

from georgia.errors import InputError
from georgia.spotcheck import forecast
from georgia.spotcheck.forecast import count_names
from georgia.spotcheck.interval import Name, estimate_fraction
from georgia.spotcheck.plan import SpotcheckConfig


@pytest.mark.slow
def test_forecast_is_near_what_it_takes() -> None:
    _, population, draws, names = draw_batch(0.3, "good", 1, n=200)
    config = SpotcheckConfig(seed=1)
    so_far = estimate_fraction(population, draws, names[:40])
    n = count_names(population, config, 0.1, names[:40], so_far=so_far)
    assert n is not None
    really = next(
        at for at in range(40, 200) if estimate_fraction(population, draws, names[:at]).width <= 0.1
    )
    assert really / 2 <= n <= 2 * really


def test_narrower_takes_more_names() -> None:
    _, population, _, _ = draw_batch(0.3, "good", 2)
    config = SpotcheckConfig(seed=2)
    wide, narrow = (count_names(population, config, width) for width in (0.3, 0.15))
    assert wide is not None
    assert narrow is not None
    assert wide < narrow


def test_width_that_is_reached_takes_no_more() -> None:
    _, population, draws, names = draw_batch(0.3, "good", 3, n=60)
    found = estimate_fraction(population, draws, names)
    assert count_names(population, SpotcheckConfig(seed=3), 0.9, names, so_far=found) == 60


def test_contradicted_net_needs_more_names() -> None:
    _, population, draws, names = draw_batch(0.3, "good", 4, n=30)
    config = SpotcheckConfig(seed=4)
    swapped = [Name.OTHER if name is Name.TARGET else Name.TARGET for name in names]
    borne_out, against = (
        count_names(population, config, 0.2, given, so_far=estimate_fraction(population, draws, given))
        for given in (names, swapped)
    )
    assert borne_out is not None
    assert against is None or against > borne_out


def test_width_beyond_the_names_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _, population, _, _ = draw_batch(0.3, "useless", 5, size=80)
    assert count_names(population, SpotcheckConfig(), 1e-4) == 80
    monkeypatch.setattr(forecast, "MOST_NAMES", 50)
    assert count_names(population, SpotcheckConfig(), 1e-4) is None


@pytest.mark.parametrize("width", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_width_is_rejected(width: float) -> None:
    _, population, _, _ = draw_batch(0.3, "good", 6, size=50)
    with pytest.raises(InputError, match="a width between 0 and 1"):
        count_names(population, SpotcheckConfig(), width)
