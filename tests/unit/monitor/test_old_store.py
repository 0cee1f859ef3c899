"""A store of version 0.1: read as it is, sealed from the first write on, and what is not covered is said."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result
from tests.helpers.subsample import every

from georgia.cli import main
from georgia.monitor.queries import StoreReader
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.result import ChartPoint
from georgia.monitor.store import Store
from georgia.monitor.verify import Verification, verify_store

KEPT = Path(__file__).parents[2] / "kept" / "v0.1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("store.db", "store.db.head"):
        shutil.copy(KEPT / name, tmp_path / name)
    return tmp_path / "store.db"


def verify(file: Path) -> Verification:
    reader = StoreReader.open(str(file))
    try:
        return verify_store(reader)
    finally:
        reader.close()


def run(file: Path, script: str) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(script)
    connection.close()


def test_old_store_is_read_and_left_as_it_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    assert main(["verify", str(file)]) == 0
    out = capsys.readouterr().out
    assert "not covered by the chain: the ledger, times of alarms, models, and removed maps" in out
    assert "head: 7:de473dd7" in out, "as version 0.1 printed it"
    reader = StoreReader.open(str(file))
    (alarm,) = reader.alarms()
    assert (alarm.acknowledged_by, alarm.batch_name, alarm.closed_at_s) == ("Ada", "kept", None)
    assert reader.alarms(open_only=True) == [], "its batch has ended"
    assert reader.series(1).ordinal == tuple(range(1, 9))
    assert len(reader.frames()) == 8
    reader.close()
    assert file.read_bytes() == before


EDITS = {
    "alarm removed": "DELETE FROM alarms",
    "reason altered": "UPDATE alarms SET reason = 'x'",
    "fraction of alarm altered": "UPDATE alarms SET fraction = 0.1",
    "acknowledgement altered": "UPDATE alarms SET acknowledged_by = 'Eve'",
    "note altered": "UPDATE alarms SET note = 'x'",
    "alarm put in": "INSERT INTO alarms (batch_id, raised_at_s, frame_time_s, reason, note)"
    " VALUES (1, 5, 5, 'x', '')",
    "batch renamed": "UPDATE batches SET name = 'B9'",
    "operator changed": "UPDATE batches SET operator = 'Eve'",
    "batch reopened": "UPDATE batches SET ended_at_s = NULL",
    "settings changed": "UPDATE documents SET body = '{}' WHERE kind = 'settings'",
    "fraction changed": "UPDATE frames SET fraction = 0.01 WHERE id = 4",
    "frame's time moved": "UPDATE frames SET frame_time_s = 1 WHERE id = 4",
    "last frame removed": "DELETE FROM maps WHERE frame_id = 8; DELETE FROM frames WHERE id = 8",
    "map altered": "UPDATE maps SET npz = x'00' WHERE frame_id = 5",
    "last event removed": "DELETE FROM trail WHERE seq = 7",
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_of_old_store_is_found(file: Path, name: str) -> None:
    run(file, EDITS[name])
    assert not verify(file).is_whole


LATER = {
    "ledger row altered": "UPDATE ledger SET verdict = 'repeat' WHERE file = 'f01.png'",
    "alarm moved in time": "UPDATE alarms SET raised_at_s = raised_at_s - 1",
    "start moved": "UPDATE batches SET started_at_s = started_at_s - 60 WHERE id = 1",
    "model changed": "UPDATE documents SET body = '{}' WHERE kind = 'model'",
    **EDITS,
}


@pytest.mark.parametrize("name", every(4, LATER))
def test_old_rows_are_sealed_at_first_write(file: Path, name: str) -> None:
    store = Store(str(file))
    assert store.audit_log(limit=1)[0].action == "chain extended"
    batch = store.begin_batch("probe", "later", "Ada", "PG", "ada").id
    store.record_frame(make_result(50, batch), "probe", "{}")
    store.close()
    found = verify(file)
    assert found.is_whole, found.faults
    (note,) = found.not_covered
    assert "1 of alarms, 1 of batches, 2 of documents, 8 of ledger" in note
    run(file, LATER[name])
    assert not verify(file).is_whole


def test_frames_without_plain_limit_stay_verifiable(file: Path) -> None:
    store = Store(str(file))
    batch = store.begin_batch("probe", "later", "Ada", "PG", "ada").id
    chart = ChartPoint(ewma=0.1, limit=0.05, leading="limit", over=2.0, ewma_low=0.08, ewma_high=0.13)
    store.record_frame(make_result(50, batch, chart=chart), "probe", "{}")
    assert store.series(1).limit == (None,) * 8
    assert store.series(1).ewma_low == (None,) * 8
    assert store.series(batch).limit == (0.05,)
    assert (store.series(batch).ewma_low, store.series(batch).ewma_high) == ((0.08,), (0.13,))
    assert store.frames(batch)[0].chart == chart
    store.close()
    assert verify(file).is_whole
    run(file, "UPDATE frames SET ewma_high = 0.5 WHERE id = 9")
    assert not verify(file).is_whole


def test_alarm_with_altered_limit_is_found(file: Path) -> None:
    store = Store(str(file))
    batch = store.begin_batch("probe", "later", "Ada", "PG", "ada").id
    change = AlarmChange(AlarmAction.RAISED, "over", "limit", 0.1, 0.05)
    store.record_frame(make_result(50, batch), "probe", "{}", change)
    (alarm,) = store.alarms(batch)
    assert (alarm.chart, alarm.value, alarm.limit) == ("limit", 0.1, 0.05)
    assert store.alarms(1)[0].chart is None
    store.close()
    assert verify(file).is_whole
    run(file, f'UPDATE alarms SET "limit" = 0.5 WHERE id = {alarm.id}')
    assert not verify(file).is_whole
