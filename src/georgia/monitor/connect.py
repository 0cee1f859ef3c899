"""Open the store's database, SQLite by default or PostgreSQL by URL, and wait for one that is away."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from georgia.errors import GeorgiaError, InputError, MissingDependencyError, remember_password

# One number for all writers of a store: only one writes at a time, so that chains have one end.
_LOCK = 0x6765_6F72
# A database that does not respond is "away" after this long.
TIMEOUT_S = 5
# Waits between attempts double up to the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
# PostgreSQL's code for what a role may not do. Source: its documentation, appendix A.
_NO_RIGHT = "42501"
# So many frames are analysed ahead of a store that is away; then the folder itself is the memory.
CAPACITY = 200


class StoreAwayError(GeorgiaError, ConnectionError):
    """The database cannot be reached or cannot write now; the same call may work later."""

    exit_code = 2  # the database is the user's, and no bug of ours


def connect(url: str) -> Engine:
    """Return an engine that reads and writes, for a URL or a plain path of an SQLite file.

    Raises:
        InputError: the URL cannot be used.
        MissingDependencyError: PostgreSQL is requested and psycopg is not installed.
    """
    with _naming_faults():
        address = _parse(url)
        if address.get_backend_name() == "sqlite":
            return _connect_sqlite(address)
        return create_engine(address, pool_pre_ping=True, connect_args=_postgres_arguments())


def connect_for_reading(url: str) -> Engine:
    """Return an engine that cannot change the database, nor make one, nor a file beside it.

    An SQLite file whose folder cannot be written to is read too: an archive, a copy on a read-only disk.

    Raises:
        InputError: the URL cannot be used, or there is no such file.
        MissingDependencyError: PostgreSQL is requested and psycopg is not installed.
    """
    with _naming_faults():
        address = _parse(url)
        if address.get_backend_name() == "sqlite":
            return _connect_archive(Path(address.database or ""))
        arguments = _postgres_arguments()
        arguments["options"] += " -c default_transaction_read_only=on"
        # All reads of a transaction see one moment, as in SQLite, while a monitor writes.
        return create_engine(
            address, pool_pre_ping=True, connect_args=arguments, isolation_level="REPEATABLE READ"
        )


def find_file(url: str) -> Path | None:
    """Return the SQLite file that a store's address names, None for a server or a store in memory."""
    with _naming_faults():
        address = _parse(url)
    name = address.database
    is_file = address.get_backend_name() == "sqlite" and name and name != ":memory:"
    return Path(str(name)) if is_file else None


def describe_database(url: str) -> tuple[str, ...]:
    """Return what is the same for two addresses of one database: kind, host, port and name."""
    with _naming_faults():
        address = _parse(url)
    host = (address.host or "localhost").lower().strip("[]")
    host = "localhost" if host in ("127.0.0.1", "::1") else host
    return (address.get_backend_name(), host, str(address.port or 5432), address.database or "")


def name_store(url: str) -> str:
    """Return what a page that leaves this machine calls a store: without folders, user and password.

    >>> name_store("/home/ann/plant/batch.db"), name_store("postgresql://ann:secret@db.plant/line")
    ('batch.db', 'db.plant/line')
    """
    file = find_file(url)
    if file is not None:
        return PureWindowsPath(file).name
    with _naming_faults():
        address = _parse(url)
    where = f"{address.host or 'localhost'}{f':{address.port}' if address.port else ''}"
    return f"{where}/{address.database or ''}"


def _parse(url: str) -> URL:
    remember_password(url)
    # A path has no driver in front: "C:/x" and "a:b" are paths too.
    address = make_url(url) if "://" in url else URL.create("sqlite", database=url)
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise ArgumentError(address.get_backend_name())
    return address


@contextmanager
def _naming_faults() -> Iterator[None]:
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "Cannot open the store",
            needs="a path, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME is needed",
            got=error,
        ) from error
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Cannot open the store",
            needs="psycopg is needed for PostgreSQL",
            got=error,
            hint="pip install 'georgia[postgres]'.",
        ) from error


def _postgres_arguments() -> dict[str, Any]:
    # Without them a connection whose server has vanished would hang for minutes.
    return {
        "connect_timeout": TIMEOUT_S,
        "tcp_user_timeout": TIMEOUT_S * 1000,
        "options": f"-c lock_timeout={TIMEOUT_S}s -c statement_timeout=30s",
    }


def _connect_sqlite(address: URL) -> Engine:
    if address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": TIMEOUT_S})
    opened = _OpenedFile(find_file(address.render_as_string(hide_password=False)))
    engine.update_execution_options(georgia_file=opened)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        opened.note()
        # SQLAlchemy begins transactions here, not the driver, which would begin too late for reads.
        connection.isolation_level = None
        if _is_foreign(connection):
            return  # WAL would be written into a file that is none of ours
        # A short log: it must fit on a disk that is nearly full.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=200"):
            connection.execute(f"PRAGMA {pragma}").close()

    _begin_explicitly(engine)
    return engine


def _is_foreign(connection: Any) -> bool:
    """Tell whether an SQLite file holds tables, but not the row that every store has."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return False
    if [row[1] for row in connection.execute("PRAGMA table_info(about)")] != ["name", "value"]:
        return True
    return not connection.execute("SELECT count(*) FROM about WHERE name = 'schema'").fetchone()[0]


def _begin_explicitly(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("georgia_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _connect_archive(file: Path) -> Engine:
    if not file.is_file():
        raise InputError(
            f"Cannot open the store {str(file)!r}",
            needs="it must exist",
            got="a folder" if file.is_dir() else "no such file",
            hint="Give the file that 'georgia monitor --db' wrote.",
        )
    log = Path(f"{file}-wal")
    if not log.exists():
        # Nobody has it open. Without "immutable", SQLite would make files beside it and leave them there.
        engine = _connect_read_only(file, {"mode": "ro", "immutable": "1"})
        engine.update_execution_options(georgia_log=str(log))
        return engine
    if not _size(log) or _can_read(file):
        return _connect_read_only(file, {"mode": "ro"} if _can_read(file) else {"immutable": "1"})
    # What was not moved into the file yet lies in the log beside it, which needs a folder to work in.
    folder = tempfile.mkdtemp(prefix="georgia-store-")
    for name in (file.name, log.name):
        shutil.copyfile(file.with_name(name), Path(folder) / name)
    engine = _connect_read_only(Path(folder) / file.name, {"mode": "ro"})
    weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
    return engine


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _can_read(file: Path) -> bool:
    """Tell whether SQLite can read a file that has a log in the folder where it lies."""
    try:
        connection = sqlite3.connect(f"{_uri(file)}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    except sqlite3.DatabaseError:  # no database at all: the engine says so
        pass
    return True


def _uri(file: Path) -> str:
    return f"file:{quote(str(file.absolute()))}"


def _connect_read_only(file: Path, query: dict[str, str]) -> Engine:
    address = URL.create("sqlite", database=_uri(file), query={**query, "uri": "true"})
    engine = create_engine(address, connect_args={"timeout": TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    _begin_explicitly(engine)
    return engine


class _OpenedFile:
    """Which SQLite file is open: one that was removed or replaced since takes rows that nobody will find."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None

    def note(self) -> None:
        """Note which file it is, at the first connection: all others must be to the same one."""
        self._identity = self._identity or self._read()

    def check(self) -> None:
        """Raise if the file's name stands for another file, or none."""
        if self._path is None or self._identity is None:
            return
        found = self._read()
        if found == self._identity:
            return
        what = "was removed" if found is None else "was replaced by another file"
        raise StoreAwayError(
            f"The store cannot be used now: {str(self._path)!r} {what} while it was open. Put it back; to go "
            "on with what is there now, stop and start again."
        )

    def _read(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if status is None else (status.st_dev, status.st_ino)


def _check_opened(engine: Engine) -> None:
    opened = engine.get_execution_options().get("georgia_file")
    if opened is not None:
        opened.check()


def end_of_page(rows: Sequence[Mapping[Any, Any]], key: str, last: int) -> int:
    """Return the key of a page's last row, which must lie behind the page before.

    In a damaged file rows need not be in the order of their keys: paging by them would never end.

    Raises:
        InputError: it does not.
    """
    found = rows[-1][key]
    if not isinstance(found, int) or found <= last:
        raise InputError(
            "Cannot read the store",
            needs="a whole database is needed",
            got=f"rows that are out of order ({found!r:.40} after {last})",
            hint="The file is damaged.",
        )
    return found


@contextmanager
def naming_damage() -> Iterator[None]:
    """Turn what a row of other values than Georgia writes raises while it is read into one line.

    Raises:
        InputError: a row was altered.
    """
    try:
        yield
    except GeorgiaError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise InputError(
            "Cannot read the store",
            needs="rows as Georgia wrote them are needed",
            got=" ".join(str(error).split())[:200] or type(error).__name__,
            hint="One was altered: see 'georgia verify'.",
        ) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection whose reads see one moment.

    Raises:
        InputError: a row was altered.
        InputError: what is read is damaged.
        StoreAwayError: the database cannot be reached, its file was removed or replaced, or one that nobody
            wrote to is written to now.
    """
    _check_opened(engine)
    log = engine.get_execution_options().get("georgia_log")
    with _as_away(), naming_damage(), engine.connect() as connection:
        yield connection
    if log and Path(log).exists():
        raise StoreAwayError("The store cannot be used now: a monitor has opened it meanwhile; try again.")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that holds the store's write lock; commit at the end, or nothing at all.

    Raises:
        StoreAwayError: the database cannot be reached, is full, its file was removed or replaced, or another
            writer holds it too long.
    """
    _check_opened(engine)
    with (
        _as_away(),
        engine.connect().execution_options(georgia_writes=True) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        yield connection
        _check_opened(engine)  # before the commit, which nobody would see


@contextmanager
def _as_away() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise  # the caller's: the same row twice
    except (InterfaceError, PoolTimeoutError) as error:
        raise StoreAwayError(f"The store cannot be used now: {_reason(error)}.") from error
    except DatabaseError as error:
        # Of a server that has become read-only, after a failover for instance, frames wait as for one away.
        if _is_broken(error) and not _is_forbidden(error):
            raise InputError(
                "Cannot open the store",
                needs="a whole database with Georgia's own tables is needed",
                got=_reason(error),
                hint="Name another store.",
            ) from error
        if not isinstance(error, OperationalError | InternalError) and not _is_forbidden(error):
            raise
        raise StoreAwayError(f"The store cannot be used now: {_reason(error)}.") from error


def _is_forbidden(error: DatabaseError) -> bool:
    """Tell whether PostgreSQL's rights forbid it now: somebody can give them back."""
    return getattr(error.orig, "sqlstate", None) == _NO_RIGHT


def _is_broken(error: DatabaseError) -> bool:
    """Tell whether waiting cannot help: a table or column is not there, or the file is damaged."""
    if isinstance(error, ProgrammingError):
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "orig", error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class WriteQueue:
    """What waits to be written: in order, again and again, until the store takes it; nothing is left out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._wait_s, self._next_at = _FIRST_WAIT_S, 0.0
        self.fault = ""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Tell whether no more should be analysed before the store is back."""
        return len(self._waiting) >= CAPACITY

    def put(self, write: Callable[[], Any], done: Callable[[Any], None] = lambda _: None) -> None:
        """Add one write; ``done`` is called with its result once it is in the store."""
        self._waiting.append((write, done))

    def flush(self, at_once: bool = False) -> bool:
        """Write what waits; return whether all is written. After a failure it waits longer each time."""
        if self._waiting and not at_once and self._now() < self._next_at:
            return False
        while self._waiting:
            write, done = self._waiting[0]
            try:
                result = write()
            except StoreAwayError as error:
                self.fault = str(error)
                self._next_at = self._now() + self._wait_s
                self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
                return False
            self._waiting.popleft()
            self.fault, self._wait_s = "", _FIRST_WAIT_S
            done(result)
        return True
