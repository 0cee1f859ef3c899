"""``georgia spotcheck`` beside the fraction: its curve, a second person, names for a width, labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.flow.test_spotcheck_command import ask, name_windows, write_predictions
from tests.helpers import monitor as probe
from tests.helpers.models import write_model

from georgia.catalog.read import read_catalog
from georgia.cli.app import main
from georgia.monitor.result import FileKey, TileMap
from georgia.monitor.store import Store
from georgia.records import hash_file


def fill(file: Path, names: dict[int, str], by: str = "") -> None:
    """Write names into rows of a table, by their order."""
    rows = list(csv.DictReader(file.read_text().splitlines()))
    for row in rows:
        row |= {"name": names.get(int(row["order"]), ""), "by": by}
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def find_key(file: Path) -> FileKey:
    info, digest = file.stat(), hash_file(file)
    assert digest is not None
    return FileKey(file.name, info.st_size, info.st_mtime_ns, digest)


def make_batch(folder: Path) -> Path:
    """Return the store of a batch whose first half shows CEX alone, the second PG in every other window."""
    (folder / "frames").mkdir()
    store = Store(str(folder / "m.db"))
    batch = store.begin_batch(str(folder / "frames"), "B-1", "A", "PG", "tests")
    rng = np.random.default_rng(3)
    for number in range(1, 9):
        pixels = rng.integers(0, 99, (64, 64), np.uint8)
        if number > 4:
            pixels[:, 32:] += 150
        Image.fromarray(pixels).save(folder / "frames" / f"f{number}.png")
        boxes = np.array([[x, y, 32, 32] for x in (0, 32) for y in (0, 32)], np.int32)
        shown = np.full((4, 2), 0.5, np.float16)
        tiles = TileMap(64, 64, ("CEX", "PG"), boxes, np.zeros(4, np.int8), shown)
        key = find_key(folder / "frames" / f"f{number}.png")
        moment = 1000.0 + 60 * number
        result = probe.make_result(number, batch.id, 0.2, map=tiles, frame_time_s=moment, key=key)
        store.record_frame(result, str(folder / "frames"), "{}")
    store.close()
    return folder / "m.db"


def test_curve_follows_the_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, out = make_batch(tmp_path), tmp_path / "check"
    settings = tmp_path / "s.toml"
    settings.write_text("[spotcheck]\nspans = 2\n")
    command = ["spotcheck", db, "--frames", tmp_path / "frames", "--out", out, "--config", settings]
    _, first, _ = ask(capsys, *command)
    assert (first["n_sampled"], first["curve"], first["plot"]) == (32, [], None)
    names = {}
    for row in csv.DictReader((out / "names.csv").read_text().splitlines()):
        is_late = int(row["file"][1]) > 4
        names[int(row["order"])] = "PG" if is_late and row["left"] == "32" else "CEX"
    fill(out / "names.csv", names, "A. Miller")
    code, result, _ = ask(capsys, *command)
    assert code == 0
    early, late = result["curve"]
    assert (early["fraction"], late["fraction"]) == pytest.approx((0.0, 0.5), abs=1e-9)
    # All windows have names: nothing is left open.
    assert (early["high"], late["low"], late["high"]) == pytest.approx((0.0, 0.5, 0.5), abs=1e-9)
    assert (early["from_s"], early["to_s"], late["from_s"]) == (1060.0, 1240.0, 1300.0)
    assert early["n"] + late["n"] == 32
    with Image.open(result["plot"]) as image:
        assert image.width > 500
    assert main(list(map(str, command))) == 0
    assert "all hold at once" in capsys.readouterr().out


def test_running_batch_is_checked_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, out = make_batch(tmp_path), tmp_path / "check"
    command = ["spotcheck", db, "--frames", tmp_path / "frames", "--out", out, "--n", "8", "--apart"]
    _, first, _ = ask(capsys, *command)
    store = Store(str(db))
    tiles = TileMap(
        64, 64, ("CEX", "PG"), np.array([[0, 0, 32, 32]], np.int32), np.zeros(1, np.int8),
        np.full((1, 2), 0.5, np.float16),
    )  # fmt: skip
    result = probe.make_result(9, 1, 0.2, map=tiles, frame_time_s=9000.0)
    store.record_frame(result, str(tmp_path / "frames"), "{}")
    store.close()
    fill(out / "names.csv", dict.fromkeys(range(1, 9), "CEX"))
    code, later, error = ask(capsys, *command)
    assert (code, later["n_windows"], later["n_later"]) == (0, first["n_windows"], 1), error
    assert main(list(map(str, command))) == 0
    assert "grown by 1 window since" in capsys.readouterr().out


def test_table_has_no_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, truth = write_predictions(tmp_path)
    command = ["spotcheck", table, "--out", tmp_path / "check", "--n", "10"]
    ask(capsys, *command)
    name_windows(tmp_path / "check", truth, 10)
    _, result, _ = ask(capsys, *command)
    assert (result["curve"], result["plot"], result["slips"]) == ([], None, None)


def test_second_person_shows_slips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, truth = write_predictions(tmp_path)
    out = tmp_path / "check"
    command = ["spotcheck", table, "--out", out, "--n", "40"]
    ask(capsys, *command)
    second = list(csv.DictReader((out / "second.csv").read_text().splitlines()))
    assert [(int(row["order"]) - 1) // 10 for row in second] == [0, 1, 2, 3]
    name_windows(out, truth, 40)
    swapped = {"PG": "CEX", "CEX": "PG"}
    agreed = {int(row["order"]): truth[row["file"]] for row in second}
    fill(out / "second.csv", {**agreed, int(second[0]["order"]): swapped[truth[second[0]["file"]]]}, "B")
    _, result, _ = ask(capsys, *command)
    assert (result["slips"]["n"], result["slips"]["n_differing"]) == (4, 1)
    assert result["low_with_slips"] <= result["low"]
    assert main(list(map(str, command))) == 0
    assert "Two persons differ on 1 of 4 windows" in capsys.readouterr().out
    fill(out / "second.csv", {int(second[0]["order"]): "salt"})
    code, _, error = ask(capsys, *command)
    assert code == 2
    assert f"Cannot use row {second[0]['order']} of" in error


def test_width_decides_how_many_are_sampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, truth = write_predictions(tmp_path, 400)
    command = ["spotcheck", table, "--out", tmp_path / "check"]
    _, wide, _ = ask(capsys, *command, "--width", "0.5")
    _, narrow, _ = ask(capsys, "spotcheck", table, "--out", tmp_path / "narrow", "--width", "0.3")
    assert wide["n_sampled"] < narrow["n_sampled"] < 400
    assert (wide["n_for_width"], wide["width"]) == (wide["n_sampled"], 0.5)
    # The plan's number stays without --n, and the forecast goes by the names.
    name_windows(tmp_path / "check", truth, wide["n_sampled"])
    _, later, _ = ask(capsys, *command, "--width", "0.1")
    assert later["n_sampled"] == wide["n_sampled"]
    assert later["n_for_width"] is None or later["n_for_width"] > later["n"]
    code, _, error = ask(capsys, "spotcheck", table, "--out", tmp_path / "c", "--width", "2")
    assert code == 2
    assert "a width between 0 and 1" in error


def test_names_become_labels_for_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, out, labels = make_batch(tmp_path), tmp_path / "check", tmp_path / "labels.csv"
    command = ["spotcheck", db, "--frames", tmp_path / "frames", "--out", out, "--labels", labels, "--apart"]
    ask(capsys, *command, "--n", "12")
    fill(out / "names.csv", {order: ["PG", "CEX", "neither", "unclear"][order % 4] for order in range(1, 9)})
    code, result, error = ask(capsys, *command)
    assert (code, result["n_labels"]) == (0, 4), error
    found = read_catalog(labels)
    assert found.count_by_class() == {"CEX": 2, "PG": 2}
    assert all(record.group.startswith("frames/f") for record in found.records)
    assert all("#xywh=" in record.path.name for record in found.records)
    # More names make more labels; a table of something else stays.
    fill(out / "names.csv", {order: "PG" if order % 4 < 2 else "neither" for order in range(1, 13)})
    before = labels.read_bytes()
    code, _, error = ask(capsys, *command)
    assert code == 2
    assert "the labels of the same check" in error
    assert labels.read_bytes() == before


@pytest.mark.slow
def test_model_is_not_tested_on_what_it_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, truth = write_predictions(tmp_path)
    out = tmp_path / "check"
    learned = write_model(tmp_path / "a", "a", trained=list(truth)[:70])
    other = write_model(tmp_path / "b", "b", trained=[str(tmp_path / "crops" / "crop 0.png")])
    command = ["spotcheck", table, "--out", out, "--n", "20", "--model"]
    ask(capsys, *command, learned)
    name_windows(out, truth, 20)
    code, result, _ = ask(capsys, *command, learned)
    assert code == 0
    assert result["n_learned"] > 10
    assert result["error"] is None
    assert result["low"] <= result["fraction"] <= result["high"]
    assert main([*map(str, command), str(learned)]) == 0
    assert "says nothing of other images" in capsys.readouterr().err
    _, result, _ = ask(capsys, *command, other)
    # All crops of one class have the same pixels here: content is compared, not names.
    assert result["n_learned"] > 0
