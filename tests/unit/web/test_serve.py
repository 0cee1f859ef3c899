"""The service: its responses, its rejections, and their shape."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.helpers import monitor as probe
from tests.helpers import service as helpers

from georgia.config import build_config
from georgia.errors import InputError
from georgia.web.config import ServeConfig, is_loopback, make_token
from georgia.web.event_stream import EventStream
from georgia.web.security import RateLimiter

LOCAL = "http://127.0.0.1:8420"
AUTHORISED = {"Authorization": f"Bearer {helpers.TOKEN}"}


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


def is_error(response: Any, status: int) -> bool:
    body = response.json()
    return bool(response.status_code == status and set(body) == {"error"} and body["error"]["message"])


# Settings


def test_public_host_needs_a_token() -> None:
    with pytest.raises(InputError, match="a token is needed where others can reach"):
        ServeConfig(host="0.0.0.0")
    assert ServeConfig(host="0.0.0.0", token=make_token()).is_loopback is False


def test_settings_report_all_faults_at_once() -> None:
    with pytest.raises(InputError, match=r"port.*max_pixels.*16 letters or more"):
        ServeConfig(port=70000, max_pixels=0, token="short")


def test_old_setting_name_is_read_with_notice() -> None:
    with pytest.warns(FutureWarning, match="'look_s' is now called 'poll_interval_s'"):
        config = build_config(ServeConfig, {"look_s": "2.5"})
    assert config.poll_interval_s == 2.5


def test_tokens_are_unique() -> None:
    assert len({make_token() for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.1.2.3", True), ("::1", True), ("LOCALHOST", True), ("10.0.0.1", False), ("", False)],
)
def test_loopback_addresses_are_recognised(host: str, own: bool) -> None:
    assert is_loopback(host) is own


# Reading


def test_status_has_state_batch_and_alarms(reader: TestClient) -> None:
    status = reader.get("/api/status").json()
    # The frames of the tests were analysed in 1970, so nothing has been written for long.
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


def test_frame_has_windows_and_image(reader: TestClient) -> None:
    assert reader.get("/api/frames/7").json()["file"] == "f7.png"
    assert [box["label"] for box in reader.get("/api/frames/7/map").json()["windows"]] == [
        "empty",
        "unknown",
        "PG",
    ]
    image = reader.get("/api/frames/7/picture")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content.startswith(b"\xff\xd8")


def test_image_outside_watched_folder_is_rejected(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 1)
    secret = probe.write_frame(tmp_path / "secret.png", 3)
    key = probe.FileKey("../secret.png", secret.stat().st_size, 1, "f" * 64)
    result = probe.make_result(99, 1, key=key)
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


def test_batches_alarms_and_audit_log(reader: TestClient) -> None:
    assert [batch["id"] for batch in reader.get("/api/batches").json()["batches"]] == [1]
    assert len(reader.get("/api/alarms?open=true").json()["alarms"]) == 1
    assert reader.get("/api/trail").json()["entries"][-1]["action"] == "batch began"


def test_health_model_and_metrics(reader: TestClient) -> None:
    assert reader.get("/api/health").json()["status"] == "ok"
    model = reader.get("/api/model").json()
    assert model["classes"] == ["CEX", "PG"]
    assert not model["has_report"]
    metrics = reader.get("/metrics").text
    assert 'georgia_state{state="no frames"} 1.0' in metrics
    assert "georgia_batch_frames 30.0" in metrics


def test_uploaded_image_is_classified_not_kept(
    reader: TestClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    before = sorted(folder.rglob("*"))
    response = reader.post(
        "/api/predict", files={"file": ("../../etc/passwd.png", helpers.noise_png())}
    ).json()
    assert response["file"] == "passwd.png"
    assert sum(response["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (response["width_px"], response["height_px"]) == (40, 40)
    assert sorted(folder.rglob("*")) == before


def test_page_loads_nothing_from_elsewhere(reader: TestClient) -> None:
    page = reader.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text.replace("http://www.w3.org", "")


def test_page_without_scripts_is_one_line(reader: TestClient) -> None:
    page = reader.get("/").text
    (line,) = re.findall(r"<noscript><p>(.*)</p></noscript>", page)
    assert line.startswith("This page needs JavaScript.")
    (link,) = re.findall(r'href="([^"]+)"', line)
    assert reader.get(link).status_code == 200
    assert "display: none" in reader.get("/static/no-script.css").text


# Changing


def test_first_acknowledgement_stays_and_needs_token(client: TestClient) -> None:
    path, body = "/api/alarms/1/acknowledge", {"who": "A. Miller", "note": "seen"}
    assert is_error(client.post(path, json=body), 401)
    assert is_error(client.post(path, json=body, headers={"Authorization": "Bearer wrong"}), 401)
    assert client.post(path, json=body, headers=AUTHORISED).json()["acknowledged_by"] == "A. Miller"
    again = client.post(path, json={"who": "B"}, headers=AUTHORISED)
    assert again.json()["acknowledged_by"] == "A. Miller"
    assert client.get("/api/trail").json()["entries"][0]["action"] == "alarm acknowledged"


def test_monitor_elsewhere_rejects_changes_here(reader: TestClient) -> None:
    response = reader.post("/api/limits", json={"who": "A", "limit": 0.1}, headers=AUTHORISED)
    assert is_error(response, 409)
    assert "another process" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [{}, {"who": ""}, {"who": "a\u0000b"}, {"who": "A", "nope": 1}, [], "x", None]
)
def test_bad_bodies_have_one_error_shape(reader: TestClient, body: Any) -> None:
    response = reader.post("/api/alarms/1/acknowledge", json=body, headers=AUTHORISED)
    assert is_error(response, 422)
    assert response.json()["error"]["fields"]


# Rejecting


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
def test_rejections_have_one_error_shape(reader: TestClient, method: str, path: str, status: int) -> None:
    assert is_error(reader.request(method, path), status)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40])
def test_broken_image_leaves_service_usable(reader: TestClient, data: bytes) -> None:
    assert is_error(reader.post("/api/predict", files={"file": ("a.png", data)}), 415)
    assert reader.post("/api/predict", files={"file": ("b.png", helpers.noise_png())}).status_code == 200


def test_uploads_are_limited_in_size(tmp_path: Path) -> None:
    with small(tmp_path, max_upload_bytes=5000, max_pixels=900) as client:
        assert is_error(client.post("/api/predict", files={"file": ("a.png", b"x" * 6000)}), 413)
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        chunks = (part for part in [head, *[b"x" * 1000] * 9])
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        assert is_error(client.post("/api/predict", content=chunks, headers=form), 413)
        response = client.post("/api/predict", files={"file": ("a.png", helpers.noise_png(40))})
        assert is_error(response, 415)


def test_requests_are_limited_in_number(tmp_path: Path) -> None:
    with small(tmp_path, changes_per_minute=3) as client:
        responses = [client.post("/api/limits", json={}) for _ in range(5)]
    assert [response.status_code for response in responses] == [401, 401, 401, 429, 429]
    assert int(responses[-1].headers["retry-after"]) >= 1


def test_acknowledging_has_limits_of_its_own(tmp_path: Path) -> None:
    path, body = "/api/alarms/1/acknowledge", {"who": "A"}
    with small(tmp_path, uploads_per_minute=2, requests_per_minute=2, changes_per_minute=2) as client:
        uploads = [client.post("/api/predict", files={"file": ("a.png", b"")}) for _ in range(3)]
        reads = [client.get("/api/health") for _ in range(3)]
        guesses = [client.post(path, json=body, headers={"Authorization": "Bearer x"}) for _ in range(3)]
        acknowledged = client.post(path, json=body, headers=AUTHORISED)
    assert [group[-1].status_code for group in (uploads, reads, guesses)] == [429, 429, 429]
    assert acknowledged.status_code == 404  # three frames raise no alarm; no limit stood against it


@pytest.mark.parametrize(
    ("proxies", "forwarded", "statuses"),
    [
        ((), ["1.1.1.1", "2.2.2.2", "3.3.3.3"], [200, 200, 429]),
        (("10.0.0.0/8",), ["1.1.1.1", "2.2.2.2", "3.3.3.3"], [200, 200, 200]),
        (("10.0.0.0/8",), ["9.9.9.9, 1.1.1.1", "8.8.8.8, 1.1.1.1", "7.7.7.7, 1.1.1.1"], [200, 200, 429]),
        (("192.0.2.1",), ["1.1.1.1", "2.2.2.2", "3.3.3.3"], [200, 200, 429]),
    ],
    ids=["none trusted", "trusted", "trusted but forged", "another trusted"],
)
def test_forwarded_address_counts_if_trusted(
    tmp_path: Path, proxies: tuple[str, ...], forwarded: list[str], statuses: list[int]
) -> None:
    app = helpers.make_app(tmp_path, 3, requests_per_minute=2, trusted_proxies=proxies)
    with TestClient(app, base_url=LOCAL, client=("10.0.0.9", 5000)) as client:
        responses = [client.get("/api/health", headers={"X-Forwarded-For": hop}) for hop in forwarded]
    assert [response.status_code for response in responses] == statuses


def test_trusted_proxies_are_addresses() -> None:
    with pytest.raises(InputError, match="trusted_proxies must be addresses or networks"):
        ServeConfig(trusted_proxies=("proxy.example",))


def test_requests_but_uploads_are_short(client: TestClient) -> None:
    body = {"who": "A", "note": "x" * 70_000}
    assert is_error(client.post("/api/alarms/1/acknowledge", json=body, headers=AUTHORISED), 413)


def test_rate_limiter_refills_with_time() -> None:
    now = [0.0]
    limiter = RateLimiter(60, lambda: now[0])
    assert [limiter.take("a") for _ in range(61)][-1] == pytest.approx(1.0)
    assert limiter.take("b") == 0
    now[0] = 2.5
    assert [limiter.take("a") == 0 for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "host", ["localhost:9", "LOCALHOST", "127.0.0.1", "127.0.0.2:80", "[::1]:8420", "[::1]"]
)
def test_loopback_accepts_its_own_names(reader: TestClient, host: str) -> None:
    assert reader.get("/api/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "10.0.0.1", ""])
def test_loopback_rejects_other_names(reader: TestClient, host: str) -> None:
    assert is_error(reader.get("/api/health", headers={"Host": host}), 421)


def test_allowed_hosts_replace_loopback_names(tmp_path: Path) -> None:
    with small(tmp_path, allowed_hosts=("probe.example",)) as client:
        assert client.get("/api/health", headers={"Host": "probe.example:80"}).status_code == 200
        assert is_error(client.get("/api/health", headers={"Host": "localhost"}), 421)


def test_foreign_origin_changes_nothing(client: TestClient) -> None:
    headers = {**AUTHORISED, "Origin": "http://evil.example"}
    assert is_error(client.post("/api/alarms/1/acknowledge", json={"who": "A"}, headers=headers), 403)
    same = {**AUTHORISED, "Origin": LOCAL}
    assert client.post("/api/alarms/1/acknowledge", json={"who": "A"}, headers=same).status_code == 200


def test_every_response_has_security_headers(reader: TestClient) -> None:
    for path in ("/", "/api/status", "/nothing", "/static/app.css"):
        headers = reader.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "content-security-policy" in headers


def test_internal_error_hides_its_details(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 1)
    service.describe_model = None  # type: ignore[assignment, method-assign]
    with TestClient(helpers.create_app(service), base_url=LOCAL, raise_server_exceptions=False) as client:
        response = client.get("/api/model")
    assert is_error(response, 500)
    assert "NoneType" not in response.text


# Live


def test_listener_gets_missed_and_new_frames(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 5)

    async def follow() -> list[tuple[str, Any]]:
        stream = EventStream(service)
        await stream.start()
        events: list[tuple[str, Any]] = []
        async for text in stream.listen(3):
            lines = dict(
                line.split(": ", 1) for line in text.strip().splitlines() if not line.startswith(":")
            )
            if lines.get("event") == "frame":
                events.append((lines["id"], json.loads(lines["data"])["ordinal"]))
                if len(events) == 2:
                    await asyncio.to_thread(
                        service.store.record_frame, probe.make_result(6, 1), "probe", "{}"
                    )
            if len(events) == 3:
                break
        await stream.stop()
        return events

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [("4", 4), ("5", 5), ("6", 6)]
