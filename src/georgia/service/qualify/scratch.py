"""A monitor of a scratch folder into a scratch store, as a process of its own, whose faults are made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from georgia.errors import GeorgiaError
from georgia.monitor.health import HealthState, read_health
from georgia.monitor.queries import StoreReader
from georgia.monitor.settings import HealthConfig
from georgia.monitor.verify import Verification, verify_store
from georgia.synthetic import render_frame

# A wait of a drill; on a machine with ten other jobs each takes a tenth of it.
PATIENCE_S = 45.0
_SIZE_PX = (240, 280)
_SILENT_AFTER_S = 5.0
_SETTINGS = (
    *("poll_interval_s=0.1", "grace_s=0.3", "folder_away_after_s=1", "unreadable_after=2", "tile_px=120"),
    *("min_judged=2", f"silent_after_s={_SILENT_AFTER_S:g}", "no_frames_s=600", "threads=1"),
)
# Source: prctl(2).
_PR_SET_PDEATHSIG = 1
# What a setting of the running installation could change in the drills.
_VARIABLES = ("GEORGIA_TOKEN", "GEORGIA_PRECISION", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ScratchProbe:
    """A folder that frames are written to, a store, and the process between; nothing else is touched."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder, self.db = root, root / "probe", root / "scratch.db"
        self.folder.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.names: list[str] = []
        self._n_damaged = 0

    def command(self, *more: str, db: Path | None = None) -> list[str]:
        """Return the command line of a monitor of this folder."""
        changes = [part for setting in _SETTINGS for part in ("--set", setting)]
        start = [sys.executable, "-m", "georgia", "monitor", "--watch", str(self.folder)]
        return [*start, "--db", str(db or self.db), *changes, *more]

    def environ(self) -> dict[str, str]:
        """Return the environment of the scratch monitor: without the settings of the running one."""
        environ = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
        return {**environ, "PYTHONUNBUFFERED": "1"}

    def start(self, *more: str) -> None:
        """Start the monitor; what it prints goes into a file of the scratch folder."""
        with (self.root / "said.txt").open("ab") as said:
            self.process = subprocess.Popen(
                self.command(*more),
                stdout=said,
                stderr=said,
                cwd=self.root,
                env=self.environ(),
                preexec_fn=_bind_to_parent(),
            )

    def run(self, *more: str, db: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a monitor to its end."""
        return subprocess.run(
            self.command(*more, db=db),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=3 * PATIENCE_S,
            check=False,
            cwd=self.root,
            env=self.environ(),
            **options,
        )

    def kill(self) -> None:
        """End the process at once, as a power cut does (SIGKILL; on Windows TerminateProcess)."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def put(self, n: int = 1) -> None:
        """Write frames as an instrument does: whole, under their last name."""
        for _ in range(n):
            name = f"f{len(self.names) + 1:04}.png"
            image = render_frame(len(self.names) + 1, _SIZE_PX, 0.05, 0.5).image
            temporary = self.root / "new.png"
            Image.fromarray(image[:, :, 0]).save(temporary)
            temporary.replace(self.folder / name)
            self.names.append(name)

    def put_damaged(self, n: int) -> None:
        """Write files that are no images, though they begin like one."""
        for _ in range(n):
            self._n_damaged += 1
            content = b"\x89PNG\r\n\x1a\n" + bytes([self._n_damaged])
            (self.folder / f"damaged{self._n_damaged}.png").write_bytes(content)

    def recorded(self, db: Path | None = None) -> list[str]:
        """Return the names of the frames that are in the store, in its order; empty before there is one."""
        if not (db or self.db).exists():
            return []
        with closing(StoreReader.open(str(db or self.db))) as store:
            return [frame.file for frame in store.iter_frames()]

    def actions(self) -> list[str]:
        """Return what the audit log says, newest first, with the kind of each outage."""
        with closing(StoreReader.open(str(self.db))) as store:
            return [
                f"{entry.action}: {entry.detail.get('outage', '')}" for entry in store.audit_log(limit=50)
            ]

    def health(self) -> HealthState:
        """Return the monitor's state, as another process reads it from the store."""
        with closing(StoreReader.open(str(self.db))) as store:
            config = HealthConfig(silent_after_s=_SILENT_AFTER_S)
            return read_health(store, time.time(), config=config).state

    def verify(self, db: Path | None = None) -> Verification:
        """Return whether a store's record is whole."""
        with closing(StoreReader.open(str(db or self.db))) as store:
            return verify_store(store)

    def wait(self, holds: Callable[[], bool]) -> bool:
        """Wait until something holds, for so long that a slow machine is no fault; return whether it does."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if holds():
                    return True
            except (GeorgiaError, OSError):  # the store is not there yet, or away
                pass
            if self.process is not None and self.process.poll() is not None:
                return False
            time.sleep(0.1)
        return False

    def said(self) -> str:
        """Return the last line that the monitor printed."""
        path = self.root / "said.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return lines[-1][:300] if lines else "nothing"


def _bind_to_parent() -> Callable[[], object] | None:
    """Return what has Linux end a child with its parent, so that a check that is killed leaves no monitor."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
