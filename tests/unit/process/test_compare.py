"""Batches over one another: gaps stay gaps, the band is that of the released, others are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.monitor import make_result

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor.process_record import Entry, EntryKind, Piece, VariableValues, write_entry, write_piece
from georgia.monitor.records import AuditAction
from georgia.monitor.released_batches import LIMITS_TAKEN, released_batches
from georgia.monitor.store import Store
from georgia.process.compare import LEAST_BATCHES, compare_batches

N = 40


class Runs:
    """A store whose batches have a frame each 10 s, with a fraction that is known, and a temperature."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self.store = Store(str(folder / "m.db"), clock=lambda: self.now_s)
        self.n = 0

    def add(
        self, name: str, level: float, missing: range = range(0), model: str = "m", **changes: Any
    ) -> int:
        start_s = self.now_s = 1e6 * (self.n + 1)
        batch = self.store.begin_batch("probe", name, "Ann", "PG", "Ann").id
        state = json.dumps({"basis": {"model": model, "tile_px": 64}})
        for k in range(N):
            self.n += 1
            if k not in missing:
                values = {"frame_time_s": start_s + 10 * k, "n_judged": 50, "model_sha256": model, **changes}
                self.store.record_frame(make_result(self.n, batch, level * k / N, **values), "probe", state)
        rows = [(start_s + 10 * k, 60.0 - k, "good") for k in range(N)]
        piece = Piece("dcs", "x", "Ann", [VariableValues("T_r", "°C", rows)], batch_id=batch)
        self.store.write(lambda change: write_piece(change, piece))
        entry = Entry(EntryKind.EVENT, start_s + 100, "seeding", "Ann", batch_id=batch)
        self.now_s = start_s + 10 * N
        self.store.write(lambda change: write_entry(change, entry))
        self.store.end_batch(batch, "Ann")
        return batch

    def release(self, batch: int) -> None:
        self.store.append_event("Ann", AuditAction.LIMITS_SET, {"from_batch": batch}, batch)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_lines_have_the_fraction_and_break_at_gaps(runs: Runs) -> None:
    first = runs.add("A", 0.4, missing=range(10, 25))
    found = compare_batches(runs.store, [first])
    line = found.lines[0]
    assert found.label == "min since the first frame"
    pairs = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    assert len(pairs) == N - 15
    assert np.allclose([y for _, y in pairs], [0.4 * (60 * x / 10) / N for x, _ in pairs])
    gaps = [x for x, y in zip(line.x, line.y, strict=True) if y is None]
    assert len(gaps) == 1
    assert 90 < 60 * gaps[0] < 250
    assert (line.n_frames, line.n_left_out, sum(line.n)) == (25, 0, 25)
    assert found.notes == (f"no band: 0 released batches can be compared, {LEAST_BATCHES} are needed",)


def test_temperature_and_event_give_x(runs: Runs) -> None:
    first = runs.add("A", 0.4)
    found = compare_batches(runs.store, [first], "=T_r [°C]")
    assert found.choices == ("elapsed", "frame", "=T_r [°C]", "@seeding")
    line = found.lines[0]
    assert np.allclose([y or 0.0 for y in line.y], [0.4 * (60 - x) / N for x in line.x])
    since = compare_batches(runs.store, [first], "@seeding").lines[0]
    assert np.isclose(since.x[0], -100 / 60)
    assert compare_batches(runs.store, [first], "frame").lines[0].x == tuple(range(1, N + 1))
    with pytest.raises(
        InputError, match=r"a choice that all have is needed; got '=T_r'. Did you mean '=T_r \[°C\]'"
    ):
        compare_batches(runs.store, [first], "=T_r")


@pytest.mark.slow
def test_band_is_of_nine_released_batches_at_least(runs: Runs) -> None:
    levels = np.linspace(0.1, 0.9, 9)
    batches = [
        runs.add(f"R{k}", level, missing=range(30, 40) if k == 0 else range(0))
        for k, level in enumerate(levels)
    ]
    other = runs.add("other", 0.3, model="n")
    for batch in batches[:8]:
        runs.release(batch)
    runs.release(other)
    assert set(released_batches(runs.store).values()) == {LIMITS_TAKEN}
    found = compare_batches(runs.store, [batches[8]])
    assert (found.band.x, found.n_released) == ((), 8)
    assert found.notes[0] == "1 released batches of another model, class or windows are not in the band"
    runs.release(batches[8])
    found = compare_batches(runs.store, [batches[8], other])
    assert found.lines[1].differs == ("model",)
    assert "other was analysed with another model than R8: their fractions cannot be compared" in found.notes
    band = found.band
    at = len(band.x) // 2
    k = 60 * band.x[at] / 10
    expected = np.array([0.5, 0.1, 0.9]) * k / N
    assert np.allclose([band.median[at], band.low[at], band.high[at]], expected, atol=0.01)
    assert (band.n[at], band.n[-1]) == (9, 8)
    assert (band.median[-1], band.high[-1]) == (None, None), "too few there"
    table = list(found.to_rows())
    assert {row["name"] for row in table} == {"R8", "other", "band"}


def test_batches_without_frames_and_altered_ones_are_said(runs: Runs) -> None:
    first = runs.add("A", 0.4)
    empty = runs.store.begin_batch("probe", "empty", "Ann", "PG", "Ann").id
    found = compare_batches(runs.store, [first, empty])
    assert found.lines[1].x == ()
    assert "empty: no frames" in found.notes
    with pytest.raises(InputError, match="1 to 12 batches are needed"):
        compare_batches(runs.store, [])


@pytest.mark.slow
def test_command_writes_page_and_tables(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("A <b>", "=B"):
        runs.add(name, 0.4, model=name)
    store, page = str(tmp_path / "m.db"), tmp_path / "out" / "both.html"
    options = ["report", store, "--compare", "A <b>", "--compare", "=B", "--by", "=T_r [°C]", "--out"]
    assert main([*options, str(page)]) == 0
    assert "=B was analysed with another model than A <b>" in capsys.readouterr().err
    text = page.read_text("utf-8")
    assert "A &lt;b&gt;" in text
    assert "No band: 0 released batches can be compared, 9 are needed." in text
    for suffix in (".csv", ".json", ".parquet"):
        assert main([*options, str(page.with_suffix(suffix))]) == 0
        assert page.with_suffix(suffix).stat().st_size > 100
    capsys.readouterr()
    assert [main([*options, str(place)]) for place in (page, tmp_path / "x.pdf")] == [2, 2]
    assert main(["report", store, "--compare", "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_source_tells_variables_of_one_title_apart(runs: Runs) -> None:
    first, second = runs.add("A", 0.4), runs.add("B", 0.4)
    rows = [(41e6 + 10 * k, 5.0 + k, "good") for k in range(N)]
    piece = Piece("lab", "y", "Ann", [VariableValues("T_r", "°C", rows)], batch_id=second)
    runs.store.write(lambda change: write_piece(change, piece))
    alone = compare_batches(runs.store, [first])
    assert "=T_r [°C]" in alone.choices
    for batches in ([first, second], [second, first]):
        found = compare_batches(runs.store, batches)
        assert [choice for choice in found.choices if "T_r" in choice] == ["=dcs: T_r [°C]"]
        with pytest.raises(InputError, match="a choice that all have"):
            compare_batches(runs.store, batches, "=T_r [°C]")
        lines = compare_batches(runs.store, batches, "=dcs: T_r [°C]").lines
        assert all(21.0 <= x <= 60.0 for line in lines for x in line.x)
    assert len(compare_batches(runs.store, [second], "=lab: T_r [°C]").lines[0].x)
