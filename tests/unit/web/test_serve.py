"""The service: what it answers, what it refuses, and in which shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.helpers import service as helpers

from georgia.errors import InputError
from georgia.web.config import ServeConfig, is_loopback, make_token
from georgia.web.live import LiveFeed
from georgia.web.security import RateLimiter

LOCAL = "http://127.0.0.1:8420"
RIGHT = {"Authorization": f"Bearer {helpers.TOKEN}"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service of the test's own, to change."""
    with TestClient(helpers.make_app(tmp_path), base_url=LOCAL, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for all tests that change nothing."""
    app = helpers.make_app(tmp_path_factory.mktemp("reader"))
    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as client:
        yield client


def small(tmp_path: Path, **settings: Any) -> TestClient:
    app = helpers.make_app(tmp_path, 3, **settings)
    return TestClient(app, base_url=LOCAL, raise_server_exceptions=False)


def is_error(answer: Any, status: int) -> bool:
    body = answer.json()
    return bool(answer.status_code == status and set(body) == {"error"} and body["error"]["message"])


# Settings


def test_a_host_that_others_reach_needs_a_token() -> None:
    with pytest.raises(InputError, match="a token is needed where others can reach"):
        ServeConfig(host="0.0.0.0")
    assert ServeConfig(host="0.0.0.0", token=make_token()).is_loopback is False


def test_all_faults_of_the_settings_are_told_at_once() -> None:
    with pytest.raises(InputError, match=r"port.*max_pixels.*16 letters or more"):
        ServeConfig(port=70000, max_pixels=0, token="short")


def test_no_two_tokens_are_alike() -> None:
    assert len({make_token() for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.1.2.3", True), ("::1", True), ("LOCALHOST", True), ("10.0.0.1", False), ("", False)],
)
def test_loopback_addresses(host: str, own: bool) -> None:
    assert is_loopback(host) is own


# Reading


def test_status_says_how_the_probe_stands(reader: TestClient) -> None:
    status = reader.get("/api/status").json()
    # The frames of the tests were judged in 1970: a store that nobody writes to is silent.
    assert status["state"] == "no frames"
    assert status["batch"]["name"] == "B-1"
    assert status["last"]["ordinal"] == 30
    assert [alarm["reason"] for alarm in status["open_alarms"]] == ["EWMA over its limit"]


def test_frames_page_newest_first(reader: TestClient) -> None:
    first = reader.get("/api/frames?limit=20").json()
    second = reader.get(f"/api/frames?limit=20&before={first['next_before']}").json()
    numbers = [frame["frame"] for frame in [*first["frames"], *second["frames"]]]
    assert numbers == list(range(30, 0, -1))
    assert second["next_before"] is None


def test_one_frame_its_windows_and_its_image(reader: TestClient) -> None:
    assert reader.get("/api/frames/7").json()["file"] == "f7.png"
    assert [box["label"] for box in reader.get("/api/frames/7/map").json()["windows"]] == [
        "empty",
        "unknown",
        "PG",
    ]
    image = reader.get("/api/frames/7/picture")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content.startswith(b"\xff\xd8")


def test_an_image_outside_of_the_watched_folder_is_never_opened(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 1)
    secret = helpers.helpers.write_frame(tmp_path / "secret.png", 3)
    key = helpers.helpers.FileKey("../secret.png", secret.stat().st_size, 1, "f" * 64)
    result = helpers.helpers.make_result(99, 1, key=key)
    frame_id = service.store.record_frame(result, "probe", "{}").frame_id
    with TestClient(helpers.create_app(service), base_url=LOCAL) as client:
        assert is_error(client.get(f"/api/frames/{frame_id}/picture"), 404)


def test_series_and_export_hold_every_frame(reader: TestClient) -> None:
    rows = reader.get("/api/batches/1/series").json()
    table = reader.get("/api/batches/1/export").text.splitlines()
    lines = reader.get("/api/batches/1/export?format=jsonl").text.splitlines()
    assert rows["ordinal"] == list(range(1, 31))
    assert len(table) == 31
    assert table[0].startswith("frame,batch,ordinal,file")
    assert [json.loads(line)["fraction"] for line in lines] == rows["fraction"]


def test_batches_alarms_and_the_record(reader: TestClient) -> None:
    assert [batch["id"] for batch in reader.get("/api/batches").json()["batches"]] == [1]
    assert len(reader.get("/api/alarms?open=true").json()["alarms"]) == 1
    assert reader.get("/api/trail").json()["entries"][-1]["action"] == "batch began"


def test_health_model_and_figures(reader: TestClient) -> None:
    assert reader.get("/api/health").json()["status"] == "ok"
    model = reader.get("/api/model").json()
    assert model["classes"] == ["CEX", "PG"]
    assert not model["has_report"]
    figures = reader.get("/metrics").text
    assert 'georgia_state{state="no frames"} 1.0' in figures
    assert "georgia_batch_frames 30.0" in figures


def test_an_image_is_answered_and_not_kept(
    reader: TestClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    before = sorted(folder.rglob("*"))
    answer = reader.post("/api/predict", files={"file": ("../../etc/passwd.png", helpers.noise_png())}).json()
    assert answer["file"] == "passwd.png"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (answer["width_px"], answer["height_px"]) == (40, 40)
    assert sorted(folder.rglob("*")) == before


def test_the_page_loads_nothing_from_elsewhere(reader: TestClient) -> None:
    page = reader.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text.replace("http://www.w3.org", "")


# Changing


def test_acknowledging_needs_the_token_and_stays_with_the_first(client: TestClient) -> None:
    path, body = "/api/alarms/1/acknowledge", {"who": "A. Miller", "note": "seen"}
    assert is_error(client.post(path, json=body), 401)
    assert is_error(client.post(path, json=body, headers={"Authorization": "Bearer wrong"}), 401)
    assert client.post(path, json=body, headers=RIGHT).json()["acknowledged_by"] == "A. Miller"
    again = client.post(path, json={"who": "B"}, headers=RIGHT)
    assert again.json()["acknowledged_by"] == "A. Miller"
    assert client.get("/api/trail").json()["entries"][0]["action"] == "alarm acknowledged"


def test_a_monitor_elsewhere_is_changed_there(reader: TestClient) -> None:
    answer = reader.post("/api/limits", json={"who": "A", "limit": 0.1}, headers=RIGHT)
    assert is_error(answer, 409)
    assert "another process" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [{}, {"who": ""}, {"who": "a\u0000b"}, {"who": "A", "nope": 1}, [], "x", None]
)
def test_bad_bodies_have_the_one_shape(reader: TestClient, body: Any) -> None:
    answer = reader.post("/api/alarms/1/acknowledge", json=body, headers=RIGHT)
    assert is_error(answer, 422)
    assert answer.json()["error"]["fields"]


# Refusing


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/frames/999", 404),
        ("GET", "/api/frames/0", 422),
        ("GET", "/api/frames/99999999999999999999", 422),
        ("GET", "/api/frames/x/map", 422),
        ("GET", "/api/batches/9/series", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/model/report", 404),
        ("DELETE", "/api/frames/1", 405),
        ("POST", "/api/predict", 422),
    ],
)
def test_refusals_have_the_one_shape(reader: TestClient, method: str, path: str, status: int) -> None:
    assert is_error(reader.request(method, path), status)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40])
def test_what_is_no_image_is_refused_and_the_service_goes_on(reader: TestClient, data: bytes) -> None:
    assert is_error(reader.post("/api/predict", files={"file": ("a.png", data)}), 415)
    assert reader.post("/api/predict", files={"file": ("b.png", helpers.noise_png())}).status_code == 200


def test_uploads_are_limited_in_bytes_and_pixels(tmp_path: Path) -> None:
    with small(tmp_path, max_upload_bytes=5000, max_pixels=900) as client:
        assert is_error(client.post("/api/predict", files={"file": ("a.png", b"x" * 6000)}), 413)
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        chunks = (part for part in [head, *[b"x" * 1000] * 9])
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        assert is_error(client.post("/api/predict", content=chunks, headers=form), 413)
        answer = client.post("/api/predict", files={"file": ("a.png", helpers.noise_png(40))})
        assert is_error(answer, 415)


def test_requests_are_limited_in_number(tmp_path: Path) -> None:
    with small(tmp_path, uploads_per_minute=3) as client:
        answers = [client.post("/api/limits", json={}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_an_allowance_fills_up_again() -> None:
    now = [0.0]
    allowance = RateLimiter(60, lambda: now[0])
    assert [allowance.take("a") for _ in range(61)][-1] == pytest.approx(1.0)
    assert allowance.take("b") == 0
    now[0] = 2.5
    assert [allowance.take("a") == 0 for _ in range(3)] == [True, True, False]


def test_only_the_loopbacks_names_are_answered(reader: TestClient) -> None:
    assert is_error(reader.get("/api/health", headers={"Host": "evil.example"}), 421)
    assert reader.get("/api/health", headers={"Host": "localhost:9"}).status_code == 200


def test_a_page_elsewhere_changes_nothing(client: TestClient) -> None:
    headers = {**RIGHT, "Origin": "http://evil.example"}
    assert is_error(client.post("/api/alarms/1/acknowledge", json={"who": "A"}, headers=headers), 403)
    same = {**RIGHT, "Origin": LOCAL}
    assert client.post("/api/alarms/1/acknowledge", json={"who": "A"}, headers=same).status_code == 200


def test_every_answer_has_the_guards_headers(reader: TestClient) -> None:
    for path in ("/", "/api/status", "/nothing", "/static/app.css"):
        headers = reader.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "content-security-policy" in headers


def test_a_fault_of_ours_shows_nothing_of_the_inside(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 1)
    service.describe_model = None  # type: ignore[assignment, method-assign]
    with TestClient(helpers.create_app(service), base_url=LOCAL, raise_server_exceptions=False) as client:
        answer = client.get("/api/model")
    assert is_error(answer, 500)
    assert "NoneType" not in answer.text


# Live


def test_a_listener_gets_what_it_missed_and_what_comes(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 5)

    async def follow() -> list[tuple[str, Any]]:
        feed = LiveFeed(service)
        await feed.start()
        events: list[tuple[str, Any]] = []
        async for text in feed.listen(3):
            lines = dict(
                line.split(": ", 1) for line in text.strip().splitlines() if not line.startswith(":")
            )
            if lines.get("event") == "frame":
                events.append((lines["id"], json.loads(lines["data"])["ordinal"]))
                if len(events) == 2:
                    await asyncio.to_thread(
                        service.store.record_frame, helpers.helpers.make_result(6, 1), "probe", "{}"
                    )
            if len(events) == 3:
                break
        await feed.stop()
        return events

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [("4", 4), ("5", 5), ("6", 6)]
