"""The page of a batch: what it says first, what it never hides, how large it gets, where it is written."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.helpers import people
from tests.helpers.monitor import make_map, make_result
from tests.helpers.service import fill_store
from tests.helpers.spotcheck import fill_batch

from georgia.cli import main
from georgia.errors import InputError
from georgia.files import OutputLock
from georgia.monitor.batch_frames import find_gaps, find_pauses, read_batch_frames, subsample
from georgia.monitor.connect import reading
from georgia.monitor.people.roles import Meaning, Role
from georgia.monitor.people.signatures import sign_batch
from georgia.monitor.people.users import list_users
from georgia.monitor.queries import StoreReader
from georgia.monitor.records import AlarmAction, AlarmChange, AuditAction, AuditEvent, Verdict
from georgia.monitor.result import FileKey, FrameStatus, State
from georgia.monitor.store import Store
from georgia.process.moments.decisions import MomentAction, NewDecision
from georgia.process.moments.detect import find_moments
from georgia.process.moments.frames import MomentFrames
from georgia.process.moments.in_store import decide_moment
from georgia.process.moments.result import MomentKind
from georgia.records import hash_file
from georgia.report.batch.facts import BatchFacts, ModelUsed, Times, read_facts
from georgia.report.batch.figures import draw_fraction
from georgia.report.batch.key_frames import choose_frames, read_images
from georgia.report.batch.page import MOST_ROWS, add_key_frames, cut_rows, render_batch, save_batch_page
from georgia.report.batch.verdict import Mark, assess_batch
from georgia.report.canvas import make_figure

KEPT = Path(__file__).parents[2] / "kept" / "v0.1"


class Reader(HTMLParser):
    """Collects the text of a page, what it loads, and elements that are not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style",):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(store: Store | StoreReader, batch: int = 1) -> BatchFacts:
    return read_facts(store, store.batch(batch), "store.db")


def plot(facts: BatchFacts) -> dict[str, Any]:
    """Return the values that the figure of the fraction plots."""
    plotted: dict[str, Any] = {}

    def draw(result: BatchFacts, axes: Any) -> dict[str, Any]:
        plotted.update(draw_fraction(result, axes))
        return plotted

    make_figure(draw, facts, (4, 3))
    return plotted


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    fill_store(folder / "m.db", folder / "frames").close()
    return folder


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Any:
    """Return a store with a running batch of 30 frames whose fraction rises, and an alarm."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    store = Store(str(tmp_path / "m.db"))
    yield store
    store.close()


@pytest.mark.slow
def test_page_says_first_what_holds_and_what_not(store: Store, tmp_path: Path) -> None:
    running = assess_batch(read(store))
    assert running.mark is Mark.BAD
    texts = [line.text for line in running.lines if line.mark is Mark.BAD]
    assert texts[0].startswith("The batch has not ended: this report is of its first 30 frames")
    assert "1 alarm raised, 1 open: 1 still active, 1 acknowledged by nobody." in texts
    page = Reader(render_batch(read(store)))
    assert page.text.index("The batch has not ended") < page.text.index("What it is of")
    store.acknowledge_alarm(1, "B. Jones", "stirrer <off> & on")
    store.end_batch(1, "A. Miller", "done")
    facts = add_key_frames(read(store), store, read_images(tmp_path / "frames"))
    ended, page = assess_batch(facts), Reader(render_batch(facts))
    assert [line.text for line in ended.lines if line.mark is Mark.BAD] == []
    assert ended.mark is Mark.CAUTION, "no batch is good before a person has signed"
    assert "The batch has not ended" not in page.text
    assert "Not released. No alarm open. The record is whole." in page.text
    assert "B. Jones" in page.text
    assert "stirrer <off> & on" in page.text
    assert "EWMA over its limit" in page.text
    assert facts.verification.head in page.text
    assert page.open == []
    assert all(load.startswith("data:image/") for load in page.loads)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.names)


@pytest.mark.slow
def test_every_time_outside_the_audit_log_is_of_the_page_s_zone(store: Store) -> None:
    said = {"who": "Ann", "at": "2026-03-01T06:00:00.250Z"}
    limits = {"limit": {"value": 0.05, "reason": "new recipe", **said}}
    facts = read(store)
    facts = replace(
        facts,
        times=Times(ZoneInfo("Europe/Berlin")),
        commissioning={"verdict": "bad", **said, "override": {**said, "reason": "another camera"}},
        limits={**facts.limits, "changed": limits},
    )
    text = Reader(render_batch(facts)).text
    assert text.count("2026-03-01 07:00:00 +01:00") == 3
    assert "2026-03-01T06" not in text


@pytest.mark.slow
def test_signatures_stand_on_page_and_in_verdict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    people.hash_quickly(monkeypatch)
    people.add_people(store)
    store.end_batch(1, "A. Miller", "done")
    with reading(store.engine) as connection:
        reviewer = next(user for user in list_users(connection) if user.role == Role.REVIEWER)

    def sign(meaning: Meaning, note: str) -> tuple[str, str, str]:
        store.write(lambda change: sign_batch(change, 1, reviewer, meaning, note))
        facts = read(store)
        line = next(line for line in assess_batch(facts).lines if "Reviewer One" in line.text)
        return assess_batch(facts).released, line.mark, Reader(render_batch(facts)).text

    released, mark, page = sign(Meaning.RELEASE, "as <planned>")
    assert (released, mark) == ("yes", Mark.GOOD)
    assert "Released. 1 alarm open. The record is whole." in page
    assert "as <planned>" in page
    assert "$argon2" not in page
    store.append_event("A. Miller", "laboratory result", {}, 1)
    later = next(line for line in assess_batch(read(store)).lines if "Released by" in line.text)
    assert (later.mark, "1 entry on this batch after that" in later.text) == (Mark.CAUTION, True)
    released, mark, page = sign(Meaning.REJECTION, "late result")
    assert (released, mark) == ("rejected", Mark.BAD)
    assert "Rejected. 1 alarm open." in page


def test_key_frames_show_why_and_only_what_was_analysed(store: Store, tmp_path: Path) -> None:
    chosen = choose_frames(read(store).frames, read(store).alarms)
    assert chosen == [
        (1, ("first frame",)),
        (20, ("alarm 1 raised",)),
        (30, ("last frame", "highest smoothed fraction")),
    ]
    (tmp_path / "frames" / "f1.png").unlink()
    shutil.copy(tmp_path / "frames" / "f2.png", tmp_path / "frames" / "f20.png")
    facts = add_key_frames(read(store), store, read_images(tmp_path / "frames"))
    first, alarm, last = facts.key_frames
    assert "its file is gone" in first.note
    assert "holds another image now" in alarm.note
    assert last.note == ""
    assert all(each.source.startswith("data:image/jpeg") for each in facts.key_frames)
    assert ("PG", "#D55E00", 1) in last.counts
    page = Reader(render_batch(facts))
    assert page.text.count("The windows are those of the record.") == 2


def test_altered_record_is_said_before_anything_else(store: Store, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "m.db")
    connection.execute("UPDATE frames SET fraction = 0.0 WHERE id = 25")
    connection.commit()
    connection.close()
    facts = read(store)
    assert assess_batch(facts).mark is Mark.BAD
    page = Reader(render_batch(facts)).text
    assert "The record is NOT whole: 1 fault." in page or "The record is NOT whole:" in page
    assert "frames 25: it does not follow the frame before" in page


@pytest.mark.slow
def test_names_of_any_kind_stay_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>&\"';}</style>" + "\u202egnp\u05d0" + "x" * 500
    store = Store(str(tmp_path / "m.db"))
    batch = store.begin_batch("K\\xfchlung\n<b>", name, "Ö. <i>", "P&G", "tests", note="=1+1 <u>")
    store.record_frame(
        make_result(1, batch.id, impurity="P&G", map=make_map(), state=State.ALARM),
        "probe",
        "{}",
        AlarmChange(AlarmAction.RAISED, "<img src=x onerror=alert(1)>"),
    )
    facts = add_key_frames(read(store), store, read_images(tmp_path / "nowhere"))
    page = render_batch(facts)
    found = Reader(page)
    store.close()
    assert not {"script", "b-", "u", "i"} & set(found.names)
    assert found.loads == [load for load in found.loads if load.startswith("data:image/")]
    assert page.count("</style>") == 1
    assert name[:40] in found.text
    assert len(max(re.findall(r"<title>(.*?)</title>", page), key=len)) < 250
    page.encode("utf-8")


def test_empty_batch_and_one_without_fraction_say_so(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    empty = store.begin_batch("probe", "nothing", "Ann", "PG", "ann").id
    store.end_batch(empty, "ann")
    blind = store.begin_batch("probe", "blind", "Ann", "PG", "ann").id
    values: dict[str, Any] = {"status": FrameStatus.CAMERA_BLIND, "state": State.CAMERA_BLIND}
    for number in range(1, 4):
        store.record_frame(make_result(number, blind, None, **values), "probe", "{}")
    said = [Reader(render_batch(read(store, batch))).text for batch in (empty, blind)]
    found: dict[str, Any] = {}

    def draw(result: BatchFacts, axes: Any) -> dict[str, Any]:
        plotted = draw_fraction(result, axes)
        found["times"], found["values"] = axes.get_xlim(), axes.get_ylim()
        found["texts"] = [text.get_text() for text in axes.texts]
        return plotted

    facts = read(store, blind)
    make_figure(draw, facts, (4, 3))
    first, last = (facts.frames.times_s[[0, -1]] / 86_400).tolist()
    assert found["times"][0] <= first < last <= found["times"][1]
    assert found["times"][1] - found["times"][0] < 2 * (last - first), "of its frames, and of no other time"
    assert (found["values"], found["texts"]) == ((0.0, 100.0), ["no frame has a fraction"])
    store.close()
    assert "The batch is empty: the store holds no frame of it." in said[0]
    assert "No frame has a fraction of PG: nothing could be analysed." in said[1]


@pytest.mark.slow
def test_many_frames_alarms_and_events_stay_a_small_page(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    batch = store.begin_batch("probe", "long", "Ann", "PG", "ann").id
    store.record_frame(make_result(1, batch), "probe", "{}")
    facts = read(store)
    store.close()
    n, rng = 100_000, np.random.default_rng(3)
    numbers = {name: rng.random(n) for name in facts.frames.numbers}
    numbers["frame_time_s"] = 1.7e9 + np.arange(n) * 2.0 + (np.arange(n) > 50_000) * 4000
    numbers["ordinal"] = np.arange(1.0, n + 1)
    numbers["fraction"] = np.full(n, 0.1)
    numbers["fraction"][[777, 90_001]] = 0.9, 0.01
    frames = replace(
        facts.frames,
        ids=np.arange(1, n + 1),
        alarm=np.arange(n) % 900 > 800,
        numbers=numbers,
        texts={name: entries * n for name, entries in facts.frames.texts.items()},
    )
    event = facts.events[0]
    changed = replace(event, action=AuditAction.LIMITS_CHANGED, detail={"changes": {"limit": [None, 0.1]}})
    models = tuple(ModelUsed(f"{at:064x}", {"name": "m"}, 1, "card " * 9000) for at in range(500))
    many = replace(
        facts,
        frames=frames,
        events=(event,) + (changed,) * 5000,
        gaps=tuple(find_gaps(frames)),
        models=models,
    )
    page = render_batch(many)
    assert len(page) < 3_000_000
    assert "490 later models are not shown" in page
    assert "4,801 of 5,001 rows left out here; all of them: GET /api/trail?batch=1" in Reader(page).text
    plotted = plot(many)
    assert max(plotted["fraction"]) == pytest.approx(90)
    assert min(plotted["fraction"]) == pytest.approx(1)
    assert len(plotted["fraction"]) < 5000
    assert [gap.before for gap in many.gaps] == [50_001]


def test_times_of_any_kind_have_a_figure(store: Store) -> None:
    facts, zone = read(store), Times(ZoneInfo("Asia/Tokyo"))
    for times_s in (
        *((5.0, 5.0, 5.0), (100, 90, 300), (-6e10, 0, 2.5e11), (-1e9, 1e9, 1e9), (1.7e9, 1.7e9 + 1e-3)),
    ):
        n = len(times_s)
        numbers = {name: values[:n] for name, values in facts.frames.numbers.items()}
        numbers["frame_time_s"] = np.array(times_s, np.float64)
        texts = {name: entries[:n] for name, entries in facts.frames.texts.items()}
        own = {"ids": facts.frames.ids[:n], "alarm": facts.frames.alarm[:n]}
        odd = replace(facts, frames=replace(facts.frames, numbers=numbers, texts=texts, **own), times=zone)
        plotted: dict[str, Any] = {}
        make_figure(
            lambda result, axes, to=plotted: to.update(draw_fraction(result, axes)) or {}, odd, (4, 3)
        )
        assert plotted["fraction"] == pytest.approx([2.0] * n), times_s
        assert all(zone(at)[-6:] in ("+09:00", "+09:18") for at in times_s)


def test_subsampled_line_keeps_extremes_of_each_column() -> None:
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.random(5000)), rng.random(5000)
    y[rng.random(5000) < 0.05] = np.nan
    kept = subsample(x, y, 100)
    assert len(kept) <= 400
    column = np.minimum(((x - x[0]) / (x[-1] - x[0]) * 100).astype(int), 99)
    for at in range(100):
        own = np.flatnonzero(column == at)
        assert {own[0], own[-1], own[np.nanargmin(y[own])], own[np.nanargmax(y[own])]} <= set(kept)


def test_rows_of_a_table_are_cut_in_their_middle() -> None:
    assert cut_rows(range(MOST_ROWS)).n_left_out == 0
    cut = cut_rows(range(1000))
    assert (cut.first[0], cut.last[-1], cut.n_left_out) == (0, 999, 1000 - MOST_ROWS)


def event(seq: int, action: str, at_s: float, **detail: Any) -> AuditEvent:
    return AuditEvent(seq, at_s, "x", action, 1, detail, "", "")


def test_pauses_are_outages_stops_and_kills() -> None:
    found = find_pauses(
        [
            event(1, "outage began", 100, outage="folder away", reason="gone", since="1970-01-01T00:01:35Z"),
            event(2, "outage ended", 200, outage="folder away", since="1970-01-01T00:01:35Z", seconds=90.0),
            event(3, "monitor stopped", 300, reason="Ctrl-C"),
            event(4, "monitor started", 400),
            event(5, "monitor lost", 600, last_beat="1970-01-01T00:08:20Z"),
            event(6, "monitor started", 601),
            event(7, "outage began", 700, outage="no frames", reason="quiet", since="?"),
            event(8, "monitor stopped", 800, reason="the folder is through"),
            event(9, "batch ended", 801),
        ]
    )
    assert [(pause.what, pause.from_s, pause.to_s) for pause in found] == [
        ("folder away", 95.0, 185.0),
        ("not running", 300, 400),
        ("not running", 500.0, 601),
        ("no frames", 700, None),
    ]


@pytest.mark.slow
def test_spot_check_is_on_the_page_with_its_interval(tmp_path: Path) -> None:
    from georgia.spotcheck.in_store import begin_check
    from georgia.spotcheck.plan import SpotcheckConfig

    store, batch, truth = fill_batch(str(tmp_path / "m.db"), tmp_path / "frames", 30)
    check = begin_check(store, store.batch(batch), SpotcheckConfig(n=12, seed=3), "Ann")
    for position, draw in enumerate(check.body["draws"], 1):
        store.name_window(check.id, position, truth[f"{draw['file']}#{draw['window']}"], "Ann")
    facts = read(store, batch)
    text = Reader(render_batch(facts)).text
    store.close()
    interval = facts.checked.result.interval  # type: ignore[union-attr]
    low, high = 100 * interval.low, 100 * interval.high
    shown = f"{100 * interval.fraction:.1f} % ({low:.1f}–{high:.1f} %)"
    assert f"Checked: PG {shown}, from 12 windows named by Ann." in text
    assert "Check 1, which counts" in text


def test_frames_of_altered_rows_end_in_one_line(store: Store, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "m.db")
    connection.execute("UPDATE frames SET frame_time_s = 1e300 WHERE id = 3")
    connection.commit()
    with pytest.raises(InputError, match="Cannot read"):
        read_batch_frames(store, store.batch(1))
    connection.execute("UPDATE frames SET frame_time_s = 'x' WHERE id = 3")
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="Cannot read the store"):
        read_batch_frames(store, store.batch(1))


def test_report_never_writes_over_another(store: Store, tmp_path: Path) -> None:
    facts, target = read(store), tmp_path / "filed" / "page.html"
    save_batch_page(facts, target)
    before = target.read_bytes()
    with pytest.raises(InputError, match="a name that no file has is needed"):
        save_batch_page(facts, target)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["page.html"], "no lock or temporary file"
    held = OutputLock(tmp_path / "other.html")
    with pytest.raises(InputError, match="one process at a time may write it"):
        save_batch_page(facts, tmp_path / "other.html")
    held.release()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = main(["report", *arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else {}, err


@pytest.mark.slow
def test_command_writes_old_store_and_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("store.db", "store.db.head"):
        shutil.copy(KEPT / name, tmp_path / name)
    before = (tmp_path / "store.db").read_bytes()
    out = ["--out", str(tmp_path / "filed"), "--time-zone", "Europe/Berlin"]
    code, found, _ = run([str(tmp_path / "store.db"), "--batch", "kept", *out], capsys)
    assert (code, found["whole"], found["n_frames"], found["alarms_open"]) == (0, True, 8, 0)
    assert found["head"].startswith("7:de473dd7")
    assert found["sha256"] == hash_file(Path(found["file"]))
    page = Reader(Path(found["file"]).read_text(encoding="utf-8")).text
    assert re.search(r"report-1-kept-\d{8}T\d{6}Z\.html", found["file"])
    assert "2026-11-25 19:57:13 +01:00" in page
    assert "the plain limit passed" in page, "0.1 kept the limit in its settings alone"
    assert "Its card is not at hand" in page
    assert (tmp_path / "store.db").read_bytes() == before


@pytest.mark.slow
def test_page_is_checked_against_its_store(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, page, frames = str(tmp_path / "m.db"), tmp_path / "p.html", ["--frames", str(tmp_path / "frames")]
    store.end_batch(1, "A. Miller")
    store.begin_batch("other", "B-2", "Ann", "PG", "ann")  # the store goes on with another batch
    assert run([db, "--batch", "1", "--out", str(page), "--time-zone", "Asia/Tokyo", *frames], capsys)[0] == 0
    store.begin_batch("other", "B-3", "Ann", "PG", "ann")
    code, found, _ = run([db, "--check", str(page), *frames], capsys)
    assert (code, found["same"], found["n_differences"]) == (0, True, 0), found
    edited = tmp_path / "edited.html"
    edited.write_text(page.read_text(encoding="utf-8").replace("<bdi>A. Miller", "<bdi>E. Vil"), "utf-8")
    code, found, err = run([db, "--check", str(edited), *frames], capsys)
    assert (code, found["n_differences"], found["holds_head"]) == (4, 2, True)
    assert found["differences"][0] == {"page": "operator E. Vil", "store": "operator A. Miller"}
    assert "is not what the store holds: 2 lines differ." in err
    store.acknowledge_alarm(1, "Bob", "later")
    code, found, _ = run([db, "--check", str(page), *frames], capsys)
    assert code == 4
    assert any("Bob" in each["store"] and "nobody" in each["page"] for each in found["differences"])
    connection = sqlite3.connect(db)
    connection.execute("UPDATE frames SET fraction = 0.9 WHERE id = 3")
    connection.commit()
    connection.close()
    code, found, _ = run([db, "--check", str(page), *frames], capsys)
    assert (code, found["whole"]) == (4, False)
    (tmp_path / "deep.html").write_text('<meta name="georgia-report" content="{&quot;form&quot;: 1}">')
    for other in (db, str(tmp_path / "deep.html"), str(tmp_path), str(tmp_path / "none.html")):
        code, _, err = run([db, "--check", other], capsys)
        assert (code, err.count("\n"), "Cannot check" in err) == (2, 1, True), err


def test_command_says_what_it_cannot_use(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "m.db")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text("x")
    (tmp_path / "there.html").write_text("x")
    (tmp_path / "new.pdf").write_text("x")
    faults = {
        (str(tmp_path / "run"),): "got a run folder. Its report is",
        (db, "--batch", "B-9"): "Cannot report on batch 'B-9'",
        (db, "--out", str(tmp_path / "there.html")): "a name that no file has is needed",
        (db, "--out", str(tmp_path / "new.html"), "--pdf"): "new.pdf': a name that no file has is needed",
        (db, "--out", str(tmp_path / "x.pdf")): "--pdf writes that beside the page",
        (db, "--out", str(tmp_path / "there.html" / "x")): "Cannot",
        (db, "--time-zone", "Mars"): "Cannot use time_zone",
        (db, "--model", str(tmp_path)): "Cannot read the card",
        (str(tmp_path / "none.db"),): "Cannot open",
    }
    for arguments, said in faults.items():
        code, _, err = run(list(arguments), capsys)
        assert (code, said in err) == (2, True), (arguments, err)
        assert err.count("\n") == 1
    assert (tmp_path / "there.html").read_text() == "x"


@pytest.mark.slow
def test_command_without_browser_writes_page_and_says_what_lacks(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text(f'[report]\nchromium = "{tmp_path}/none"\npdf = true\n')
    page = tmp_path / "p.html"
    code, found, err = run([str(tmp_path / "m.db"), "--out", str(page), "--config", str(settings)], capsys)
    assert (code, found["pdf"]) == (3, None)
    assert "Cannot print to PDF: Chromium, Chrome or Edge is needed" in err
    assert page.is_file()


@pytest.mark.slow
def test_command_ends_with_4_where_record_is_not_whole(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = sqlite3.connect(tmp_path / "m.db")
    connection.execute("UPDATE alarms SET reason = 'x'")
    connection.commit()
    connection.close()
    code, found, err = run([str(tmp_path / "m.db"), "--out", str(tmp_path / "p.html")], capsys)
    assert (code, found["whole"], found["verdict"]) == (4, False, "bad")
    assert "is not whole" in err
    assert "NOT whole" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_files_left_out_and_outages_are_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    batch = store.begin_batch("probe", "B", "Ann", "PG", "ann").id
    store.record_frame(make_result(1, batch), "probe", "{}", None)
    store.record_file("probe", FileKey("bad.png", 3, 4, "c" * 64), Verdict.UNREADABLE, "damaged")
    store.record_file("elsewhere", FileKey("bad.png", 3, 4, "c" * 64), Verdict.UNREADABLE, "damaged")
    for number in range(2):
        detail = {"outage": "receiver away", "reason": f"the webhook {number}", "seconds": None}
        store.append_event("georgia", AuditAction.OUTAGE_BEGAN, detail, batch)
        store.append_event("georgia", AuditAction.OUTAGE_ENDED, {**detail, "seconds": 2.0}, batch)
    lines = [line.text for line in assess_batch(read(store, batch)).lines]
    assert "1 file left out: they could not be read or analysed." in lines
    assert "2 outages: receiver away (2)." in lines
    store.close()


def write_cloudy_batch(folder: Path) -> str:
    """Write a store with a batch that clouds at its frame 30 of 60, at 40 °C; return its path."""
    db, start_s = str(folder / "cloudy.db"), 1_790_000_000.0
    store = Store(db, clock=lambda: start_s - 5)
    batch = store.begin_batch("probe", "B-7", "Ann", "PG", "Ann").id
    for at in range(60):
        n = 16 * (at >= 30)
        status = FrameStatus.ANALYSED if n else FrameStatus.CLEAR
        counts = {"n_tiles": 20, "n_judged": n, "n_empty": 20 - n, "n_effective": n / 2}
        own = {"status": status, "frame_time_s": start_s + 10 * at, **counts}
        store.record_frame(make_result(at + 1, batch, 0.01 if n else None, **own), "probe", "{}")
    store.end_batch(batch, "Ann")
    store.close()
    rows = [f"{start_s + 10 * at:.0f},{70 - at},{60 - at}" for at in range(60)]
    (folder / "t.csv").write_text("\n".join(["time,T_r [°C],T_j [°C]", *rows, ""]), encoding="utf-8")
    assert main(["process", str(folder / "t.csv"), "--db", db]) == 0
    return db


@pytest.mark.slow
def test_moments_stand_on_page_with_who_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, config, page = write_cloudy_batch(tmp_path), tmp_path / "s.toml", tmp_path / "p.html"
    capsys.readouterr()
    config.write_text('[monitor]\nbatch = "B-7"\n[moments]\ntemperature = "T_r"\nleast_impurity = 0.1\n')
    asked = [db, "--out", str(page), "--config", str(config)]
    assert run(asked, capsys)[0] == 0
    first = Reader(page.read_text("utf-8")).text
    moment = r"cloud point · first crystals 2026-09-21 14:18:\d\d UTC .* 40\.\d\d °C \(.*suggested"
    assert re.search(moment, first)
    assert "against the 10.0 % that errors of the model explain" in first
    assert re.search(r"crystals are there up to the last frame, 2026-09-21 \d\d:\d\d:\d\d UTC", first)
    store = Store(db)
    facts = read(store)
    assert plot(facts)["moments"] == ["M1", "M2", "M3"]
    assert facts.moments is not None
    assert "several variables are temperatures (T_j, T_r)" in facts.moments.no_temperature
    batch, kind = store.batch(1), MomentKind.FIRST_CRYSTALS
    decide_moment(store, batch, kind, 1, NewDecision(MomentAction.CONFIRMED, "B. Jones"))
    new = NewDecision(MomentAction.DISMISSED, "<C> Ray", "no & growth")
    decide_moment(store, batch, MomentKind.GROWTH_BEGINS, 1, new)
    assert plot(read(store))["moments"] == ["M2", "M3"]
    store.close()
    assert run([db, "--check", str(page)], capsys)[0] == 0, "what was decided later is no difference"
    other = tmp_path / "q.html"
    assert run([db, "--out", str(other), "--config", str(config)], capsys)[0] == 0
    second = Reader(other.read_text("utf-8"))
    assert "confirmed by B. Jones" in second.text
    assert re.search(r"dismissed by <C> Ray, .* UTC: no & growth; suggested was 2026-09-21", second.text)
    assert second.open == []
    assert run([db, "--check", str(other)], capsys)[0] == 0
    edited = other.read_text("utf-8").replace("by B. Jones", "by E. Vil")
    other.write_text(edited, "utf-8")
    code, found, _ = run([db, "--check", str(other)], capsys)
    assert (code, "by E. Vil" in found["differences"][0]["page"]) == (4, True)


@pytest.mark.slow
def test_moments_of_many_frames_stay_a_small_page(tmp_path: Path) -> None:
    store = Store(write_cloudy_batch(tmp_path))
    facts, n = read(store), 12_000
    store.close()
    hits = np.where(np.arange(n) > 5000, 16.0, 0.0)
    status = tuple("judged" if each else "clear" for each in hits)
    times = 1.79e9 + np.arange(n)
    columns = (hits, np.full(n, 20.0), hits / 20, np.full(n, 0.01), hits / 2)
    found = find_moments(MomentFrames(np.arange(1, n + 1), times, status, *columns))
    assert len(found.moments) == 5
    many = replace(found, moments=found.moments * 400)
    numbers = {name: np.resize(column, n) for name, column in facts.frames.numbers.items()}
    texts = {name: tuple(entries[:1]) * n for name, entries in facts.frames.texts.items()}
    frames = replace(
        facts.frames,
        ids=np.arange(1, n + 1),
        alarm=np.zeros(n, bool),
        numbers={**numbers, "frame_time_s": times},
        texts=texts,
    )
    page = render_batch(replace(facts, frames=frames, moments=many))
    assert len(page) < 700_000
    assert "1,800 of 2,000 rows left out here; all of them: GET /api/batches/1/moments/export" in page
    assert plot(replace(facts, frames=frames, moments=many))["moments"][-1] == "M66"


def test_wrong_settings_of_moments_end_in_one_line(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, db = tmp_path / "s.toml", str(tmp_path / "m.db")
    faults = {
        "least_impurity = 2": "least_impurity must be from 0 to 1; got 2",
        "least_impurty = 0.1": "least_impurity",
        "temperature = [1]": "Cannot use the settings of 'moments'",
    }
    for text, said in faults.items():
        config.write_text(f"[moments]\n{text}\n")
        commands = [["report", db], ["serve", "--db", db], ["monitor", "--watch", str(tmp_path), "--db", db]]
        for command in commands:
            if command[0] == "monitor":
                config.write_text(f"[monitor]\nnote = 'x'\n[moments]\n{text}\n")
            code = main([*command, "--config", str(config)])
            err = capsys.readouterr().err
            assert (code, err.count("\n"), said in err) == (2, 1, True), (command, err)
