"""Whether a monitor works, as seen from outside its loop: in memory, and in the store for other processes.

The loop marks each step of its work in a ``Pulse``. A supervisor in another thread reads it, and writes
about once a second what it finds into the table ``heartbeats``, one row a process. A row that grows old is a
monitor that was killed, stopped, or cut off from the store.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, inspect, select, update

from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import reading, writing
from georgia.monitor.records import AuditAction
from georgia.monitor.settings import HealthConfig

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.store import Store

# A process that runs makes itself felt at least so often; a longer pause is a process that was stopped, or a
# machine that slept, and not a step of the work that takes long.
_LONGEST_TICK_S = 2.0
# This much of the time counts however busy the machine is: a loop that never ends is found there too.
_LEAST_RUN = 0.1
# Time between two looks at how long the threads have waited.
_READ_EVERY_S = 0.2
_TASKS = "/proc/self/task"
# Rows of monitors that ended that are kept, for whoever looks into the store.
_KEPT_ROWS = 20


class HealthState(StrEnum):
    """Whether a monitor works, or what keeps it from it."""

    UNKNOWN = "unknown"
    STARTING = "starting"
    RUNNING = "running"
    NO_FRAMES = "no frames"
    FOLDER_AWAY = "folder away"
    STORE_AWAY = "store away"
    UNREADABLE_FRAMES = "unreadable frames"
    HUNG = "hung"
    NOT_RUNNING = "not running"


# The monitor, or what it stands on, is at fault: a service that watches health must react.
FAILED_STATES = frozenset(
    (
        *(HealthState.FOLDER_AWAY, HealthState.STORE_AWAY, HealthState.UNREADABLE_FRAMES),
        *(HealthState.HUNG, HealthState.NOT_RUNNING),
    )
)
# No loop works: what it said last says nothing about now.
DEAD_STATES = frozenset((HealthState.HUNG, HealthState.NOT_RUNNING))


@dataclass(frozen=True)
class ProbeHealth:
    """The health of one monitor at one moment; times are seconds since 1970.

    ``reason`` is one clause, "" where it runs. ``since_s`` is when ``state`` began. ``backlog`` counts frames
    that were found and not analysed, or analysed and not written. ``n_missed`` counts frames that are known
    to have been written over before they could be read: at least so many were. ``threads`` are those of the
    net, None while they are measured, or where the monitor is of an earlier version. ``process`` is the
    machine and the number of the process.
    ``is_expected``: a monitor should run; none has to before the first start, or after one was stopped.
    """

    state: HealthState
    reason: str = ""
    since_s: float | None = None
    source: str = ""
    process: str = ""
    started_at_s: float | None = None
    last_beat_s: float | None = None
    last_loop_s: float | None = None
    last_frame_s: float | None = None
    n_waiting: int = 0
    n_unwritten: int = 0
    n_unreadable: int = 0
    n_missed: int = 0
    file: str = ""
    threads: int | None = None
    at_s: float = 0.0
    is_expected: bool = True

    @property
    def backlog(self) -> int:
        """Return the number of frames that were found and are not in the store."""
        return self.n_waiting + self.n_unwritten

    @property
    def is_ok(self) -> bool:
        """Return whether neither the monitor nor what it stands on is at fault."""
        return self.state not in FAILED_STATES

    @property
    def is_alive(self) -> bool:
        """Return whether a loop works."""
        return self.state not in DEAD_STATES

    @property
    def last_frame_age_s(self) -> float | None:
        """Return the age of the last analysed frame, s; None before the first."""
        return None if self.last_frame_s is None else max(0.0, self.at_s - self.last_frame_s)

    @property
    def last_loop_age_s(self) -> float | None:
        """Return the time since the loop's last pass, s; None where no loop ran."""
        return None if self.last_loop_s is None else max(0.0, self.at_s - self.last_loop_s)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form: times as ISO 8601, ages in s."""
        plain = asdict(self)
        times = {key: iso_time(plain.pop(key)) for key in list(plain) if key.endswith("_s")}
        named = {key.removesuffix("_s"): value for key, value in times.items()}
        ages = {
            key: None if value is None else round(value, 1)
            for key, value in (
                ("last_frame_age_s", self.last_frame_age_s),
                ("last_loop_age_s", self.last_loop_age_s),
            )
        }
        return {**plain, **named, **ages, "backlog": self.backlog, "is_ok": self.is_ok}


def read_processor_waits() -> dict[str, float]:
    """Return for how many seconds each thread of this process has waited for a processor so far.

    Nothing where the system does not say so: all but Linux.
    Source: the kernel's Documentation/scheduler/sched-stats, "/proc/<pid>/schedstat".
    """
    waits = {}
    try:
        for thread in os.listdir(_TASKS):  # noqa: PTH208 - no Path a thread
            with contextlib.suppress(OSError), open(f"{_TASKS}/{thread}/schedstat") as stream:  # noqa: PTH123
                waits[thread] = int(stream.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return {}
    return waits


class RunningClock:
    """Seconds in which this process ran; a pause of the process or a sleep of the machine counts as 2 s.

    Time in which one of its threads waited for a processor that others use is left out, but for a tenth: a
    busy machine makes all slow, and nothing hangs. ``tick`` must be called every 2 s or more often.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        waits: Callable[[], Mapping[str, float]] = read_processor_waits,
    ) -> None:
        self._now, self._waits, self._sum = now, waits, 0.0
        self._last = self._read_at = now()
        self._waited = waits()
        # Waits that are not left out yet: a short one is told with the next look at it.
        self._left_s = 0.0

    def tick(self) -> float:
        """Return the seconds so far."""
        now = self._now()
        passed, self._last = max(0.0, now - self._last), now
        if now - self._read_at >= _READ_EVERY_S:
            self._note_waits(now)
        left_out = min(self._left_s, (1 - _LEAST_RUN) * passed)
        self._left_s -= left_out
        self._sum += min(passed - left_out, _LONGEST_TICK_S)
        return self._sum

    def _note_waits(self, now: float) -> None:
        before, self._waited = self._waited, self._waits()
        longest = max((s - before.get(thread, 0.0) for thread, s in self._waited.items()), default=0.0)
        self._left_s = min(self._left_s + longest, now - self._read_at)
        self._read_at = now


@dataclass(frozen=True)
class Step:
    """One step of the loop's work: which one, of which file, and how long it may take beyond the limit, s."""

    number: int = 0
    file: str = ""
    grant_s: float = 0.0
    at_s: float = 0.0


class Pulse:
    """What the loop marks and others read; one value is put at a time, so no lock is needed."""

    def __init__(self) -> None:
        self.step = Step(at_s=time.time())
        self.frame_at_s: float | None = None

    def mark(self, file: str = "", grant_s: float = 0.0) -> None:
        """Say that a step begins: analysing ``file``, or anything else."""
        self.step = Step(self.step.number + 1, file, grant_s, time.time())


class StepWatch:
    """Tells how long the present step of a pulse has lasted, in time that the process ran."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        waits: Callable[[], Mapping[str, float]] = read_processor_waits,
    ) -> None:
        self._clock, self._lock = RunningClock(now, waits), threading.Lock()
        self._number, self._since_s = -1, 0.0

    def measure(self, step: Step) -> float:
        """Return seconds since this step was first met here; may be called from any thread."""
        with self._lock:
            now = self._clock.tick()
            if step.number != self._number:
                self._number, self._since_s = step.number, now
            return now - self._since_s


# The store's side

_COUNTS = ("n_waiting", "n_unwritten", "n_unreadable", "n_missed")
_COLUMNS = ("since_s", "source", "started_at_s", *_COUNTS, "file", "threads")
_DEFAULT = HealthConfig()
# Processes of monitors that run in this very process.
_OWN: set[str] = set()


def describe_process() -> str:
    """Return what names this process to a person: machine and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class Claim:
    """The key of a monitor's row, and what the audit log holds of those that were found dead."""

    key: str
    lost: tuple[Mapping[str, Any], ...] = ()


def claim_source(store: Store, source: str, who: str, config: HealthConfig = _DEFAULT) -> Claim:
    """Write that this process watches a source from now on.

    Rows of monitors that did not end properly are closed, with an entry in the audit log for each.

    Raises:
        InputError: another monitor that is alive watches the same source into this store.
        StoreAwayError: the store cannot be used now.
    """
    key, now = uuid.uuid4().hex, time.time()
    table = tables.heartbeats
    lost: list[tuple[dict[str, Any], int | None]] = []
    with writing(store.engine) as connection:
        others = connection.execute(
            select(table).where(table.c.source == source, table.c.ended_at_s.is_(None))
        ).mappings()
        for row in others.all():
            if _may_live(row, now, config.silent_after_s):
                raise InputError(
                    f"Cannot watch {source!r}",
                    needs="one monitor alone may watch a folder into a store",
                    got=f"another one, {row['host']}:{row['pid']}, since {iso_time(row['started_at_s'])}",
                    hint=f"Stop it, or wait {config.silent_after_s:g} s if it has ended.",
                )
            detail = {
                "process": f"{row['host']}:{row['pid']}",
                "started": iso_time(row["started_at_s"]),
                "last_beat": iso_time(row["beat_at_s"]),
                "state": row["state"],
                "file": row["file"],
            }
            lost.append((detail, row["batch_id"]))
            connection.execute(
                update(table).where(table.c.process == row["process"]).values(ended_at_s=now, reason="lost")
            )
        values = {
            **dict.fromkeys(("n_waiting", "n_unwritten", "n_unreadable", "n_missed"), 0),
            **{"process": key, "source": source, "host": socket.gethostname(), "pid": os.getpid()},
            **{"who": who, "started_at_s": now, "beat_at_s": now, "loop_at_s": now, "since_s": now},
            **{"state": str(HealthState.STARTING), "reason": "", "file": ""},
        }
        connection.execute(insert(table).values(**values))
        kept = select(table.c.process).order_by(table.c.started_at_s.desc()).limit(_KEPT_ROWS)
        is_old = table.c.process.not_in(list(connection.execute(kept).scalars()))
        connection.execute(delete(table).where(table.c.ended_at_s.is_not(None), is_old))
    _OWN.add(key)
    for detail, batch_id in lost:
        store.append_event(who, AuditAction.MONITOR_LOST, detail, batch_id)
    return Claim(key, tuple(detail for detail, _ in lost))


def _may_live(row: Mapping[Any, Any], now: float, silent_after_s: float) -> bool:
    """Return whether the process of a row may still run; a sign of life of this machine is certain."""
    if row["process"] in _OWN:
        return True
    is_fresh = bool(abs(now - row["beat_at_s"]) < silent_after_s)
    if row["host"] == socket.gethostname():
        return row["pid"] != os.getpid() and is_running(row["pid"]) and is_fresh
    return is_fresh


def is_running(pid: int) -> bool:
    """Return whether this machine has a process of that number; True where the system cannot tell."""
    if os.name == "nt":  # os.kill would end the process there, or send it Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's, or a system that cannot tell
        return True
    return True


def write_heartbeat(store: Store, key: str, health: ProbeHealth, batch_id: int | None) -> bool:
    """Write a monitor's health into its row; return False where another monitor has taken its place.

    Raises:
        StoreAwayError: the store cannot be used now.
    """
    table = tables.heartbeats
    values = {name: getattr(health, name) for name in _COLUMNS}
    values |= {"beat_at_s": health.at_s, "loop_at_s": health.last_loop_s, "frame_at_s": health.last_frame_s}
    values |= {"state": str(health.state), "reason": health.reason, "batch_id": batch_id}
    with writing(store.engine) as connection:
        query = update(table).where(table.c.process == key, table.c.ended_at_s.is_(None)).values(values)
        return connection.execute(query).rowcount > 0


def release_source(store: Store, key: str, reason: str) -> None:
    """Write that this monitor has ended, and why.

    Raises:
        StoreAwayError: the store cannot be used now.
    """
    table = tables.heartbeats
    _OWN.discard(key)
    with writing(store.engine) as connection:
        connection.execute(
            update(table)
            .where(table.c.process == key, table.c.ended_at_s.is_(None))
            .values(ended_at_s=time.time(), state=str(HealthState.NOT_RUNNING), reason=reason)
        )


def disown_source(key: str) -> None:
    """Note that no loop of this process works for a row any more, also where that cannot be written."""
    _OWN.discard(key)


class BeatWatch:
    """How old monitors' signs of life are for somebody who looks again and again.

    A sign that was not there at the last look is not older than that look, whatever the clocks of both
    machines say: one may be set, and two may differ.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[str, tuple[float, float, float]] = {}
        self._looked_at = math.inf

    def measure(self, process: str, beat_at_s: float, age_s: float) -> float:
        """Return the age of a sign of life, s; ``age_s`` is its age by the clocks."""
        now, known = self._now(), self._known.get(process)
        if known is None or known[0] != beat_at_s:
            newest_s = math.inf if known is None else now - self._looked_at
            known = (beat_at_s, now, min(max(0.0, age_s), newest_s))
            self._known = {process: known}
        self._looked_at = now
        return known[2] + now - known[1]


def read_health(
    store: StoreReader,
    now: float,
    source: str | None = None,
    config: HealthConfig = _DEFAULT,
    beats: BeatWatch | None = None,
) -> ProbeHealth:
    """Return the health of the monitor that started last, of one source or of any, at ``now`` (s since 1970).

    ``beats`` remembers what was there at earlier looks; see there.

    Raises:
        StoreAwayError: the store cannot be reached.
    """
    rows = _read_rows(store, source)
    row = next((row for row in rows if row["ended_at_s"] is None), rows[0] if rows else None)
    if row is None:
        reason = "no monitor has left a sign of life in this store"
        return ProbeHealth(HealthState.UNKNOWN, reason, at_s=now, is_expected=False)
    process = f"{row['host']}:{row['pid']}"
    health = ProbeHealth(
        state=HealthState(row["state"]),
        reason=row["reason"],
        process=process,
        last_beat_s=row["beat_at_s"],
        last_loop_s=row["loop_at_s"],
        last_frame_s=row["frame_at_s"],
        at_s=now,
        **{name: row[name] for name in _COLUMNS if name in row},
    )
    if row["ended_at_s"] is not None:
        reason = f"the monitor has ended: {row['reason']}"
        is_expected = row["reason"].startswith("failed")
        health = replace(health, since_s=row["ended_at_s"], is_expected=is_expected)
        return replace(health, state=HealthState.NOT_RUNNING, reason=reason)
    silent_s = now - row["beat_at_s"]
    if beats is not None:
        silent_s = beats.measure(row["process"], row["beat_at_s"], silent_s)
    is_here = row["host"] == socket.gethostname()
    if is_here and not is_running(row["pid"]):
        reason = f"the monitor ({process}) was killed or has crashed; its last sign is {silent_s:.0f} s old"
        return replace(health, state=HealthState.NOT_RUNNING, reason=reason, since_s=row["beat_at_s"])
    if silent_s > config.silent_after_s:
        what = "hangs or was stopped" if is_here else "was killed, or cannot reach the store"
        reason = f"the monitor ({process}) {what}; its last sign is {silent_s:.0f} s old"
        state = HealthState.HUNG if is_here else HealthState.NOT_RUNNING
        return replace(health, state=state, reason=reason, since_s=row["beat_at_s"])
    return health


def _read_rows(store: StoreReader, source: str | None) -> Sequence[Mapping[Any, Any]]:
    table = tables.heartbeats
    query = select(table).order_by(table.c.started_at_s.desc()).limit(_KEPT_ROWS)
    if source is not None:
        query = query.where(table.c.source == source)
    with reading(store.engine) as connection:
        inspector = inspect(connection)
        if not inspector.has_table(table.name):  # a store that an older version wrote
            return ()
        found = {column["name"] for column in inspector.get_columns(table.name)}
        query = query.with_only_columns(*(column for column in table.c if column.name in found))
        return connection.execute(query).mappings().all()
