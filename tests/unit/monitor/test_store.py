"""The store keeps what it is given, once; tests with PostgreSQL: test_postgres.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.monitor import make_map, make_result

from georgia.errors import InputError
from georgia.monitor import open_store
from georgia.monitor.records import AlarmAction, AlarmChange, Verdict
from georgia.monitor.result import FileKey, TileMap
from georgia.monitor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "deep" / "store.db"))


def begin(store: Store, name: str = "B1", source: str = "probe") -> int:
    return store.begin_batch(source, name, "Ann", "PG", "ann@host").id


def test_frame_survives_round_trip(store: Store) -> None:
    result = make_result(1, begin(store), map=make_map(), seconds={"net": 0.5}, error="")
    written = store.record_frame(result, "probe", "{}")
    assert store.frame(written.frame_id) == replace(written, map=None)
    kept = store.frame_map(written.frame_id)
    assert kept is not None
    assert kept.to_json_dict() == make_map().to_json_dict()
    assert [kept.label(index) for index in range(3)] == ["empty", "unknown", "PG"]


def test_repeated_frame_is_kept_once(store: Store) -> None:
    batch = begin(store)
    first = store.record_frame(make_result(1, batch), "probe", "one")
    again = store.record_frame(make_result(1, batch, fraction=0.9), "probe", "two")
    assert again == first
    assert store.count_frames() == 1
    assert store.batch(batch).chart_state == "one"


def test_failed_transaction_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = begin(store)
    monkeypatch.setattr(store, "_insert_ledger", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        store.record_frame(make_result(1, batch, map=make_map()), "probe", "changed")
    assert store.count_frames() == 0
    assert store.batch(batch).chart_state == "{}"
    assert store.batch(batch).n_frames == 0


def test_frames_page_newest_first(store: Store) -> None:
    one, two = begin(store), begin(store, "B2", "other")
    for number in range(6):
        store.record_frame(make_result(number, (one, two)[number % 2]), ("probe", "other")[number % 2], "{}")
    ids = [frame.frame_id for frame in store.frames()]
    assert ids == sorted(ids, reverse=True)
    assert [frame.ordinal for frame in store.frames(one)] == [3, 2, 1]
    assert [frame.frame_id for frame in store.frames(limit=2, before=ids[1])] == ids[2:4]
    assert [frame.frame_id for frame in store.frames(after=ids[2])] == ids[:2]
    assert [frame.frame_id for frame in store.iter_frames()] == ids[::-1]


def test_subsampled_series_keeps_extremes(store: Store) -> None:
    batch = begin(store)
    for number in range(20):
        alarm = number == 13
        store.record_frame(make_result(number, batch, fraction=number / 20, alarm=alarm), "probe", "{}")
    whole, coarse = store.series(batch), store.series(batch, max_points=5)
    assert whole.stride == 1
    assert coarse.stride == 4
    assert coarse.fraction == pytest.approx(np.reshape(whole.fraction, (5, 4)).mean(axis=1))  # type: ignore[arg-type]
    assert coarse.high == pytest.approx(np.reshape(whole.high, (5, 4)).max(axis=1))  # type: ignore[arg-type]
    assert coarse.alarm == (False, False, False, True, False)
    assert store.series(batch, after_ordinal=18).ordinal == (19, 20)
    assert store.series(begin(store, "empty", "nobody")).ordinal == ()


def test_running_batch_is_resumed_by_name(store: Store) -> None:
    first = begin(store)
    assert begin(store) == first == begin(store, "")
    second = begin(store, "B2")
    assert store.batch(first).ended_at_s is not None
    running = store.running_batch("probe")
    assert running is not None
    assert running.id == second
    actions = [entry.action for entry in store.audit_log()]
    assert actions == ["batch began", "batch ended", "batch began"]
    store.end_batch(second, "ann@host")
    store.end_batch(second, "ann@host")
    assert store.running_batch("probe") is None
    assert len(store.audit_log()) == 4
    assert [batch.name for batch in store.batches()] == ["B2", "B1"]


def test_alarm_life_cycle_is_stored(store: Store) -> None:
    batch = begin(store)
    store.record_frame(make_result(1, batch), "probe", "{}", AlarmChange(AlarmAction.RAISED, "EWMA over"))
    alarm = store.alarms(open_only=True)[0]
    assert (alarm.reason, alarm.fraction, alarm.cleared_at_s) == ("EWMA over", 0.25, None)
    with pytest.raises(InputError, match="name of a person is needed"):
        store.acknowledge_alarm(alarm.id, " ")
    known = store.acknowledge_alarm(alarm.id, "Bob", "stopped the pump")
    assert (known.acknowledged_by, known.note) == ("Bob", "stopped the pump")
    assert store.acknowledge_alarm(alarm.id, "Eve").acknowledged_by == "Bob"
    store.record_frame(make_result(2, batch), "probe", "{}", AlarmChange(AlarmAction.CLEARED))
    assert store.alarms(open_only=True) == []
    actions = [entry.action for entry in store.audit_log()]
    assert actions == ["alarm cleared", "alarm acknowledged", "alarm raised", "batch began"]
    with pytest.raises(InputError, match="Cannot show alarm 99"):
        store.acknowledge_alarm(99, "Bob")


def test_ledger_knows_files_and_hashes(store: Store) -> None:
    batch = begin(store)
    store.record_frame(make_result(1, batch), "probe", "{}")
    store.record_file("probe", FileKey("bad.png", 3, 4, "c" * 64), Verdict.UNREADABLE, "damaged")
    assert store.known_files("probe") == {("f1.png", 11, 1001), ("bad.png", 3, 4)}
    assert store.known_hashes("probe") == {f"{1:064x}"}
    assert store.known_files("other") == set()


def test_clock_ahead_at_start_removes_nothing_for_a_day(tmp_path: Path) -> None:
    day, now = 86_400.0, [100 * 86_400.0]
    store = Store(str(tmp_path / "store.db"), clock=lambda: now[0])
    batch = begin(store)
    for number in range(5):
        now[0] += day / 2
        store.record_frame(make_result(number, batch, judged_at_s=now[0]), "probe", "{}")
    assert store.find_clock_doubt(1.0) == "", "a clock that went on as the record did"
    assert store.find_clock_doubt(30.0) == ""
    now[0] += 365 * day  # set, or the monitor was away
    assert "the clock may have been set" in store.find_clock_doubt(30.0)
    store.append_event("ann", "monitor started", {})
    now[0] += day / 2
    assert store.find_clock_doubt(30.0), "half a day with that clock, and a restart"
    now[0] += day / 2 + 60
    assert store.find_clock_doubt(30.0) == "", "it has gone on for a day, and nobody has set it right"
    now[0] -= 365 * day
    assert store.find_clock_doubt(30.0) == "", "set right again: nothing is that old"
    assert store.count_frames() == 5
    store.close()


def test_retention_removes_oldest_first(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store.db"), clock=lambda: 10 * 86_400.0)
    batch = begin(store)
    for number in range(4):
        moment = 86_400.0 * (2 * number + 2)
        store.record_frame(make_result(number, batch, judged_at_s=moment, map=make_map()), "probe", "{}")
    assert store.remove_old("ann", keep_maps_days=3) == (3, 0)
    assert store.remove_old("ann", keep_frames_days=5) == (0, 2)
    assert [frame.ordinal for frame in store.frames()] == [4, 3]
    assert store.audit_log()[0].action == "frames removed"
    assert len(store.known_files("probe")) == 4


def test_foreign_bytes_are_no_map() -> None:
    with pytest.raises(InputError, match="Cannot read a map"):
        TileMap.from_bytes(b"no npz")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", r"a path, sqlite:///PATH or postgresql://"),
        ("nonsense://x", r"a path, sqlite:///PATH or postgresql://"),
    ],
)
def test_foreign_url_is_rejected(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_store(url)


def test_foreign_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "foreign.db"
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="Cannot open the store"):
        open_store(str(file))


def test_second_batch_of_name_is_told_apart(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "names.db"))

    def begin(name: str, source: str = "probe") -> str:
        return store.begin_batch(source, name, "Ann", "PG", "ann@host").name

    assert [begin("B"), begin("B")] == ["B", "B"], "one that runs is resumed"
    begin("other")
    assert begin("B") == "B (2)"
    assert begin("B") == "B (2)", "a restart resumes it"
    begin("other")
    assert begin("B") == "B (3)"
    assert begin("B", "second probe") == "B"
    store.close()
