"""A real PostgreSQL server of the tests' own, in a folder of its own, that can be stopped and started."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def has_postgres() -> bool:
    return bool(BINARIES) and (os.geteuid() != 0 or _server_user() is not None)


def _server_user() -> str | None:
    """Return an account for the server where the tests run as root, which it does not accept."""
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return None


class PostgresServer:
    """Started at once; ``url`` is what the store takes."""

    def __init__(self) -> None:
        self._bin = BINARIES[-1]
        self.folder = Path(tempfile.mkdtemp(prefix="georgia-postgres-"))
        self._as: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            account = pwd.getpwnam(str(_server_user()))
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.port = free_port()
        self.url = f"postgresql://tester@127.0.0.1:{self.port}/postgres"
        self._call("initdb", "-D", self._data, "-U", "tester", "--auth=trust", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _call(self, program: str, *arguments: str) -> None:
        log = subprocess.DEVNULL
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            stdout=log,
            stderr=log,
            timeout=PATIENCE_S,
            **self._as,
        )

    def make_database(self, name: str, template: str = "template1") -> str:
        """Make a database, a copy of another one; return its address."""
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tester", "-T", template, name)
        return f"postgresql://tester@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._call("pg_ctl", "-D", self._data, "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._call("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # it was stopped already
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
