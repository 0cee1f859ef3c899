"""The service: its responses, its rejections, and their shape."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient
from tests.helpers import monitor as probe
from tests.helpers import service as helpers
from tests.helpers.patience import PATIENCE_S

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.result import State
from georgia.web.app import STATIC, create_app
from georgia.web.config import ServeConfig, is_loopback, make_token
from georgia.web.event_stream import EventStream
from georgia.web.security import RateLimiter
from georgia.web.serve import find_name

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


def test_status_names_model_that_analysed_batch(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, n=3)
    assert service.describe_status()["model"] is None  # of frames that do not say
    batch, store, served = service.store.batches()[0], service.store, service.bundle
    described = {"name": "plant-7", "is_demonstration": False}
    store.save_document("model", described, "a" * 64)
    for number, sha256, told in (
        (4, "a" * 64, {**described, "is_served": False}),
        (5, "b" * 64, {"name": "", "is_demonstration": None, "is_served": False}),
        (6, served.sha256, {"name": served.name, "is_demonstration": True, "is_served": True}),
    ):
        store.record_frame(probe.make_result(number, batch.id, 0.1, model_sha256=sha256), "probe", "{}")
        assert service.describe_status()["model"] == {"sha256": sha256, **told}
    with TestClient(create_app(service), base_url=LOCAL) as client:
        assert client.get("/api/status").json()["model"]["name"] == served.name


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


def test_frames_are_filtered_by_time_and_state(reader: TestClient) -> None:
    query = {"since": "1970-01-01T00:16:55Z", "until": "1970-01-01T01:17:05+01:00"}
    found = reader.get("/api/frames", params=query).json()["frames"]
    assert [frame["frame"] for frame in found] == list(range(24, 14, -1))
    query["state"] = "alarm"
    found = reader.get("/api/frames", params=query).json()["frames"]
    assert [frame["frame"] for frame in found] == [24, 23, 22, 21, 20]
    table = reader.get("/api/batches/1/export", params=query).text.splitlines()
    assert len(table) == 6
    for name, value in (("state", "alram"), ("since", "1970-01-01T00:00:00"), ("until", "soon")):
        assert is_error(reader.get("/api/frames", params={name: value}), 422)


def test_image_written_over_is_not_shown(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 2)
    file = next(tmp_path.rglob("f1.png"))
    with TestClient(helpers.create_app(service), base_url=LOCAL) as client:
        probe.write_frame(file, 9, seed=77)
        response = client.get("/api/frames/1/picture")
        assert is_error(response, 404)
        assert "'f1.png' was written over since" in response.json()["error"]["message"]
        assert client.get("/api/frames/2/picture").status_code == 200
        file.unlink()
        assert "is gone: No such file" in client.get("/api/frames/1/picture").json()["error"]["message"]


def test_status_without_store_has_all_keys(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 2)
    with TestClient(helpers.create_app(service), base_url=LOCAL) as client:
        known = client.get("/api/status").json()
        file = next(tmp_path.rglob("m.db"))
        kept = file.rename(tmp_path / "kept.db")
        status = client.get("/api/status").json()
        assert status.keys() == known.keys()
        assert (status["state"], status["is_live"], status["last"]) == ("store away", False, None)
        assert "m.db' was removed while it was open" in status["reason"]
        health = client.get("/api/health")
        assert (health.status_code, health.json()["status"]) == (503, "degraded")
        assert health.json()["probe"]["state"] == "store away"
        kept.rename(file)
        assert client.get("/api/status").json()["batch"] == known["batch"]


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
    plain = [json.loads(line) for line in lines]
    assert [frame["fraction"] for frame in plain] == rows["fraction"]
    array = reader.get("/api/batches/1/export?format=json")
    assert array.json() == plain
    assert array.headers["content-type"] == "application/json"
    assert is_error(reader.get("/api/batches/1/export?format=xlsx"), 422)


def test_export_as_parquet_is_whole(reader: TestClient, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    response = reader.get("/api/batches/1/export?format=parquet")
    assert "georgia-batch-1.parquet" in response.headers["content-disposition"]
    (tmp_path / "a.parquet").write_bytes(response.content)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 30
    assert table["file"].to_pylist()[0] == "f1.png"
    assert str(table.schema.field("frame_time_utc").type) == "timestamp[us, tz=UTC]"
    empty = reader.get("/api/batches/1/export?format=parquet&state=dark")
    (tmp_path / "b.parquet").write_bytes(empty.content)
    assert parquet.read_table(tmp_path / "b.parquet").num_rows == 0


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
    assert 'georgia_chart{chart="ewma"} 0.19' in metrics
    assert 'georgia_chart_limit{chart="ewma"} 0.1' in metrics
    assert 'georgia_chart_limit{chart="light"} 1.0' in metrics
    assert 'georgia_chart_limit{chart="cusum"}' not in metrics
    assert 'georgia_chart{chart="p"} 0.2' in metrics
    assert "georgia_threads NaN" in metrics
    assert "georgia_batch_frames 30.0" in metrics


def test_audit_log_is_filtered_by_event_and_batch(reader: TestClient) -> None:
    found = reader.get("/api/trail", params={"action": ["alarm raised", "batch began"], "batch": 1}).json()
    assert [entry["action"] for entry in found["entries"]] == ["alarm raised", "batch began"]
    assert reader.get("/api/trail", params={"batch": 7}).json()["entries"] == []
    assert is_error(reader.get("/api/trail", params={"action": "nothing"}), 422)


def test_limits_of_batch_without_start_are_empty(reader: TestClient) -> None:
    found = reader.get("/api/batches/1/limits").json()
    assert (found["limit"], found["changed"], found["may_change"]) == (None, {}, False)
    assert is_error(reader.get("/api/batches/7/limits"), 404)
    status = reader.get("/api/status").json()
    assert status["may_change"] is False
    assert status["trail"] == reader.get("/api/trail").json()["entries"][0]["seq"]


def test_limits_of_old_client_need_no_reason(tmp_path: Path) -> None:
    service, calls = helpers.make_service(tmp_path, 3), list[Any]()
    service.monitor = SimpleNamespace(change_limits=lambda *values: calls.append(values))
    with TestClient(create_app(service), base_url=LOCAL) as client:
        body = {"who": "A", "limit": 0.1}
        for more in ({}, {"reason": " new recipe ", "expected": {"limit": None}}):
            assert client.post("/api/limits", json={**body, **more}, headers=AUTHORISED).status_code == 202
    limit = {"limit": 0.1}
    assert calls == [("A", limit, "", None), ("A", limit, "new recipe", {"limit": None})]


def test_uploaded_image_is_classified_not_kept(
    reader: TestClient, tmp_path_factory: pytest.TempPathFactory
) -> None:

    def list_files() -> list[Path]:
        # SQLite takes its own files away when a store of another test is collected.
        files = tmp_path_factory.getbasetemp().rglob("*")
        return sorted(file for file in files if not file.name.endswith(("-wal", "-shm")))

    before = list_files()
    response = reader.post(
        "/api/predict", files={"file": ("../../etc/passwd.png", helpers.noise_png())}
    ).json()
    assert response["file"] == "passwd.png"
    assert sum(response["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (response["width_px"], response["height_px"]) == (40, 40)
    assert list_files() == before


def test_precision_of_the_settings_serves_images(tmp_path: Path) -> None:
    with small(tmp_path, precision="rotations") as client:
        found = client.post("/api/predict", files={"file": ("a.png", helpers.noise_png())}).json()
    assert found["precision"] == "rotations"
    with pytest.raises(InputError, match="precision must be one of auto, float32, .* got 'half'"):
        build_config(ServeConfig, {"precision": "half"})


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


def test_alarm_is_shelved_and_closed(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path)
    with TestClient(helpers.create_app(service), base_url=LOCAL) as client:
        body = {"who": "A. Miller", "minutes": 30, "reason": "sampling"}
        assert is_error(client.post("/api/alarms/1/shelve", json=body), 401)
        shelved = client.post("/api/alarms/1/shelve", json=body, headers=AUTHORISED).json()
        assert (shelved["shelved_by"], shelved["shelved_reason"]) == ("A. Miller", "sampling")
        assert shelved["shelved_until"].endswith("Z")
        assert shelved["batch_name"] == "B-1"
        assert client.get("/api/alarms?open=true").json()["alarms"] == []
        closing = {"who": "A. Miller", "reason": "cleaned"}
        active = client.post("/api/alarms/1/close", json=closing, headers=AUTHORISED)
        assert is_error(active, 409)
        assert "Shelve it for a time" in active.text
        service.store.end_batch(1, "A. Miller")
        (alarm,) = client.get("/api/alarms").json()["alarms"]
        assert (alarm["closed_by"], alarm["closed_reason"]) == ("georgia", "the batch ended")
        assert is_error(client.post("/api/alarms/1/shelve", json=body, headers=AUTHORISED), 409)
        assert is_error(client.post("/api/alarms/9/close", json=closing, headers=AUTHORISED), 404)
        wrong = {**body, "minutes": 0}
        assert is_error(client.post("/api/alarms/1/shelve", json=wrong, headers=AUTHORISED), 422)


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
        reads = [client.get("/api/status") for _ in range(3)]
        guesses = [client.post(path, json=body, headers={"Authorization": "Bearer x"}) for _ in range(3)]
        acknowledged = client.post(path, json=body, headers=AUTHORISED)
    assert [group[-1].status_code for group in (uploads, reads, guesses)] == [429, 429, 429]
    assert acknowledged.status_code == 404  # three frames raise no alarm; no limit stood against it


@pytest.mark.slow
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
        responses = [client.get("/api/status", headers={"X-Forwarded-For": hop}) for hop in forwarded]
    assert [response.status_code for response in responses] == statuses


@pytest.mark.slow
def test_silent_monitor_repeats_no_status(tmp_path: Path) -> None:
    with (
        helpers.running_service(tmp_path) as (port, _),
        httpx.stream("GET", f"http://127.0.0.1:{port}/api/events", timeout=PATIENCE_S) as response,
    ):
        kinds = [line for line in itertools.islice(response.iter_lines(), 16) if line.startswith("event: ")]
    assert kinds.count("event: status") <= 2


def test_whole_frame_is_cut_into_windows(reader: TestClient) -> None:
    crop = reader.post("/api/predict", files={"file": ("a.png", helpers.noise_png(150))}).json()
    frame = reader.post("/api/predict", files={"file": ("b.png", helpers.noise_png(400))}).json()
    assert crop["frame"] is None
    assert frame["frame"]["map"]["width_px"] == 400
    assert len(frame["frame"]["map"]["windows"]) > 4
    counts = ("n_judged", "n_unknown", "n_empty")
    assert sum(frame["frame"][name] for name in counts) == len(frame["frame"]["map"]["windows"])


def test_page_knows_every_state() -> None:
    script = (STATIC / "js" / "format.js").read_text(encoding="utf-8")
    states = script[script.index("export const STATES") :]
    states = states[: states.index("};")]
    missing = [state for state in State if not re.search(rf'^  "?{state}"?: \[', states, re.MULTILINE)]
    assert missing == []


def test_watchdogs_are_never_limited(tmp_path: Path) -> None:
    with small(tmp_path, requests_per_minute=1) as client:
        assert [client.get("/api/status").status_code for _ in range(2)] == [200, 429]
        for path in ("/api/health", "/metrics", "/static/js/main.js"):
            assert [client.get(path).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/", "/api/health", "/static/app.css", "/api/frames/1/picture", "/nothing"])
def test_head_is_get_without_body(reader: TestClient, path: str) -> None:
    head, whole = reader.head(path), reader.get(path)
    assert head.status_code == whole.status_code
    assert head.content == b""
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_head_of_endless_stream_ends(tmp_path: Path) -> None:
    with helpers.running_service(tmp_path) as (port, _):
        response = httpx.head(f"http://127.0.0.1:{port}/api/events", timeout=PATIENCE_S)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=PATIENCE_S).status_code == 200


def test_stream_beats_while_nothing_happens(tmp_path: Path) -> None:
    with (
        helpers.running_service(tmp_path) as (port, _),
        httpx.stream("GET", f"http://127.0.0.1:{port}/api/events", timeout=PATIENCE_S) as response,
    ):
        lines = itertools.islice(response.iter_lines(), 40)
        assert next(lines) == "event: status"
        assert "event: beat" in lines


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

    assert asyncio.run(asyncio.wait_for(follow(), PATIENCE_S)) == [("4", 4), ("5", 5), ("6", 6)]


def test_listener_hears_that_store_is_away_and_back(tmp_path: Path) -> None:
    service = helpers.make_service(tmp_path, 5)
    file, kept = tmp_path / "m.db", tmp_path / "kept.db"

    async def follow() -> list[str]:
        stream = EventStream(service)
        await stream.start()
        states: list[str] = []
        async for text in stream.listen():
            if "event: status" not in text:
                continue
            states.append(json.loads(text.split("data: ", 1)[1])["state"])
            if len(states) == 1:
                file.rename(kept)
            elif states[-1] == "store away":
                kept.rename(file)
            elif "store away" in states:
                break
        await stream.stop()
        return list(dict.fromkeys(states)) + states[-1:]

    before, away, after = asyncio.run(asyncio.wait_for(follow(), PATIENCE_S))
    assert (away, after) == ("store away", before)
    service.store.close()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"host": "127.0.0.1"}, "127.0.0.1"),
        ({"host": "[::1]"}, "::1"),
        ({"host": "0.0.0.0", "token": helpers.TOKEN, "allowed_hosts": ("probe.example",)}, "probe.example"),
    ],
)
def test_printed_address_is_one_that_opens(settings: dict[str, Any], name: str) -> None:
    assert find_name(ServeConfig(**settings)) == name
    everywhere = find_name(ServeConfig(host="0.0.0.0", token=helpers.TOKEN))
    assert everywhere not in ("0.0.0.0", "")


def test_folder_in_settings_file_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from georgia.cli import main, serve

    calls: list[Any] = []
    monkeypatch.setattr(serve, "serve_probe", lambda *values: calls.append(values) or 0)
    monkeypatch.setenv("GEORGIA_TOKEN", helpers.TOKEN)
    file = tmp_path / "plant.toml"
    file.write_text('[monitor]\nwatch = "frames"\ndb = "plant.db"\nlimit = 0.1\n[serve]\nport = 0\n')
    assert main(["serve", "--config", str(file), "--set", "min_judged=3", "--set", "no_frames_s=7"]) == 0
    assert (calls[0][1].no_frames_s, calls[0][2].no_frames_s) == (7, 7)
    _, settings, probe, _, is_secret, *_ = calls[0]
    assert (str(probe.watch), probe.db, settings.db) == ("frames", "plant.db", "plant.db")
    assert (probe.charts.limit, probe.tiles.min_judged, is_secret) == (0.1, 3, True)
    assert main(["serve", "--port", "0", "--token", helpers.TOKEN]) == 0
    assert calls[1][2] is None
    assert not calls[1][4]
