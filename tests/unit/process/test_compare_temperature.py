"""Batches over temperature: other cooling rates, none, spans without values, and both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.monitor import make_result

from georgia.errors import InputError
from georgia.monitor.process_record import Piece, VariableValues, write_piece
from georgia.monitor.records import AuditAction
from georgia.monitor.store import Store
from georgia.process.compare import compare_batches

BY, STEP_S = "=T_r [°C]", 10.0


def fraction_at(temperature: float) -> float:
    """What every batch shows at a temperature, whatever its cooling rate."""
    return 0.01 * (60.0 - temperature)


class Cooled:
    """A store whose batches cool at their own rates; a frame each 10 s shows what its temperature says."""

    def __init__(self, folder: Path) -> None:
        self.now_s, self.n = 0.0, 0
        self.store = Store(str(folder / "m.db"), clock=lambda: self.now_s)

    def add(
        self,
        name: str,
        temperature: Callable[[int], float] | None,
        n: int = 40,
        unknown: range = range(0),
        scale: float = 1.0,
    ) -> int:
        start_s = self.now_s = 1e6 * (self.n + 1)
        batch = self.store.begin_batch("probe", name, "Ann", "PG", "Ann").id
        for k in range(n):
            self.n += 1
            at = temperature(k) if temperature else 60.0 - k
            values = {"frame_time_s": start_s + STEP_S * k, "n_judged": 50, "model_sha256": "m"}
            result = make_result(self.n, batch, scale * fraction_at(at), **values)
            self.store.record_frame(result, "probe", json.dumps({"basis": {"model": "m"}}))
        self.now_s = start_s + STEP_S * n
        if temperature is not None:
            rows = [(start_s + STEP_S * k, temperature(k), "good") for k in range(n) if k not in unknown]
            piece = Piece("dcs", "x", "Ann", [VariableValues("T_r", "°C", rows)], batch_id=batch)
            self.store.write(lambda change: write_piece(change, piece))
        self.store.end_batch(batch, "Ann")
        return batch


@pytest.fixture
def cooled(tmp_path: Path) -> Cooled:
    return Cooled(tmp_path)


def test_batches_of_other_cooling_rates_lie_over_one_another_by_temperature(cooled: Cooled) -> None:
    slow = cooled.add("slow", lambda k: 60 - 0.5 * k, n=80)
    fast = cooled.add("fast", lambda k: 60 - 2.0 * k, n=20)
    found = compare_batches(cooled.store, [slow, fast], BY)
    for line in found.lines:
        assert np.allclose([y or 0.0 for y in line.y], [fraction_at(x) for x in line.x])
        assert line.n_left_out == 0
    assert [sum(line.n) for line in found.lines] == [80, 20]
    by_time = compare_batches(cooled.store, [slow, fast]).lines
    at_two_min = [dict(zip(np.round(line.x, 2), line.y, strict=True))[2.0] for line in by_time]
    assert np.allclose(at_two_min, [0.06, 0.24]), "by time they differ by their rates"


def test_batch_without_temperature_is_named(cooled: Cooled) -> None:
    first = cooled.add("A", lambda k: 60.0 - k)
    bare = cooled.add("no thermometer", None)
    with pytest.raises(
        InputError, match=r"a choice that all have is needed; got '=T_r \[°C\]'. Without it: no thermometer"
    ):
        compare_batches(cooled.store, [first, bare], BY)
    found = compare_batches(cooled.store, [first, bare])
    assert found.choices == ("elapsed", "frame")
    assert all(line.n_left_out == 0 for line in found.lines)


def test_frames_without_a_temperature_are_left_out_and_counted(cooled: Cooled) -> None:
    batch = cooled.add("A", lambda k: 60.0 - k, unknown=range(10, 30))
    line = compare_batches(cooled.store, [batch], BY).lines[0]
    # A value holds for three steps; the 17 frames after that have none.
    assert (line.n_frames, line.n_left_out) == (40, 17)
    known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    assert all(x >= 51 or x <= 30 for x, _ in known)
    gaps = [x for x, y in zip(line.x, line.y, strict=True) if y is None]
    assert len(gaps) == 1
    assert 30 < gaps[0] < 51


def test_variable_that_goes_both_ways_is_said(cooled: Cooled) -> None:
    cycle = cooled.add("cycle", lambda k: 20.0 + k if k < 20 else 60.0 - k)
    swing = cooled.add("swing", lambda k: 60.0 - k + 1.5 * (-1) ** k)
    notes = compare_batches(cooled.store, [cycle, swing], BY).notes
    both = [note for note in notes if "rises and falls" in note]
    assert both == ["cycle: T_r [°C] rises and falls, and a point holds the frames of both ways"]
    assert not any("rises and falls" in note for note in compare_batches(cooled.store, [cycle]).notes)


@pytest.mark.slow
def test_band_by_temperature_is_of_batches_with_one(cooled: Cooled) -> None:
    rates, scales = np.linspace(0.5, 2.5, 9), np.linspace(0.5, 1.5, 9)
    batches = [
        cooled.add(f"R{k}", lambda at, rate=rate: 60 - rate * at, n=int(30 / rate), scale=scale)
        for k, (rate, scale) in enumerate(zip(rates, scales, strict=True))
    ]
    bare = cooled.add("bare", None)
    for batch in (*batches, bare):
        cooled.store.append_event("Ann", AuditAction.LIMITS_SET, {"from_batch": batch}, batch)
    found = compare_batches(cooled.store, [batches[4]], BY)
    assert found.n_released == 9
    assert f"1 released batches without values of {BY[1:]} are not in the band" in found.notes
    band = found.band
    at = int(np.argmin(np.abs(np.array(band.x) - 45.0)))
    expected = np.array([1.0, 0.5, 1.5]) * fraction_at(band.x[at])
    assert np.allclose([band.median[at], band.low[at], band.high[at]], expected, atol=0.02)
