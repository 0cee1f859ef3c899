"""What to name next as a table: written once, read back at every call, nothing lost or named twice."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.labelling import make_pool, open_session

from georgia.errors import InputError
from georgia.label.batch_table import run_batch
from georgia.label.journal import find_journal
from georgia.label.records import Pool
from georgia.text import read_rows


def fill(table: Path, names: list[str], by: str = "", encoding: str = "utf-8", delimiter: str = ",") -> None:
    rows = read_rows(table.read_text(encoding="utf-8"))
    for row, name in zip(rows, names, strict=False):
        row |= {"name": name, "by": by}
    with table.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def read_paths(table: Path) -> list[str]:
    return [row["path"] for row in read_rows(table.read_text(encoding="utf-8"))]


def test_table_is_written_then_read_back(tmp_path: Path) -> None:
    table, pool = tmp_path / "next.csv", make_pool(tmp_path / "crops")
    with open_session(pool, tmp_path / "labels.csv") as session:
        written = run_batch(session, table, 4, "A. Miller")
        assert (written.n_rows, written.is_new_table) == (4, True)
        images = sorted((tmp_path / "next-images").iterdir())
        assert [image.name for image in images] == ["1.png", "2.png", "3.png", "4.png"]
        with Image.open(images[0]) as image:
            assert image.size == (24, 24)
    fill(table, ["pg", "CEX", "?", ""], by="B. Smith")
    kept = table.read_bytes()
    with open_session(pool, tmp_path / "labels.csv") as session:
        read = run_batch(session, table, 4, "A. Miller")
        assert (read.n_rows, read.n_named, read.n_new, read.failures) == (4, 3, 3, ())
        assert session.progress().by_class == {"CEX": 1, "PG": 1}
        assert session.progress().n_unclear == 1
        assert {label.who for label in session.history(9)} == {"B. Smith"}
        assert run_batch(session, table, 4, "A. Miller").n_new == 0
    assert table.read_bytes() == kept
    assert find_journal(tmp_path / "labels.csv").read_bytes().count(b'"kind":"name"') == 3


def test_two_tables_have_other_rows(tmp_path: Path) -> None:
    """Two persons with a table each, made days apart: nothing is asked twice."""
    pool = make_pool(tmp_path / "crops")
    for name in ("a.csv", "b.csv"):
        with open_session(pool, tmp_path / "labels.csv") as session:
            run_batch(session, tmp_path / name, 3, "A. Miller")
    first, second = read_paths(tmp_path / "a.csv"), read_paths(tmp_path / "b.csv")
    assert len({*first, *second}) == 6
    with open_session(pool, tmp_path / "labels.csv") as session:
        # Nothing else is left: a page may name them all the same.
        assert len(session.tray("page", 9)) == 6


def test_changed_row_is_taken_and_said_once(tmp_path: Path) -> None:
    table, pool = tmp_path / "next.csv", make_pool(tmp_path / "crops")
    with open_session(pool, tmp_path / "labels.csv") as session:
        run_batch(session, table, 2, "A. Miller")
        first, second = read_paths(table)
        fill(table, ["PG", "PG"])
        run_batch(session, table, 2, "A. Miller")
        number = session.history(1)[0].number
        session.name(second, "CEX", "B. Smith", "page", replaces=number)
        # What the table said before does not undo what was said since.
        assert run_batch(session, table, 2, "A. Miller").failures == ()
        assert session.describe_item(second).name == "CEX"
        fill(table, ["CEX", "unclear"])
        read = run_batch(session, table, 2, "A. Miller")
        assert read.n_new == 1
        assert [str(failure.path) for failure in read.failures] == [second]
        assert "'CEX' by B. Smith" in read.failures[0].error
        assert session.describe_item(first).name == "CEX"
        assert session.describe_item(second).name == "CEX"


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-8-sig", ";"), ("utf-16", "\t"), ("cp1252", ";")])
def test_table_of_a_spreadsheet_is_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    table, pool = tmp_path / "next.csv", make_pool(tmp_path / "crops")
    with open_session(pool, tmp_path / "labels.csv", classes=("Säule", "PG")) as session:
        run_batch(session, table, 2, "A. Miller")
        fill(table, ["Säule", "PG"], "J. Müller", encoding, delimiter)
        assert run_batch(session, table, 2, "A. Miller").n_new == 2
        assert session.progress().by_class == {"Säule": 1, "PG": 1}
        assert {label.who for label in session.history(2)} == {"J. Müller"}


def test_wrong_name_takes_nothing(tmp_path: Path) -> None:
    table = tmp_path / "next.csv"
    with open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session:
        run_batch(session, table, 3, "A. Miller")
        fill(table, ["PG", "dirt", "cx"])
        with pytest.raises(InputError, match="row 2: its name: .* got 'dirt'.* row 3"):
            run_batch(session, table, 3, "A. Miller")
        assert session.progress().n_named == 0
        table.write_text("order,name\n1,PG\n")
        with pytest.raises(InputError, match="no column height, path"):
            run_batch(session, table, 3, "A. Miller")


def test_row_of_a_gone_image_is_named(tmp_path: Path) -> None:
    table, pool = tmp_path / "next.csv", make_pool(tmp_path / "crops")
    with open_session(pool, tmp_path / "labels.csv") as session:
        run_batch(session, table, 2, "A. Miller")
    gone = read_paths(table)[0]
    fill(table, ["PG", "CEX"])
    rest = Pool(pool.root, tuple(item for item in pool.items if item.path != gone), pool.kind)
    with open_session(rest, tmp_path / "labels.csv") as session:
        read = run_batch(session, table, 2, "A. Miller")
        assert read.n_new == 1
        assert [str(failure.path) for failure in read.failures] == [gone]


def test_table_killed_half_way_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, pool = tmp_path / "next.csv", make_pool(tmp_path / "crops")
    with open_session(pool, tmp_path / "labels.csv") as session:
        with monkeypatch.context() as patch:
            patch.setattr(
                "georgia.label.batch_table.write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            with pytest.raises(KeyboardInterrupt):
                run_batch(session, table, 3, "A. Miller")
        chosen = [item.path for item in session.tray("table next.csv", 3)]
    assert not table.exists()
    with open_session(pool, tmp_path / "labels.csv") as session:
        run_batch(session, table, 3, "A. Miller")
    assert read_paths(table) == chosen


def test_foreign_images_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "next-images").mkdir()
    (tmp_path / "next-images" / "1.png").write_text("mine")
    with (
        open_session(make_pool(tmp_path / "crops"), tmp_path / "labels.csv") as session,
        pytest.raises(InputError, match="a new or empty folder is needed; got 1.png"),
    ):
        run_batch(session, tmp_path / "next.csv", 3, "A. Miller")
    assert (tmp_path / "next-images" / "1.png").read_text() == "mine"


def test_nothing_left_is_said(tmp_path: Path) -> None:
    with open_session(make_pool(tmp_path / "crops", 1), tmp_path / "labels.csv") as session:
        session.name("c0.png", "PG", "A. Miller", "a")
        with pytest.raises(InputError, match="items without a name are needed; got none"):
            run_batch(session, tmp_path / "next.csv", 3, "A. Miller")
