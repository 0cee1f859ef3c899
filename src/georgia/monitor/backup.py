"""A copy of a whole store as it was at one moment, also between SQLite and PostgreSQL, and proved."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, inspect, select, text

from georgia.config import Config
from georgia.errors import InputError, mask_credentials
from georgia.files import atomic_path, check_target
from georgia.monitor import anchors, audit_log, tables
from georgia.monitor.connect import connect, find_file, reading, writing
from georgia.monitor.queries import StoreReader
from georgia.monitor.verify import Verification, verify_store
from georgia.progress import QUIET, Progress

# Rows that are held at once. Maps are some 100 KB each, all others below 10 KB.
_N_ROWS = 500
_N_MAPS = 20
# Signs of life of monitors and who is logged in are no part of the record, and neither holds in a copy.
_EMPTIED = (tables.heartbeats, tables.people_sessions, tables.people_failures)
_LEFT_OUT = (*_EMPTIED, tables.properties)


@dataclass(frozen=True)
class BackupConfig(Config):
    """What a backup is checked for: with ``verify`` every row of the copy, else its end alone."""

    verify: bool = True


@dataclass(frozen=True)
class Backup:
    """A copy that was made.

    ``head`` is the end of its record; ``verification`` is None where none was asked for. ``n_bytes`` is the
    size of a copy that is a file, None on a server.
    """

    out: str
    head: str
    n_frames: int
    seconds: float
    n_bytes: int | None = None
    verification: Verification | None = None

    @property
    def is_whole(self) -> bool | None:
        """Tell whether every row of the copy holds; None where that was not checked."""
        return None if self.verification is None else self.verification.is_whole

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        found = self.verification
        return {
            "out": mask_credentials(self.out),
            "head": self.head,
            "n_frames": self.n_frames,
            "bytes": self.n_bytes,
            "seconds": round(self.seconds, 1),
            "whole": self.is_whole,
            "faults": [] if found is None else [f"{f.table} {f.row}: {f.fault}" for f in found.faults],
        }


def back_up(url: str, out: str, config: BackupConfig | None = None, progress: Progress = QUIET) -> Backup:
    """Copy a store as it is at one moment, whatever writes to it meanwhile, to where no store is.

    A copy is a store: whatever reads one reads it, and copying it back restores it. A damaged record is
    copied as it is, and what contradicts it too: ``verify`` finds the same faults in both.

    Args:
        url: the store: an SQLite file or ``postgresql://…``; it is only read.
        out: an SQLite file that does not exist, or a PostgreSQL database without a store.

    Raises:
        InputError: there is no store at ``url``, or something at ``out`` already.
        StoreAwayError: one of the two cannot be reached.
        OSError: the file cannot be written, or the disk is full.
    """
    started = time.monotonic()
    target = find_file(out)
    if target is not None:
        _check_free(target)
    with closing(StoreReader.open(url)) as store:
        # Noted before the moment that is copied: what it names is in the copy, or should be.
        known = store.head_file if store.head_file is not None and store.head_file.is_file() else None
        if target is None:
            _copy_rows(store, out, progress)
        else:
            _write_file(store, target, known, progress)
    return _prove(out, target, config or BackupConfig(), started)


def _check_free(target: Path) -> None:
    check_target(target)
    taken = [path for path in (target, Path(f"{target}.head"), Path(f"{target}-wal")) if path.exists()]
    if taken:
        raise InputError(
            "Cannot back up",
            needs="--out must name a file that does not exist",
            got=repr(str(taken[0])),
            hint="Nothing is overwritten: name another, or move it away.",
        )


def _write_file(store: StoreReader, target: Path, known: Path | None, progress: Progress) -> None:
    noted = known.read_bytes() if known is not None else None
    with atomic_path(target) as temporary:
        temporary.unlink()
        if store.engine.dialect.name == "sqlite":
            _copy_file(store, temporary)
        else:
            _copy_rows(store, str(temporary), progress)
        for beside in ("-wal", "-shm"):
            Path(f"{temporary}{beside}").unlink(missing_ok=True)
        head_file = Path(f"{target}.head")
        if noted is not None:
            with atomic_path(head_file) as head:
                head.write_bytes(noted)
        elif store.head_file is None:  # a server has none; an SQLite store that lacks it goes on lacking it
            with closing(StoreReader.open(str(temporary))) as copy, reading(copy.engine) as connection:
                anchors.write_head_file(head_file, audit_log.read_head(connection))


def _copy_file(store: StoreReader, temporary: Path) -> None:
    """Write what an SQLite store holds now into a new file, without the room that was freed in it."""
    with closing(store.engine.raw_connection()) as connection:
        try:
            connection.cursor().execute("VACUUM INTO ?", (str(temporary),))
        except sqlite3.DatabaseError as error:
            raise InputError(
                "Cannot back up",
                needs="a whole database, and room on the disk, are needed",
                got=error,
                hint="Of a damaged one copy the file itself: cp DB COPY.",
            ) from error
    with closing(sqlite3.connect(temporary)) as copy, copy:
        known = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in _EMPTIED:
            if table.name in known:
                copy.execute(f'DELETE FROM "{table.name}"')


def _copy_rows(store: StoreReader, out: str, progress: Progress) -> None:
    """Write all rows of one moment into another database, in one transaction."""
    engine = connect(out)
    try:
        with reading(store.engine) as source, writing(engine) as target:
            _check_empty(target, out)
            tables.prepare(target, mask_credentials(out))
            wanted = [
                table
                for table in tables.metadata.sorted_tables
                if store.has(table) and table not in _LEFT_OUT
            ]
            progress.start("copying rows", sum(_count(source, table) for table in wanted))
            for table in wanted:
                for rows in _pages(store, source, table):
                    target.execute(insert(table), rows)
                    progress.advance(len(rows))
                _go_on_counting(target, table)
    finally:
        engine.dispose()


def _check_empty(target: Connection, out: str) -> None:
    found = sorted(set(inspect(target).get_table_names()) & set(tables.metadata.tables))
    if found:
        raise InputError(
            f"Cannot back up into {mask_credentials(out)!r}",
            needs="a database without a store is needed",
            got=f"the table {found[0]!r}",
            hint="Nothing is overwritten: make a new database.",
        )


def _count(source: Connection, table: Table) -> int:
    return int(source.execute(select(func.count()).select_from(table)).scalar_one())


def _pages(store: StoreReader, source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    size = _N_MAPS if table is tables.maps else _N_ROWS
    query = store.select(table).order_by(*table.primary_key.columns)
    rows = source.execution_options(yield_per=size).execute(query)
    for page in rows.mappings().partitions():
        yield [dict(row) for row in page]


def _go_on_counting(target: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows behind those that were copied with their numbers."""
    (key, *others) = table.primary_key.columns
    is_counted = not others and key.autoincrement is not False and key.name == "id"
    if target.dialect.name != "postgresql" or not is_counted:
        return
    last = target.execute(select(func.max(key))).scalar()
    if isinstance(last, int):
        query = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)")
        target.execute(query, {"name": table.name, "last": last})


def _prove(out: str, target: Path | None, config: BackupConfig, started: float) -> Backup:
    with closing(StoreReader.open(out)) as copy:
        found = verify_store(copy) if config.verify else None
        with reading(copy.engine) as connection:
            n_frames = _count(connection, tables.frames)
        return Backup(
            out=out,
            head=found.head if found is not None else copy.newest_head(),
            n_frames=n_frames,
            seconds=time.monotonic() - started,
            n_bytes=target.stat().st_size if target is not None else None,
            verification=found,
        )
