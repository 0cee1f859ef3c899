"""``georgia label``: a table and a page, killed and gone on with; the labels are read by every command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers import people
from tests.helpers.labelling import write_crops
from tests.helpers.patience import PATIENCE_S
from tests.helpers.service import read_start

from georgia.catalog import read_catalog
from georgia.label.journal import Journal, find_journal
from georgia.monitor import open_store
from georgia.text import format_csv, read_rows

Command = Callable[..., tuple[int, Any, str]]
# Features would start a process that imports Keras.
EVENLY = ("--set", "features=0")


def fill(table: Path, names: dict[str, str] | list[str]) -> None:
    """Write names into the rows of a table: by path, or in their order."""
    rows = read_rows(table.read_text(encoding="utf-8"))
    for number, row in enumerate(rows):
        row["name"] = names[number] if isinstance(names, list) else names[row["path"]]
    table.write_text(format_csv([list(rows[0]), *(list(row.values()) for row in rows)]), encoding="utf-8")


def test_label_by_table(tmp_path: Path, georgia: Command) -> None:
    crops, out, table = write_crops(tmp_path / "crops"), tmp_path / "labels.csv", tmp_path / "next.csv"
    command = ("label", crops, "--out", out, "--classes", "CEX,PG", "--batch-csv", table, "--n", "5", *EVENLY)
    code, first, _ = georgia(*command)
    assert code == 0
    assert (first["labelled"], first["left"], first["items"]) == (0, 6, 6)
    assert first["table"] == {"rows": 5, "named": 0, "new": 0}
    fill(table, ["CEX", "PG", "pg", "0", "u"])
    code, second, _ = georgia(*command, "--who", "A. Miller")
    assert code == 0
    assert second["table"] == {"rows": 5, "named": 5, "new": 5}
    assert second["classes"] == {"CEX": 1, "PG": 2}
    assert (second["labelled"], second["neither"], second["unclear"], second["left"]) == (3, 1, 1, 1)
    assert second["file"] == str(out)
    assert read_catalog(out).count_by_class() == {"CEX": 1, "PG": 2}
    assert {row["who"] for row in read_rows(out.read_text())} == {"A. Miller"}
    before = find_journal(out).read_bytes()
    assert georgia(*command)[1]["table"]["new"] == 0
    assert find_journal(out).read_bytes() == before


def test_label_unreadable_file_is_named(tmp_path: Path, georgia: Command) -> None:
    crops, out = write_crops(tmp_path / "crops"), tmp_path / "labels.csv"
    (crops / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, result, said = georgia(
        "label", crops, "--out", out, "--classes", "CEX,PG", "--batch-csv", tmp_path / "n.csv", *EVENLY
    )
    assert code == 3
    assert [Path(item["file"]).name for item in result["failed"]] == ["broken.png"]
    assert "left out" in said
    assert "broken.png" in said


def test_label_exports_and_imports(tmp_path: Path, georgia: Command) -> None:
    crops, table = write_crops(tmp_path / "crops"), tmp_path / "given.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,CEX\n")
    code, result, _ = georgia("label", crops, "--out", tmp_path / "a.csv", "--import", table)
    assert code == 0
    assert result["imported"] == {"labels": 2, "new": 2}
    assert result["classes"] == {"PG": 1, "CEX": 1}
    code, result, _ = georgia("label", crops, "--out", tmp_path / "a.csv", "--export", tmp_path / "b.xml")
    assert (code, result["exported"]) == (0, 2)
    code, result, said = georgia("label", crops, "--out", tmp_path / "c.csv", "--import", tmp_path / "b.xml")
    assert (code, result["classes"]) == (0, {"CEX": 1, "PG": 1})
    assert "read as CVAT" in said
    table.write_text("path,class\ncrops/c0.png,CEX\n")
    code, result, said = georgia("label", crops, "--out", tmp_path / "a.csv", "--import", table)
    assert code == 3
    assert result["classes"] == {"PG": 1, "CEX": 1}
    assert "not taken: c0.png: 'PG' by" in said


def test_label_held_table_names_the_holder(tmp_path: Path, georgia: Command) -> None:
    crops, out = write_crops(tmp_path / "crops"), tmp_path / "labels.csv"
    with Journal(out):
        code, result, said = georgia("label", crops, "--out", out, "--classes", "CEX,PG", "--port", "0")
    assert (code, result) == (2, None)
    assert f"one process at a time may write it; got process {os.getpid()} on" in said


def test_label_goes_on_with_the_same_images_only(tmp_path: Path, georgia: Command) -> None:
    crops, out, table = write_crops(tmp_path / "crops"), tmp_path / "labels.csv", tmp_path / "given.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,CEX\n")
    assert georgia("label", crops, "--out", out, "--import", table)[0] == 0
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.random.default_rng(9).integers(0, 255, (24, 24), np.uint8)).save(other / "x.png")
    command = ("--out", out, "--export", tmp_path / "e.csv")
    code, _, said = georgia("label", other, *command)
    assert code == 2
    assert "the images that it has labels of are needed" in said
    (crops / "c1.png").unlink()
    code, result, said = georgia("label", crops, *command)
    assert (code, result["gone"], result["labelled"]) == (0, 1, 1)
    assert "1 label kept, of files that are not there now, such as 'c1.png'" in said


def test_label_hand_written_name_stops(tmp_path: Path, georgia: Command) -> None:
    crops, out, table = write_crops(tmp_path / "crops"), tmp_path / "labels.csv", tmp_path / "given.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,CEX\n")
    assert georgia("label", crops, "--out", out, "--import", table)[0] == 0
    edited = out.read_text().replace(",PG,", ",CEX,")
    out.write_text(edited)
    code, _, said = georgia("label", crops, "--out", out, "--export", tmp_path / "e.csv")
    assert code == 2
    assert "'CEX' for 'c0.png', which is not in the journal" in said
    assert out.read_text() == edited
    # A row that was added is a name of somebody's too.
    out.write_text(edited.replace(",CEX,", ",PG,", 1) + "crops/c5.png,,,,,PG,,,,,,\n")
    code, _, said = georgia("label", crops, "--out", out, "--export", tmp_path / "e.csv")
    assert code == 2
    assert "'PG' for 'c5.png', which is not in the journal" in said


def test_label_goes_on_in_another_place(tmp_path: Path, georgia: Command) -> None:
    crops, table = write_crops(tmp_path / "crops"), tmp_path / "given.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,CEX\n")
    assert georgia("label", crops, "--out", tmp_path / "labels.csv", "--import", table)[0] == 0
    moved = tmp_path / "archive" / "2026"
    moved.mkdir(parents=True)
    for name in ("labels.csv", "labels.csv.journal"):
        (tmp_path / name).rename(moved / name)
    crops.rename(tmp_path / "images")
    command = ("label", tmp_path / "images", "--out", moved / "labels.csv", "--export", tmp_path / "e.csv")
    assert georgia(*command)[0] == 0
    assert read_catalog(moved / "labels.csv").count_by_class() == {"CEX": 1, "PG": 1}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--out", "labels.txt", "--classes", "CEX,PG"), "ends in .csv"),
        (("--out", "labels.csv", "--export", "a.csv"), "names of the classes are needed"),
        (("--out", "labels.csv", "--classes", "CEX,unclear", "--export", "a.csv"), "none may be"),
        (("--out", "labels.csv", "--form", "coco", "--port", "0"), "it is for --export"),
        (("--out", "labels.csv", "--export", "a.txt"), "one of csv, coco"),
        (("--out", "labels.csv", "--batch-csv", "crops/n.csv"), "must not lie in the data folder"),
        (("--out", "labels.csv", "--classes", "CEX,PG", "--export", "a.csv", "--set", "cut=no"), "'cut'"),
    ],
)
def test_label_tells_what_is_wrong(
    tmp_path: Path,
    georgia: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    fault: str,
) -> None:
    write_crops(tmp_path / "crops")
    monkeypatch.chdir(tmp_path)
    code, result, said = georgia("label", "crops", *arguments)
    assert (code, result) == (2, None)
    assert fault in said
    assert not (tmp_path / "labels.csv").exists()
    assert not (tmp_path / "labels.csv.lock").exists()


def test_label_without_images_leaves_nothing(tmp_path: Path, georgia: Command) -> None:
    (tmp_path / "empty").mkdir()
    code, _, said = georgia(
        "label", tmp_path / "empty", "--out", tmp_path / "l.csv", "--export", tmp_path / "e.csv"
    )
    assert code == 2
    assert "images that show something are needed" in said
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_label_too_few_to_train(tmp_path: Path, georgia: Command) -> None:
    crops, table = write_crops(tmp_path / "crops"), tmp_path / "given.csv"
    table.write_text("path,class\ncrops/c0.png,PG\ncrops/c1.png,CEX\ncrops/c2.png,CEX\n")
    out, folder = tmp_path / "labels.csv", tmp_path / "run"
    code, result, said = georgia("label", crops, "--out", out, "--import", table, "--train", folder)
    assert (code, result) == (4, None)
    assert "Cannot train yet: 9 more of PG and 8 more of CEX needed; got PG 1, CEX 2" in said
    assert not folder.exists()
    # What was imported is kept.
    assert read_catalog(out).count_by_class() == {"CEX": 2, "PG": 1}


def test_label_train_gets_all_labels(
    tmp_path: Path, georgia: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Duplicates too, with the even sample; what learning does with them has tests of its own."""
    crops, out, table = write_crops(tmp_path / "crops", 8), tmp_path / "labels.csv", tmp_path / "next.csv"
    with Image.open(crops / "c0.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(crops / "z.png")
    command = ("label", crops, "--out", out, "--classes", "CEX,PG", *EVENLY)
    assert georgia(*command, "--batch-csv", table, "--n", "8")[0] == 0
    fill(
        table,
        {f"c{number}.png": "PG" if number % 2 else "CEX" for number in range(7)} | {"c7.png": "neither"},
    )
    assert georgia(*command, "--batch-csv", table)[0] == 0
    asked: list[Any] = []

    def learn(
        pool: Any, labels: Any, classes: Any, folder: Any, config: Any, even: Any, progress: Any, **more: Any
    ) -> None:
        asked.extend([{label.path: label.name for label in labels}, classes, folder, config, even])
        assert more == {"n_even_missing": 0}

    monkeypatch.setattr("georgia.label.learn.learn", learn)
    monkeypatch.setattr("georgia.cli.console.load_keras", lambda: None)
    code, _, said = georgia(*command, "--train", tmp_path / "run", "--set", "least_per_class=3")
    assert code == 0, said
    labels, classes, folder, config, even = asked
    assert Counter(labels.values()) == {"CEX": 5, "PG": 3, "neither": 1}
    assert (labels["z.png"], classes, folder) == ("CEX", ("CEX", "PG"), tmp_path / "run")
    assert config.least_per_class == 3
    # All were chosen evenly, and none is left.
    assert len(even) == 9


@pytest.mark.slow
def test_labels_of_windows_are_read_by_every_command(
    tmp_path: Path, georgia: Command, brightness_model: Path
) -> None:
    """Windows of frames, dark and bright: labelled by table, audited, split, predicted, evaluated."""
    frames = tmp_path / "frames"
    frames.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        half = np.where(np.arange(500)[None, :] < 250, 40, 160)
        Image.fromarray((half + rng.integers(0, 60, (500, 500))).astype(np.uint8)).save(
            frames / f"f{number}.png"
        )
    out, table = tmp_path / "labels" / "labels.csv", tmp_path / "next.csv"
    settings = ("--set", "tile_px=100", "--set", "min_detail=0", "--set", "overlap=0", *EVENLY)
    command = ("label", frames, "--out", out, "--classes", "CEX,PG", "--batch-csv", table, "--n", "90")
    code, first, _ = georgia(*command, *settings)
    assert (code, first["items"]) == (0, 150)
    rows = read_rows(table.read_text())
    lefts = [int(row["x"]) for row in rows]
    names = [
        "unclear" if left == 200 else "neither" if left == 400 else "CEX" if left < 200 else "PG"
        for left in lefts
    ]
    fill(table, names)
    # The first start's way of cutting holds.
    code, result, _ = georgia(*command)
    assert code == 0
    assert result["items"] == 150
    assert result["classes"] == {"CEX": names.count("CEX"), "PG": names.count("PG")}
    code, audit, _ = georgia("audit", out, "--out", tmp_path / "audit")
    assert code in (0, 4)
    assert audit["n_images"] == result["labelled"]
    code, split, _ = georgia("split", out, "--out", tmp_path / "split", "--fractions", "0.5,0.25,0.25")
    assert code == 0, split
    code, predicted, _ = georgia("predict", brightness_model, out)
    assert code == 0
    assert len(predicted["predictions"]) == result["labelled"]
    code, evaluated, _ = georgia("evaluate", brightness_model, out, "--out", tmp_path / "evaluation")
    assert code in (0, 4)
    assert evaluated["accuracy"] == 1.0


class PageProcess:
    """``georgia label`` with its page, in a process of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "georgia", "label", *map(str, arguments), "--port", "0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.info = read_start(self.process)

    def post(self, route: str, **body: Any) -> Any:
        """Return what a route responds."""
        request = urllib.request.Request(
            f"{self.info['url']}api/label/{route}",
            json.dumps({"tab": "t1", **body}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.info['token']}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return json.loads(response.read())


@pytest.fixture
def open_page() -> Iterator[Callable[..., PageProcess]]:
    """Start pages; whatever becomes of the test, they are killed."""
    started: list[PageProcess] = []

    def start(*arguments: str | Path) -> PageProcess:
        started.append(PageProcess(*arguments))
        return started[-1]

    yield start
    for page in started:
        page.process.kill()
        page.process.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
def test_page_killed_loses_nothing(tmp_path: Path, open_page: Callable[..., PageProcess]) -> None:
    pytest.importorskip("fastapi")
    crops, out = write_crops(tmp_path / "crops", 12), tmp_path / "labels.csv"
    command = (crops, "--out", out, "--classes", "CEX,PG", "--who", "A. Miller", *EVENLY)
    page = open_page(*command)
    given = {}
    for number, item in enumerate(page.post("tray", n=12)["items"][:8]):
        given[item["path"]] = "PG" if number % 3 else "CEX"
        kept = page.post("name", path=item["path"], name=given[item["path"]], who="A. Miller")
        assert kept["progress"]["n_labelled"] == number + 1
    page.process.kill()
    page.process.wait(timeout=PATIENCE_S)
    page = open_page(*command)
    assert page.info["labelled"] == 8
    assert {row["path"].rpartition("/")[2]: row["class"] for row in read_rows(out.read_text())} == given
    rest = page.post("tray", n=12)["items"]
    assert len(rest) == 4
    assert not {item["path"] for item in rest} & given.keys()
    # The tab takes back what it named before the kill.
    assert page.post("undo", who="A. Miller")["item"]["path"] == list(given)[-1]
    page.process.send_signal(signal.SIGINT)
    assert page.process.wait(timeout=PATIENCE_S) == 130
    assert read_catalog(out).count_by_class() == {"CEX": 3, "PG": 4}
    assert not out.with_name("labels.csv.lock").exists()


def test_label_people_need_a_store_with_users(
    tmp_path: Path, georgia: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.hash_quickly(monkeypatch)
    crops, db = write_crops(tmp_path / "crops"), tmp_path / "probe.db"
    command = ("label", crops, "--out", tmp_path / "labels.csv", "--classes", "CEX,PG", *EVENLY)
    command += ("--port", "0", "--no-browser", "--set", f"people={db}")
    code, _, line = georgia(*command)
    assert (code, "probe.db" in line, db.exists()) == (2, True, False)
    with closing(open_store(str(db))) as store:
        code, _, line = georgia(*command)
        assert (code, "a store with users is needed" in line) == (2, True)
        people.add_people(store)
    code, _, line = georgia(*command, "--who", "Ann")
    assert (code, "the log-in says who names" in line, "Leave --who out" in line) == (2, True, True)
