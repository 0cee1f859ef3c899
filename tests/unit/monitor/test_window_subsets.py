"""Half or a third of the windows, in turns: what is taken, what it is worth, what the record holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.helpers.monitor import NAMES, make_result
from tests.helpers.spotcheck import fill_batch

from georgia.config import build_config
from georgia.errors import InputError
from georgia.model.load import load_bundled_model
from georgia.monitor.batch_tracker import BatchTracker, find_differences
from georgia.monitor.fraction import count_effective
from georgia.monitor.result import FrameAnalysis, TileMap
from georgia.monitor.settings import ChartConfig, MonitorConfig, TileConfig, Windows
from georgia.monitor.start_record import _describe_windows
from georgia.monitor.tile import FrameAnalyzer, place_windows
from georgia.monitor.window_subsets import WindowSubsets, number_subsets
from georgia.report.batch.facts import read_facts
from georgia.report.batch.page import render_batch
from georgia.spotcheck.checked import measure_check
from georgia.spotcheck.in_store import begin_check
from georgia.spotcheck.plan import SpotcheckConfig
from georgia.synthetic import render_frame

PARTS = (Windows.HALF, Windows.THIRD)
BOXES = place_windows(1000, 1112, 168, 0.25)
FULL, EVEN = np.ones(len(BOXES), bool), np.ones(len(BOXES))


@pytest.mark.parametrize("windows", PARTS)
@pytest.mark.parametrize("size", [(1000, 1112), (576, 640), (200, 900)])
def test_subsets_take_every_window_once(windows: Windows, size: tuple[int, int]) -> None:
    boxes = place_windows(*size, 168, 0.25)
    subsets, full = WindowSubsets(windows), np.ones(len(boxes), bool)
    found = [subsets.take(boxes, full, np.ones(len(boxes)), 1) for _ in range(windows.n_subsets)]
    taken = np.stack([subset.is_taken for subset in found])
    np.testing.assert_array_equal(taken.sum(axis=0), 1)
    assert np.ptp(taken.sum(axis=1)) <= max(2, len(boxes) // 12)
    assert [subset.number for subset in found] == list(range(1, windows.n_subsets + 1))
    assert subsets.take(boxes, full, np.ones(len(boxes)), 1).number == 1


def test_all_windows_are_the_default() -> None:
    subset = WindowSubsets().take(BOXES, FULL, EVEN, 5)
    assert (subset.is_taken.all(), subset.number, subset.worth) == (True, 0, 1.0)
    assert TileConfig().windows == Windows.ALL
    with pytest.raises(InputError, match=r"'windows' must be one of all, half, third; got 'quarter'"):
        build_config(TileConfig, {"windows": "quarter"})


def test_windows_of_one_subset_touch_at_corners_only() -> None:
    for n_subsets in (2, 3):
        own = BOXES[number_subsets(BOXES, n_subsets) == 0]
        assert count_effective(own) > 0.75 * len(own)
    half = BOXES[number_subsets(BOXES, 2) == 0]
    assert count_effective(half) > 0.9 * count_effective(BOXES)


@pytest.mark.parametrize("windows", PARTS)
def test_effective_number_does_not_alternate(windows: Windows) -> None:
    """Where the same crystals stay in view, each subset tells the same number: that of the poorest."""
    rng, subsets = np.random.default_rng(4), WindowSubsets(windows)
    cover, full = rng.random(len(BOXES)) ** 3, rng.random(len(BOXES)) < 0.8
    told, own = [], []
    for _ in range(2 * windows.n_subsets):
        subset = subsets.take(BOXES, full, cover, 2)
        shown = full & subset.is_taken
        own.append(count_effective(BOXES[shown], cover[shown]))
        told.append(subset.worth * own[-1])
        assert 0 < subset.worth <= 1
    assert told == pytest.approx([min(own)] * len(told))
    assert np.ptp(own) > 0.5


def test_few_windows_are_all_taken() -> None:
    subsets, full = WindowSubsets(Windows.HALF), np.zeros(len(BOXES), bool)
    full[np.flatnonzero(number_subsets(BOXES, 2) == 0)[:12]] = True
    full[np.flatnonzero(number_subsets(BOXES, 2) == 1)[:9]] = True
    first, second = (subsets.take(BOXES, full, EVEN, 5) for _ in range(2))
    assert (first.number, second.number) == (1, 0)
    assert second.is_taken.all()
    nothing = subsets.take(BOXES, np.zeros(len(BOXES), bool), EVEN, 5)
    assert nothing.is_taken.all()


@pytest.fixture(scope="module")
def halves() -> tuple[list[FrameAnalysis], FrameAnalysis]:
    """Return what two subsets, and all windows, say of one frame."""
    image = render_frame(5, (400, 500), 0.5, 0.5).image
    half, every = (
        FrameAnalyzer(load_bundled_model(), TileConfig(min_judged=2, windows=windows), threads=1)
        for windows in (Windows.HALF, Windows.ALL)
    )
    assert (
        half.describe_windows()
        == f"windows of {half.tile_px} px: half of the windows of each frame, in turns"
    )
    assert every.describe_windows() == f"windows of {every.tile_px} px"
    return [half.analyze(image), half.analyze(image)], every.analyze(image)


def test_two_subsets_say_what_all_windows_say(halves: tuple[list[FrameAnalysis], FrameAnalysis]) -> None:
    subsets, every = halves
    boxes = np.concatenate([subset.map.boxes for subset in subsets])
    codes = np.concatenate([subset.map.codes for subset in subsets])
    assert sorted(map(tuple, boxes)) == sorted(map(tuple, every.map.boxes))
    order, whole = (np.lexsort(each.T) for each in (boxes, every.map.boxes))
    np.testing.assert_array_equal(codes[order], every.map.codes[whole])
    assert every.n_skipped is None
    for subset in subsets:
        assert subset.n_tiles == every.n_tiles
        assert subset.n_skipped is not None
        assert subset.n_judged + subset.n_unknown + subset.n_empty + subset.n_skipped == subset.n_tiles
        assert subset.input is not None
        assert subset.input.n_full == subset.n_judged + subset.n_unknown
    assert subsets[0].n_effective == pytest.approx(subsets[1].n_effective, rel=0.1)


def test_interval_of_half_is_wider(halves: tuple[list[FrameAnalysis], FrameAnalysis]) -> None:
    subsets, every = halves
    whole = every.fraction_of("PG")
    assert whole is not None
    for subset in subsets:
        found = subset.fraction_of("PG")
        assert found is not None
        assert found.low < whole.fraction < found.high
        assert subset.n_effective < every.n_effective
        assert found.high - found.low > whole.high - whole.low


def test_limits_of_other_windows_are_dropped() -> None:
    basis = {"model": "a", "impurity": "PG", "windows": "all", "tile_px": 0}
    before = BatchTracker(ChartConfig(mean=0.03, sigma=0.01), basis)
    learned = before.to_json().replace('"by hand"', '"learned"')
    after = BatchTracker.from_json(learned, ChartConfig(), {**basis, "windows": "half"})
    assert after.charts.limits is None
    assert "another choice of windows; they are learned anew" in after.take_dropped()["reason"]


def test_batches_before_the_choice_had_all_windows() -> None:
    basis = {"model": "a", "impurity": "PG", "windows": "half"}
    earlier = {"model": "a", "impurity": "PG"}
    assert find_differences(earlier, basis) == ["choice of windows"]
    assert find_differences(earlier, {**basis, "windows": "all"}) == []
    assert find_differences({}, basis) == []


def test_settings_hold_the_choice() -> None:
    config = build_config(MonitorConfig, {"watch": "probe", "windows": "third"})
    assert config.tiles.windows == Windows.THIRD
    assert config.to_json_dict()["windows"] == "third"
    assert _describe_windows(config) == {"windows": "a third of the windows of each frame, in turns"}
    assert _describe_windows(MonitorConfig()) == {}


def test_record_report_and_spot_check_say_what_is_left_out(tmp_path: Path) -> None:
    """Of six frames, two are looked at in half of their windows: 36 and 30 of them are left out."""
    store, batch, _ = fill_batch(str(tmp_path / "m.db"), tmp_path / "frames", n_frames=4)
    boxes = np.array([[0, 0, 32, 32]], np.int32)
    tiles = TileMap(64, 64, NAMES, boxes, np.array([1], np.int8), np.array([[0, 1]], np.float16))
    for number, n_skipped in ((5, 36), (6, 30)):
        store.record_frame(make_result(number, batch, map=tiles, n_skipped=n_skipped), "probe", "{}")
    assert [frame.n_skipped for frame in store.frames()] == [30, 36, None, None, None, None]
    assert store.frames()[0].to_json_dict()["n_skipped"] == 30
    text = render_batch(read_facts(store, store.batch(batch), "m.db"))
    assert "in 2 of 6 frames some windows were left out, 33 in the mean" in text
    check = begin_check(store, store.batch(batch), SpotcheckConfig(n=4), "Ann")
    found = measure_check(store, check)
    assert (found.count("n_windows"), found.count("n_skipped")) == (18, 66)
    assert found.to_json_dict()["n_skipped"] == 66
    store.close()
