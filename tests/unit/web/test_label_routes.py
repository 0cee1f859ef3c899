"""The routes of the labelling page: what they keep, what they reject, and in which words."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.helpers import label_page as helpers
from tests.helpers import people

from georgia.label.records import Item, Pool, PoolKind
from georgia.label.session import LabelSession
from georgia.monitor import open_store
from georgia.monitor.people.roles import Right, Role, may
from georgia.monitor.people.users import disable_user
from georgia.web.access import LABEL_ROUTES
from georgia.web.label_app import create_label_app, make_label_config
from georgia.web.label_training import Trainer
from georgia.web.routes_label import N_KEYS

LOCAL = "http://127.0.0.1:8421"
AUTHORISED = {"Authorization": f"Bearer {helpers.TOKEN}"}


class Page:
    """A client that knows the token, over an open session."""

    def __init__(self, session: LabelSession, client: TestClient) -> None:
        self.session, self.client = session, client

    def post(self, what: str, **body: Any) -> Any:
        return self.client.post(f"/api/label/{what}", json=body, headers=AUTHORISED)

    def get(self, what: str = "", **query: Any) -> Any:
        return self.client.get(f"/api/label{what}", params=query)

    def tray(self, tab: str = "a", n: int = 3) -> list[str]:
        return [item["path"] for item in self.post("tray", tab=tab, n=n).json()["items"]]

    def name(self, path: str, name: str = "PG", who: str = "Ann", tab: str = "a", **more: Any) -> Any:
        return self.post("name", path=path, name=name, who=who, tab=tab, **more)


def message(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["error"]["message"])


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def make(n: int = 6, pool: Pool | None = None, who: str = "", store: Any = None) -> Page:
            helpers.write_crops(tmp_path / "crops", n, 32)
            session = stack.enter_context(
                helpers.open_session(tmp_path / "crops", tmp_path / "labels.csv", pool)
            )
            config = make_label_config(token=helpers.TOKEN)
            app = create_label_app(config, session, Trainer(session), who, store)
            return Page(session, stack.enter_context(TestClient(app, base_url=LOCAL)))

        yield make


def test_state_names_classes_with_keys(open_page: Any, tmp_path: Path) -> None:
    state = open_page(who="Ann").get().json()
    assert state["classes"] == [{"name": "CEX", "key": "1"}, {"name": "PG", "key": "2"}]
    assert (state["who"], state["out"], state["kind"]) == ("Ann", str(tmp_path / "labels.csv"), "crops")
    assert (state["progress"]["n_items"], state["progress"]["n_wanted"]) == (6, {"CEX": 5, "PG": 5})


def test_tenth_class_has_no_key(open_page: Any) -> None:
    page = open_page()
    page.session.journal.set_classes([f"c{at}" for at in range(N_KEYS + 1)], "tests")
    keys = [each["key"] for each in page.get().json()["classes"]]
    assert keys == [*"123456789", ""]


def test_name_is_on_disk_before_response(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    path = page.tray()[0]
    response = page.name(path)
    journal = (tmp_path / "labels.csv.journal").read_text(encoding="utf-8")
    assert f'"path": "{path}"' in journal.splitlines()[-1].replace('":"', '": "')
    assert response.json()["progress"]["by_class"] == {"CEX": 0, "PG": 1}
    page.session.write()
    (row,) = csv.DictReader(io.StringIO((tmp_path / "labels.csv").read_text(encoding="utf-8")))
    assert (row["class"], row["who"]) == ("PG", "Ann")


def test_same_name_sent_twice_counts_once(open_page: Any) -> None:
    page = open_page()
    path = page.tray()[0]
    assert page.name(path).json() == page.name(path).json()
    assert len(page.get("/history").json()["labels"]) == 1


def test_two_tabs_hold_different_crops(open_page: Any) -> None:
    page = open_page()
    first, second = page.tray("a"), page.tray("b")
    assert len({*first, *second}) == 6
    page.post("leave", tab="a")
    assert set(page.tray("c")) == set(first)


def test_conflict_says_who_and_what(open_page: Any) -> None:
    page = open_page()
    path = page.tray()[0]
    page.name(path, "PG", "Ann", "a")
    said = message(page.name(path, "CEX", "Bob", "b"), 409)
    assert "'PG' by Ann" in said
    assert [label["name"] for label in page.get("/history").json()["labels"]] == ["PG"]


def test_replacing_needs_the_label_shown(open_page: Any) -> None:
    page = open_page()
    path = page.tray()[0]
    page.name(path, "PG", "Ann", "a")
    (label,) = page.get("/history", path=path).json()["labels"]
    assert page.name(path, "CEX", "Bob", "b", replaces=label["number"]).status_code == 200
    said = message(page.name(path, "neither", "Cas", "c", replaces=label["number"]), 409)
    assert "'CEX' by Bob" in said


def test_undo_takes_own_last_name_back(open_page: Any) -> None:
    page = open_page()
    mine, others = page.tray("a")[0], page.tray("b")[0]
    page.name(mine, tab="a")
    page.name(others, tab="b", who="Bob")
    assert page.post("undo", tab="a", who="Ann").json()["item"]["path"] == mine
    assert page.post("undo", tab="a", who="Ann").json()["item"] is None
    assert [label["path"] for label in page.get("/history").json()["labels"]] == [others]
    assert page.tray("a")[0] == mine


def test_passed_over_crop_comes_last(open_page: Any) -> None:
    page = open_page(3)
    first = page.tray()[0]
    page.post("skip", path=first, tab="a")
    assert page.tray()[-1] == first
    assert page.post("tray", tab="a").json()["progress"]["n_left"] == 3


def test_near_duplicates_are_counted_and_named_together(open_page: Any, tmp_path: Path) -> None:
    helpers.write_crops(tmp_path / "crops", 3, 32)
    plain = helpers.make_pool(tmp_path / "crops")
    items = tuple(replace(item, duplicates=7) if at < 2 else item for at, item in enumerate(plain.items))
    page = open_page(3, replace(plain, items=items))
    shown = page.post("tray", tab="a").json()["items"]
    (pair,) = [item for item in shown if item["n_duplicates"]]
    assert len(shown) == 2
    assert page.name(pair["path"]).json()["progress"]["n_labelled"] == 2
    (label,) = page.get("/history", path="crop 001.png").json()["labels"]
    assert (label["path"], label["n_duplicates"]) == (pair["path"], 1)


def test_suggestion_comes_only_when_asked_for(open_page: Any) -> None:
    import numpy as np

    page = open_page()
    page.session.update_probabilities(("CEX", "PG"), np.tile([0.2, 0.8], (6, 1)))
    assert page.post("tray", tab="a").json()["items"][0]["suggestion"] is None
    shown = page.post("tray", tab="a", is_hinting=True).json()["items"][0]["suggestion"]
    assert shown == {"label": "PG", "probability": 0.8}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps such names of files")
def test_odd_names_of_files_are_named(open_page: Any, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    helpers.write_crops(folder, 6, 32)
    names = [
        b"\xff.png",
        b"\\xff.png",
        b"=a.png",
        "\u65e5,\u672c;#1.png".encode(),
        b"a%20b&c=d?e+f.png",
        b"x\ny.png",
    ]
    for file, name in zip(sorted(folder.iterdir()), names, strict=True):
        file.rename(os.path.join(str(folder), os.fsdecode(name)))  # noqa: PTH118 - it is no text
    page = open_page(0)
    shown = page.tray(n=9)
    assert len(set(shown)) == 6
    for path in shown:
        assert page.get("/image", path=path).status_code == 200
        assert page.name(path).status_code == 200
    assert {label["path"] for label in page.get("/history").json()["labels"]} == set(shown)
    assert {label.path for label in page.session.history(9)} == {os.fsdecode(name) for name in names}
    assert page.post("undo", tab="a", who="Ann").json()["item"]["path"] == shown[-1]


# Images


def test_crop_is_sent_as_png(open_page: Any) -> None:
    response = open_page().get("/image", path="crop 000.png", size=16)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(response.content)).size == (16, 16)


def test_window_is_shown_in_its_frame(open_page: Any, tmp_path: Path) -> None:
    Image.new("L", (640, 480), 90).save(tmp_path / "f.png")
    box = (200, 100, 64, 64)
    item = Item("f.png#xywh=200,100,64,64", tmp_path / "f.png", box, "f.png")
    page = open_page(1, Pool(tmp_path, (item,), PoolKind.FRAMES))
    found = page.get("/surroundings", path=item.path).json()
    shown = Image.open(io.BytesIO(page.get("/image", path=item.path, around=True, size=2048).content))
    assert shown.size == (found["width_px"], found["height_px"]) == (320, 320)
    assert found["box"] == [128, 100, 64, 64]


def test_gone_image_is_named(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "crops" / "crop 000.png").unlink()
    assert "crop 000.png" in message(page.get("/image", path="crop 000.png"), 415)
    assert "crop 000.png" in message(page.get("/surroundings", path="crop 000.png"), 415)


@pytest.mark.parametrize("path", ["../labels.csv", "/etc/passwd", "crop 000.png#xywh=0,0,4,4", "nothing"])
def test_only_the_pool_is_read(open_page: Any, path: str) -> None:
    assert "a path of the pool is needed" in message(open_page().get("/image", path=path), 400)


# What is rejected


@pytest.mark.parametrize("what", ["tray", "name", "undo", "skip", "leave"])
@pytest.mark.parametrize("token", ["", "another-token-0123456789"])
def test_changes_need_the_token(open_page: Any, what: str, token: str) -> None:
    page = open_page()
    body = {"path": "crop 000.png", "name": "PG", "who": "Ann", "tab": "a"}
    fields = {"tray": ["tab"], "undo": ["who", "tab"], "skip": ["path", "tab"], "leave": ["tab"]}
    asked = {name: body[name] for name in fields.get(what, body)}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = page.client.post(f"/api/label/{what}", json=asked, headers=headers)
    assert "needs the service's token" in message(response, 401)
    assert page.session.progress().n_named == 0


def test_page_of_another_origin_changes_nothing(open_page: Any) -> None:
    page = open_page()
    headers = {**AUTHORISED, "Origin": "http://elsewhere.example"}
    body = {"path": "crop 000.png", "name": "PG", "who": "Ann", "tab": "a"}
    response = page.client.post("/api/label/name", json=body, headers=headers)
    assert "may not come from pages of" in message(response, 403)
    response = page.client.get("/api/label", headers={"Host": "elsewhere.example"})
    assert "does not respond to the name" in message(response, 421)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"name": "PQ"}, 400, "one of CEX, PG, neither, unclear is needed"),
        ({"who": " "}, 422, "who"),
        ({"who": "A\nB"}, 422, "who"),
        ({"path": "gone.png"}, 400, "a path of the pool is needed"),
        ({"tab": "a b"}, 422, "tab"),
        ({"replaces": -1}, 422, "replaces"),
        ({"replaces": 9}, 409, "none: it was taken back"),
    ],
)
def test_faulty_name_is_not_kept(open_page: Any, body: dict[str, Any], status: int, said: str) -> None:
    page = open_page()
    good = {"path": "crop 000.png", "name": "PG", "who": "Ann", "tab": "a"}
    assert said in message(page.post("name", **{**good, **body}), status)
    assert page.session.progress().n_named == 0


def test_full_disk_is_said_and_nothing_counted(open_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page()
    path = page.tray()[0]

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("georgia.label.journal._write_at", fail)
        assert "The name was not kept" in message(page.name(path), 400)
    assert page.session.progress().n_named == 0
    assert page.name(path).status_code == 200


def test_quick_labelling_meets_no_limit(open_page: Any) -> None:
    page = open_page()
    path = page.tray()[0]
    names = ["PG", "CEX"] * 100
    assert {page.name(path, name).status_code for name in names} == {200}


def test_page_loads_own_files_only(open_page: Any) -> None:
    page = open_page()
    text = page.client.get("/").text
    names = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert len(names) >= 5
    for name in names:
        assert not name.startswith(("http:", "https:", "//"))
        assert page.client.get(f"/{name}").status_code == 200


def test_schema_lists_every_route(open_page: Any) -> None:
    schema = open_page().client.get("/openapi.json").json()
    assert {path.rpartition("/")[2] for path in schema["paths"]} >= {
        *("label", "tray", "name", "undo", "skip", "leave", "history", "image", "surroundings")
    }
    assert "Names for crops" in schema["info"]["description"]


# People of a store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    people.hash_quickly(monkeypatch)
    opened = open_store(str(tmp_path / "probe.db"))
    people.add_people(opened)
    yield opened
    opened.close()


def enter(page: Page, role: Role | None) -> TestClient:
    """Return a browser of the page, logged in with a role."""
    client = TestClient(page.client.app, base_url=LOCAL, headers={"Origin": LOCAL})
    if role is not None:
        body = {"name": people.NAMES[role], "password": people.PASSWORD}
        assert client.post("/api/session", json=body).status_code == 200
    return client


def test_names_are_those_of_whoever_logged_in(open_page: Any, store: Any) -> None:
    page = open_page(store=store)
    path, name = page.session.pool.items[0].path, people.NAMES[Role.OPERATOR]
    body = {"path": path, "name": "PG", "tab": "a"}
    # Neither the token of the page nor nobody: reading needs a log-in too.
    assert page.post("name", who="Ann", **body).status_code == 401
    assert page.get().status_code == 401
    client = enter(page, Role.OPERATOR)
    state = client.get("/api/label").json()
    assert (state["who"], state["people"]) == (name, True)
    assert client.post("/api/label/name", json={**body, "who": "Ann"}).status_code == 403
    event = store.audit_log(limit=1)[0]
    assert (event.who, event.action, event.detail["name"]) == (name, "access denied", "Ann")
    assert client.post("/api/label/name", json=body).status_code == 200
    assert client.get("/api/label/history").json()["labels"][0]["who"] == name
    store.write(lambda change: disable_user(change, name, "tests"))
    assert client.post("/api/label/undo", json={"tab": "a"}).status_code == 401


def test_every_route_of_label_page_asks_for_a_role(open_page: Any, store: Any) -> None:
    page = open_page(store=store)
    schema = page.client.get("/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, each in schema.items() for method in each}
    assert found | {("GET", "/")} == set(LABEL_ROUTES)
    wrong = []
    for role in (*Role, None):
        client = enter(page, role)
        for method, path in sorted(LABEL_ROUTES, key=lambda route: route[1] == "/api/session/end"):
            right = LABEL_ROUTES[method, path]
            status = client.request(method, path, json={} if method == "POST" else None).status_code
            is_allowed = right == Right.OPEN or (role is not None and may(role, right))
            # What is allowed fails for want of a body or of a model, and not for want of a right.
            if (status not in (401, 403)) is not is_allowed or status >= 500:
                wrong.append((role, method, path, status))
    assert wrong == []


def test_page_without_store_is_as_before(open_page: Any) -> None:
    page = open_page(who="Ann")
    state = page.get().json()
    assert (state["who"], state["people"]) == ("Ann", False)
    assert page.client.get("/api/session").status_code == 404
    assert page.name(page.tray()[0]).status_code == 200
