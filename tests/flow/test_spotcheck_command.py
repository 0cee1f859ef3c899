"""``georgia spotcheck``: sampled, named, estimated; on a table of predictions and on a monitor's batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers import monitor as probe

from georgia.cli.app import main
from georgia.monitor.result import FileKey, TileMap
from georgia.monitor.store import Store
from georgia.records import hash_file
from georgia.spotcheck import SpotcheckConfig, read_predictions, run_spotcheck


def write_predictions(folder: Path, n: int = 80, suffix: str = ".csv") -> tuple[Path, dict[str, str]]:
    """Return a table of predictions and what each image really shows: the net misses some of PG."""
    rng = np.random.default_rng(1)
    truth: dict[str, str] = {}
    rows = []
    (folder / "crops").mkdir(exist_ok=True)
    for number in range(n):
        file = folder / "crops" / f"crop {number}.png"
        is_pg = bool(rng.random() < 0.3)
        Image.fromarray(np.full((20, 20), 200 if is_pg else 60, np.uint8)).save(file)
        truth[str(file)] = "PG" if is_pg else "CEX"
        value = float(np.clip(rng.normal(0.7 if is_pg else 0.1, 0.2), 0, 1))
        label = "PG" if value > 0.5 else "CEX"
        rows.append([file, label, max(value, 1 - value), 1 - value, value, 0.5, label, ""])
    table = folder / f"predictions{suffix}"
    if suffix == ".csv":
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(
                ["file", "label", "probability", "p_CEX", "p_PG", "unknown_score", "set", "error"]
            )
            writer.writerows(rows)
            writer.writerow([folder / "broken.png", "", "", "", "", "", "", "damaged"])
    else:
        items = [
            {"file": str(row[0]), "label": row[1], "probabilities": {"CEX": row[3], "PG": row[4]}}
            for row in rows
        ]
        table.write_text(json.dumps({"predictions": items, "failed": []}))
    return table, truth


def name_windows(out: Path, truth: dict[str, str], n: int) -> None:
    """Fill the first rows of the table of names."""
    rows = list(csv.DictReader((out / "names.csv").read_text().splitlines()))
    for row in rows[:n]:
        row |= {"name": truth[row["file"]].lower(), "by": "A. Miller"}
    with (out / "names.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def ask(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any], str]:
    code = main([*map(str, arguments), "--json"])
    done = capsys.readouterr()
    return code, json.loads(done.out) if done.out else {}, done.err


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_spotcheck_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    table, truth = write_predictions(tmp_path, suffix=suffix)
    command = ["spotcheck", table, "--out", tmp_path / "check", "--n", "40"]
    code, first, _ = ask(capsys, *command)
    assert code == 0
    assert (first["fraction"], first["n"], first["n_sampled"]) == (None, 0, 40)
    assert len(list((tmp_path / "check" / "windows").iterdir())) == 40
    name_windows(tmp_path / "check", truth, 40)
    code, result, _ = ask(capsys, *command)
    wanted = np.mean([name == "PG" for name in truth.values()])
    assert code == 0
    assert result["n"] == 40
    assert result["low"] <= wanted <= result["high"]
    assert result["error_low"] <= result["error"] <= result["error_high"]
    stored = json.loads((tmp_path / "check" / "spotcheck.json").read_text())
    assert stored["names"][0]["by"] == "A. Miller"
    assert {"fraction", "low", "high", "n", "method", "raw_fraction"} <= set(result)


def test_names_count_up_to_first_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, truth = write_predictions(tmp_path)
    command = ["spotcheck", table, "--out", tmp_path / "check", "--n", "30"]
    ask(capsys, *command)
    name_windows(tmp_path / "check", truth, 12)
    before = (tmp_path / "check" / "names.csv").read_bytes()
    assert main(list(map(str, command))) == 0
    assert "Window 13 is the next to name, of 30." in capsys.readouterr().out
    assert (tmp_path / "check" / "names.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (["--seed", "7"], "another settings"),
        (["--class", "CEX"], "another target"),
        (["--n", "20"], "another settings"),
        (["--class", "XX"], "one of CEX, PG is needed"),
    ],
)
def test_another_plan_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], text: str
) -> None:
    table, _ = write_predictions(tmp_path)
    command = ["spotcheck", table, "--out", tmp_path / "check", "--n", "30"]
    ask(capsys, *command)
    code, _, error = ask(capsys, *command, *change)
    assert code == 2
    assert text in error


def test_changed_predictions_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = write_predictions(tmp_path)
    command = ["spotcheck", table, "--out", tmp_path / "check", "--n", "30"]
    ask(capsys, *command)
    table.write_text(table.read_text().replace("crop 3.png", "crop 3b.png"))
    code, _, error = ask(capsys, *command)
    assert code == 2
    assert "another fingerprint" in error


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda text: text.replace("1,", "99,", 1), "must stand in the order"),
        (lambda text: text.replace(",,\n", ",salt,\n", 1), "its name must be CEX, PG, neither or unclear"),
        (lambda text: "nothing,at,all\n", "the table names.csv that Georgia wrote"),
    ],
)
def test_damaged_names_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, text: str
) -> None:
    table, _ = write_predictions(tmp_path)
    command = ["spotcheck", table, "--out", tmp_path / "check", "--n", "10"]
    ask(capsys, *command)
    names = tmp_path / "check" / "names.csv"
    head, _, rest = names.read_text().partition("\n")
    names.write_text(f"{head}\n{damage(rest)}" if "," in damage(rest) else damage(rest))
    code, _, error = ask(capsys, *command)
    assert code == 2
    assert text in error


def test_spotcheck_of_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    store = Store(str(tmp_path / "m.db"))
    batch = store.begin_batch(str(frames), "B-1", "A", "PG", "tests")
    rng = np.random.default_rng(3)
    for number in range(1, 9):
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(frames / f"f{number}.png")
        boxes = np.array([[x, y, 32, 32] for x in (0, 32) for y in (0, 32)], np.int32)
        values = rng.random(4).astype(np.float16)
        codes = np.array([1, 0, -1, -2], np.int8)
        tiles = TileMap(64, 64, ("CEX", "PG"), boxes, codes, np.stack([1 - values, values], axis=1))
        key = FileKey(f"f{number}.png", 1, number, hash_file(frames / f"f{number}.png"))
        result = probe.make_result(number, batch.id, 0.2, map=tiles, key=key)
        store.record_frame(result, str(frames), "{}")
    store.close()
    command = ["spotcheck", tmp_path / "m.db", "--batch", "B-1", "--frames", frames, "--out", tmp_path / "c"]
    code, result, _ = ask(capsys, *command, "--n", "10")
    assert code == 0
    assert (result["n_windows"], result["class"]) == (24, "PG")
    rows = list(csv.DictReader((tmp_path / "c" / "names.csv").read_text().splitlines()))
    assert {row["width"] for row in rows} == {"32"}
    with Image.open(tmp_path / "c" / "windows" / "01.png") as image:
        assert image.size == (32, 32)
    code, _, error = ask(capsys, *command[:2], "--batch", "B-2", "--out", tmp_path / "d")
    assert code == 2
    assert "the name or number of one batch is needed" in error


def test_python_gives_the_same_result(tmp_path: Path) -> None:
    table, truth = write_predictions(tmp_path)
    config = SpotcheckConfig(n=20)
    run_spotcheck(read_predictions(table), tmp_path / "check", config)
    name_windows(tmp_path / "check", truth, 20)
    result = run_spotcheck(read_predictions(table), tmp_path / "check", config)
    assert result.interval is not None
    assert "after 20 names" in result.summary()
    assert result.to_rows()[0]["n"] == 20


def test_spotcheck_of_predicted_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save("frames/f.png")
    rows = [f"frames/f.png#xywh={left},0,16,32,CEX,0.9,0.9,0.1,0.5,CEX,".split(",") for left in (0, 16, 32)]
    (tmp_path / "out").mkdir()
    with Path("out/p.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "probability", "p_CEX", "p_PG", "unknown_score", "set", "error"])
        writer.writerows([",".join(row[:4]), *row[4:]] for row in rows)
    code, result, error = ask(capsys, "spotcheck", "out/p.csv", "--out", "check")
    assert (code, result.get("n_windows")) == (0, 3), error
    with Image.open("check/windows/1.png") as image:
        assert image.size == (16, 32)


def test_missing_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = write_predictions(tmp_path, n=5)
    (tmp_path / "crops" / "crop 3.png").unlink()
    code, _, error = ask(capsys, "spotcheck", table, "--out", tmp_path / "check")
    assert code == 2
    assert "crop 3.png" in error
    assert not (tmp_path / "check" / "windows").exists()


def test_output_among_the_images_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("CEX", "PG"):
        (tmp_path / "data" / name).mkdir(parents=True)
    table = tmp_path / "p.csv"
    head = "file,label,probability,p_CEX,p_PG,unknown_score,set,error\n"
    rows = []
    for number, name in enumerate(("CEX", "PG", "CEX", "PG")):
        file = tmp_path / "data" / name / f"{number}.png"
        Image.fromarray(np.full((20, 20), 60, np.uint8)).save(file)
        rows.append(f"{file},{name},0.9,0.9,0.1,0.5,{name},\n")
    table.write_text(head + "".join(rows))
    for out in ("data/check", "data/PG/check"):
        code, _, error = ask(capsys, "spotcheck", table, "--out", tmp_path / out)
        assert code == 2
        assert "it must not lie in the data folder" in error
    code, _, _ = ask(capsys, "spotcheck", table, "--out", tmp_path / "check")
    assert code == 0


def test_empty_table_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "p.csv"
    table.write_text("file,label,probability,p_CEX,p_PG,unknown_score,set,error\n")
    code, _, error = ask(capsys, "spotcheck", table, "--out", tmp_path / "check")
    assert code == 2
    assert "one prediction or more is needed" in error
