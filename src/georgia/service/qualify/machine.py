"""Is the machine fit for it: clock, disks, the store's rights, the port."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from georgia.monitor.clock_watch import LEAST_JUMP_S, ClockWatch
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import describe_database, find_file
from georgia.monitor.frametime import find_zone
from georgia.monitor.queries import StoreReader
from georgia.service.qualify.records import Finding, NotRunError
from georgia.service.qualify.settings import QualifyConfig

_WATCHED_S = 1.0
# A quartz drifts by 0.1 ms in this time, and a time server slews by 0.5 ms; ten times that was set.
_MOST_DRIFT_S = 0.005
_N_WRITES, _WRITE_BYTES = 20, 4096
_NO_STORE = "No store is named: --db STORE, or db in the section [monitor] or [serve] of --config."


@dataclass(frozen=True)
class Machine:
    """This machine, with what the settings say of the running installation."""

    config: QualifyConfig

    def check_clock(self) -> Finding:
        """Find whether the wall's clock goes as one that never jumps, over one second."""
        watch = ClockWatch()
        before = _measure_offset()
        time.sleep(_WATCHED_S)
        drift = _measure_offset() - before
        jump = watch.check()
        found = f"{drift * 1000:+.2f} ms in {_WATCHED_S:g} s"
        return Finding(jump is None and abs(drift) <= _MOST_DRIFT_S, found)

    def check_synchronised(self) -> Finding:
        """Find whether a time server keeps the clock, by what systemd says."""
        if shutil.which("timedatectl") is None:
            raise NotRunError("No timedatectl is here to tell; ask the system's own time service.")
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--property=Timezone"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotRunError(f"timedatectl does not tell: {error}") from error
        values = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        if done.returncode or "NTPSynchronized" not in values:
            said = " ".join(done.stderr.split()) or "nothing"
            raise NotRunError(
                f"timedatectl does not tell; it says {said!r}. Ask the host, or its time service."
            )
        found = ", ".join(f"{name}={value}" for name, value in values.items())
        return Finding(values["NTPSynchronized"] == "yes", found)

    def check_zone(self) -> Finding:
        """Find the time zone: the one of the settings, which must exist here."""
        zone = find_zone(self.config.time_zone)
        now = datetime.now(zone).astimezone(zone)
        offset = now.strftime("%z")
        return Finding(True, f"{self.config.time_zone}: {now.tzname()}, UTC{offset[:3]}:{offset[3:]}")

    def check_store_times(self) -> Finding:
        """Find the newest time in the store's record, which must not be in the future."""
        with closing(self._open_store()) as store:
            events, frames = store.audit_log(limit=1), store.frames(limit=1)
        times = [event.at_s for event in events] + [frame.judged_at_s for frame in frames]
        if not times:
            raise NotRunError("The store holds no event and no frame yet.")
        newest, now = max(times), time.time()
        found = f"newest record {iso_time(newest)}, now {iso_time(now)}"
        hint = "The clock of this machine was set back, or another machine writes into the store."
        return Finding(newest <= now + LEAST_JUMP_S, found, "" if newest <= now + LEAST_JUMP_S else hint)

    def check_record(self) -> Finding:
        """Find whether the store's record is whole; it is only read."""
        from georgia.monitor.verify import verify_store

        with closing(self._open_store()) as store:
            found = verify_store(store)
        said = f"{found.n_entries:,} events, {found.n_frames:,} frames; head {found.head}"
        faults = "; ".join(f"{fault.table} {fault.row}: {fault.fault}" for fault in found.faults[:3])
        return Finding(found.is_whole, faults or said, "" if found.is_whole else "See: georgia verify")

    def _open_store(self) -> StoreReader:
        if not self.config.db:
            raise NotRunError(_NO_STORE)
        file = find_file(self.config.db)
        if file is not None and not file.exists():
            raise NotRunError(f"There is no store {str(file)!r} yet.")
        return StoreReader.open(self.config.db)

    def check_store_rights(self) -> Finding:
        """Find who may read and write the store: this account may, and not everybody may write."""
        if not self.config.db:
            raise NotRunError(_NO_STORE)
        file = find_file(self.config.db)
        if file is None:
            raise NotRunError("The store is on a database server, whose rights its administrator checks.")
        is_there = file.exists()
        faults = []
        for path, what in ((file, "store"), (file.absolute().parent, "its folder")):
            if not path.exists():
                if path is not file:
                    faults.append(f"{what} does not exist")
                continue
            if not os.access(path, os.R_OK | os.W_OK):
                faults.append(f"{what} cannot be read and written by this account")
            if os.name == "posix" and path.stat().st_mode & 0o002 and not path.stat().st_mode & 0o1000:
                faults.append(f"everybody may write to {what}")
        said = f"{file.absolute()}: " + ("there" if is_there else "not there yet")
        if os.name == "posix" and is_there:
            stat = file.stat()
            said += f", mode {stat.st_mode & 0o777:03o}, owner {stat.st_uid}, this account {os.getuid()}"
        return Finding(not faults, "; ".join(faults) if faults else said)

    def check_watch(self) -> Finding:
        """Find whether the probe's folder is there and can be read."""
        if not self.config.watch:
            raise NotRunError(
                "No folder of a probe is named: --watch DIR, or watch in [monitor] of --config."
            )
        folder = Path(self.config.watch).expanduser()
        if not folder.is_dir():
            return Finding(False, f"no folder {str(folder)!r}")
        is_readable = os.access(folder, os.R_OK | os.X_OK)
        n = sum(1 for _ in os.scandir(folder)) if is_readable else 0
        return Finding(
            is_readable, f"{folder}: {n:,} entries" if is_readable else "this account cannot read it"
        )

    def check_room(self) -> Finding:
        """Find the free room of each disk that is written to."""
        file = find_file(self.config.db) if self.config.db else None
        places = {"temporary files": Path(tempfile.gettempdir())}
        if file is not None:
            places["store"] = _find_existing(file.absolute().parent)
        rooms = {what: shutil.disk_usage(place).free / 1e9 for what, place in places.items()}
        found = ", ".join(f"{what}: {room:,.1f} GB free" for what, room in rooms.items())
        return Finding(min(rooms.values()) >= self.config.min_free_gb, found)

    def check_latency(self) -> Finding:
        """Find how long 4 KB take until they are on the disk, in the scratch folder."""
        with tempfile.TemporaryFile(dir=self.config.scratch or None) as stream:
            seconds = []
            for _ in range(_N_WRITES):
                started = time.monotonic()
                stream.write(os.urandom(_WRITE_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
                seconds.append(time.monotonic() - started)
        scratch = Path(self.config.scratch or tempfile.gettempdir())
        found = (
            f"median {statistics.median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms "
            f"of {_N_WRITES} in {scratch}{self._tell_disk(scratch)}"
        )
        return Finding(max(seconds) <= self.config.max_write_s, found)

    def _tell_disk(self, scratch: Path) -> str:
        file = find_file(self.config.db) if self.config.db else None
        if file is None:
            return ""
        is_same = _find_existing(file.absolute().parent).stat().st_dev == scratch.stat().st_dev
        return ", the store's disk" if is_same else ", another disk than the store's: --set scratch=FOLDER"

    def check_port(self) -> Finding:
        """Find whether the service's port is free, or held by Georgia."""
        if not self.config.port:
            raise NotRunError("Port 0 is any free one.")
        host, port = self.config.host, self.config.port
        own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        try:
            socket.create_connection((own, port), timeout=5).close()
        except OSError as error:
            return _check_free(host, port, error)
        try:
            connection = http.client.HTTPConnection(own, port, timeout=10)
            with closing(connection):
                connection.request("GET", "/api/health", headers={"Host": f"{own}:{port}"})
                health = json.loads(connection.getresponse().read(100_000))
            state = health["probe"]["state"]
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return Finding(False, f"another program responds at {own}:{port}", "Choose another port: --port.")
        return Finding(True, f"Georgia responds at {own}:{port}; its probe: {state}")


def _measure_offset() -> float:
    """Return the wall's clock less the steady one, s, from the reading that was interrupted least."""
    readings = []
    for _ in range(9):
        early, wall, late = time.monotonic(), time.time(), time.monotonic()
        readings.append((late - early, wall - (early + late) / 2))
    return min(readings)[1]


def _check_free(host: str, port: int, failed: OSError) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as free:
        if sys.platform != "win32":
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((host, port))
        except OSError as error:
            return Finding(
                False, f"{host}:{port} cannot be used: {error.strerror or error} ({failed.strerror})"
            )
    return Finding(True, f"{host}:{port} is free")


def _find_existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def describe_place(config: QualifyConfig) -> dict[str, str]:
    """Return what was checked, for the head of the page; a database's password is left out."""
    import getpass
    import platform

    try:
        account = getpass.getuser()
    except (OSError, KeyError):
        account = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    store = ", ".join(describe_database(config.db)) if config.db else "none named"
    return {
        "machine": platform.node() or "unknown",
        "system": platform.platform(),
        "account": account,
        "working folder": str(Path.cwd()),
        "model": config.model or "the bundled one",
        "store": store,
        "probe's folder": config.watch or "none named",
        "service": f"{config.host}:{config.port}",
    }
