"""How old failed log-ins are, by clocks that nobody sets: whoever sets the machine's clock unlocks nobody.

Those of the machine's present run are aged by how long it has run. Of those of an earlier run it is known
that they are as old as the present one at least, and how far apart they were: that counts from the start on.
Those of another machine are aged by the clock, as nothing else is known of them.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select, update

from georgia.monitor import tables

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from georgia.monitor.seals import Change

_FAILURES = tables.people_failures
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _name_boot() -> str:
    """Return the name of the machine's present run; where no system gives one, of the program's."""
    with suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return secrets.token_hex(8)


HOST, BOOT = socket.gethostname(), _name_boot()


class SteadyClock:
    """Seconds since 1970 as the machine's clock had them at the beginning: setting that clock moves it not.

    It stands still while the machine sleeps.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._offset_s = now() - time.monotonic()

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self._offset_s + time.monotonic()


def describe_age() -> dict[str, Any]:
    """Return what a failed log-in keeps of now: the machine, its run, and for how long that lasts, s."""
    return {"host": HOST, "boot": BOOT, "uptime_s": time.monotonic()}


def is_younger(seconds: float, now_s: float) -> ColumnElement[bool]:
    """Return the condition that a failed log-in is younger than that; ``now_s`` is of a steady clock."""
    columns = _FAILURES.c
    is_ours = and_(columns.boot == BOOT, columns.uptime_s.is_not(None))
    # Those of the future, too: no clock that is set back unlocks anybody.
    return or_(
        and_(is_ours, columns.uptime_s > time.monotonic() - seconds),
        and_(or_(columns.boot.is_(None), columns.boot != BOOT), columns.at_s > now_s - seconds),
    )


def take_over_failures(change: Change, now_s: float) -> int:
    """Age failed log-ins of before a start by what is known to have passed since; return how many there were.

    Those that lie in the future, of whatever machine, count from now on: the clock was set back.
    """
    columns = _FAILURES.c
    before = (columns.boot != BOOT) & (columns.host == HOST) & columns.uptime_s.is_not(None)
    query = select(columns.id, columns.uptime_s).where(before).order_by(columns.id.desc())
    rows = change.connection.execute(query).all()
    up_s = time.monotonic()
    age_s, later_s = 0.0, None
    for number, uptime_s in rows:
        # Who has run for less than then was started since, and has run all the time that it says.
        if later_s is None:
            age_s = up_s - uptime_s if up_s >= uptime_s else up_s
        else:
            age_s += later_s - uptime_s if later_s >= uptime_s else later_s
        later_s = uptime_s
        values = {"at_s": now_s - age_s, "boot": BOOT, "uptime_s": up_s - age_s}
        change.connection.execute(update(_FAILURES).where(columns.id == number).values(**values))
    is_ahead = (columns.at_s > now_s) & or_(columns.boot.is_(None), columns.boot != BOOT)
    moved = change.connection.execute(update(_FAILURES).where(is_ahead).values(at_s=now_s)).rowcount
    return len(rows) + moved


def count_recent(seconds: float, now_s: float, *conditions: Any) -> Any:
    """Return the query that counts failed log-ins younger than so many seconds."""
    return select(func.count()).select_from(_FAILURES).where(is_younger(seconds, now_s), *conditions)
