"""Training from the labelling page: its process, how it ends, its models, and which one is in use."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.helpers import label_page as helpers
from tests.helpers.monitor import wait_for

from georgia.errors import GateError, InputError
from georgia.label import job_process
from georgia.label.records import ChoiceReason
from georgia.web import label_worker
from georgia.web.label_app import create_label_app, make_label_config
from georgia.web.label_training import JobState, Trainer

AUTHORISED = {"Authorization": f"Bearer {helpers.TOKEN}"}
# Processes in place of the one that trains: each reads its job first.
SAYS_DONE = """
import json, pathlib, sys
job = json.loads(sys.stdin.readline())
out = pathlib.Path(job["out"])
out.mkdir(parents=True)
figures = {{"model": str(out), "summary": "good", "n_labels": len(job["labels"])}}
(out / "learned.json").write_text(json.dumps(figures))
(out / "bundle.json").write_text(json.dumps({{"model_sha256": out.name}}))
(out / "report.html").write_text("<h1>Report</h1>")
print(json.dumps({{"event": "start", "stage": "features", "total": 9}}))
print("no event")
print(json.dumps({{"event": "done", "result": figures}}))
"""
WAITS = """
import json, sys
sys.stdin.readline()
print(json.dumps({{"event": "start", "stage": "features", "total": 9}}), flush=True)
print(json.dumps({{"event": "advance", "count": 4}}), flush=True)
sys.stdin.read()
"""
CRASHES = "import sys; sys.stdin.readline(); sys.exit('out of memory')"
FAILS = """
import json, sys
sys.stdin.readline()
print(json.dumps({{"event": "failed", "is_stopped": False, "message": "Cannot learn yet"}}))
"""


class Bench:
    """A trainer over a session of twelve crops, ten of them named, and a client of its page."""

    def __init__(self, trainer: Trainer, client: TestClient) -> None:
        self.trainer, self.client = trainer, client
        self.trained: list[Path] = []

    def post(self, what: str = "", **body: Any) -> Any:
        return self.client.post(f"/api/label/training{what}", json=body or None, headers=AUTHORISED)

    def state(self) -> Any:
        return self.client.get("/api/label/training").json()

    def wait(self, *states: JobState) -> Any:
        wait_for(lambda: self.state()["state"] in states)
        return self.state()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    helpers.write_crops(tmp_path / "crops", 12, 32)
    with ExitStack() as stack:
        session = stack.enter_context(helpers.open_session(tmp_path / "crops", tmp_path / "labels.csv"))
        trained: list[Path] = []
        trainer = Trainer(session, on_trained=trained.append)
        stack.callback(trainer.close)
        app = create_label_app(make_label_config(token=helpers.TOKEN), session, trainer)
        client = stack.enter_context(TestClient(app, base_url="http://127.0.0.1:8421"))
        made = Bench(trainer, client)
        made.trained = trained
        for item in session.tray("a", 12):
            session.name(item.path, helpers.truth(item.path), "Ann", "a")
        yield made


def put_in_place(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(job_process, "_CODE", program)


def test_too_few_labels_are_counted_by_class(bench: Bench) -> None:
    session = bench.trainer._session
    for _ in range(4):
        session.undo("a", "Ann")
    response = bench.post()
    assert response.status_code == 400
    assert "more of" in response.json()["error"]["message"]
    assert bench.state()["state"] == "idle"


def test_trained_model_is_listed_and_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, SAYS_DONE)
    assert bench.post().status_code == 202
    state = bench.wait(JobState.DONE)
    (model,) = state["models"]
    assert (model["name"], model["is_in_use"], model["n_labels"]) == ("model-001", False, 12)
    wait_for(lambda: bench.trained == [bench.trainer.folder / "model-001"])
    assert model["has_report"] is True
    report = bench.client.get("/api/label/training/report", params={"model": "model-001"})
    assert (report.status_code, report.text) == (200, "<h1>Report</h1>")
    assert "sandbox" in report.headers["content-security-policy"]
    for name in ("model-009", "../labels", "in-use"):
        assert bench.client.get("/api/label/training/report", params={"model": name}).status_code == 404
    bench.post()
    wait_for(lambda: len(bench.state()["models"]) == 2)


def test_first_model_is_used_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, SAYS_DONE)
    bench.post()
    bench.wait(JobState.DONE)
    assert bench.state()["in_use"] is None
    assert bench.post("/use", model="model-001", who="Ann").status_code == 202
    state = bench.state()
    assert state["models"][0]["is_in_use"] is True
    in_use = state["in_use"]
    assert (in_use["decision"], in_use["who"], in_use["can_go_back"]) == ("first", "Ann", False)
    said = bench.post("/back", who="Ann").json()["error"]["message"]
    assert "Cannot" in said


def test_second_model_passes_the_gate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, SAYS_DONE)
    for name in ("model-001", "model-002"):
        bench.post()
        wait_for(lambda name=name: bench.state()["models"][:1] and bench.state()["models"][0]["name"] == name)
        bench.wait(JobState.DONE)
    bench.post("/use", model="model-001", who="Ann")
    put_in_place(
        monkeypatch,
        "import json, sys; job = json.loads(sys.stdin.readline());"
        "print(json.dumps({{'event': 'done', 'result': {{'is_promoted': False, 'job': job}}}}))",
    )
    assert "a reason is needed" in bench.post("/use", model="model-002", who="Ann", override=True).text
    assert bench.post("/use", model="model-002", who="Ann").status_code == 202
    job = bench.wait(JobState.DONE)["result"]["job"]
    assert (job["task"], job["who"], job["override"]) == ("promote", "Ann", False)
    assert job["new"].endswith("model-002")
    assert job["current"].endswith("in-use")
    assert bench.state()["models"][1]["is_in_use"] is True


def test_promotion_without_its_entry_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, SAYS_DONE)
    bench.post()
    bench.wait(JobState.DONE)
    bench.post("/use", model="model-001", who="Ann")

    def fail(folder: Path) -> None:
        raise InputError(f"Cannot write about {folder.name}", needs="the store must be there", got="none")

    monkeypatch.setattr(bench.trainer, "_on_promoted", fail)
    put_in_place(
        monkeypatch,
        "import json, sys; json.loads(sys.stdin.readline());"
        "print(json.dumps({{'event': 'done', 'result': {{'is_promoted': True}}}}))",
    )
    assert bench.post("/use", model="model-001", who="Ann").status_code == 202
    told = bench.wait(JobState.FAILED)["message"]
    assert told.startswith("The model is in use, but the store has no entry of it: Cannot write about in-use")


@pytest.mark.parametrize("model", ["model-009", "in-use", "../crops", "model-001/.."])
def test_only_own_models_are_used(bench: Bench, model: str) -> None:
    response = bench.post("/use", model=model, who="Ann")
    assert response.status_code == 400
    assert "one of none is needed" in response.json()["error"]["message"]


def test_training_shows_progress_and_stops(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, WAITS)
    bench.post()
    wait_for(lambda: bench.state()["n_done"] == 4)
    state = bench.state()
    assert (state["state"], state["stage"], state["n_total"]) == ("running", "features", 9)
    second = bench.post()
    assert "only one at a time" in second.json()["error"]["message"]
    assert bench.post("/stop").status_code == 202
    assert bench.wait(JobState.STOPPED)["models"] == []
    put_in_place(monkeypatch, SAYS_DONE)
    assert bench.post().status_code == 202
    assert bench.wait(JobState.DONE)["models"]


def test_crash_is_said_in_one_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, CRASHES)
    bench.post()
    assert bench.wait(JobState.FAILED)["message"] == "The process ended with 1. out of memory"


def test_failure_is_said_as_it_was_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, FAILS)
    bench.post()
    assert bench.wait(JobState.FAILED)["message"] == "Cannot learn yet"


def test_closing_ends_the_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, WAITS)
    bench.post()
    wait_for(lambda: bench.state()["n_done"] == 4)
    process = bench.trainer._process
    bench.trainer.close()
    assert process is not None
    assert process._process.poll() is not None


@pytest.mark.parametrize("what", ["", "/stop", "/use", "/back"])
def test_training_needs_the_token(bench: Bench, what: str) -> None:
    body = {"/use": {"model": "model-001", "who": "Ann"}, "/back": {"who": "Ann"}}.get(what)
    assert bench.client.post(f"/api/label/training{what}", json=body).status_code == 401


# The process itself


def test_job_holds_labels_as_they_are(bench: Bench) -> None:
    session = bench.trainer._session
    job = json.loads(json.dumps(label_worker.describe_labels(session)))
    pool, labels = label_worker.read_items(job)
    assert {item.path: item.file for item in pool.items} == {
        item.path: item.file for item in session.pool.items
    }
    assert labels == session.list_labels()
    assert {label.reason for label in labels} == {ChoiceReason.EVEN}
    assert set(job["even"]) == {item.path for item in session.pool.items}


def test_gate_of_training_keeps_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Result:
        def to_json_dict(self) -> dict[str, Any]:
            return {"model": "m", "summary": "bad"}

    def fail(*_: Any) -> None:
        raise GateError("rejects its own images", result=Result())

    assert run_worker(monkeypatch, fail) == {
        "event": "done",
        "result": {"model": "m", "summary": "bad", "gate": "rejects its own images"},
    }


def test_input_error_ends_the_process_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise InputError("Cannot learn yet")

    event = run_worker(monkeypatch, fail)
    assert (event["event"], event["message"]) == ("failed", "Cannot learn yet")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'keras'")

    assert "pip install 'georgia[train]'" in run_worker(monkeypatch, fail)["message"]


def run_worker(monkeypatch: pytest.MonkeyPatch, task: Any) -> Any:
    """Return the last event of a process whose task is another; its stdin stays open as the page's does."""

    class Stdin(io.StringIO):
        def read(self, _: int | None = -1) -> str:
            threading.Event().wait(30)
            return ""

    stream = io.StringIO()
    monkeypatch.setattr(label_worker, "TASKS", {"train": task})
    monkeypatch.setattr("sys.stdin", Stdin('{"task": "train"}\n'))
    monkeypatch.setattr(job_process.os, "fdopen", lambda *_, **__: stream)
    monkeypatch.setattr(job_process.os, "dup", lambda fd: fd)
    monkeypatch.setattr(job_process.os, "dup2", lambda *_: None)
    monkeypatch.setattr(job_process.os, "nice", lambda _: None, raising=False)
    label_worker.main()
    return json.loads(stream.getvalue().splitlines()[-1])
