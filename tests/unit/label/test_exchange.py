"""Labels of other programs: taken in once, written out whole, found again in any form."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.labelling import CLASSES, make_pool, open_session

from georgia.errors import InputError
from georgia.label.exchange import find_form, read_names, write_names
from georgia.label.records import ChoiceReason, Item, Pool, PoolKind
from georgia.label.start import import_names, read_import

BOXES = ((0, 0, 40, 40), (50, 20, 40, 40), (8, 60, 64, 30))


def make_frames(folder: Path) -> Pool:
    """Return a pool of two frames with three windows each."""
    folder.mkdir(parents=True)
    items = []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (120, 160), np.uint8)
        Image.fromarray(pixels).save(folder / f"f{number}.png")
        for box in BOXES:
            path = f"f{number}.png#xywh={','.join(map(str, box))}"
            items.append(Item(path, folder / f"f{number}.png", box, f"f{number}.png"))
    return Pool(folder, tuple(items), PoolKind.FRAMES, tile_px=40)


FORMS = [("a.csv", ""), ("a.json", ""), ("a.json", "label-studio"), ("a.xml", ""), ("yolo", "")]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_export_then_import_gives_the_same(tmp_path: Path, name: str, form: str) -> None:
    pool = make_frames(tmp_path / "frames")
    given = dict(
        zip([item.path for item in pool.items], ["CEX", "PG", "neither", "PG", "unclear"], strict=False)
    )
    with open_session(pool, tmp_path / "labels.csv") as session:
        for path, label in given.items():
            session.name(path, label, "A. Miller", "a")
        n_written = write_names(session.list_named(), CLASSES, tmp_path / name, form)
    wanted = given if name == "a.csv" else {path: label for path, label in given.items() if label in CLASSES}
    assert n_written == len(wanted)
    found = read_names(tmp_path / name, pool)
    assert dict(found.names) == wanted
    assert sorted(found.classes) == ["CEX", "PG"]


def test_import_is_taken_once(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "crops")
    table = tmp_path / "other.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,CEX\ncrops/c2.png,Neither\n")
    found, pool = read_import(table, pool)
    with open_session(pool, tmp_path / "labels.csv") as session:
        session.name("c1.png", "PG", "A. Miller", "a")
        first = import_names(session, found, table, "B. Smith")
        assert (first.n_labels, first.n_new) == (3, 2)
        assert [(label.path, label.name, label.who) for label in first.kept] == [
            ("c1.png", "PG", "A. Miller")
        ]
        again = import_names(session, found, table, "B. Smith")
        assert again.n_new == 0
        assert session.progress().by_class == {"CEX": 0, "PG": 2}
        newest = session.history(1)[0]
        assert (newest.reason, newest.who, newest.probability) == (ChoiceReason.IMPORTED, "B. Smith", None)
        # An imported label is nobody's last one to take back.
        item = session.undo("a", "A. Miller")
        assert item is not None
        assert item.path == "c1.png"


def test_import_of_foreign_boxes_adds_items(tmp_path: Path) -> None:
    pool = make_frames(tmp_path / "frames")
    table = tmp_path / "boxes.csv"
    table.write_text("path,x,y,width,height,class\nframes/f0.png,3,4,50,60,PG\n")
    found, wider = read_import(table, pool)
    assert len(wider.items) == len(pool.items) + 1
    with open_session(wider, tmp_path / "labels.csv") as session:
        import_names(session, found, table, "B. Smith")
        ((item, label),) = session.list_named()
    assert (item.box, item.group, label.name) == ((3, 4, 50, 60), "f0.png", "PG")


def test_import_knows_copied_frames(tmp_path: Path) -> None:
    """Programs keep files of their own: the same content is the same frame, whatever it is called there."""
    pool = make_frames(tmp_path / "frames")
    (tmp_path / "upload").mkdir()
    shutil.copy(tmp_path / "frames" / "f1.png", tmp_path / "upload" / "x.png")
    table = tmp_path / "upload" / "boxes.csv"
    table.write_text("path,x,y,width,height,class\nx.png,0,0,40,40,PG\n")
    assert read_names(table, pool).names == (("f1.png#xywh=0,0,40,40", "PG"),)


def test_import_of_class_folders(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "crops", 2)
    for name, file in (("CEX", "c0.png"), ("PG", "c1.png")):
        (tmp_path / "sorted" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "crops" / file, tmp_path / "sorted" / name)
    assert dict(read_names(tmp_path / "sorted", pool).names) == {"c0.png": "CEX", "c1.png": "PG"}


def test_import_of_unknown_class_takes_nothing(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "crops")
    table = tmp_path / "other.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,dirt\n")
    found, pool = read_import(table, pool)
    with open_session(pool, tmp_path / "labels.csv") as session:
        with pytest.raises(InputError, match="one of CEX, PG, neither, unclear is needed; got 'dirt'"):
            import_names(session, found, table, "B. Smith")
        assert session.progress().n_named == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("path,class\nno.png,PG\n", "line 2 names 'no.png', which is no file"),
        ("path,class\n", "one label or more"),
        ("a,b\n", "its first line must name the columns"),
    ],
)
def test_import_tells_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(InputError, match=fault):
        read_names(tmp_path / "other.csv", make_pool(tmp_path / "crops"))


def test_export_writes_over_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        session.name("c0.png", "neither", "A. Miller", "a")
        with pytest.raises(InputError, match="a new name is needed"):
            write_names(session.list_named(), CLASSES, tmp_path / "a.csv")
        with pytest.raises(InputError, match="one label or more is needed; got none"):
            write_names(session.list_named(), CLASSES, tmp_path / "a.json")
    assert (tmp_path / "a.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "form"), [("a.txt", ""), ("a.csv", "coco"), ("a.json", "voc"), ("a.json", "yolo")]
)
def test_form_must_fit_the_name(name: str, form: str) -> None:
    with pytest.raises(InputError, match="one of csv, coco, yolo, label-studio, cvat"):
        find_form(Path(name), form)
