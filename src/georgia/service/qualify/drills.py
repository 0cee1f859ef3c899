"""Fault drills: each fault is made on a scratch store, and must be said, recorded and survived."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from georgia.monitor.health import HealthState
from georgia.monitor.verify import Verification
from georgia.service.qualify.records import Finding, NotRunError, Part, Plan
from georgia.service.qualify.scratch import ScratchProbe

# Frames of the full disk, and the room that is left there for them: some fit, and not all.
_N_FULL, _ROOM_BYTES = 12, 60_000


class Drills:
    """The drills in their order: one scratch monitor goes through all of them, and is ended at the end."""

    def __init__(self, scratch: str = "") -> None:
        folder = Path(scratch).expanduser().absolute() if scratch else None
        self._root = Path(tempfile.mkdtemp(prefix="georgia-qualify-", dir=folder))
        self._probe = ScratchProbe(self._root / "live")
        self._is_running = False

    def close(self) -> None:
        """End the monitor and remove the scratch folder."""
        self._probe.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def plan(self) -> list[Plan]:
        """Return the drills with what must be found."""
        drills: list[tuple[str, str, Callable[[], Finding]]] = [
            ("Frames are analysed", "3 of 3 frames in the record", self._start),
            (
                "Webhook receiver away",
                "outage 'receiver away' in the record; the monitor goes on",
                self._lose_receiver,
            ),
            ("Files unreadable", "said in health; a sound file later is analysed", self._damage_files),
            (
                "Probe's folder away",
                "said in health; a frame after its return is analysed",
                self._lose_folder,
            ),
            ("Database away", "frames of that time are recorded once it is back", self._lose_store),
            ("kill -9 and restart", "no frame lost or doubled; the record is whole", self._kill),
            ("Tampered row", "found by verify; the untouched store is whole", self._tamper),
            ("Disk full", "one line, exit code 2; nothing lost once there is room", self._fill_disk),
        ]
        return [
            Plan(f"OQ-{number:02}", Part.OPERATION, f"Drill: {title}", expected, make)
            for number, (title, expected, make) in enumerate(drills, start=10)
        ]

    def _require_running(self) -> ScratchProbe:
        if not self._is_running:
            raise NotRunError("The scratch monitor does not run: see the first drill.")
        return self._probe

    def _start(self) -> Finding:
        probe = self._probe
        probe.put(3)
        probe.start("--set", f"webhook=http://127.0.0.1:{_find_closed_port()}/away")
        self._is_running = probe.wait(lambda: len(probe.recorded()) == 3)
        n = len(probe.recorded())
        return Finding(self._is_running, f"{n} of 3", "" if self._is_running else f"It said: {probe.said()}")

    def _damage_files(self) -> Finding:
        probe = self._require_running()
        probe.put_damaged(3)
        is_said = probe.wait(lambda: probe.health() == HealthState.UNREADABLE_FRAMES)
        return self._recover("unreadable frames", is_said)

    def _lose_folder(self) -> Finding:
        probe = self._require_running()
        away = probe.root / "away"
        try:
            probe.folder.rename(away)
        except OSError as error:
            raise NotRunError(f"The folder cannot be taken away here: {error.strerror}.") from error
        is_said = probe.wait(lambda: probe.health() == HealthState.FOLDER_AWAY)
        away.rename(probe.folder)
        return self._recover("folder away", is_said)

    def _recover(self, outage: str, is_said: bool) -> Finding:
        """Write a frame, and find it in the record and the outage's beginning and end in the audit log."""
        probe = self._probe
        probe.put()
        is_recorded = probe.wait(lambda: probe.names[-1] in probe.recorded())
        wanted = {f"outage began: {outage}", f"outage ended: {outage}"}
        is_logged = probe.wait(lambda: wanted <= set(probe.actions()))
        found = (
            f"health {'said' if is_said else 'did not say'} {outage!r}; audit log: "
            f"{'began and ended' if is_logged else 'not both'}; "
            f"next frame {'recorded' if is_recorded else 'not recorded'}"
        )
        return Finding(is_said and is_recorded and is_logged, found)

    def _lose_store(self) -> Finding:
        probe = self._require_running()
        if sys.platform == "win32":
            raise NotRunError("Windows lets nobody move a database that is open.")
        kept = probe.root / "kept.db"
        probe.db.rename(kept)
        probe.put(2)
        # It must find that the database is away, and must not begin another under its name.
        probe.wait(lambda: "away" in probe.said() or "removed" in probe.said())
        is_replaced = probe.db.exists()
        kept.replace(probe.db)
        is_recorded = probe.wait(lambda: set(probe.names) <= set(probe.recorded()))
        is_logged = probe.wait(lambda: "outage ended: store away" in probe.actions())
        found = (
            f"{'another' if is_replaced else 'no other'} store was begun; frames of that time: "
            f"{sum(name in probe.recorded() for name in probe.names[-2:])} of 2; "
            f"audit log: {'outage began and ended' if is_logged else 'no outage ended'}"
        )
        return Finding(is_recorded and is_logged and not is_replaced, found)

    def _lose_receiver(self) -> Finding:
        probe = self._require_running()
        # An outage is told to the receiver, whose port is closed.
        away = probe.root / "away"
        probe.folder.rename(away)
        probe.wait(lambda: probe.health() == HealthState.FOLDER_AWAY)
        away.rename(probe.folder)
        is_said = probe.wait(lambda: "outage began: receiver away" in probe.actions())
        probe.put()
        is_recorded = probe.wait(lambda: probe.names[-1] in probe.recorded())
        found = (
            f"audit log: {'outage began: receiver away' if is_said else 'nothing of it'}; "
            f"next frame {'recorded' if is_recorded else 'not recorded'}"
        )
        return Finding(is_said and is_recorded, found)

    def _kill(self) -> Finding:
        probe = self._require_running()
        probe.put(2)
        probe.wait(lambda: len(probe.recorded()) > len(probe.names) - 2)  # in the middle of its work
        probe.put(2)
        probe.kill()
        self._is_running = False
        probe.put(2)
        done = probe.run("--once")
        recorded = probe.recorded()
        lost, doubled = len(set(probe.names) - set(recorded)), len(recorded) - len(set(recorded))
        is_noted = any(action.startswith("monitor lost") for action in probe.actions())
        verification = probe.verify()
        found = (
            f"{len(recorded)} of {len(probe.names)} frames; lost {lost}, doubled {doubled}; "
            f"{'the lost monitor is in the audit log' if is_noted else 'no word of the lost monitor'}; "
            f"record {_tell_whole(verification)}"
        )
        # 3: the damaged files of the drill before are left out.
        is_right = (
            not lost and not doubled and is_noted and verification.is_whole and done.returncode in (0, 3)
        )
        return Finding(is_right, found, "" if done.returncode in (0, 3) else done.stderr[-300:])

    def _tamper(self) -> Finding:
        probe = self._probe
        probe.kill()
        if not probe.recorded():
            raise NotRunError("The scratch store holds no frame: see the first drill.")
        copy = probe.root / "tampered.db"
        with closing(sqlite3.connect(probe.db)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        shutil.copy(f"{probe.db}.head", f"{copy}.head")
        before = probe.verify(copy)
        with closing(sqlite3.connect(copy)) as store, store:
            store.execute("UPDATE frames SET fraction = 0.001 WHERE id = (SELECT max(id) FROM frames)")
        after = probe.verify(copy)
        named = "; ".join(f"{fault.table} {fault.row}: {fault.fault}" for fault in after.faults[:2])
        found = f"before: {_tell_whole(before)}; after: {named or 'nothing found'}"
        return Finding(before.is_whole and any(fault.table == "frames" for fault in after.faults), found)

    def _fill_disk(self) -> Finding:
        if sys.platform == "win32":
            raise NotRunError("Windows limits no file's size.")
        probe = ScratchProbe(self._root / "full")
        probe.put()
        first = probe.run("--once")
        if first.returncode:
            return Finding(False, f"exit code {first.returncode} with room", first.stderr[-300:])
        probe.put(_N_FULL)
        limit = probe.db.stat().st_size + _ROOM_BYTES
        done = probe.run("--once", preexec_fn=partial(_limit_files, limit))
        line = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        is_told = done.returncode == 2 and "Traceback" not in done.stderr
        n_before = len(probe.recorded())
        again = probe.run("--once")
        recorded, verification = probe.recorded(), probe.verify()
        is_right = sorted(recorded) == probe.names and verification.is_whole and again.returncode == 0
        found = (
            f"exit code {done.returncode} after {n_before} of {len(probe.names)} frames: {line[:200]}; then "
            f"{len(recorded)} frames, record {_tell_whole(verification)}"
        )
        return Finding(is_told and is_right, found)


def _tell_whole(verification: Verification) -> str:
    return "whole" if verification.is_whole else "not whole"


def _limit_files(n_bytes: int) -> None:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    if sys.platform == "win32":
        return
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def _find_closed_port() -> int:
    """Return a port of the loopback at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
