"""Process data by REST: series, events and results with who, frames with values, metrics."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.helpers.service import TOKEN, make_service

from georgia.monitor.process_record import Piece, VariableValues, write_piece
from georgia.web.app import create_app

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """Return a client of a service whose batch has frames at 1001 to 1030 s, and T_r each second."""
    service = make_service(tmp_path)
    rows = [(1000.0 + k, None if k == 7 else 20.0 + k, "good" if k != 7 else "Bad") for k in range(31)]
    values = [VariableValues("T_r", "°C", rows), VariableValues("n", "rpm", rows[:3])]
    piece = Piece("reactor", "r.csv", "Ann", values, batch_id=1)
    service.store.write(lambda change: write_piece(change, piece))
    with TestClient(create_app(service), base_url="http://localhost") as opened:
        yield opened
    service.store.close()


def test_series_events_and_results_are_served(client: Any) -> None:
    assert client.get("/api/batches/9/process").status_code == 404
    found = client.get("/api/batches/1/process").json()
    assert [item["title"] for item in found["variables"]] == ["T_r [°C]", "n [rpm]"]
    series = found["series"][0]
    assert (series["time_s"][0], series["value"][6:9]) == (1000.0, [26.0, None, 28.0])
    assert (series["is_current"], series["step_s"]) == (False, 1.0)
    chosen = client.get("/api/batches/1/process", params={"variable": series["id"], "points": 5}).json()
    assert len(chosen["series"]) == 1
    assert len(chosen["variables"]) == 2
    assert len(chosen["series"][0]["time_s"]) <= 6

    event = {"who": "Ann", "name": "seeding", "time": "1970-01-01T00:16:50Z"}
    result = {**event, "name": "PG", "value": 12.5, "unit": "%", "sd": 1.0}
    assert client.post("/api/batches/1/process/events", json=event).status_code == 401
    assert client.post("/api/batches/1/process/events", json=event, headers=HEADERS).status_code == 200
    number = client.post("/api/batches/1/process/laboratory", json=result, headers=HEADERS).json()["entry"]
    found = client.get("/api/batches/1/process", params={"variable": 0}).json()
    assert [(item["name"], item["who"], item["time_s"]) for item in found["events"]] == [
        ("seeding", "Ann", 1010.0)
    ]
    assert [(item["fraction"], item["fraction_sd"]) for item in found["laboratory"]] == [(0.125, 0.01)]
    assert found["series"] == []
    path, body = f"/api/process/entries/{number}/withdraw", {"who": "Ann", "reason": "other batch"}
    assert [client.post(path, json=body, headers=HEADERS).status_code for _ in range(2)] == [200, 409]
    assert client.get("/api/batches/1/process").json()["laboratory"] == []
    actions = [entry["action"] for entry in client.get("/api/trail", params={"limit": 3}).json()["entries"]]
    assert actions == ["entry withdrawn", "laboratory result", "process event"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("events", {"who": "", "name": "x"}, 422),
        ("events", {"who": "Ann", "name": "x", "time": "0001-01-01T00:00:00Z"}, 422),
        ("events", {"who": "Ann", "name": "x", "time": "9999-12-31T00:00:00Z"}, 409),
        ("laboratory", {"who": "Ann", "name": "PG"}, 422),
    ],
)
def test_wrong_entries_are_rejected(client: Any, path: str, body: dict[str, Any], status: int) -> None:
    response = client.post(f"/api/batches/1/process/{path}", json=body, headers=HEADERS)
    assert response.status_code == status, response.text


def test_frames_are_exported_with_values_of_their_time(client: Any) -> None:
    response = client.get("/api/batches/1/process/export")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["T_r [°C]"] for row in rows[5:8]] == ["26", "26", "28"]
    assert [row["n [rpm] age_s"] for row in rows[:6]] == ["0", "0", "1", "2", "3", ""]
    assert len(client.get("/api/batches/1/process/export?format=json").json()) == 30
    parquet = client.get("/api/batches/1/process/export?format=parquet&max_age_s=9")
    assert parquet.content[:4] == b"PAR1"


def test_metrics_tell_age_and_no_old_value(client: Any) -> None:
    text = client.get("/metrics").text
    assert 'georgia_process_age_seconds{source="reactor",unit="°C",variable="T_r"}' in text
    assert "georgia_process_value{" not in text


def test_batches_are_compared_and_exported(client: Any) -> None:
    found = client.get("/api/compare", params={"batch": 1}).json()
    assert found["choices"] == ["elapsed", "frame", "=T_r [°C]", "=n [rpm]"]
    line = found["lines"][0]
    assert len(line["x"]) == len(line["y"]) == len(line["n"])
    assert found["band"]["x"] == []
    for query, status in (({"batch": 9}, 404), ({"batch": 1, "by": "=none"}, 400), ({}, 422)):
        assert client.get("/api/compare", params=query).status_code == status
    table = client.get("/api/compare/export", params={"batch": 1, "by": "=T_r [°C]"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert list(rows[0]) == ["batch", "name", "x", "fraction", "low", "high", "n"]
    pyarrow = pytest.importorskip("pyarrow.parquet")
    parquet = client.get("/api/compare/export", params={"batch": 1, "by": "=T_r [°C]", "format": "parquet"})
    assert pyarrow.read_table(io.BytesIO(parquet.content)).num_rows == len(rows)
