"""A labelling session: on disk before it is confirmed, nobody overwrites another, nothing is shown twice."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.labelling import make_pool, open_session, write_crops
from tests.helpers.monitor import wait_for
from tests.helpers.patience import PATIENCE_S

from georgia.catalog import read_catalog
from georgia.errors import InputError, UnreadableImageError
from georgia.label.catalog_file import LabelsWriter
from georgia.label.journal import Journal, find_journal
from georgia.label.records import ChoiceReason, ConflictError, Item, Pool, PoolKind
from georgia.text import read_rows


def read_names(out: Path) -> dict[str, str]:
    return {Path(row["path"]).name: row["class"] for row in read_rows(out.read_text())}


def test_name_is_on_disk_before_it_is_confirmed(tmp_path: Path) -> None:
    """What a kill leaves after a name was confirmed: the journal alone, as it is at that moment."""
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops"), out) as session:
        (item,) = session.tray("a", 1)
        progress = session.name(item.path, "PG", "A. Miller", "a")
        kept = find_journal(out).read_bytes()
        assert (progress.n_labelled, progress.by_class, progress.n_left) == (1, {"CEX": 0, "PG": 1}, 5)
    other = tmp_path / "killed.csv"
    find_journal(other).write_bytes(kept)
    with Journal(other) as journal:
        label = journal.names.find(item.path)
    assert label is not None
    assert (label.name, label.who, label.tab, label.order) == ("PG", "A. Miller", "a", 1)
    assert label.reason == ChoiceReason.EVEN
    assert label.probability == 1 / 6


def test_two_tabs_get_other_items(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        first, second = session.tray("a", 2), session.tray("b", 10)
        assert len(first) == 2
        assert len({item.path for item in (*first, *second)}) == 6
        # A page that is loaded again has what it had.
        assert session.tray("a", 2) == first
        assert session.tray("c", 1) == []
        session.close_tab("b")
        assert len(session.tray("c", 9)) == 4


def test_lease_ends_after_ten_minutes(tmp_path: Path) -> None:
    clock = [0.0]
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv", clock=clock) as session:
        held = session.tray("a", 6)
        clock[0] = 599.0
        assert session.tray("b", 1) == []
        clock[0] = 601.0
        assert session.tray("b", 6) == held


def test_other_tab_is_told_of_a_conflict(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        session.name("c0.png", "PG", "A. Miller", "a")
        with pytest.raises(ConflictError, match="'PG' by A. Miller") as told:
            session.name("c0.png", "CEX", "B. Smith", "b")
        assert session.history(5)[0].name == "PG"
        label = told.value.label
        assert label is not None
        # Agreeing changes nothing; meaning it does.
        session.name("c0.png", "PG", "B. Smith", "b")
        assert session.history(5)[0].who == "A. Miller"
        session.name("c0.png", "CEX", "B. Smith", "b", replaces=label.number)
        assert [(label.name, label.who) for label in session.history(5)] == [("CEX", "B. Smith")]
        with pytest.raises(ConflictError, match="'CEX' by B. Smith"):
            session.undo("a", "A. Miller")


def test_replacing_what_was_taken_back_is_told(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        session.name("c0.png", "PG", "A. Miller", "a")
        number = session.history(1)[0].number
        session.undo("a", "A. Miller")
        with pytest.raises(ConflictError, match="none: it was taken back"):
            session.name("c0.png", "CEX", "B. Smith", "b", replaces=number)
        session.name("c0.png", "CEX", "B. Smith", "b", replaces=0)
        with pytest.raises(ConflictError, match="'CEX' by B. Smith"):
            session.name("c0.png", "PG", "A. Miller", "a", replaces=0)


def test_undo_goes_back_step_by_step(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    pool = make_pool(tmp_path / "crops")
    with open_session(pool, out) as session:
        paths = [item.path for item in session.tray("a", 3)]
        for path in paths:
            session.name(path, "PG", "A. Miller", "a")
        session.name(paths[2], "CEX", "A. Miller", "a")
    with open_session(pool, out) as session:
        item = session.undo("a", "A. Miller")
        assert item is not None
        assert (item.path, item.name) == (paths[2], "PG")
        item = session.undo("a", "A. Miller")
        assert item is not None
        assert (item.path, item.name) == (paths[2], "")
        assert session.tray("a", 1)[0].path == paths[2]
        assert session.undo("b", "B. Smith") is None
        assert session.progress().n_labelled == 2


def test_duplicates_are_shown_once(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops", duplicates=((1, 3, 4),)), out) as session:
        items = {item.path: item for item in session.tray("a", 9)}
        assert sorted(items) == ["c0.png", "c1.png", "c2.png", "c5.png"]
        assert items["c1.png"].n_duplicates == 2
        progress = session.name("c1.png", "PG", "A. Miller", "a")
        assert (progress.n_labelled, progress.n_named, progress.n_left) == (3, 1, 3)
        session.write()
        rows = read_rows(out.read_text())
        assert [(Path(row["path"]).name, row["class"], row["reason"]) for row in rows] == [
            ("c1.png", "PG", "even"),
            ("c3.png", "PG", "duplicate"),
            ("c4.png", "PG", "duplicate"),
        ]
        assert {row["group"] for row in rows} == {"c1.png"}
        session.undo("a", "A. Miller")
        assert session.progress().n_labelled == 0


def test_new_duplicate_takes_the_label(tmp_path: Path) -> None:
    """A frame that came later shows what was named before: it is not asked for again."""
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops"), out) as session:
        session.name("c1.png", "PG", "A. Miller", "a")
    with open_session(make_pool(tmp_path / "crops", duplicates=((1, 3),)), out) as session:
        assert session.progress().by_class == {"CEX": 0, "PG": 2}
        assert "c3.png" not in {item.path for item in session.tray("a", 9)}


def test_duplicates_with_two_names_are_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops"), out) as session:
        session.name("c1.png", "PG", "A. Miller", "a")
        session.name("c2.png", "CEX", "A. Miller", "a")
    with open_session(make_pool(tmp_path / "crops", duplicates=((0, 1, 2),)), out) as session:
        assert session.progress().n_labelled == 2
        assert "c0.png" in {item.path for item in session.tray("a", 9)}
        session.name("c0.png", "PG", "A. Miller", "a")
        assert session.progress().by_class == {"CEX": 1, "PG": 2}


def test_skipped_item_comes_last(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    pool = make_pool(tmp_path / "crops")
    with open_session(pool, out) as session:
        first = session.tray("a", 1)[0].path
        session.skip(first, "a")
        assert first not in {item.path for item in session.tray("a", 5)}
        session.close_tab("a")
    with open_session(pool, out) as session:
        assert [item.path for item in session.tray("b", 6)][-1] == first


def test_skipped_even_items_are_counted(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        first, second = (item.path for item in session.tray("a", 2))
        session.skip(first, "a")
        assert session.count_even_missing() == 0
        session.name(second, "PG", "A. Miller", "a")
        assert (session.list_even(), session.count_even_missing()) == ([second], 1)
        session.name(first, "unclear", "A. Miller", "a")
        assert (sorted(session.list_even()), session.count_even_missing()) == (sorted([first, second]), 0)


def test_chosen_item_is_offered_again_after_a_kill(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    pool = make_pool(tmp_path / "crops")
    with open_session(pool, out) as session:
        chosen = session.tray("a", 2)
    with open_session(pool, out) as session:
        assert session.tray("new", 2) == chosen
        session.name(chosen[1].path, "PG", "A. Miller", "new")
        assert session.history(1)[0].order == 2


def test_neither_and_unclear_are_no_classes(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops"), out) as session:
        for number, name in enumerate(["PG", "CEX", "neither", "unclear"]):
            session.name(f"c{number}.png", name, "A. Miller", "a")
        progress = session.progress()
        assert (progress.n_labelled, progress.n_neither, progress.n_unclear) == (2, 1, 1)
    assert read_catalog(out).count_by_class() == {"CEX": 1, "PG": 1}
    apart = read_rows((tmp_path / "labels-apart.csv").read_text())
    assert [row["name"] for row in apart] == ["neither", "unclear"]
    assert "class" not in apart[0]


def test_labels_of_gone_files_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    pool = make_pool(tmp_path / "crops")
    with open_session(pool, out) as session:
        for number in range(4):
            session.name(f"c{number}.png", "PG" if number % 2 else "CEX", "A. Miller", "a")
        (tmp_path / "crops" / "c0.png").unlink()
        session.write()
        assert sorted(read_names(out)) == ["c1.png", "c2.png", "c3.png"]
        with pytest.raises(UnreadableImageError, match="no such file"):
            session.image("c0.png", 64)
    rest = Pool(pool.root, pool.items[1:], pool.kind)
    with open_session(rest, out) as session:
        assert session.progress().n_gone == 1
    with open_session(make_pool(tmp_path / "crops"), out) as session:
        assert session.progress().n_gone == 0
    assert read_names(out)["c0.png"] == "CEX"


def test_names_from_many_threads_are_all_kept(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops", 24), out) as session:

        def work(tab: str) -> None:
            while items := session.tray(tab, 2):
                for item in items:
                    session.name(item.path, "PG", "A. Miller", tab)

        threads = [threading.Thread(target=work, args=(tab,)) for tab in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.progress().n_labelled == 24
    assert find_journal(out).read_bytes().count(b'"kind":"name"') == 24
    assert len(read_names(out)) == 24


def test_name_is_checked(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        with pytest.raises(InputError, match="one of CEX, PG, neither, unclear is needed; got 'pg'"):
            session.name("c0.png", "pg", "A. Miller", "a")
        with pytest.raises(InputError, match="a path of the pool is needed"):
            session.name("../secret.png", "PG", "A. Miller", "a")
        with pytest.raises(InputError, match="a path of the pool is needed"):
            session.image("../secret.png", 64)
        with pytest.raises(InputError, match="Cannot tell the tab"):
            session.tray("", 3)
        assert session.progress().n_named == 0


def test_image_around_shows_the_frame(tmp_path: Path) -> None:
    frame = np.zeros((300, 400), np.uint8)
    frame[100:140, 200:240] = 200
    (tmp_path / "frames").mkdir()
    Image.fromarray(frame).save(tmp_path / "frames" / "f.png")
    item = Item("f.png#xywh=200,100,40,40", tmp_path / "frames" / "f.png", (200, 100, 40, 40), "f.png")
    with open_session(
        Pool(tmp_path / "frames", (item,), PoolKind.FRAMES), tmp_path / "labels.csv"
    ) as session:
        own = np.asarray(Image.open(io.BytesIO(session.image(item.path, 256))))
        assert own.shape == (40, 40, 3)
        assert own.min() == 200
        around = np.asarray(Image.open(io.BytesIO(session.image(item.path, 256, around=True))))
        place = session.surroundings(item.path)
        assert around.shape[:2] == (place.height_px, place.width_px) == (200, 200)
        assert place.box is not None
        left, top, width, height = place.box
        assert around[top : top + height, left : left + width].min() == 200
        assert int((around == 200).sum()) == 40 * 40 * 3
        small = Image.open(io.BytesIO(session.image(item.path, 16)))
        assert small.size == (16, 16)


def test_suggestion_is_hidden_unless_asked(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops", 2), tmp_path / "labels.csv") as session:
        session.update_probabilities(("CEX", "PG"), np.array([[0.9, 0.1], [0.2, 0.8]]))
        assert {item.suggestion for item in session.tray("a", 2)} == {None}
        told = {item.path: item.suggestion for item in session.tray("a", 2, is_hinting=True)}
        assert told == {"c0.png": ("CEX", 0.9), "c1.png": ("PG", 0.8)}
        with pytest.raises(InputError, match=r"\(2, 2\) is needed"):
            session.update_probabilities(("CEX", "PG"), np.ones((3, 2)))


def test_table_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "labels.csv"
    with open_session(make_pool(tmp_path / "crops"), out) as session:
        with monkeypatch.context() as patch:
            patch.setattr(
                "georgia.label.catalog_file.write_labels", lambda *_: (_ for _ in ()).throw(OSError("away"))
            )
            session.name("c0.png", "PG", "A. Miller", "a")
            wait_for(lambda: session.fault == "away")
        session.write()
        assert session.fault == ""
    assert read_names(out) == {"c0.png": "PG"}


def test_labels_name_files_of_any_name(tmp_path: Path) -> None:
    folder = write_crops(tmp_path / "crops", 2)
    names = ["=1+1.png", "b, c\udcb5.png"]
    for number, name in enumerate(names):
        (folder / f"c{number}.png").rename(folder / name)
    items = tuple(Item(name, folder / name) for name in names)
    out = tmp_path / "labels" / "labels.csv"
    with open_session(Pool(folder, items, PoolKind.CROPS), out) as session:
        session.name(names[0], "CEX", "=cmd", "a")
        session.name(names[1], "PG", "A. Miller", "a")
    catalog = read_catalog(out)
    assert {record.path.name: record.class_name for record in catalog.records} == dict(
        zip(names, ("CEX", "PG"), strict=True)
    )
    assert b"'=cmd" in out.read_bytes()


def test_writer_ends_whoever_else_writes(tmp_path: Path) -> None:
    """A table written at the moment of the end once kept its thread waiting for ever."""
    for number in range(20):
        writer = LabelsWriter(tmp_path / f"{number}.csv", list)
        writer.wake()
        threads = [
            threading.Thread(target=call, daemon=True) for call in (writer.write, writer.close, writer.write)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=PATIENCE_S)
        assert not any(thread.is_alive() for thread in threads)


def test_progress_counts_what_is_left(tmp_path: Path) -> None:
    """The counters that are kept from key to key are those that a new session finds."""
    out = tmp_path / "labels.csv"
    pool = make_pool(tmp_path / "crops", 9, ((0, 4, 5), (2, 3)))
    with open_session(pool, out) as session:
        for path, name in (("c0.png", "PG"), ("c3.png", "unclear"), ("c1.png", "CEX"), ("c1.png", "neither")):
            kept = session.name(path, name, "A. Miller", "a")
        session.undo("a", "A. Miller")
        kept = session.name("c4.png", "CEX", "A. Miller", "a")
    with open_session(pool, out) as session:
        assert session.progress() == kept
    assert (kept.n_left, kept.by_class, kept.n_unclear) == (3, {"CEX": 3, "PG": 1}, 2)
