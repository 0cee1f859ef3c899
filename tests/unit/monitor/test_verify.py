"""An altered record is found out wherever it was altered; a whole one never is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.helpers.monitor import make_map, make_result

from georgia.errors import InputError
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.store import Store
from georgia.monitor.verify import Verification, verify_store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    store = Store(str(tmp_path / "store.db"))
    batch = store.begin_batch("probe", "B1", "Ann", "PG", "ann").id
    for number in range(6):
        change = AlarmChange(AlarmAction.RAISED, "x") if number == 3 else None
        store.record_frame(make_result(number, batch, map=make_map()), "probe", "{}", change)
    store.acknowledge_alarm(1, "Bob")
    store.append_event("ann", "monitor stopped", {}, batch)
    store.close()
    return tmp_path / "store.db"


def verify(file: Path, expected: str = "") -> Verification:
    store = Store(str(file))
    try:
        return verify_store(store, expected)
    finally:
        store.close()


def test_untouched_record_is_whole(file: Path) -> None:
    found = verify(file)
    assert found.is_whole, found.faults
    assert (found.n_entries, found.n_frames, found.n_maps) == (4, 6, 6)
    assert verify(file, found.head).is_whole


ALTERATIONS = {
    "an event altered": ("UPDATE trail SET who = 'Eve' WHERE seq = 3", "trail"),
    "an event's time altered": ("UPDATE trail SET at_s = at_s + 1 WHERE seq = 2", "trail"),
    "an event removed": ("DELETE FROM trail WHERE seq = 2", "trail"),
    "the first event removed": ("DELETE FROM trail WHERE seq = 1", "trail"),
    "the last event removed": ("DELETE FROM trail WHERE seq = 4", "trail"),
    "events exchanged": (
        "UPDATE trail SET seq = 99 WHERE seq = 2; UPDATE trail SET seq = 2 WHERE seq = 3; "
        "UPDATE trail SET seq = 3 WHERE seq = 99",
        "trail",
    ),
    "an event put in": (
        "INSERT INTO trail SELECT 5, at_s, who, action, batch_id, detail, hash, hash FROM trail "
        "WHERE seq = 4",
        "trail",
    ),
    "a fraction altered": ("UPDATE frames SET fraction = 0.01 WHERE id = 4", "frames"),
    "an alarm hidden": ("UPDATE frames SET alarm = NOT alarm WHERE id = 2", "frames"),
    "a frame removed": ("DELETE FROM maps WHERE frame_id = 3; DELETE FROM frames WHERE id = 3", "frames"),
    "the first frame removed": (
        "DELETE FROM maps WHERE frame_id = 1; DELETE FROM frames WHERE id = 1",
        "frames",
    ),
    "the last frame removed": (
        "DELETE FROM maps WHERE frame_id = 6; DELETE FROM frames WHERE id = 6",
        "batches",
    ),
    "frames exchanged": (
        "UPDATE frames SET id = 99 WHERE id = 2; UPDATE frames SET id = 2 WHERE id = 3; "
        "UPDATE frames SET id = 3 WHERE id = 99",
        "frames",
    ),
    "a map altered": ("UPDATE maps SET npz = x'00' WHERE frame_id = 5", "maps"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_every_alteration_is_found(file: Path, alteration: str) -> None:
    script, table = ALTERATIONS[alteration]
    connection = sqlite3.connect(file)
    connection.executescript(script)
    connection.close()
    found = verify(file)
    assert not found.is_whole
    assert table in {fault.table for fault in found.faults}


def test_frames_reveal_shortened_audit_log(file: Path) -> None:
    Path(f"{file}.head").unlink()
    connection = sqlite3.connect(file)
    connection.executescript("DELETE FROM trail WHERE seq >= 2")
    connection.close()
    assert any("rows up to 2 are missing" in fault.fault for fault in verify(file).faults)


def test_expected_head_reveals_removed_end(file: Path) -> None:
    head = verify(file).head
    Path(f"{file}.head").unlink()
    connection = sqlite3.connect(file)
    connection.executescript("DELETE FROM trail WHERE seq = 4")
    connection.close()
    assert verify(file).is_whole, "if this is found too, docs/verify.md should say so"
    assert any("the expected head names is missing" in fault.fault for fault in verify(file, head).faults)


def test_retention_is_no_fault(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store.db"), clock=lambda: 86_400.0 * 100)
    batch = store.begin_batch("probe", "B1", "Ann", "PG", "ann").id
    for number in range(5):
        store.record_frame(make_result(number, batch, judged_at_s=86_400.0 * 20 * number), "probe", "{}")
    store.remove_old("ann", keep_frames_days=45)
    assert store.count_frames() == 2
    assert verify_store(store).is_whole
    store.record_frame(make_result(9, batch, judged_at_s=86_400.0 * 99), "probe", "{}")
    store.remove_old("ann", keep_frames_days=0.5)
    assert store.count_frames() == 0
    store.record_frame(make_result(10, batch), "probe", "{}")
    found = verify_store(store)
    assert found.is_whole, found.faults


def test_malformed_head_is_rejected(file: Path) -> None:
    with pytest.raises(InputError, match="NUMBER:HASH is needed"):
        verify(file, "17")
