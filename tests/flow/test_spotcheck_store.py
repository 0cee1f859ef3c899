"""``georgia spotcheck`` on a store: the plan and the names are those of the page, and verify holds."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.helpers.spotcheck import add_frame, copy_batch

from georgia.cli.app import main
from georgia.monitor.spotchecks import find_standing
from georgia.monitor.store import Store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    store = copy_batch(template, tmp_path)
    yield store
    store.close()


def ask(capsys: pytest.CaptureFixture[str], *arguments: Any, code: int = 0) -> Any:
    """Return the JSON of a command, or its errors where it is to fail."""
    found = main(["spotcheck", *map(str, arguments), "--json"])
    done = capsys.readouterr()
    assert found == code, done.err
    return json.loads(done.out) if code == 0 else done.err


def command(root: Path, *more: Any) -> list[Any]:
    return [root / "m.db", "--frames", root / "frames", "--out", root / "check", *more]


def fill(out: Path, names: dict[int, str], by: str = "Cy") -> None:
    """Write names into rows of names.csv, by their order."""
    rows = list(csv.DictReader((out / "names.csv").read_text().splitlines()))
    for order, name in names.items():
        rows[order - 1] |= {"name": name, "by": by}
    with (out / "names.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def said(store: Store) -> list[tuple[str, str]]:
    return [(row.name, row.who) for row in find_standing(store.spotcheck_names(1))]


@pytest.mark.slow
def test_names_of_page_and_folder_are_one(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ask(capsys, *command(tmp_path, "--n", 12))
    assert (first["check"], first["n"], first["n_sampled"]) == (1, 0, 12)
    store.name_window(1, 1, "PG", "Ann")
    store.name_window(1, 2, "CEX", "Ann")
    fill(tmp_path / "check", {3: "unclear", 4: "neither", 6: "PG"})
    result = ask(capsys, *command(tmp_path, "--labels", tmp_path / "labels.csv"))
    labels = list(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    assert [(row["class"], row["who"]) for row in labels] == [("PG", "Ann"), ("CEX", "Ann")]
    assert said(store) == [("PG", "Ann"), ("CEX", "Ann"), ("unclear", "Cy"), ("neither", "Cy")]
    assert (result["n"], result["n_unclear"]) == (4, 1)
    shown = ask(capsys, tmp_path / "m.db", "--batch", "B-1")
    same = ("class", "fraction", "low", "high", "n", "raw_fraction", "error", "n_windows")
    assert {name: shown[name] for name in same} == {name: result[name] for name in same}
    assert shown["named_by"] == ["Ann", "Cy"]
    assert main(["verify", str(tmp_path / "m.db")]) == 0
    page = (tmp_path / "check" / "spotcheck.html").read_text()
    assert page.count("data:image/jpeg") == 4
    assert result["head"] in page


def test_windows_are_those_of_the_plan(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, *command(tmp_path, "--n", 8))
    (check,) = store.spotchecks(1)
    rows = list(csv.DictReader((tmp_path / "check" / "names.csv").read_text().splitlines()))
    wanted = [(each["file"], each["box"][:2]) for each in check.body["draws"]]
    assert [(row["file"], [int(row["left"]), int(row["top"])]) for row in rows] == wanted
    with Image.open(tmp_path / "check" / "windows" / "1.png") as image:
        assert image.size == (32, 32)
    # Frames that come later belong to no plan that was made before.
    add_frame(store, 1, tmp_path / "frames", 21, "PPPP", [0.9] * 4)
    store.name_window(1, 1, "PG", "Ann")
    assert ask(capsys, *command(tmp_path))["n_windows"] == 80
    assert ask(capsys, tmp_path / "m.db")["is_part"] is True


@pytest.mark.slow
def test_check_is_extended_and_named_in_a_folder(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, *command(tmp_path, "--n", 8))
    assert "frames that came since it was planned are needed" in ask(
        capsys, tmp_path / "m.db", "--extend", code=2
    )
    fill(tmp_path / "check", dict.fromkeys(range(1, 9), "CEX"))
    assert ask(capsys, *command(tmp_path))["n"] == 8
    for number in range(21, 26):
        add_frame(store, 1, tmp_path / "frames", number, "PPPP", [0.9] * 4)
    later = ask(capsys, tmp_path / "m.db", "--extend", "--n", 4)
    assert (later["check"], later["n_sampled"], later["n_windows"], later["extends"]["check"]) == (
        2,
        4,
        20,
        1,
    )
    out = tmp_path / "later"
    follow = [tmp_path / "m.db", "--frames", tmp_path / "frames", "--out", out]
    assert ask(capsys, *follow)["n"] == 0
    fill(out, dict.fromkeys(range(1, 5), "PG"))
    found = ask(capsys, *follow)
    assert (found["n"], found["n_sampled"], found["n_windows"], len(found["curve"])) == (12, 12, 100, 5)
    shown = ask(capsys, tmp_path / "m.db")
    assert [shown[name] for name in ("fraction", "low", "high")] == [
        found[name] for name in ("fraction", "low", "high")
    ]
    assert json.loads((out / "spotcheck.json").read_text())["n_windows"] == 100
    page = (out / "spotcheck.html").read_text()
    assert page.count("data:image/jpeg") == 4
    assert page.count("its image is in the folder of check 1") == 8
    assert "leave --width out" in ask(capsys, *follow, "--width", 0.1, code=2).lower()
    assert "another fingerprint" in ask(capsys, *command(tmp_path), code=2), (
        "the first folder is of the first check"
    )
    assert main(["verify", str(tmp_path / "m.db")]) == 0


def test_extending_goes_without_a_folder(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a check of it is needed; got none" in ask(capsys, tmp_path / "m.db", "--extend", code=2)
    assert "Extend the check first" in ask(capsys, *command(tmp_path), "--extend", code=2)
    assert "Cannot extend the check of a table" in ask(capsys, tmp_path / "p.csv", "--extend", code=2)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({1: "CEX"}, "got 'CEX', and 'PG' by Ann in the store"),
        ({2: "salt"}, "its name must be CEX, PG, neither or unclear"),
    ],
)
def test_other_name_than_in_store_is_rejected(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: dict[int, str], text: str
) -> None:
    ask(capsys, *command(tmp_path, "--n", 5))
    store.name_window(1, 1, "PG", "Ann")
    fill(tmp_path / "check", names)
    assert text in ask(capsys, *command(tmp_path), code=2)
    assert said(store) == [("PG", "Ann")]


def test_another_setting_than_the_plan_is_rejected(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, *command(tmp_path, "--n", 5, "--seed", 9))
    assert store.spotchecks(1)[0].seed == 9
    text = ask(capsys, *command(tmp_path, "--seed", 8), code=2)
    assert "its own settings are needed: seed 9; got 8" in text


def test_labels_without_names_are_not_written(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    again = ["spotcheck", *map(str, command(tmp_path, "--n", 5, "--apart", "--labels", labels))]
    assert main(again) == 0
    said_of_it = f"no window has the name of a class yet: {labels} was not written"
    assert said_of_it in " ".join(capsys.readouterr().err.split())
    fill(tmp_path / "check", {1: "unclear"})
    assert main(again) == 0
    done = capsys.readouterr()
    assert said_of_it in " ".join(done.err.split())
    assert "labels written" not in done.out
    assert not labels.exists()


def test_folder_apart_leaves_the_store_as_it_is(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.newest_head()
    result = ask(capsys, *command(tmp_path, "--n", 5, "--apart"))
    assert "check" not in result
    fill(tmp_path / "check", {1: "PG"})
    assert ask(capsys, *command(tmp_path, "--n", 5))["n"] == 1, "a folder that was begun apart goes on so"
    assert (store.newest_head(), store.spotchecks()) == (before, [])


def test_what_is_missing_is_named(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Name windows on the page" in ask(capsys, tmp_path / "m.db", code=2)
    assert "--out is needed" in ask(capsys, tmp_path / "p.csv", code=2)
    assert "it is for a check in a folder" in ask(capsys, tmp_path / "m.db", "--n", 5, code=2)
    assert "Cannot open" in ask(capsys, tmp_path / "none.db", "--out", tmp_path / "check", code=2)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "frames" / "f3.png").write_bytes((tmp_path / "frames" / "f4.png").read_bytes())
    text = ask(capsys, *command(tmp_path, "--n", 80), code=2)
    assert "its file holds another image now" in text
    assert not (tmp_path / "check" / "windows").exists()
