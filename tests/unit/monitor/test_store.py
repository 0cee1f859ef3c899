"""The store keeps what it is given, once, and answers the same from SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.monitor import make_map, make_result

from georgia.errors import InputError
from georgia.monitor import open_store
from georgia.monitor.result import FileKey, TileMap
from georgia.monitor.store import AlarmChange, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "deep" / "store.db"))


def begin(store: Store, name: str = "B1", source: str = "probe") -> int:
    return store.begin_batch(source, name, "Ann", "PG", "ann@host").id


def test_a_frame_comes_back_as_it_went_in(store: Store) -> None:
    result = make_result(1, begin(store), map=make_map(), seconds={"net": 0.5}, error="")
    written = store.record_frame(result, "probe", "{}")
    assert store.frame(written.frame_id) == replace(written, map=None)
    kept = store.frame_map(written.frame_id)
    assert kept is not None
    assert kept.to_json_dict() == make_map().to_json_dict()
    assert [kept.label(index) for index in range(3)] == ["empty", "unknown", "PG"]


def test_a_frame_that_is_given_twice_is_kept_once(store: Store) -> None:
    batch = begin(store)
    first = store.record_frame(make_result(1, batch), "probe", "one")
    again = store.record_frame(make_result(1, batch, fraction=0.9), "probe", "two")
    assert again == first
    assert store.count_frames() == 1
    assert store.batch(batch).chart_state == "one"


def test_a_failure_inside_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = begin(store)
    monkeypatch.setattr(store, "_insert_ledger", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        store.record_frame(make_result(1, batch, map=make_map()), "probe", "changed")
    assert store.count_frames() == 0
    assert store.batch(batch).chart_state == "{}"
    assert store.batch(batch).n_frames == 0


def test_frames_come_newest_first_and_page(store: Store) -> None:
    one, two = begin(store), begin(store, "B2", "other")
    for number in range(6):
        store.record_frame(make_result(number, (one, two)[number % 2]), ("probe", "other")[number % 2], "{}")
    ids = [frame.frame_id for frame in store.frames()]
    assert ids == sorted(ids, reverse=True)
    assert [frame.ordinal for frame in store.frames(one)] == [3, 2, 1]
    assert [frame.frame_id for frame in store.frames(limit=2, before=ids[1])] == ids[2:4]
    assert [frame.frame_id for frame in store.frames(after=ids[2])] == ids[:2]
    assert [frame.frame_id for frame in store.iter_frames()] == ids[::-1]


def test_series_thins_without_losing_the_ends(store: Store) -> None:
    batch = begin(store)
    for number in range(20):
        alarm = number == 13
        store.record_frame(make_result(number, batch, fraction=number / 20, alarm=alarm), "probe", "{}")
    whole, thin = store.series(batch), store.series(batch, max_points=5)
    assert whole.stride == 1
    assert thin.stride == 4
    assert thin.fraction == pytest.approx(np.reshape(whole.fraction, (5, 4)).mean(axis=1))  # type: ignore[arg-type]
    assert thin.high == pytest.approx(np.reshape(whole.high, (5, 4)).max(axis=1))  # type: ignore[arg-type]
    assert thin.alarm == (False, False, False, True, False)
    assert store.series(batch, after_ordinal=18).ordinal == (19, 20)
    assert store.series(begin(store, "empty", "nobody")).ordinal == ()


def test_a_running_batch_is_resumed_and_another_name_ends_it(store: Store) -> None:
    first = begin(store)
    assert begin(store) == first == begin(store, "")
    second = begin(store, "B2")
    assert store.batch(first).ended_at_s is not None
    running = store.running_batch("probe")
    assert running is not None
    assert running.id == second
    actions = [entry.action for entry in store.trail()]
    assert actions == ["batch began", "batch ended", "batch began"]
    store.end_batch(second, "ann@host")
    store.end_batch(second, "ann@host")
    assert store.running_batch("probe") is None
    assert len(store.trail()) == 4
    assert [batch.name for batch in store.batches()] == ["B2", "B1"]


def test_an_alarm_is_raised_acknowledged_and_cleared(store: Store) -> None:
    batch = begin(store)
    store.record_frame(make_result(1, batch), "probe", "{}", AlarmChange("raised", "EWMA over"))
    alarm = store.alarms(open_only=True)[0]
    assert (alarm.reason, alarm.fraction, alarm.cleared_at_s) == ("EWMA over", 0.25, None)
    with pytest.raises(InputError, match="name of a person is needed"):
        store.acknowledge_alarm(alarm.id, " ")
    seen = store.acknowledge_alarm(alarm.id, "Bob", "stopped the feed")
    assert (seen.acknowledged_by, seen.note) == ("Bob", "stopped the feed")
    assert store.acknowledge_alarm(alarm.id, "Eve").acknowledged_by == "Bob"
    store.record_frame(make_result(2, batch), "probe", "{}", AlarmChange("cleared"))
    assert store.alarms(open_only=True) == []
    actions = [entry.action for entry in store.trail()]
    assert actions == ["alarm cleared", "alarm acknowledged", "alarm raised", "batch began"]
    with pytest.raises(InputError, match="Cannot show alarm 99"):
        store.acknowledge_alarm(99, "Bob")


def test_the_ledger_knows_what_was_seen(store: Store) -> None:
    batch = begin(store)
    store.record_frame(make_result(1, batch), "probe", "{}")
    store.record_file("probe", FileKey("bad.png", 3, 4, "c" * 64), "unreadable", "damaged")
    assert store.seen_files("probe") == {("f1.png", 11, 1001), ("bad.png", 3, 4)}
    assert store.seen_hashes("probe") == {f"{1:064x}"}
    assert store.seen_files("other") == set()


def test_retention_takes_the_oldest_and_says_so(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store.db"), clock=lambda: 10 * 86_400.0)
    batch = begin(store)
    for number in range(4):
        judged = 86_400.0 * (2 * number + 2)
        store.record_frame(make_result(number, batch, judged_at_s=judged, map=make_map()), "probe", "{}")
    assert store.remove_old("ann", keep_maps_days=3) == (3, 0)
    assert store.remove_old("ann", keep_frames_days=5) == (0, 2)
    assert [frame.ordinal for frame in store.frames()] == [4, 3]
    assert store.trail()[0].action == "frames removed"
    assert len(store.seen_files("probe")) == 4


def test_maps_refuse_foreign_bytes() -> None:
    with pytest.raises(InputError, match="Cannot read a map"):
        TileMap.from_bytes(b"no npz")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", r"a path, sqlite:///PATH or postgresql://"),
        ("nonsense://x", r"a path, sqlite:///PATH or postgresql://"),
    ],
)
def test_foreign_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_store(url)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "picture.db"
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="Cannot open the store"):
        open_store(str(file))
