"""The routes of a spot check: planned, named, taken back, exported, and what the model says hidden before."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.helpers.service import TOKEN
from tests.helpers.spotcheck import add_frame, copy_batch

from georgia.model.load import load_bundled_model
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.web.app import create_app
from georgia.web.config import ServeConfig
from georgia.web.service import Service

HEAD = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Served:
    """A service over a batch of 20 frames with four windows each."""

    client: TestClient
    store: Store
    folder: Path

    def ask(self, path: str = "", body: Any = None, code: int = 200, **head: str) -> Any:
        path = f"/api/batches/1/spotcheck{path}"
        headers = {**HEAD, **head}
        found = self.client.get(path) if body is None else self.client.post(path, json=body, headers=headers)
        assert found.status_code == code, found.text
        return found.json() if "json" in found.headers["content-type"] else found

    def plan(self, n: int = 12, **more: Any) -> Any:
        return self.ask("", {"who": "Ann", "n": n, "seed": 3, **more}, 201)

    def name(self, check: int, position: int, name: str = "PG", who: str = "Ann", code: int = 200) -> Any:
        return self.ask("/names", {"check": check, "position": position, "name": name, "who": who}, code)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def served(template: Path, tmp_path: Path) -> Iterator[Served]:
    store = copy_batch(template, tmp_path)
    config = ServeConfig(token=TOKEN, frames=tmp_path / "frames", poll_interval_s=0.05)
    service = Service(config, load_bundled_model(), store)
    with TestClient(create_app(service), base_url="http://localhost") as client:
        yield Served(client, store, tmp_path / "frames")
    store.close()


@pytest.mark.slow
def test_check_goes_from_plan_to_result(served: Served) -> None:
    assert served.ask() == {"batch": 1, "check": None, "result": None, "n_more_for_width": None}
    check = served.plan()
    assert (check["n_sampled"], check["n_named"], check["class_name"], check["seed"]) == (12, 0, "PG", 3)
    assert served.ask()["result"] is None
    for position in range(1, 13):
        progress = served.name(check["check"], position, "PG" if position % 3 == 0 else "CEX")
    assert (progress["n_named"], progress["next"], progress["last"]["who"]) == (12, None, "Ann")
    found = served.ask("?width=0.1")
    result = found["result"]
    assert (result["n"], result["is_complete"], result["named_by"]) == (12, True, ["Ann"])
    assert result["low"] <= result["fraction"] <= result["high"]
    assert found["n_more_for_width"] > 0
    metric = f'georgia_fraction_checked{{bound="low",class="PG",part="0"}} {result["low"]}'
    assert metric in served.client.get("/metrics").text
    assert served.client.get("/api/batches/1").json()["checked"]["fraction"] == result["fraction"]
    (listed,) = served.client.get("/api/spotchecks").json()["checked"]
    assert (listed["batch"], listed["high"]) == (1, result["high"])
    assert [span["n"] for span in result["curve"]] != []
    assert verify_store(served.store).is_whole


def test_model_stays_hidden_until_named(served: Served) -> None:
    check = served.plan()
    told = json.dumps([check, served.name(check["check"], 1), served.ask()["check"]])
    assert not [word for word in ("label", "probability", "p_", "level") if f'"{word}' in told]
    rows = list(csv.DictReader(io.StringIO(served.ask("/export").text)))
    assert [(row["order"], row["name"], row["by"]) for row in rows] == [("1", "PG", "Ann")]
    assert rows[0]["label"] in ("CEX", "PG")
    assert len(served.ask("/export?format=json")["windows"]) == 1


def test_seed_is_not_to_be_foreseen(served: Served) -> None:
    seeds = {served.plan(seed=None, reason=str(at))["seed"] for at in range(4)}
    assert len(seeds) == 4


def test_changes_need_the_token(served: Served) -> None:
    check = served.plan()["check"]
    name = {"check": check, "position": 1, "name": "PG", "who": "Ann"}
    for path, body in (("", {"who": "Ann"}), ("/names", name), ("/withdrawals", {**name})):
        body = {key: value for key, value in body.items() if path != "/withdrawals" or key != "name"}
        assert "token" in served.ask(path, body, 401, Authorization="Bearer x")["error"]["message"]
        said = served.ask(path, body, 403, Origin="http://elsewhere")["error"]["message"]
        assert "may not come from pages of 'http://elsewhere'" in said
    assert served.store.spotcheck_names(check) == []


def test_name_of_another_page_is_a_conflict(served: Served) -> None:
    check = served.plan()["check"]
    served.name(check, 1, "PG", "Ann")
    assert served.name(check, 1, "PG", "Ann")["n_named"] == 1, "a response that was lost"
    assert "got 'PG' by 'Ann'" in served.name(check, 1, "CEX", "Bob", 409)["error"]["message"]
    assert "in their order" in served.name(check, 3, "CEX", "Bob", 409)["error"]["message"]
    assert "one of CEX, PG, neither, unclear" in served.name(check, 2, "salt", "Bob", 422)["error"]["message"]
    last = {"check": check, "position": 1, "who": "Ann"}
    assert served.ask("/withdrawals", last)["n_named"] == 0
    assert "only the last name" in served.ask("/withdrawals", last, 409)["error"]["message"]


def test_another_check_needs_a_reason(served: Served) -> None:
    first = served.plan()["check"]
    served.name(first, 1)
    assert "a reason is needed" in served.ask("", {"who": "Ann"}, 409)["error"]["message"]
    add_frame(served.store, 1, served.folder, 21, "PPCC", [0.9] * 4)
    found = served.ask()
    assert (found["check"]["is_part"], found["result"]["is_part"]) == (True, True)
    second = served.plan(reason="the batch went on")
    assert (second["is_part"], second["n_checks"], second["through_ordinal"]) == (False, 2, 21)
    found = served.ask()
    assert (found["check"]["check"], found["result"]["check"]) == (second["check"], first)


def test_check_is_extended_by_the_new_frames(served: Served) -> None:
    first = served.plan(4)["check"]
    assert "frames that came since" in served.ask("", {"who": "Ann", "extend": True}, 422)["error"]["message"]
    served.name(first, 1)
    add_frame(served.store, 1, served.folder, 21, "PPCC", [0.9] * 4)
    later = served.ask("", {"who": "Bob", "extend": True}, 201)
    assert (later["extends"], later["n_sampled"], later["n_windows"], later["is_part"]) == (
        [first],
        1,
        84,
        False,
    )
    assert "got one that check" in served.name(first, 2, code=409)["error"]["message"]
    served.name(later["check"], 1, "CEX", "Bob")
    result = served.ask("?width=0.2")["result"]
    assert (result["n"], result["named_by"], result["extends"]) == (2, ["Ann", "Bob"], [first])
    assert len(served.ask("/export?format=json")["windows"]) == 2
    assert "Plan 2 of 2" in served.ask("/report").text


@pytest.mark.slow
def test_window_is_that_of_the_plan(served: Served) -> None:
    check = served.plan()
    box = check["next"]["box"]
    with Image.open(served.folder / check["next"]["file"]) as image:
        frame = np.asarray(image)
    shown = served.ask(f"/windows/1?check={check['check']}")
    assert shown.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(shown.content)) as image:
        assert (np.asarray(image)[..., 0] == frame[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]).all()
    wide = served.ask(f"/windows/1?check={check['check']}&wide=true")
    with Image.open(io.BytesIO(wide.content)) as image:
        assert list(image.size) == check["next"]["around"][2:] == [64, 64]


@pytest.mark.slow
def test_image_that_is_gone_is_named(served: Served) -> None:
    check = served.plan()
    file = served.folder / check["next"]["file"]
    other = next(path for path in sorted(served.folder.iterdir()) if path != file)
    file.write_bytes(other.read_bytes())
    text = served.ask(f"/windows/1?check={check['check']}", code=404)["error"]["message"]
    assert f"({file.name}) cannot be shown: its file holds another image now" in text
    file.unlink()
    text = served.ask(f"/windows/1?check={check['check']}", code=404)["error"]["message"]
    assert "its file is gone" in text
    served.name(check["check"], 1, "unclear")
    page = served.ask("/report").text
    assert "its file is gone" in page, "the report shows no other image either"


def test_check_that_nobody_could_name_is_not_planned(served: Served) -> None:
    for path in served.folder.iterdir():
        path.unlink()
    text = served.ask("", {"who": "Ann"}, 409)["error"]["message"]
    assert "No image of the sampled windows is within reach" in text
    assert served.store.spotchecks() == []


@pytest.mark.slow
def test_report_holds_plan_names_and_head(served: Served) -> None:
    check = served.plan()
    served.ask("/report", code=404)
    for position, name in enumerate(("PG", "CEX", "unclear"), start=1):
        served.name(check["check"], position, name, "A. <b>Miller</b>")
    page = served.ask("/report")
    assert "sandbox" in page.headers["content-security-policy"]
    assert served.store.head() in page.text
    assert "A. &lt;b&gt;Miller" in page.text
    assert page.text.count("data:image/jpeg") == 3
    planned = served.store.audit_log(action="spot check planned")[0]
    assert planned.detail["plan_sha256"] in page.text


@pytest.mark.parametrize(
    "path",
    ["/windows/13?check=1", "/windows/1?check=99", "/export", "/report"],
)
def test_what_is_not_there_is_404(served: Served, path: str) -> None:
    served.plan()
    served.ask(path, code=404)
    assert served.client.get("/api/batches/9/spotcheck").status_code == 404


@pytest.mark.slow
def test_naming_is_not_slowed_by_the_limit_of_changes(served: Served) -> None:
    check = served.plan(80)["check"]
    for position in range(1, 66):
        served.name(check, position, "CEX")
    assert served.store.spotcheck(check).n_entries == 65


def test_altered_check_is_said_in_one_line(served: Served) -> None:
    check = served.plan()["check"]
    served.name(check, 1)
    with served.store.engine.begin() as connection:
        connection.exec_driver_sql('UPDATE spotchecks SET plan = \'{"form": 1, "through": 3}\'')
    assert "see 'georgia verify'" in served.ask(code=400)["error"]["message"]
    assert "see 'georgia verify'" in served.name(check, 2, code=422)["error"]["message"]
    assert "see 'georgia verify'" in served.client.get("/api/batches/1").json()["checked"]["fault"]
    found = served.client.get("/api/spotchecks").json()
    assert (found["checked"], found["faults"][0]["batch"]) == ([], 1)
    assert served.client.get("/metrics").status_code == 200
