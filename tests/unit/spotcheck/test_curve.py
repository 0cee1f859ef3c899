"""The curve of a spot check over time: each span has its own interval, and all hold at once."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.spotcheck.test_interval import draw_batch

from georgia.errors import InputError
from georgia.spotcheck.curve import cut_spans, estimate_curve
from georgia.spotcheck.interval import Name, estimate_fraction


def test_one_span_is_the_whole_batch() -> None:
    _, population, draws, names = draw_batch(0.2, "good", 1, n=30)
    curve = estimate_curve(population, draws, names, np.zeros(population.size, np.int64))
    assert curve == [estimate_fraction(population, draws, names)]


def test_spans_hold_different_fractions() -> None:
    # The labels of the first half become "other": the fraction rises from 0 to about 0.5.
    truth, population, draws, _ = draw_batch(0.5, "useless", 2, n=200)
    spans = cut_spans(np.arange(population.size), 2)
    truth = np.where(spans == 0, 0.0, truth)
    names = [Name.TARGET if truth[draw.window] else Name.OTHER for draw in draws]
    first, second = estimate_curve(population, draws, names, spans)
    assert first.high < second.low
    assert first.n + second.n == 200
    for at, found in enumerate((first, second)):
        assert found.low <= truth[spans == at].mean() <= found.high


@pytest.mark.slow
def test_spans_hold_at_once() -> None:
    # 0.95 is promised; 40 batches with 0.95 show less than 33 once in 2,000 tries.
    held = 0
    for seed in range(40):
        truth, population, draws, names = draw_batch(0.1, "inverted", seed, n=30, size=300)
        spans = cut_spans(np.arange(300), 3)
        curve = estimate_curve(population, draws, names, spans)
        held += all(found.low <= truth[spans == at].mean() <= found.high for at, found in enumerate(curve))
    assert held >= 33


def test_span_without_a_name_is_open() -> None:
    _, population, draws, names = draw_batch(0.1, "good", 3, n=20)
    spans = np.zeros(population.size, np.int64)
    unseen = np.setdiff1d(np.arange(population.size), [draw.window for draw in draws])[:50]
    spans[unseen] = 1
    _, empty = estimate_curve(population, draws, names, spans)
    assert (empty.low, empty.high, empty.n) == (0.0, 1.0, 0)


def test_unclear_windows_count_in_their_span() -> None:
    _, population, draws, names = draw_batch(0.1, "good", 4, n=20)
    spans = cut_spans(np.arange(population.size), 2)
    names[0] = Name.UNCLEAR
    curve = estimate_curve(population, draws, names, spans)
    assert [found.n_unclear for found in curve] == [int(spans[draws[0].window] == at) for at in (0, 1)]


def test_windows_of_a_frame_stay_together() -> None:
    times = np.repeat([30.0, 10.0, 20.0, 40.0], 25)
    spans = cut_spans(times, 2)
    assert [set(spans[times == moment]) for moment in (10.0, 20.0, 30.0, 40.0)] == [{0}, {0}, {1}, {1}]
    assert set(cut_spans(np.full(9, 5.0), 4)) == {0}
    assert np.bincount(cut_spans(np.arange(1000)[::-1], 4)).tolist() == [250] * 4


def test_curve_needs_a_span_for_each_window() -> None:
    _, population, draws, names = draw_batch(0.1, "good", 5, n=5)
    with pytest.raises(InputError, match="one span is needed for each window"):
        estimate_curve(population, draws, names, np.zeros(3, np.int64))
    with pytest.raises(InputError, match="finite times"):
        cut_spans([1.0, float("nan")], 2)
