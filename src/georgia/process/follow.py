"""Files of process data are read into the store: once, or on and on while a monitor runs.

A thread of its own reads them, so that none costs a frame, whatever becomes of it. What keeps a file from
being read is told: it is away, silent, or cannot be understood.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import select

from georgia.errors import GeorgiaError
from georgia.files import tell_reason
from georgia.monitor import tables
from georgia.monitor.connect import StoreAwayError, reading
from georgia.monitor.process_record import Piece, WrittenPiece, remove_old_values, write_piece
from georgia.process.batch_node import BatchNode, make_batch_node
from georgia.process.export import Chunk, ExportFile, Position, iter_chunks, make_piece
from georgia.process.opcua_source import OpcuaSource, check_asyncua
from georgia.process.settings import OpcuaSourceConfig, ProcessConfig, SourceConfig

if TYPE_CHECKING:
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store

_log = logging.getLogger(__name__)
# The newest rows that tell the usual time from one to the next.
_N_STEPS = 50
# A file is silent after three usual steps, one minute at least, unless the settings say otherwise.
SILENT_STEPS, SILENT_S = 3.0, 60.0
# Rows that are written now and are so far from this machine's clock are of another zone, or of a clock that
# is off: two minutes are more than clocks without a time service drift apart in weeks.
_CLOCK_OFF_S = 120.0
_RETENTION_EVERY_S = 6 * 3600.0
# How often what is wrong is looked for, and after how long a source hangs: a network folder that is gone may
# keep a read for minutes.
_TELL_S, HUNG_S = 1.0, 30.0


class Source(Protocol):
    """Where process data come from: it is asked again and again, and gives what is new.

    A file is one; the client of an OPC UA server is another.
    """

    name: str

    def poll(self, now_s: float) -> Iterator[Piece]:
        """Yield what is new, a piece at a time; the next is asked for once the last is written."""
        ...

    def describe_fault(self, now_s: float) -> str:
        """Return in one clause why nothing new comes, "" where all is well."""
        ...

    def close(self) -> None:
        """Hear of nothing new any more; what was heard is given by the next poll."""
        ...


@dataclass(frozen=True)
class ImportResult:
    """What came of a file that was read once; see ``WrittenPiece``. ``n_faults``: rows without a time."""

    n_rows: int = 0
    n_values: int = 0
    n_gaps: int = 0
    n_known: int = 0
    n_conflicts: int = 0
    n_entries: int = 0
    n_faults: int = 0
    conflict: str = ""

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return dict(vars(self))


def import_file(
    store: Store,
    path: Path,
    config: ProcessConfig,
    who: str,
    batch_id: int | None = None,
    probe: str = "",
) -> ImportResult:
    """Read a whole file into the store; what the store has is left out, so that a call may be repeated.

    Raises:
        InputError: it cannot be read or understood, or a variable has another unit in the store.
        StoreAwayError: the store cannot be written to; what was written stays.
    """
    found = ImportResult()
    for chunk in iter_chunks(ExportFile(path, config)):
        name = str(path.resolve())
        piece = make_piece(chunk, config, Path(name), who, batch_id=batch_id, probe=probe)
        written = _write(store, piece)
        names = ("n_values", "n_gaps", "n_known", "n_conflicts", "n_entries")
        counts = {name: getattr(found, name) + getattr(written, name) for name in names}
        counts |= {"n_rows": found.n_rows + chunk.n_rows, "n_faults": found.n_faults + chunk.rows.n_faults}
        found = ImportResult(**counts, conflict=found.conflict or written.conflict)
    return found


def _write(store: Store, piece: Piece) -> WrittenPiece:
    return store.write(lambda change: write_piece(change, piece))


def find_position(store: Store, source: str, file: str) -> Position | None:
    """Return how far a file was read into the store while it was followed, None if it never was."""
    pieces = tables.process_pieces
    query = select(*pieces.c["end_byte", "fingerprint", "reading"]).where(
        pieces.c.source == source, pieces.c.file == file, pieces.c.fingerprint != ""
    )
    with reading(store.engine) as connection:
        row = connection.execute(query.order_by(pieces.c.id.desc()).limit(1)).mappings().first()
    return None if row is None else Position.of_piece(row)


class FollowedFile:
    """A file that grows: what is new in it, and what keeps it from growing."""

    def __init__(self, config: ProcessConfig, store: Store, probe: str = "", who: str = "georgia") -> None:
        self.config, self._store, self._probe, self._who = config, store, probe, who
        self.path = Path(config.file).absolute()
        self.name = self.path.name
        self._file: ExportFile | None = None
        self._fault = ""
        self._note = ""
        self._grew_at_s: float | None = None
        self._times: list[float] = []
        self._has_read = False

    @property
    def step_s(self) -> float | None:
        """Return the usual time from one row to the next, s; None before there are two."""
        steps = [later - earlier for earlier, later in pairwise(self._times) if later > earlier]
        return float(median(steps)) if steps else None

    def poll(self, now_s: float) -> Iterator[Piece]:
        """Yield what is new; a fault is kept, and told by ``describe_fault``."""
        if self._file is None:
            known = find_position(self._store, self.config.source, str(self.path))
            self._file = ExportFile(self.path, self.config, known)
        is_caught_up = self._has_read
        try:
            while (chunk := self._file.read(now_s if is_caught_up else None)) is not None:
                piece = make_piece(chunk, self.config, self.path, self._who, probe=self._probe)
                if chunk.was_replaced:
                    piece = replace(piece, is_told=True)
                yield replace(piece, marks_position=True)
                # Here it is written.
                self._file.position = chunk.position
                self._note_rows(chunk, now_s, is_caught_up)
            self._fault, self._has_read = "", True
        except OSError as error:
            if isinstance(error, StoreAwayError):
                raise
            self._fault = f"{str(self.path)!r} is away: {tell_reason(error, self.path)}"
        except GeorgiaError as error:
            self._fault = str(error)

    def _note_rows(self, chunk: Chunk, now_s: float, is_live: bool) -> None:
        times = chunk.rows.times
        if not times:
            return
        self._grew_at_s = now_s
        self._times = [*self._times, *times][-_N_STEPS:]
        off_s = times[-1] - now_s
        is_off = is_live and abs(off_s) > max(_CLOCK_OFF_S, SILENT_STEPS * (self.step_s or 0.0))
        side = "ahead of" if off_s > 0 else "behind"
        off = f"{abs(off_s):,.0f} s {side} this machine's clock"
        self._note = f"the times of {self.name!r} are {off}: is time_zone right?" if is_off else ""

    def describe_fault(self, now_s: float) -> str:
        """Return why nothing new comes, or what is wrong with what comes; "" where all is well."""
        if self._fault:
            return self._fault
        if self._file is None:
            return ""
        silent_s = self.config.silent_after_s or max(SILENT_S, SILENT_STEPS * (self.step_s or 0.0))
        since_s = self._grew_at_s if self._grew_at_s is not None else self._find_age(now_s)
        if since_s is not None and now_s - since_s > silent_s:
            if self._file.position.reading is None and self._file.waits_for:
                return self._file.waits_for
            return f"{self.name!r} is silent: no new row for {silent_s:,.0f} s or more"
        return self._note

    def close(self) -> None:
        """Do nothing: a file is open only while it is read."""

    def _find_age(self, now_s: float) -> float | None:
        """Return when a file that had nothing new since the start was written to last."""
        try:
            return min(now_s, self.path.stat().st_mtime)
        except OSError:
            return None


class ProcessFollower:
    """Reads each source in a thread of its own at its own pace, and writes what is new.

    Another thread tells what is wrong, so that a source that hangs is told too, and keeps no other.

    Args:
        sources: what is read, each with the seconds between two polls.
        store: where it goes.
        tell: called with what is wrong, in one line, whenever that changed; "" where all is well.
        keep_days: values that are older are removed; 0 keeps all.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Source, float]],
        store: Store,
        tell: Callable[[str], None] = lambda _: None,
        keep_days: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sources, self._store, self._tell = list(sources), store, tell
        self._keep_days, self._clock = keep_days, clock
        self._retention_at = 0.0
        self._told = ""
        # By the number of a source: what failed in its last poll; what it said otherwise than the store,
        # until it says something new; and since when it is being read.
        self._errors: dict[int, str] = {}
        self._conflicts: dict[int, str] = {}
        self._reading_since: dict[int, float] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name="georgia-process", daemon=True)
            for number in range(len(self._sources))
        ]
        self._threads.append(
            threading.Thread(target=self._tell_on, name="georgia-process-faults", daemon=True)
        )

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Read once more what is there, and end; a source that hangs is left behind."""
        for source, _ in self._sources:
            source.close()
        self._stop.set()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self, number: int) -> None:
        while not self._stop.is_set():
            self._poll_source(number)
            self._stop.wait(self._sources[number][1])
        self._poll_source(number)

    def _tell_on(self) -> None:
        while not self._stop.wait(_TELL_S):
            self.tell_faults()
            self._remove_old()

    def poll(self) -> None:
        """Read what is new in all sources, one after the other, and tell what is wrong."""
        for number in range(len(self._sources)):
            self._poll_source(number)
        self.tell_faults()
        self._remove_old()

    def tell_faults(self) -> None:
        """Tell what is wrong with the sources, if that changed."""
        faults = []
        for number, (source, _) in enumerate(self._sources):
            faults.append(self._errors.get(number, ""))
            since = self._reading_since.get(number)
            if since is not None and time.monotonic() - since > HUNG_S:
                faults.append(f"{source.name!r} hangs: reading it has taken {HUNG_S:,.0f} s or more")
                continue
            try:
                faults.append(source.describe_fault(self._clock()))
            except Exception as error:  # one source must not keep the others from being told
                faults.append(f"{source.name!r}: {error}")
            faults.append(self._conflicts.get(number, ""))
        told = " · ".join(filter(None, faults))
        if told != self._told:
            self._told = told
            self._tell(told)

    def _poll_source(self, number: int) -> None:
        source, error_told = self._sources[number][0], ""
        self._reading_since[number] = time.monotonic()
        try:
            for piece in source.poll(self._clock()):
                written = _write(self._store, piece)
                if written.n_conflicts:
                    told = f"{source.name!r} says otherwise than before, which stays: {written.conflict}"
                    self._conflicts[number] = told
                elif written.n_values:
                    self._conflicts.pop(number, None)
        except StoreAwayError as error:  # the monitor tells of it; the piece is read again
            _log.debug("process data could not be written: %s", error)
        except GeorgiaError as error:
            error_told = str(error)
        except Exception as error:
            _log.exception("process data could not be read")
            error_told = f"{source.name!r}: {type(error).__name__}: {error}"
        finally:
            self._reading_since.pop(number, None)
        self._errors[number] = error_told

    def _remove_old(self) -> None:
        if not self._keep_days or time.monotonic() < self._retention_at:
            return
        self._retention_at = time.monotonic() + _RETENTION_EVERY_S
        before_s = self._clock() - 86_400 * self._keep_days
        try:
            doubt = self._store.find_clock_doubt()
            if doubt:
                _log.info("no process data are removed with age now: %s", doubt)
                return
            self._store.write(lambda change: remove_old_values(change, "georgia", before_s))
        except GeorgiaError as error:
            _log.warning("old process data could not be removed: %s", error)


@contextmanager
def following_process(
    configs: Sequence[SourceConfig], store: Store, monitor: Monitor
) -> Iterator[ProcessFollower | None]:
    """Read the files and servers of the settings into the monitor's store while the block runs.

    Nothing without any. Where a node names the batch, its value is waited for, so that the monitor, which
    starts within the block, begins with that batch.

    Raises:
        InputError: the batch is named by a node and by the monitor's settings.
        MissingDependencyError: a server is to be read, and asyncua is not installed.
    """
    if not configs:
        yield None
        return
    if any(isinstance(config, OpcuaSourceConfig) for config in configs):
        check_asyncua()
    named = [make_batch_node(config, store, monitor) for config in configs]
    sources = [
        _open_source(config, store, monitor, node) for config, node in zip(configs, named, strict=True)
    ]
    keep_days = max(config.keep_days for config in configs)
    polled = [(source, config.poll_s) for source, config in zip(sources, configs, strict=True)]
    follower = ProcessFollower(polled, store, monitor.note_process, keep_days)
    follower.start()
    try:
        for source in sources:
            if isinstance(source, OpcuaSource):
                source.name_first_batch(monitor)
        yield follower
    finally:
        follower.close()


def _open_source(
    config: SourceConfig, store: Store, monitor: Monitor, batch_node: BatchNode | None
) -> FollowedFile | OpcuaSource:
    probe = "" if config.for_all_probes else monitor.source
    if isinstance(config, ProcessConfig):
        return FollowedFile(config, store, probe, monitor.who)
    return OpcuaSource(config, store, probe, monitor.who, batch_node)
