"""Alarms belong to a batch: they name it, end with it, and are shelved and closed with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result

from georgia.errors import InputError
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

RAISED, CLEARED = AlarmChange(AlarmAction.RAISED, "EWMA over"), AlarmChange(AlarmAction.CLEARED)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(str(tmp_path / "store.db"), clock)
    yield store
    assert verify_store(store).is_whole
    store.close()


def raise_alarm(store: Store, name: str = "B1", number: int = 1) -> int:
    batch = store.begin_batch("probe", name, "Ann", "PG", "ann@host").id
    store.record_frame(make_result(number, batch), "probe", "{}", RAISED)
    return store.alarms(batch, limit=1)[0].id


def test_alarm_names_its_batch(store: Store) -> None:
    alarm = store.alarm(raise_alarm(store))
    assert (alarm.batch_id, alarm.batch_name) == (1, "B1")
    assert alarm.to_json_dict()["batch_name"] == "B1"


def test_alarm_ends_with_its_batch(store: Store) -> None:
    first = raise_alarm(store)
    second = raise_alarm(store, "B2", 2)
    assert [alarm.id for alarm in store.alarms(open_only=True)] == [second]
    ended = store.alarm(first)
    assert ended.cleared_at_s == ended.closed_at_s == 1000
    assert (ended.closed_by, ended.closed_reason, ended.acknowledged_by) == (
        "georgia",
        "the batch ended",
        None,
    )
    (event,) = store.audit_log(action="alarm closed")
    assert event.detail == {"alarm": first, "reason": "the batch ended", "acknowledged": False}
    assert event.batch_id == 1


def test_shelved_alarm_comes_back(store: Store, clock: Clock) -> None:
    number = raise_alarm(store)
    alarm = store.shelve_alarm(number, "Bob", 30, "sampling")
    assert (alarm.shelved_until_s, alarm.shelved_by, alarm.shelved_reason) == (2800, "Bob", "sampling")
    assert alarm.is_shelved(2799)
    assert not alarm.is_shelved(2800)
    assert store.alarms(open_only=True, now_s=2799) == []
    assert len(store.alarms(open_only=True, now_s=2800)) == 1
    clock.now = 1500
    assert store.shelve_alarm(number, "Eve", 10, "cleaning").shelved_until_s == 2100
    events = store.audit_log(action="alarm shelved")
    assert [(event.who, event.detail["reason"]) for event in events] == [
        ("Eve", "cleaning"),
        ("Bob", "sampling"),
    ]


def test_closed_alarm_is_over(store: Store) -> None:
    number = raise_alarm(store)
    with pytest.raises(InputError, match="its cause must be over; got an active alarm"):
        store.close_alarm(number, "Bob", "cleaned")
    store.record_frame(make_result(2, 1), "probe", "{}", CLEARED)
    assert len(store.alarms(open_only=True)) == 1, "nobody has acknowledged it"
    assert store.close_alarm(number, "Bob", "cleaned").closed_by == "Bob"
    assert store.alarms(open_only=True) == []
    for change in (store.close_alarm, lambda *values: store.shelve_alarm(*values[:2], 5, "x")):
        with pytest.raises(InputError, match="is not closed is needed; got one that 'Bob' closed"):
            change(number, "Eve", "again")


@pytest.mark.parametrize(
    ("who", "minutes", "reason", "message"),
    [
        (" ", 5, "x", "the name of a person is needed"),
        ("Bob", 5, " ", "a reason is needed"),
        ("Bob", 0, "x", "at most 10,080 minutes are needed; got 0"),
        ("Bob", float("nan"), "x", "minutes are needed; got nan"),
        ("Bob", 1e9, "x", "minutes are needed"),
    ],
)
def test_shelving_needs_name_time_and_reason(
    store: Store, who: str, minutes: float, reason: str, message: str
) -> None:
    number = raise_alarm(store)
    with pytest.raises(InputError, match=message):
        store.shelve_alarm(number, who, minutes, reason)
    assert store.alarm(number).shelved_at_s is None
