"""The labelling page in a real browser: keys, kills, tabs, undo, and what it says when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import label_page as helpers
from tests.helpers import people
from tests.helpers.label_page import KEYS, TOKEN, Labeller, truth
from tests.helpers.oidc import NOW, providing
from tests.helpers.patience import PATIENCE_MS
from tests.helpers.ports import free_port

from georgia.label import job_process
from georgia.label.records import Item, Pool, PoolKind
from georgia.label.session import LabelSession
from georgia.monitor import open_store
from georgia.monitor.people.roles import Role
from georgia.monitor.people.users import end_sessions, find_user
from georgia.web.config import ServeConfig
from georgia.web.label_app import let_log_in, make_label_config

pytestmark = [pytest.mark.slow]
DESKTOP = {"width": 1100, "height": 800}


class Pages:
    """Pages of one browser at one address; their errors are the test's."""

    def __init__(self, browser: Any, stack: ExitStack) -> None:
        self._browser, self._stack = browser, stack
        self.url = ""
        self.errors: list[str] = []

    def open(self, who: str = "Ann", url: str = "", **settings: Any) -> Labeller:
        """Open the page in a browser of its own, as the person ``who``."""
        context = self._stack.enter_context(
            closing(self._browser.new_context(**{"viewport": DESKTOP, **settings}))
        )
        if who:
            context.add_init_script(f"localStorage.setItem('georgia-name', {json.dumps(who)})")
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url or self.url)
        return Labeller(page)


@pytest.fixture
def pages(browser: Any) -> Iterator[Pages]:
    with ExitStack() as stack:
        made = Pages(browser, stack)
        yield made
        assert made.errors == []


@pytest.fixture
def session(tmp_path: Path, pages: Pages, request: pytest.FixtureRequest) -> Iterator[LabelSession]:
    """A session of twelve crops, or of the pool that the test makes, and its page's address in ``pages``."""
    helpers.write_crops(tmp_path / "crops", 12)
    make = getattr(request, "param", lambda folder: helpers.make_pool(folder / "crops"))
    with (
        helpers.open_session(tmp_path / "crops", tmp_path / "labels.csv", make(tmp_path)) as session,
        helpers.serve_page(session) as pages.url,
    ):
        yield session


def test_keys_survive_kills(tmp_path: Path, pages: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    n, given = 60, {}
    helpers.write_crops(tmp_path / "crops", n)
    served = helpers.PageProcess(tmp_path / "crops", tmp_path / "labels.csv")
    try:
        served.start()
        labeller = pages.open(url=served.url)
        labeller.wait()
        labeller.measure()
        labeller.path = ""
        for number in range(n):
            path = labeller.wait()
            given[path] = truth(path)
            labeller.page.keyboard.press(KEYS[given[path]])
            if number not in (20, 40):
                continue
            # Killed with a name on its way: the page neither loses it nor gives it twice.
            served.kill()
            expect(labeller.page.locator("#state .word")).to_have_text("no connection")
            labeller.page.keyboard.press("1")
            labeller.page.keyboard.press("z")
            served.start()
        expect(labeller.page.locator("#nothing-title")).to_have_text("All crops are named")
        waits = sorted(labeller.waits_ms())
    finally:
        served.kill()
    assert len(given) == n
    assert sorted(helpers.names_on_disk(served.out)) == sorted(given.items())
    with capsys.disabled():
        print(f"\nkey to next crop: median {waits[len(waits) // 2]:.0f} ms of {len(waits)}")


def make_many(folder: Path) -> Pool:
    helpers.write_crops(folder / "crops", 40, 32)
    return helpers.make_pool(folder / "crops")


@pytest.mark.parametrize("session", [make_many], indirect=True)
def test_two_tabs_name_different_crops(session: LabelSession, pages: Pages) -> None:
    tabs = [pages.open("Ann"), pages.open("Bob")]
    named = [tabs[number % 2].press(KEYS["PG"]) for number in range(12)]
    for tab in tabs:
        tab.wait()
    who = {label.path: label.who for label in session.history(40)}
    assert who == {path: ("Ann", "Bob")[at % 2] for at, path in enumerate(named)}
    expect(tabs[0].page.locator("#history")).to_contain_text("Bob")


def test_conflict_is_said_and_changed_on_purpose(session: LabelSession, pages: Pages) -> None:
    ann = pages.open("Ann")
    path = ann.wait()
    session.name(path, "CEX", "Bob", "elsewhere")
    ann.page.keyboard.press(KEYS["PG"])
    expect(ann.page.locator("#conflict-text")).to_contain_text("'CEX' by Bob")
    assert session.describe_item(path).name == "CEX"
    assert ann.wait() != path
    ann.page.get_by_role("button", name="Change it").click()
    expect(ann.page.locator("#ask-name-text")).to_contain_text("CEX, named by Bob")
    ann.page.keyboard.press(KEYS["PG"])
    expect(ann.page.locator("#ask-name")).to_be_hidden()
    assert session.describe_item(path).name == "PG"
    assert session.history(1)[0].who == "Ann"


def test_undo_brings_crop_back(session: LabelSession, pages: Pages) -> None:
    ann = pages.open()
    first = ann.press(KEYS["PG"])
    second = ann.wait()
    ann.page.keyboard.press("z")
    assert ann.wait() == first
    assert session.progress().n_named == 0
    expect(ann.page.locator("#history li")).to_have_count(0)
    ann.page.keyboard.press("u")
    assert ann.wait() == second
    assert session.progress().n_unclear == 1


def test_history_changes_name_of_another(session: LabelSession, pages: Pages) -> None:
    ann = pages.open("Ann")
    session.name(ann.wait(), "CEX", "Bob", "elsewhere")
    ann.page.locator("#history button").click()
    ann.page.get_by_role("dialog").get_by_role("button", name="neither").click()
    expect(ann.page.locator("#history")).to_contain_text("neither")
    expect(ann.page.locator("#history")).to_contain_text("Ann")
    assert session.progress().n_neither == 1


def test_passed_over_crop_comes_back(session: LabelSession, pages: Pages) -> None:
    ann = pages.open()
    first = ann.press("ArrowRight")
    second = ann.press(" ")
    third = ann.wait()
    ann.page.keyboard.press("ArrowLeft")
    assert ann.wait() == second
    assert len({first, second, third}) == 3
    ann.path = ""
    named = [ann.press(KEYS["PG"]) for _ in range(12)]
    assert named[0] == second
    assert named[-1] == first
    expect(ann.page.locator("#nothing-title")).to_have_text("All crops are named")
    assert session.progress().n_named == 12


def test_held_key_names_one_crop(session: LabelSession, pages: Pages) -> None:
    ann = pages.open()
    ann.wait()
    for _ in range(5):  # a second press without a release is a repeat
        ann.page.keyboard.down("1")
    ann.wait()
    ann.page.keyboard.up("1")
    assert session.progress().n_named == 1


def test_name_is_asked_once_and_kept(session: LabelSession, pages: Pages) -> None:
    ann = pages.open("")
    expect(ann.page.locator("#ask-who")).to_be_visible()
    ann.page.keyboard.press("1")
    ann.page.keyboard.press("Enter")
    expect(ann.page.locator("#ask-who")).to_be_hidden()
    assert session.progress().n_named == 0
    ann.page.reload()
    ann.path = ""
    ann.press("1")
    ann.wait()
    assert session.history(1)[0].who == "1"


def test_wrong_token_is_said_and_mended(session: LabelSession, pages: Pages) -> None:
    ann = pages.open(url=pages.url.replace(TOKEN, "another-token-0123456789"))
    expect(ann.page.locator("#fault")).to_contain_text("open the address that")
    expect(ann.page.locator("#state .word")).to_have_text("wrong token")
    ann.page.goto(pages.url)
    ann.press("1")
    ann.wait()
    assert TOKEN not in ann.page.url
    assert session.progress().n_named == 1


def test_unreadable_crop_takes_no_name(session: LabelSession, pages: Pages, tmp_path: Path) -> None:
    for file in (tmp_path / "crops").iterdir():
        file.write_bytes(b"no image")
    ann = pages.open()
    expect(ann.page.locator("#stage")).to_contain_text("Cannot show")
    expect(ann.page.locator("#names button").first).to_be_disabled()
    before = ann.page.inner_text("#crop-title")
    ann.page.keyboard.press("1")
    ann.page.keyboard.press("ArrowRight")
    expect(ann.page.locator("#crop-title")).not_to_have_text(before)
    assert session.progress().n_named == 0


def make_window(folder: Path) -> Pool:
    from PIL import Image

    Image.effect_noise((640, 480), 60).save(folder / "f.png")
    items = [Item(f"f.png#xywh={x},100,64,64", folder / "f.png", (x, 100, 64, 64), "f.png") for x in (0, 300)]
    return Pool(folder, tuple(replace(item, duplicates=1) for item in items), PoolKind.FRAMES)


@pytest.mark.parametrize("session", [make_window], indirect=True)
def test_window_is_shown_in_frame(session: LabelSession, pages: Pages) -> None:
    ann = pages.open()
    ann.wait()
    expect(ann.page.locator("#crop-text")).to_contain_text("1 near-duplicate")
    ann.page.keyboard.press("f")
    expect(ann.page.locator("#stage canvas")).to_be_visible()
    ann.page.keyboard.press("f")
    ann.page.keyboard.press("+")
    expect(ann.page.locator("#stage")).to_have_class("zoomed")
    ann.page.keyboard.press("1")
    expect(ann.page.locator("#nothing-title")).to_have_text("All crops are named")
    assert session.progress().by_class == {"CEX": 2, "PG": 0}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_shows_crop_and_keys_at_once(session: LabelSession, pages: Pages, scheme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    ann = pages.open(color_scheme=scheme, **phone)
    path = ann.wait()
    for button in ann.page.locator("#names button, #others button").all():
        box = button.bounding_box()
        assert box["height"] >= 44
        assert box["y"] + box["height"] <= 844
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    ann.page.locator("#names button").first.tap()
    assert ann.wait() != path
    assert session.describe_item(path).name == "CEX"


_ROW = {"f1": 0.9, "f1_ci95": [0.8, 0.92], "support": 20}
_METRICS = {"n": 40, "macro": _ROW, "per_class": {"CEX": _ROW, "PG": _ROW}}
_CURVE = [{"n": 10 * at, "f1": 0.8 + at / 40, "f1_ci95": [0.7, 0.95]} for at in (1, 2, 3, 4)]
FIGURES = {
    "cross_validated": _METRICS,
    "evenly_drawn": _METRICS,
    "curve": {"points": _CURVE, "forecast": [], "text": "With 200 labels it would go up."},
    **{"n_labels": 40, "gate": "", "summary": "good"},
    "suspected": [{"path": "crop 004.png", "name": "PG", "looks_like": "CEX", "score": 0.02}],
}


def make_program(body: str) -> str:
    """Return a process in place of the one that trains."""
    text = f"import json, pathlib, sys, time\nFIGURES = {FIGURES!r}\n{body}"
    return text.replace("{", "{{").replace("}", "}}")


TRAINS = make_program("""
job = json.loads(sys.stdin.readline())
print(json.dumps({"event": "start", "stage": "features", "total": 12}), flush=True)
print(json.dumps({"event": "advance", "count": 5}), flush=True)
out = pathlib.Path(job["out"])
go = out.parent / "go"
while not go.exists():
    time.sleep(0.05)
go.unlink()
out.mkdir(parents=True)
(out / "learned.json").write_text(json.dumps(FIGURES))
(out / "bundle.json").write_text(json.dumps({"model_sha256": out.name}))
print(json.dumps({"event": "done", "result": {**FIGURES, "model": str(out)}}))
""")
CANNOT_SAY = make_program("""
job = json.loads(sys.stdin.readline())
result = {"is_promoted": job["override"], "summary": "cannot say: 0 groups that neither learned from"}
print(json.dumps({"event": "done", "result": result}))
""")


def test_training_goes_on_beside_naming(
    session: LabelSession, pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_process, "_CODE", TRAINS)
    ann = pages.open()
    page, models = ann.page, tmp_path / "labels-models"
    expect(page.locator("#train-text")).to_have_text("Needs 5 more of CEX and 5 more of PG.")
    expect(page.locator("#train-start")).to_be_disabled()
    for _ in range(11):
        path = ann.wait()
        page.keyboard.press(KEYS[truth(path)])
    for number in (1, 2):
        expect(page.locator("#train-start")).to_be_enabled()
        page.locator("#train-start").click()
        expect(page.locator("#train-stage")).to_contain_text("features, 5 of 12")
        if number == 1:  # named while it trains
            ann.press("u")
            expect(page.locator("#nothing-title")).to_have_text("All crops are named")
        (models / "go").touch()
        expect(page.locator("#model-title")).to_contain_text(f"model-00{number}")
    expect(page.locator("#model-f1")).to_have_text("macro F1 0.900 (0.800–0.920)")
    expect(page.locator("#curve canvas")).to_be_visible()
    expect(page.locator("#curve-text")).to_contain_text("With 200 labels")
    # A name that the other crops contradict is looked at again, and may be changed there.
    page.locator("#model-suspected button").click()
    expect(page.locator("#ask-name-text")).to_contain_text("crop 004.png: PG, named by")
    page.locator("#ask-name-choices button", has_text="CEX").click()
    expect(page.locator("#ask-name")).to_be_hidden()
    assert session.describe_item("crop 004.png").name == "CEX"
    page.locator("#model-use").click()
    expect(page.locator("#model-title")).to_contain_text("(in use)")
    expect(page.locator("#override")).to_be_hidden()


def test_closed_gate_asks_for_a_reason(
    session: LabelSession, pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "labels-models"
    for name in ("model-001", "model-002", "in-use"):
        (models / name).mkdir(parents=True)
        (models / name / "learned.json").write_text(json.dumps(FIGURES))
        sha256 = "model-001" if name == "in-use" else name
        (models / name / "bundle.json").write_text(json.dumps({"model_sha256": sha256}))
    monkeypatch.setattr(job_process, "_CODE", CANNOT_SAY)
    page = pages.open().page
    expect(page.locator("#in-use")).to_contain_text("In use: model-001")
    page.locator("#model-use").click()
    expect(page.locator("#override-text")).to_contain_text("cannot say: 0 groups")
    page.get_by_role("button", name="Override as Ann").click()
    expect(page.locator("#override")).to_be_visible()
    page.locator("#override [name=reason]").fill("new probe")
    page.get_by_role("button", name="Override as Ann").click()
    expect(page.locator("#override")).to_be_hidden()


def test_people_of_a_store_log_in_to_name(
    tmp_path: Path, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.hash_quickly(monkeypatch)
    helpers.write_crops(tmp_path / "crops", 12)
    with (
        closing(open_store(str(tmp_path / "probe.db"))) as store,
        helpers.open_session(tmp_path / "crops", tmp_path / "labels.csv") as session,
    ):
        people.add_people(store)
        with helpers.serve_page(session, people=store) as url:
            labeller = pages.open("", url.partition("#")[0])
            page = labeller.page

            def log_in(role: Role) -> None:
                page.locator("#login input[name=name]").fill(people.NAMES[role])
                page.locator("#login input[name=password]").fill(people.PASSWORD)
                page.locator("#login-ok").click()

            log_in(Role.OPERATOR)
            expect(page.locator("#person-name")).to_have_text("Operator One, operator")
            expect(page.locator("#who-change")).to_be_hidden()  # nobody chooses a name here
            expect(page.locator("#ask-who")).to_be_hidden()
            labeller.press(KEYS["PG"])
            labeller.wait()
            # The session ends somewhere else: a key does nothing, and the page says what to do.
            store.write(lambda change: end_sessions(change, find_user(change.connection, "Operator One")))
            page.keyboard.press(KEYS["PG"])
            expect(page.locator("#fault")).to_contain_text("Your session has ended")
            expect(page.locator("#login-text")).to_contain_text("session has ended")
            log_in(Role.REVIEWER)
            expect(page.locator("#person-name")).to_have_text("Reviewer One, reviewer")
            labeller.path = ""
            labeller.press(KEYS["CEX"])
            labeller.wait()
        # What the first one had pressed last is nobody's: it is not written under the other name.
        assert [(label.name, label.who) for label in reversed(session.history(5))] == [
            ("PG", "Operator One"),
            ("CEX", "Reviewer One"),
        ]


def test_person_of_a_provider_signs_by_a_new_log_in(
    tmp_path: Path, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    helpers.write_crops(tmp_path / "crops", 4)
    port = free_port()
    with (
        providing("localhost") as provider,
        closing(open_store(str(tmp_path / "probe.db"))) as store,
        helpers.open_session(tmp_path / "crops", tmp_path / "labels.csv") as session,
    ):
        people.add_people(store)
        provider.claims = {"auth_time": NOW, "groups": "plant-qa"}
        service = ServeConfig(
            oidc_issuer=provider.issuer, oidc_client="georgia", oidc_roles="plant-qa=reviewer"
        )
        redirect = f"http://127.0.0.1:{port}/login/oidc/callback"
        config = let_log_in(make_label_config(port, helpers.TOKEN), service, redirect)
        with helpers.serve_page(session, people=store, config=config) as url:
            page = pages.open("", url.partition("#")[0]).page
            page.locator("#login-link a").click()
            expect(page.locator("#person-name")).to_have_text("Olga Meier, reviewer")
            # As the button does of a model; there is none of this name, so that what was signed fails.
            page.evaluate(
                """() => { import("./static/js/api.js").then(({ change }) =>
                    change("api/label/training/use", { model: "model-009", who: "" })).catch(() => {}) }"""
            )
            expect(page.locator("#anew-what")).to_have_text("Put a model in use.")
            page.get_by_role("button", name="Log in anew, and do it").click()
            expect(page.locator("#signed-told")).to_contain_text("you have signed it, and then it could not")
            expect(page.locator("#person-name")).to_have_text("Olga Meier, reviewer")
        assert provider.asked["prompt"] == "login"
        actions = [event.action for event in store.audit_log(limit=2)]
        assert actions == ["signed action failed", "action signed"]
