"""Moments by REST: found, decided with who and when, conflicts, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.helpers.monitor import make_result
from tests.helpers.service import TOKEN, make_service

from georgia.cli import main
from georgia.monitor.result import FrameStatus
from georgia.process.moments.in_store import read_moments
from georgia.process.moments.settings import MomentsConfig
from georgia.web.app import create_app
from georgia.web.service import Service

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def add_batch(service: Service) -> int:
    """Add a batch that has crystals from its frame 15 on; return its number."""
    batch = service.store.begin_batch("other", "B-2", "Ann", "PG", "Ann")
    for number in range(30):
        n = 16 * (number >= 15)
        status = FrameStatus.ANALYSED if n else FrameStatus.CLEAR
        counts = {"n_tiles": 20, "n_judged": n, "n_empty": 20 - n, "n_effective": n / 2}
        result = make_result(100 + number, batch.id, 0.01 if n else None, status=status, **counts)
        service.store.record_frame(result, "other", "{}")
    return batch.id


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """Return a client of a service with such a batch."""
    service = make_service(tmp_path)
    batch = add_batch(service)
    with TestClient(create_app(service), base_url="http://localhost") as opened:
        yield opened, f"/api/batches/{batch}/moments"
    service.store.close()


@pytest.mark.slow
def test_moments_are_found_and_decided(client: Any) -> None:
    http, path = client
    assert http.get("/api/batches/9/moments").status_code == 404
    found = http.get(path).json()
    (first,) = [each for each in found["moments"] if each["kind"] == "first crystals"]
    assert (first["state"], first["low"] < first["time"] < first["high"]) == ("suggested", True)
    assert found["no_temperature"] == "no variable of the batch has the unit of a temperature"
    body = {"kind": "first crystals", "decision": "confirmed", "who": "Ann", "expected": 0}
    assert http.post(path, json=body).status_code == 401
    assert http.post(path, json=body, headers=HEADERS).status_code == 200
    assert http.post(path, json=body, headers=HEADERS).status_code == 409
    assert (
        http.post(path, json={**body, "decision": "dismissed", "expected": None}, headers=HEADERS).status_code
        == 409
    )
    kinds = {each["kind"]: each for each in http.get(path).json()["moments"]}
    confirmed = kinds["first crystals"]
    assert (confirmed["state"], confirmed["decision"]["who"]) == ("confirmed", "Ann")
    assert http.get("/api/trail", params={"limit": 1}).json()["entries"][0]["action"] == "moment confirmed"
    table = http.get(f"{path}/export").text.splitlines()
    assert table[0].startswith("batch,kind,number,point")
    assert sum(",confirmed," in line for line in table) == 1
    exported = http.get(f"{path}/export", params={"format": "json"}).json()
    assert "confirmed" in [each["state"] for each in exported["moments"]]
    assert (
        http.get(path, params={"temperature": "T9"}).json()["no_temperature"].startswith("the store holds no")
    )


@pytest.mark.slow
def test_settings_name_temperature_and_least_impurity(tmp_path: Path) -> None:
    service = make_service(tmp_path)
    store = service.store
    number = add_batch(service)
    last = int(store.frames(number, limit=1)[0].frame_time_s)
    rows = [f"{last - 40 + at},{70 - at / 10},{60 - at / 10}" for at in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["time,T_r [°C],T_j [°C]", *rows, ""]), encoding="utf-8")
    elapsed = ["--set", "time_format=elapsed (s)", "--set", "start=1970-01-01T00:00:00Z"]
    assert main(["process", str(tmp_path / "t.csv"), "--db", str(tmp_path / "m.db"), *elapsed]) == 0
    path, batch = f"/api/batches/{number}/moments", store.batch(number)
    asked = read_moments(store, batch)
    assert asked.temperatures == ("T_j [°C]", "T_r [°C]")
    assert "name that of the solution" in asked.no_temperature
    service.moments = MomentsConfig(temperature="T_r", least_impurity=0.5)
    with TestClient(create_app(service), base_url="http://localhost") as http:
        found = http.get(path).json()
        assert (found["temperature"], found["temperatures"]) == ("T_r [°C]", list(asked.temperatures))
        assert "50.0 % that errors of the model explain" in str(found["moments"])
        assert "least_frames 8, temperature T_r" in http.get(f"/api/batches/{number}/report").text
        assert http.get(path, params={"temperature": "T_j [°C]"}).json()["temperature"] == "T_j [°C]"
        assert http.get(path, params={"temperature": "T9"}).status_code == 409
    other = read_moments(store, batch, MomentsConfig(temperature="T9"), must_have=False)
    assert other.no_temperature == "the settings name 'T9', which is none of the batch's variables"
    store.close()
