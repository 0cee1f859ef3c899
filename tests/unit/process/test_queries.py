"""The process of a batch: which values are its own, how many points, and what the record proves of them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result

from georgia.errors import InputError
from georgia.monitor.process_record import (
    Entry,
    EntryKind,
    Piece,
    VariableValues,
    remove_old_values,
    withdraw_entry,
    write_entry,
    write_piece,
)
from georgia.monitor.queries import StoreReader
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.process.join import export_joined, join_frames
from georgia.process.queries import BatchProcess, ProcessSeries, ProcessVariable, read_batch_process
from georgia.report.batch.process import group_by_unit


def make_piece(n: int = 60, start_s: float = 1000.0, **changes: object) -> Piece:
    """Return a piece with a value of T_r each second, and a gap at every tenth."""
    rows = [
        (start_s + k, None if k % 10 == 9 else 20.0 + k, "Bad" if k % 10 == 9 else "good") for k in range(n)
    ]
    values = {"source": "reactor", "file": "r.csv", "who": "Ann", "n_rows": n, "end_byte": 10 * n, **changes}
    return Piece(variables=[VariableValues("T_r", "°C", rows)], **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a store with one batch whose frames were taken at 1001 to 1030 s."""
    folder = tmp_path_factory.mktemp("template") / "store"
    folder.mkdir()
    opened = Store(str(folder / "m.db"), clock=lambda: 1000.0)
    batch = opened.begin_batch("probe", "B-1", "Ann", "PG", "Ann")
    for number in range(1, 31):
        opened.record_frame(make_result(number, batch.id), "probe", "{}")
    opened.end_batch(batch.id, "Ann")
    opened.close()
    return folder


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    opened = Store(str(tmp_path / "m.db"), clock=lambda: 1000.0)
    yield opened
    opened.close()


def test_batch_takes_values_of_its_time_and_probe(store: Store) -> None:
    store.write(lambda change: write_piece(change, make_piece()))
    store.write(lambda change: write_piece(change, make_piece(probe="other", source="second reactor")))
    found = read_batch_process(store, 1, now_s=1031.0)
    assert [item.variable.title for item in found.series] == ["T_r [°C]"]
    series = found.series[0]
    assert (series.time_s[0], series.time_s[-1]) == (1000.0, 1030.0)
    assert series.value[:10] == (*(20.0 + k for k in range(9)), None)
    assert (series.variable.n_values, series.variable.n_gaps, series.variable.step_s) == (28, 3, 1.0)
    assert [series.variable.is_current(at) for at in (1041.0, 1042.0)] == [True, False]


def test_batch_takes_values_read_for_it_by_name(store: Store) -> None:
    store.write(lambda change: write_piece(change, make_piece(5, 9e6, batch_id=1)))
    assert read_batch_process(store, 1).series[0].time_s == tuple(9e6 + k for k in range(5))


def test_values_of_another_time_are_told_from_none(store: Store) -> None:
    assert read_batch_process(store, 1).elsewhere_s is None
    store.write(lambda change: write_piece(change, make_piece(5, 9e6, probe="other")))
    assert read_batch_process(store, 1).elsewhere_s is None
    store.write(lambda change: write_piece(change, make_piece(5, 8e6)))
    found = read_batch_process(store, 1)
    assert (found.is_empty, found.elsewhere_s) == (True, (8e6, 8e6 + 4))
    assert found.to_json_dict()["elsewhere"] == [8e6, 8e6 + 4]
    store.write(lambda change: write_piece(change, make_piece(5, 9e6, batch_id=1, source="second reactor")))
    assert read_batch_process(store, 1).elsewhere_s is None


def test_many_values_keep_mean_and_extremes(store: Store) -> None:
    store.write(lambda change: write_piece(change, make_piece()))
    series = read_batch_process(store, 1, max_points=5).series[0]
    assert 4 <= len(series.time_s) <= 6
    assert min(filter(None, series.low)) == 20.0
    assert max(filter(None, series.high)) == 50.0
    assert all(
        low <= mean <= high for low, mean, high in zip(series.low, series.value, series.high, strict=True)
    )  # type: ignore[operator]


def test_figure_has_room_for_temperatures_first() -> None:
    units = ("kg", "mbar", "rpm", "bar", "°C", "°F")
    columns = ((0.0, 9.0), *[(1.0, 2.0)] * 3)
    variables = [ProcessVariable(at, "s", unit, unit, 2, 0, 9.0, 0.0, 2.0) for at, unit in enumerate(units)]
    series = tuple(ProcessSeries(variable, 0.0, *columns) for variable in variables)
    process = BatchProcess(1, 0.0, 9.0, series)
    assert [unit for unit, _ in group_by_unit(process)] == ["°C", "°F", "kg", "mbar"]


def test_values_of_poor_quality_are_kept_and_no_line(store: Store) -> None:
    rows = [(1001.0, 20.0, "good"), (1002.0, 99.0, "UncertainLastUsableValue"), (1003.0, 21.0, "good")]
    rows += [(1004.0, 98.0, "BadSensorFailure")]
    values = [VariableValues("T_j", "°C", rows)]
    store.write(lambda change: write_piece(change, Piece("dcs", "opc.tcp://plant", "Ann", values)))
    for points, shown in ((100, [20.0, 21.0]), (2, [20.5])):  # the second as one mean
        series = read_batch_process(store, 1, points, now_s=1005.0).series[0]
        assert [each for each in series.value if each is not None] == shown
        assert max(each for each in series.high if each is not None) == 21.0
        assert series.suspect_value == (99.0, 98.0)
        assert series.suspect_quality == ("UncertainLastUsableValue", "BadSensorFailure")
    variable = series.variable
    assert (variable.n_values, variable.n_gaps, variable.last_value) == (2, 2, 21.0)
    assert (variable.last_quality, variable.is_current(1003.5)) == ("BadSensorFailure", False)
    _, frames = join_frames(store, 1)
    assert {frame["T_j [°C]"] for frame in frames} <= {None, 20.0, 21.0}
    assert verify_store(store).is_whole


@pytest.mark.parametrize(
    ("column", "value"), [("value", "warm"), ("time_s", 1e300), ("sd", "wide"), ("kind", "x")]
)
def test_altered_entry_is_named_and_no_crash(store: Store, column: str, value: object) -> None:
    entry = Entry(EntryKind.LABORATORY, 1010.0, "PG", "Ann", 1.0, "%", 0.1, batch_id=1)
    store.write(lambda change: write_entry(change, entry))
    with sqlite3.connect(store.engine.url.database or "") as database:
        database.execute(f"UPDATE process_entries SET {column} = ?", (value,))
    with pytest.raises(InputError, match="(One was altered: see 'georgia verify'|Cannot read a time)"):
        read_batch_process(store, 1).to_json_dict()


def test_values_written_twice_stay_once(store: Store) -> None:
    first = store.write(lambda change: write_piece(change, make_piece()))
    again = store.write(lambda change: write_piece(change, make_piece()))
    other = make_piece(1)
    other = Piece(**{**vars(other), "variables": [VariableValues("T_r", "°C", [(1000.0, 99.0, "good")])]})
    changed = store.write(lambda change: write_piece(change, other))
    assert (first.n_values, first.n_gaps) == (54, 6)
    assert (again.n_values, again.n_known, again.n_conflicts) == (0, 60, 0)
    assert (changed.n_conflicts, changed.conflict[:22]) == (1, "T_r at 1970-01-01T00:1")
    with pytest.raises(InputError, match="unit that it has in the store, °C"):
        store.write(
            lambda change: write_piece(change, Piece("reactor", "r", "Ann", [VariableValues("T_r", "K", [])]))
        )


def test_entries_have_who_and_when_until_withdrawn(store: Store) -> None:
    event = Entry(EntryKind.EVENT, 1010.0, "seeding", "Bob", batch_id=1)
    result = Entry(EntryKind.LABORATORY, 1020.0, "PG", "Cy", 0.12, "", 0.01)
    number = store.write(lambda change: write_entry(change, event))
    store.write(lambda change: write_entry(change, result))
    found = read_batch_process(store, 1)
    assert [(item.name, item.who) for item in found.events] == [("seeding", "Bob")]
    assert [(item.name, item.value, item.sd) for item in found.laboratory] == [("PG", 0.12, 0.01)]
    actions = [item.action for item in store.audit_log(limit=2)]
    assert actions == ["laboratory result", "process event"]
    store.write(lambda change: withdraw_entry(change, number, "Bob", "typed twice"))
    assert not read_batch_process(store, 1).events
    assert verify_store(store).is_whole
    for entry, rule in (
        (Entry(EntryKind.EVENT, 0.0, "x", " "), "name of a person"),
        (Entry(EntryKind.EVENT, 9e9, "x", "Bob"), "time that has been"),
        (Entry(EntryKind.LABORATORY, 0.0, "x", "Bob"), "a value is needed"),
    ):
        with pytest.raises(InputError, match=rule):
            store.write(lambda change, entry=entry: write_entry(change, entry))


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE process_values SET value = 30 WHERE time_s = 1003", "not those that were read"),
        ("DELETE FROM process_values WHERE time_s = 1003", "not those that were read"),
        ("DELETE FROM process_values", "are missing"),
        ("UPDATE process_values SET piece_id = 9 WHERE time_s > 0", "put in past the record"),
        ("UPDATE process_entries SET value = 0.5", "it was altered"),
        ("UPDATE process_variables SET unit = 'K'", "it was altered"),
        ("DELETE FROM process_pieces", "it was removed"),
    ],
)
def test_verify_finds_edited_process_data(store: Store, statement: str, fault: str) -> None:
    store.write(lambda change: write_piece(change, make_piece()))
    store.write(lambda change: write_entry(change, Entry(EntryKind.LABORATORY, 1020.0, "PG", "Cy", 0.12)))
    assert verify_store(store).n_process_values == 60
    assert verify_store(store).is_whole
    # Past the program, which would reject a value of no piece.
    with sqlite3.connect(str(store.head_file).removesuffix(".head")) as plain:
        plain.execute(statement)
    found = verify_store(store)
    assert any(fault in item.fault for item in found.faults), found.faults


def test_old_values_go_by_pieces_and_verify_holds(store: Store) -> None:
    for start in (1000.0, 2000.0, 3000.0):
        store.write(lambda change, start=start: write_piece(change, make_piece(10, start)))
    assert store.write(lambda change: remove_old_values(change, "georgia", 2500.0)) == 20
    assert verify_store(store).is_whole
    assert verify_store(store).n_process_values == 10


def test_store_of_earlier_version_reads_as_empty(store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "m.db") as plain:
        for name in ("values", "pieces", "variables", "entries"):
            plain.execute(f"DROP TABLE process_{name}")
    store.close()
    reader = StoreReader.open(str(tmp_path / "m.db"))
    found = read_batch_process(reader, 1)
    assert found.is_empty
    assert verify_store(reader).is_whole
    reader.close()


def test_variable_never_takes_the_column_of_a_frame(store: Store, tmp_path: Path) -> None:
    """Of two that are called alike, and of one that is called as a column, the source tells which."""
    names = ("fraction", "state", "file", "n_judged", "T", "T age_s", "frame")
    for at, source in enumerate(("reactor", "dcs")):
        own = [*names, "T_j"] if not at else ["T", "T_j"]
        values = [
            VariableValues(name, "", [(1010.0, 90.0 + 10 * at + k, "good")]) for k, name in enumerate(own)
        ]
        store.write(lambda change, s=source, v=values: write_piece(change, Piece(s, "x", "Ann", v)))
    columns, rows = join_frames(store, 1)
    (row,) = (each for each in rows if each["file"] == "f10.png")
    assert len(columns) == len({*columns}) == len(row)
    assert (row["fraction"], row["state"], row["low"]) == (0.25, "in control", 0.125)
    assert (row["reactor: fraction"], row["reactor: state"]) == (90.0, 91.0)
    assert (row["reactor: T"], row["dcs: T"], row["reactor: T age_s"]) == (94.0, 100.0, 0.0)
    assert row["T age_s"] == 95.0
    for suffix in (".csv", ".parquet", ".json", ".jsonl"):
        assert export_joined(store, tmp_path / f"j{suffix}", 1) == len(list(join_frames(store, 1)[1]))
