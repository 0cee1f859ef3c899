"""``georgia service`` from arguments to a unit; a real monitor tells a service manager that it lives."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.patience import PATIENCE_S

from georgia.cli import main

pytest.importorskip("sqlalchemy")


def test_service_is_installed_and_removed(
    georgia: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("--account", getpass.getuser(), "--set", f"folder={tmp_path}")
    # What stands after -- is the service's own.
    assert main(["service", "install", *settings, "--json", "--", "serve", "--watch", "probe", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert not result["started"]
    assert "serve --watch probe --json\n" in Path(result["unit"]).read_text()
    code, result, _ = georgia("service", "status", *settings)
    assert (code, result["is_installed"], result["is_running"]) == (3, True, False)
    code, result, _ = georgia("service", "remove", *settings)
    assert (code, len(result["removed"])) == (0, 2)


def test_wrong_option_is_2_and_writes_nothing(georgia: Any, tmp_path: Path) -> None:
    code, _, err = georgia(
        "service", "install", "--set", f"folder={tmp_path}", "--", "serve", "--wach", "probe"
    )
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "--watch" in err


@pytest.mark.slow
def test_real_monitor_tells_its_manager(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        command = [sys.executable, "-m", "georgia", "monitor", "--watch", str(tmp_path), "--db"]
        process = subprocess.Popen([*command, str(tmp_path / "m.db")], env=environ, stderr=subprocess.DEVNULL)
        try:
            heard = [manager.recv(999).decode() for _ in range(3)]
            process.terminate()
            while "STOPPING=1" not in heard[-1]:
                heard.append(manager.recv(999).decode())
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
    assert heard[0].startswith("READY=1\nSTATUS=")
    assert sum("READY=1" in text for text in heard) == 1
    assert sum("WATCHDOG=1" in text for text in heard) >= 2
