"""Three probes in one service: each with its store and pages, and what is wrong with one is its own."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import monitor as probe
from tests.helpers.patience import PATIENCE_S

pytestmark = [pytest.mark.slow]
SETTINGS = """
[serve]
port = 0
token = "a-token-of-the-tests-0123456789"
poll_interval_s = 0.1
[monitor]
poll_interval_s = 0.1
grace_s = 0.3
tile_px = 16
exit_after_s = 0.5
[probes.one]
watch = "one"
[probes.two]
watch = "two"
[probes.three]
watch = "three"
db = "away/three.db"
"""
Start = Callable[[], "Service"]


class Service:
    """A service of several probes in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "georgia", "serve", "--config", "plant.toml"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ
        )
        assert self.process.stdout is not None
        # Without a line it has ended, and what follows fails.
        line = self.process.stdout.readline()
        self.url = line.removeprefix("page: ").strip()

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def tiles(self) -> dict[str, Any]:
        return {tile["name"]: tile for tile in json.loads(self.ask("api/probes")[1])["probes"]}

    def is_fresh(self, name: str) -> bool:
        tile = self.tiles()[name]
        return bool(tile["is_live"]) and tile["read_s"] < 5

    def list_states(self) -> list[str]:
        probes = json.loads(self.ask("api/health")[1])["probes"]
        return [probes[name]["status"] for name in ("one", "two", "three")]

    def counts(self, *names: str) -> list[int]:
        found = []
        for name in names:
            status, text = self.ask(f"probes/{name}/api/batches")
            batches = json.loads(text)["batches"] if status == 200 else []
            found.append(sum(batch["n_frames"] for batch in batches))
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    services: list[Service] = []
    (tmp_path / "plant.toml").write_text(SETTINGS)
    (tmp_path / "away").write_text("a file where the store's folder is to be")

    def begin() -> Service:
        services.append(Service(tmp_path))
        return services[-1]

    yield begin
    for service in services:
        service.process.kill()
        service.process.communicate()


def write_frames(folder: Path, numbers: range) -> None:
    for number in numbers:
        probe.write_frame(folder / f"f{number}.png", number % 16, number)


def count_rows(db: Path) -> int:
    with sqlite3.connect(db) as connection:
        return int(connection.execute("select count(*) from frames").fetchone()[0])


def test_probes_run_apart_and_nothing_is_lost(tmp_path: Path, start: Start) -> None:
    for name in ("one", "two", "three"):
        write_frames(tmp_path / name, range(4))
    service = start()
    probe.wait_for(lambda: service.counts("one", "two") == [4, 4])
    # The store of the third is away: the others work, it is said to be so, and health is its.
    # On a machine with other work a tile is read late and a loop is slow for a moment: then they are said to
    # be, and a moment later no more.
    probe.wait_for(lambda: service.is_fresh("one"))
    probe.wait_for(lambda: service.tiles()["three"]["state"] == "store away")
    probe.wait_for(lambda: service.list_states() == ["ok", "ok", "degraded"])
    status, text = service.ask("api/health")
    assert status == 503
    assert "three: the store cannot be opened: " in json.loads(text)["reason"]
    assert service.ask("probes/three/api/status")[0] == 503
    probe.wait_for(lambda: service.ask("probes/one/api/health")[0] == 200)
    told = ('georgia_batch_frames{probe="one"} 4.0', 'georgia_monitor_up{probe="three"} 0.0')
    probe.wait_for(lambda: all(each in service.ask("metrics")[1] for each in told))
    # Its place is there again: it is tried until it can be opened.
    (tmp_path / "away").unlink()
    probe.wait_for(lambda: service.counts("three") == [4])
    probe.wait_for(lambda: service.ask("api/health")[0] == 200)
    # Killed in the middle, and started again without one of the probes.
    write_frames(tmp_path / "one", range(4, 12))
    service.process.kill()
    service.process.wait()
    settings = SETTINGS.partition("[probes.three]")[0]
    (tmp_path / "plant.toml").write_text(settings)
    service = start()
    probe.wait_for(lambda: service.counts("one", "two") == [12, 4])
    assert list(service.tiles()) == ["one", "two"]
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(PATIENCE_S) == 0
    assert [count_rows(tmp_path / f"georgia-monitor-{name}.db") for name in ("one", "two")] == [12, 4]
    verified = [sys.executable, "-m", "georgia", "verify", "georgia-monitor-one.db"]
    assert subprocess.run(verified, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_damaged_store_of_one_harms_no_other(tmp_path: Path, start: Start) -> None:
    (tmp_path / "away").unlink()
    (tmp_path / "georgia-monitor-two.db").write_bytes(b"no store at all, but a text" * 100)
    write_frames(tmp_path / "one", range(2))
    service = start()
    probe.wait_for(lambda: service.counts("one") == [2])
    probe.wait_for(lambda: service.tiles()["two"]["state"] == "not running")
    tile = service.tiles()["two"]
    assert (tile["alarm"], tile["fraction"]) == (None, None)
    probe.wait_for(lambda: "two: " in json.loads(service.ask("api/health")[1])["reason"])
    assert service.ask("api/health")[0] == 503
    assert (tmp_path / "georgia-monitor-two.db").read_bytes().startswith(b"no store")


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        (("watch = \"two\"", "watch = \"one\""), [], "'one' and 'two'.*a folder of its own"),
        (("[probes.two]", "[probes.two]\nmodel = \"none.onnx\""), [], "The probe 'two': .*none.onnx"),
        (("", ""), ["--watch", "x"], "Cannot use watch here"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_one_line(
    tmp_path: Path, change: tuple[str, str], arguments: list[str], told: str
) -> None:
    (tmp_path / "plant.toml").write_text(SETTINGS.replace(*change) if change[0] else SETTINGS)
    command = [sys.executable, "-m", "georgia", "serve", "--config", "plant.toml", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2, done.stderr
    assert re.search(told, done.stderr)
    assert not list(tmp_path.glob("*.db"))
