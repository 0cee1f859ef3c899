"""Open the store's database, SQLite by default or PostgreSQL by URL, and wait for one that is away."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from georgia.errors import GeorgiaError, InputError, MissingDependencyError

# One number for all writers of a store: only one writes at a time, so that chains have one end.
_LOCK = 0x6765_6F72
# A database that does not respond is "away" after this long.
TIMEOUT_S = 5
# Waits between attempts double up to the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
# So many frames are analysed ahead of a store that is away; then the folder itself is the memory.
CAPACITY = 200


class StoreAwayError(GeorgiaError, ConnectionError):
    """The database cannot be reached or cannot write now; the same call may work later."""

    exit_code = 2  # the database is the user's, and no bug of ours


def connect(url: str) -> Engine:
    """Return an engine for a URL or a plain path of an SQLite file.

    Raises:
        InputError: the URL cannot be used.
        MissingDependencyError: PostgreSQL is requested and psycopg is not installed.
    """
    try:
        address = make_url(url if "://" in url else f"sqlite:///{url}")
        if address.drivername in ("postgresql", "postgres"):
            address = address.set(drivername="postgresql+psycopg")
        if address.get_backend_name() not in ("sqlite", "postgresql"):
            raise ArgumentError(address.get_backend_name())
        if address.get_backend_name() == "sqlite":
            return _connect_sqlite(address)
        return create_engine(address, pool_pre_ping=True, connect_args=_postgres_arguments())
    except (ArgumentError, NoSuchModuleError) as error:
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


def _connect_sqlite(address: Any) -> Engine:
    if address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # SQLAlchemy begins transactions here, not the driver, which would begin too late for reads.
        connection.isolation_level = None
        # A short log: it must fit on a disk that is nearly full.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=200"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("georgia_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection whose reads see one moment.

    Raises:
        StoreAwayError: the database cannot be reached.
    """
    with _as_away(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that holds the store's write lock; commit at the end, or nothing at all.

    Raises:
        StoreAwayError: the database cannot be reached, is full, or another writer holds it too long.
    """
    with (
        _as_away(),
        engine.connect().execution_options(georgia_writes=True) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        yield connection


@contextmanager
def _as_away() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        lines = str(getattr(error, "orig", error)).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise StoreAwayError(f"The store cannot be used now: {reason}.") from error


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
