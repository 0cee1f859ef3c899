"""Commissioning by the service: begun by name, followed, a verdict with its page, an override."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.model.load import load_bundled_model
from georgia.monitor.result import FrameInput
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.web.app import create_app
from georgia.web.config import ServeConfig
from georgia.web.service import Service

TOKEN = "t" * 20
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
BEGIN = {"who": "Ann", "frames": 3}
KNOWN = {"unknown": {"validation": None}}


@dataclass
class InputAnalyzer(BrightnessAnalyzer):
    """Frames of which a fraction is rejected, or which have no window with detail."""

    rejected: float = 0.0
    is_empty: bool = False
    bundle: Any = field(default_factory=lambda: SimpleNamespace(name="brightness", metadata=KNOWN))

    def analyze(self, image: Any) -> Any:
        found = super().analyze(image)
        new = FrameInput(100, round(100 * self.rejected), 0.3, 120.0, 0.0, 0.8, 1.5)
        return replace(found, input=None if self.is_empty else new)


@dataclass
class Probe:
    client: TestClient
    monitor: Monitor
    analyzer: InputAnalyzer
    folder: Path
    names: Iterator[int] = field(default_factory=itertools.count)

    def write(self, n: int = 1) -> None:
        for _ in range(n):
            before, name = self.monitor.status().n_frames, next(self.names)
            write_frame(self.folder / f"f{name:03d}.png", name % 9, seed=name)
            wait_for(lambda: self.monitor.status().n_frames > before)  # noqa: B023

    def poll(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/api/commissioning").json()
        return found

    def post(self, path: str, body: dict[str, Any]) -> int:
        return self.client.post(path, json=body, headers=HEADERS).status_code


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    folder, analyzer, bundle = tmp_path / "probe", InputAnalyzer(), load_bundled_model()
    folder.mkdir()
    store = Store(str(tmp_path / "a.db"))
    service_sha = Service(ServeConfig(token=TOKEN), bundle, store).describe_model()["sha256"]
    analyzer.model_sha256 = service_sha
    monitor = Monitor(analyzer, MonitorConfig(watch=folder, poll_interval_s=0.05), store)
    service = Service(ServeConfig(token=TOKEN), bundle, store, monitor)
    client = TestClient(create_app(service), base_url="http://127.0.0.1", raise_server_exceptions=False)
    with running(monitor):
        wait_for(lambda: monitor.status().is_running)
        yield Probe(client, monitor, analyzer, folder)
    store.close()


def test_commissioning_of_like_frames_is_ok_or_caution(probe: Probe) -> None:
    assert probe.poll() == {"running": None, "verdict": None, "is_held": False, "may_change": True}
    assert probe.client.get("/commissioning").status_code == 404
    assert probe.post("/api/commissioning", BEGIN) == 202
    probe.write(2)
    run = probe.poll()["running"]
    assert (run["who"], run["n_frames"], run["n_compared"], run["n_read"]) == ("Ann", 3, 2, 2)
    probe.write()
    wait_for(lambda: probe.poll()["verdict"])
    found = probe.poll()
    assert found["running"] is None
    assert found["verdict"]["who"] == "Ann"
    assert found["verdict"]["verdict"] != "bad"
    assert not found["is_held"]
    page = probe.client.get("/commissioning")
    assert "rejected windows" in page.text.lower()
    assert "sandbox" in page.headers["content-security-policy"]
    entry = probe.monitor.store.audit_log(action="commissioned")[0]
    assert {line["name"] for line in entry.detail["lines"]} >= {"rejected windows", "light", "focus"}


def test_bad_commissioning_holds_state_until_overridden(probe: Probe) -> None:
    probe.analyzer.rejected = 0.4
    assert probe.post("/api/commissioning", BEGIN) == 202
    probe.write(3)
    wait_for(lambda: probe.poll()["is_held"])
    probe.write()
    wait_for(lambda: probe.client.get("/api/status").json()["state"] == "unlike training")
    assert probe.post("/api/commissioning/override", {"who": "Bea", "reason": " "}) == 422
    assert probe.poll()["is_held"]
    assert probe.post("/api/commissioning/override", {"who": "Bea", "reason": "water test"}) == 202
    wait_for(lambda: not probe.poll()["is_held"])
    override = probe.poll()["verdict"]["override"]
    assert (override["who"], override["reason"]) == ("Bea", "water test")
    assert "by Bea" in probe.client.get("/commissioning").text
    probe.write()
    wait_for(lambda: probe.client.get("/api/status").json()["state"] != "unlike training")


def test_frames_without_detail_are_counted_apart(probe: Probe) -> None:
    probe.analyzer.is_empty = True
    assert probe.post("/api/commissioning", BEGIN) == 202
    probe.write(2)
    run = probe.poll()["running"]
    assert (run["n_compared"], run["n_read"]) == (0, 2)


def test_second_commissioning_is_told_of_first(probe: Probe) -> None:
    assert probe.post("/api/commissioning", BEGIN) == 202
    response = probe.client.post("/api/commissioning", json={**BEGIN, "who": "Bea"}, headers=HEADERS)
    assert response.status_code == 409
    assert "one that Ann began" in response.json()["error"]["message"]
    assert probe.post("/api/commissioning/cancel", {}) == 202
    assert probe.poll()["running"] is None
    assert probe.poll()["verdict"] is None
    assert probe.post("/api/commissioning", {**BEGIN, "who": "Bea"}) == 202


@pytest.mark.parametrize("body", [{"who": " "}, {"who": "A", "frames": 0}, {"who": "A", "frames": 1001}, {}])
def test_commissioning_rejects_bad_requests(probe: Probe, body: dict[str, Any]) -> None:
    assert probe.post("/api/commissioning", body) == 422
    assert probe.client.post("/api/commissioning", json=BEGIN).status_code == 401


def test_commissioning_needs_monitor_of_this_process(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a.db"))
    service = Service(ServeConfig(token=TOKEN), load_bundled_model(), store)
    client = TestClient(create_app(service), base_url="http://127.0.0.1")
    assert client.post("/api/commissioning", json=BEGIN, headers=HEADERS).status_code == 409
    found = client.get("/api/commissioning").json()
    assert found == {"running": None, "verdict": None, "is_held": False, "may_change": False}
    store.close()
