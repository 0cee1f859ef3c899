"""A file that grows: half a line waits, nothing twice, replaced and away are told, restarts read on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame
from tests.helpers.patience import PATIENCE_S

from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.process_record import Piece
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.process.follow import FollowedFile, ProcessFollower, following_process, import_file
from georgia.process.settings import ProcessConfig, make_process_settings

# A busy machine may keep a thread waiting for long.
HEAD = "Zeit;T_r [°C];Phase\n"
START = datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()


def row(k: int, value: float | None = None) -> str:
    at = datetime.fromtimestamp(START + 10 * k, UTC)
    return f"{at:%d.%m.%Y %H:%M:%S};{20 + k if value is None else value};{'Dosieren' if k > 5 else ''}\n"


class Probe:
    """A followed file with what was told of it, and a clock that goes with its rows."""

    def __init__(self, path: Path, store: Store, **settings: object) -> None:
        self.path, self.store, self.told, self.now_s = path, store, list[str](), START
        values = {"file": str(path), "time_zone": "UTC", "event_column": "Phase", **settings}
        self.config = ProcessConfig(**values)  # type: ignore[arg-type]
        self.restart()

    def restart(self) -> None:
        file = FollowedFile(self.config, self.store, "probe", "ann@host")
        sources = [(file, 0.0)]
        self.follower = ProcessFollower(sources, self.store, self.told.append, clock=lambda: self.now_s)

    def add(self, text: str, now_s: float | None = None) -> int:
        """Append to the file, poll, and return how many values the store has."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)
        self.now_s = self.now_s if now_s is None else now_s
        self.follower.poll()
        return self.count()

    def count(self) -> int:
        with self.store.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(tables.process_values)).scalar_one()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "m.db"))


def test_rows_are_read_on_and_half_a_line_waits(store: Store, tmp_path: Path) -> None:
    probe = Probe(tmp_path / "r.csv", store)
    assert probe.add(HEAD) == 0
    assert probe.add(row(0) + row(1)[:-4]) == 1
    assert probe.add(row(1)[-4:]) == 2
    assert probe.add("".join(map(row, range(2, 8))), START + 75) == 8
    probe.restart()
    assert probe.add("") == 8
    assert probe.add(HEAD + row(8), START + 85) == 9
    assert probe.told == []
    with store.engine.connect() as connection:
        values = connection.execute(select(tables.process_values.c["time_s", "value"])).all()
        events = connection.execute(select(tables.process_entries.c["time_s", "name", "who"])).all()
        pieces = connection.execute(select(func.count()).select_from(tables.process_pieces)).scalar()
    assert [tuple(each) for each in values] == [(START + 10 * k, 20.0 + k) for k in range(9)]
    assert [tuple(each) for each in events] == [(START + 60, "Dosieren", "ann@host")]
    assert pieces == 4
    assert len(store.audit_log(action="process data read")) == 1
    assert verify_store(store).is_whole


def test_replaced_file_is_read_anew_and_nothing_twice(store: Store, tmp_path: Path) -> None:
    probe = Probe(tmp_path / "r.csv", store)
    probe.add(HEAD + "".join(map(row, range(6))), START + 55)
    # A rotated file of other rows, then one that holds the same again, and says otherwise of the first.
    probe.path.write_text(HEAD + row(7), encoding="utf-8")
    assert probe.add("") == 7
    probe.path.write_text(HEAD + row(0, 99.0) + "".join(map(row, range(1, 9))), encoding="utf-8")
    assert probe.add("", START + 85) == 9
    assert "says otherwise than before, which stays: T_r at 2026-03-01T10:00:00" in probe.told[-1]
    assert len(store.audit_log(action="process data read")) == 3
    with store.engine.connect() as connection:
        first = connection.execute(select(func.min(tables.process_values.c.value))).scalar()
    assert first == 20.0


def test_file_away_silent_or_broken_is_told(store: Store, tmp_path: Path) -> None:
    probe = Probe(tmp_path / "sub" / "r.csv", store)
    probe.follower.poll()
    probe.path.parent.mkdir()
    probe.add(HEAD + row(0) + row(1), START + 11)
    probe.add("", START + 90)
    probe.add(row(9), START + 91)
    probe.add("Zeit;T_r [°C];T_j [°C]\n")
    probe.path.unlink()
    probe.follower.poll()
    told = [
        "is away: No such file",
        "",
        "is silent: no new row for 60 s",
        "",
        "columns that it began with",
        "is away",
    ]
    assert len(probe.told) == len(told)
    assert all(part in text for part, text in zip(told, probe.told, strict=True)), probe.told


def test_clock_or_zone_that_is_off_is_told(store: Store, tmp_path: Path) -> None:
    probe = Probe(tmp_path / "r.csv", store)
    probe.add(HEAD + row(0) + row(1), START + 3600)
    probe.add(row(2), START + 3620)
    assert "3,600 s behind this machine's clock: is time_zone right?" in probe.told[-1]


def test_columns_chosen_later_are_filled_in(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    probe = Probe(path, store, event_column="", columns=("a",))
    probe.add("Zeit;a;b\n" + "".join(f"01.03.2026 10:00:0{k};{k};1\n" for k in range(5)), START + 5)
    probe = Probe(path, store, event_column="", columns=("a", "b"))
    assert probe.add("", START + 5) == 10


def test_import_twice_adds_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(HEAD + "".join(map(row, range(9))) + "Ende\n", encoding="utf-8")
    config = ProcessConfig(time_zone="UTC", event_column="Phase")
    first, again = (import_file(store, path, config, "Ann") for _ in range(2))
    assert (first.n_rows, first.n_values, first.n_entries, first.n_faults) == (10, 9, 1, 1)
    assert (again.n_values, again.n_known, again.n_entries) == (0, 9, 0)


def test_laboratory_results_keep_unit_and_deviation(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "hplc.csv"
    path.write_text(
        "Time;PG [%];PG sd [%]\n01.03.2026 10:00;12,5;0,4\n01.03.2026 11:00;;\n", encoding="utf-8"
    )
    config = make_process_settings({"time_zone": "UTC", "hplc": {"file": str(path), "kind": "laboratory"}})[0]
    assert import_file(store, path, config, "Cy").n_entries == 1
    with store.engine.connect() as connection:
        entry = connection.execute(select(tables.process_entries)).mappings().one()
    assert [entry[name] for name in ("kind", "source", "name", "value", "unit", "sd", "who")] == [
        *("laboratory", "hplc", "PG", 12.5, "%", 0.4, "Cy")
    ]


def test_settings_of_several_files_are_told_apart() -> None:
    section = {
        "time_zone": "UTC",
        "reactor": {"file": "a.csv"},
        "hplc": {"file": "b.csv", "kind": "laboratory"},
    }
    found = make_process_settings(section)
    assert [(each.source, each.file, each.time_zone) for each in found] == [
        *(("reactor", "a.csv", "UTC"), ("hplc", "b.csv", "UTC"))
    ]
    assert make_process_settings({}) == ()
    for wrong, rule in (
        ({"reactor": {"kind": "values"}}, "file or opcua is needed"),
        ({"file": "a", "time_zone": "Mars"}, "time_zone"),
        ({"file": "a", "units": ["T"]}, "NAME=UNIT"),
        ({"file": "a", "encoding": "klingon"}, "encoding"),
        ({"file": "a", "start": "noon"}, "start"),
        ({"fil": "a", "file": "b"}, "no setting"),
    ):
        with pytest.raises(InputError, match=rule):
            make_process_settings(wrong)


@pytest.mark.slow
def test_process_outage_leaves_the_state_of_frames(store: Store, tmp_path: Path) -> None:
    write_frame(tmp_path / "probe" / "1.png", 1)
    config = MonitorConfig(watch=tmp_path / "probe", poll_interval_s=0.05)
    monitor = Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]
    away = (ProcessConfig(file=str(tmp_path / "none.csv"), poll_s=0.1),)
    with running(monitor):
        wait_for(lambda: monitor.status().n_frames == 1)
        before = monitor.status().state
        with following_process(away, store, monitor):
            wait_for(lambda: "is away" in monitor.status().reason)
            assert monitor.status().state == before
            assert monitor.health().is_ok
            wait_for(lambda: "is away" in monitor.status().fault)
            (tmp_path / "none.csv").write_text(HEAD + row(0), encoding="utf-8")
            wait_for(lambda: "is away" not in monitor.status().reason)
        wait_for(lambda: store.audit_log(action="outage ended"))
    began = store.audit_log(action="outage began")
    assert "process data" in [event.detail["outage"] for event in began]


class Broken:
    """A source that fails in a way that nobody thought of, then one that works."""

    name = "broken"

    def poll(self, now_s: float) -> Iterator[Piece]:
        raise RuntimeError("no such thing")
        yield

    def describe_fault(self, now_s: float) -> str:
        return ""

    def close(self) -> None:
        pass


def test_source_that_fails_is_told_and_costs_no_other(store: Store, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(HEAD + row(0), encoding="utf-8")
    told: list[str] = []
    good = FollowedFile(ProcessConfig(file=str(tmp_path / "r.csv"), time_zone="UTC"), store)
    follower = ProcessFollower([(Broken(), 0.0), (good, 0.0)], store, told.append, clock=lambda: START)
    follower.poll()
    assert told == ["'broken': RuntimeError: no such thing"]
    with store.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(tables.process_values)).scalar() == 1


class Hanging:
    """A source whose reading does not come back before it is let."""

    name = "share"

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def poll(self, now_s: float) -> Iterator[Piece]:
        self.go_on.wait(PATIENCE_S)
        yield from ()

    def describe_fault(self, now_s: float) -> str:
        return ""

    def close(self) -> None:
        pass


def count_values(store: Store) -> int:
    """Count in a transaction of its own: an open one goes on to read what there was at its start."""
    with store.engine.connect() as connection:
        query = select(func.count()).select_from(tables.process_values)
        return int(connection.execute(query).scalar_one())


def test_source_that_hangs_is_told_and_keeps_no_other(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("georgia.process.follow.HUNG_S", 0.05)
    monkeypatch.setattr("georgia.process.follow._TELL_S", 0.05)
    (tmp_path / "r.csv").write_text(HEAD + row(0), encoding="utf-8")
    good = FollowedFile(ProcessConfig(file=str(tmp_path / "r.csv"), time_zone="UTC"), store)
    told, hanging = list[str](), Hanging()
    sources = [(hanging, 0.01), (good, 0.01)]
    follower = ProcessFollower(sources, store, told.append, clock=lambda: START)  # type: ignore[arg-type]
    follower.start()
    try:
        wait_for(lambda: any("'share' hangs" in text for text in told))
        wait_for(lambda: count_values(store) == 1)
    finally:
        hanging.go_on.set()
        follower.close()


def test_rows_of_one_second_count_once_and_are_no_conflict(store: Store, tmp_path: Path) -> None:
    probe = Probe(tmp_path / "r.csv", store)
    probe.add(HEAD + row(0, 1.0) + row(0, 2.0), START)
    assert probe.add(row(0, 3.0) + row(1), START + 10) == 2
    assert probe.told == []


def test_import_that_was_cut_off_is_completed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from georgia.process import follow

    monkeypatch.setattr("georgia.process.export.PIECE_BYTES", 200)
    (tmp_path / "r.csv").write_text(HEAD + "".join(map(row, range(40))), encoding="utf-8")
    config = ProcessConfig(time_zone="UTC", event_column="Phase")
    writes: list[int] = []

    def write_two(opened: Store, piece: Piece) -> object:
        writes.append(1)
        if len(writes) > 2:
            raise KeyboardInterrupt
        return opened.write(lambda change: follow.write_piece(change, piece))

    with monkeypatch.context() as patch:
        patch.setattr("georgia.process.follow._write", write_two)
        with pytest.raises(KeyboardInterrupt):
            import_file(store, tmp_path / "r.csv", config, "Ann")
    assert verify_store(store).is_whole
    done = import_file(store, tmp_path / "r.csv", config, "Ann")
    assert 0 < done.n_known < 40
    assert (done.n_values + done.n_known, done.n_conflicts) == (40, 0)
    assert verify_store(store).n_process_values == 40
