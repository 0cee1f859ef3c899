"""A store with something in every table, and edits of it that no program of ours made."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from tests.helpers.monitor import make_map, make_result, write_frame

from georgia.monitor.queries import StoreReader
from georgia.monitor.records import AlarmAction, AlarmChange, Verdict
from georgia.monitor.result import FileKey
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store


def fill(store: Store, images: Path | None = None) -> None:
    """Write two batches of six frames, alarms in every state, settings, a model, and an unreadable file."""
    settings = store.save_document("settings", {"limit": 0.1})
    store.save_document("model", {"name": "net"}, "b" * 64)
    for name in ("B1", "B2"):
        batch = store.begin_batch("probe", name, "Ann", "PG", "ann@host", "note").id
        store.append_event("ann@host", "monitor started", {"source": "probe", "version": "0.2"}, batch)
        for number in range(6):
            kinds = {1: AlarmAction.RAISED, 3: AlarmAction.CLEARED, 4: AlarmAction.RAISED}
            change = AlarmChange(kinds[number], "EWMA over") if number in kinds else None
            result = make_result(10 * batch + number, batch, map=make_map(), settings_id=settings)
            if images is not None:
                write_frame(images / result.key.file, number, 10 * batch + number)
                sha256 = _sha256(images / result.key.file)
                result = make_result(10 * batch + number, batch, map=make_map(), key=_key(result.key, sha256))
            store.record_frame(result, "probe", f'{{"n": {number}}}', change)
        first, second = sorted(alarm.id for alarm in store.alarms(batch))
        store.acknowledge_alarm(first, "Bob", "seen")
        store.close_alarm(first, "Bob", "probe cleaned")
        store.shelve_alarm(second, "Bob", 30, "sampling")
    store.record_file("probe", FileKey("bad.png", 3, 4, "c" * 64), Verdict.UNREADABLE, "damaged")
    store.append_event("ann@host", "monitor stopped", {"reason": "stopped"}, batch)


def _key(key: FileKey, sha256: str) -> FileKey:
    return FileKey(key.file, key.size_bytes, key.mtime_ns, sha256)


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def verify_while_writing(url: str, n: int = 25) -> list[Any]:
    """Verify a store again and again while frames are written to it; return the faults."""
    store, faults = Store(url), list[Any]()
    batch = store.begin_batch("probe", "B2", "Ann", "PG", "ann@host").id

    def write() -> None:
        for number in range(n):
            store.record_frame(make_result(100 + number, batch), "probe", f'{{"n": {number}}}')

    thread = threading.Thread(target=write)
    thread.start()
    reader = StoreReader.open(url)
    while thread.is_alive():
        faults += verify_store(reader).faults
    thread.join()
    faults += verify_store(reader).faults
    reader.close()
    store.close()
    return faults


def edit(engine: Engine, script: str) -> None:
    """Do what somebody with the rights of the database's owner can do."""
    with engine.begin() as connection:
        for statement in filter(None, map(str.strip, script.split(";"))):
            connection.exec_driver_sql(statement)


# What was done → the statements → the table that a fault must name.
EDITS: dict[str, tuple[str, str]] = {
    "event altered": ("UPDATE trail SET who = 'Eve' WHERE seq = 3", "trail"),
    "event moved in time": ("UPDATE trail SET at_s = at_s + 1 WHERE seq = 2", "trail"),
    "event removed": ("DELETE FROM trail WHERE seq = 2", "trail"),
    "first event removed": ("DELETE FROM trail WHERE seq = 1", "trail"),
    "last event removed": ("DELETE FROM trail WHERE seq = (SELECT max(seq) FROM trail)", "trail"),
    "events exchanged": (
        "UPDATE trail SET seq = 99 WHERE seq = 2; UPDATE trail SET seq = 2 WHERE seq = 3;"
        "UPDATE trail SET seq = 3 WHERE seq = 99",
        "trail",
    ),
    "event put in": (
        "INSERT INTO trail SELECT seq + 1, at_s, who, action, batch_id, detail, hash, hash FROM trail"
        " WHERE seq = (SELECT max(seq) FROM trail)",
        "trail",
    ),
    "fraction changed": ("UPDATE frames SET fraction = 0.01 WHERE id = 4", "frames"),
    "time of a frame moved": ("UPDATE frames SET frame_time_s = frame_time_s - 60 WHERE id = 4", "frames"),
    "alarm hidden in a frame": ("UPDATE frames SET alarm = NOT alarm WHERE id = 2", "frames"),
    "frame removed": ("DELETE FROM maps WHERE frame_id = 3; DELETE FROM frames WHERE id = 3", "frames"),
    "first frame removed": ("DELETE FROM maps WHERE frame_id = 1; DELETE FROM frames WHERE id = 1", "frames"),
    "last frame removed": (
        "DELETE FROM maps WHERE frame_id = 12; DELETE FROM frames WHERE id = 12;"
        "UPDATE batches SET n_frames = 5 WHERE id = 2",
        "frames",
    ),
    "frame put in": (
        "UPDATE frames SET ordinal = 7 WHERE id = 12; UPDATE frames SET id = 13 WHERE id = 12 AND 1 = 0;"
        "UPDATE batches SET n_frames = 7 WHERE id = 2",
        "frames",
    ),
    "frames exchanged": (
        "DELETE FROM maps; UPDATE frames SET id = 99 WHERE id = 2; UPDATE frames SET id = 2 WHERE id = 3;"
        "UPDATE frames SET id = 3 WHERE id = 99",
        "frames",
    ),
    "map altered": ("UPDATE maps SET npz = '00' WHERE frame_id = 5", "maps"),
    "map removed": ("DELETE FROM maps WHERE frame_id = 5", "maps"),
    "all maps removed": ("DELETE FROM maps", "maps"),
    "alarm removed": ("DELETE FROM alarms WHERE id = 2", "alarms"),
    "last alarm removed": ("DELETE FROM alarms WHERE id = 4", "alarms"),
    "reason of an alarm altered": ("UPDATE alarms SET reason = 'x' WHERE id = 1", "alarms"),
    "alarm moved in time": ("UPDATE alarms SET raised_at_s = raised_at_s + 1 WHERE id = 1", "alarms"),
    "acknowledgement given": (
        "UPDATE alarms SET acknowledged_by = 'Eve', acknowledged_at_s = 1 WHERE id = 4",
        "alarms",
    ),
    "acknowledgement taken": (
        "UPDATE alarms SET acknowledged_by = NULL, acknowledged_at_s = NULL WHERE id = 1",
        "alarms",
    ),
    "alarm cleared": ("UPDATE alarms SET cleared_at_s = 1 WHERE id = 4", "alarms"),
    "shelf made longer": ("UPDATE alarms SET shelved_until_s = shelved_until_s + 9 WHERE id = 4", "alarms"),
    "closing undone": ("UPDATE alarms SET closed_at_s = NULL WHERE id = 1", "alarms"),
    "alarm put in": (
        "INSERT INTO alarms (id, batch_id, raised_at_s, frame_time_s, reason, note)"
        " VALUES (9, 1, 5, 5, 'x', '')",
        "alarms",
    ),
    "batch renamed": ("UPDATE batches SET name = 'B9' WHERE id = 1", "batches"),
    "operator changed": ("UPDATE batches SET operator = 'Eve' WHERE id = 1", "batches"),
    "start moved": ("UPDATE batches SET started_at_s = started_at_s - 60 WHERE id = 1", "batches"),
    "end moved": ("UPDATE batches SET ended_at_s = ended_at_s + 60 WHERE id = 1", "batches"),
    "batch reopened": ("UPDATE batches SET ended_at_s = NULL WHERE id = 1", "batches"),
    "charts' state altered": ("""UPDATE batches SET chart_state = '{}' WHERE id = 2""", "batches"),
    "settings changed": (
        """UPDATE documents SET body = '{"limit":0.9}' WHERE kind = 'settings'""",
        "documents",
    ),
    "settings removed": ("DELETE FROM documents WHERE kind = 'settings'", "documents"),
    "model's description changed": (
        """UPDATE documents SET body = '{"name":"other"}' WHERE kind = 'model'""",
        "documents",
    ),
    "ledger row altered": ("UPDATE ledger SET verdict = 'repeat' WHERE file = 'bad.png'", "ledger"),
    "ledger row removed": ("DELETE FROM ledger WHERE file = 'bad.png'", "ledger"),
    "ledger row put in": (
        "INSERT INTO ledger (source, file, size_bytes, mtime_ns, sha256, verdict, error, seen_at_s)"
        " VALUES ('probe', 'x.png', 1, 1, 'c', 'repeat', '', 1)",
        "ledger",
    ),
    "seal altered": ("UPDATE seals SET at_s = at_s + 1 WHERE seq = 5", "seals"),
    "seal removed": ("DELETE FROM seals WHERE seq = 5", "seals"),
    "all seals removed": ("DELETE FROM seals", "seals"),
    "tail cut in every table": (
        "DELETE FROM maps WHERE frame_id > 9; DELETE FROM frames WHERE id > 9;"
        "DELETE FROM alarms WHERE id = 4; DELETE FROM ledger WHERE frame_id > 9 OR file = 'bad.png';"
        "UPDATE batches SET n_frames = 3 WHERE id = 2;"
        "DELETE FROM seals WHERE frame_id > 9;"
        "DELETE FROM trail WHERE seq > (SELECT max(trail_seq) FROM seals)",
        "batches",
    ),
}
