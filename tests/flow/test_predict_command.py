"""``georgia predict`` from arguments to predictions, tables and sheets."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def labels(result: Any) -> dict[str, str]:
    return {Path(item["file"]).name: item["label"] for item in result["predictions"]}


def test_predictions_have_the_public_keys(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    code, result, _ = georgia("predict", brightness_model, grey_images)
    assert code == 0
    assert result["failed"] == []
    assert labels(result) == {
        **{f"CEX ({number}).png": "CEX" for number in range(3)},
        "CEX (3).png": "PG",
        **{f"PG ({number}).png": "PG" for number in range(4)},
    }
    for item in result["predictions"]:
        assert set(item) >= {"file", "label", "probability", "probabilities", "unknown_score", "set"}
        assert item["probability"] == item["probabilities"][item["label"]]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_file_folder_and_glob_predict_alike(
    georgia: Any, brightness_model: Path, grey_images: Path, engine: str
) -> None:
    onnx = brightness_model / "model.onnx"
    _, whole, _ = georgia("predict", brightness_model, grey_images)
    for source in (
        grey_images / "CEX",
        f"{grey_images}/CEX/*.png",
        grey_images / "CEX" / "CEX (0).png",
    ):
        code, result, _ = georgia("predict", onnx, source, "--engine", engine)
        assert code == 0
        assert labels(result).items() <= labels(whole).items()


def test_broken_file_exits_with_3(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    (grey_images / "notes.png").write_text("no image", encoding="utf-8")
    code, result, err = georgia("predict", brightness_model, grey_images)
    assert code == 3
    assert len(result["predictions"]) == 8
    assert [Path(failure["file"]).name for failure in result["failed"]] == ["notes.png"]
    assert "georgia: left out" in err


def test_other_image_format_exits_with_3(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    other = grey_images / "PG" / "moving.gif"
    Image.new("L", (30, 30)).save(other)
    (grey_images / "notes.txt").write_text("no image", encoding="utf-8")
    for source in (grey_images, f"{grey_images}/PG/*"):
        code, result, err = georgia("predict", brightness_model, source)
        assert code == 3
        assert [Path(failure["file"]).name for failure in result["failed"]] == ["moving.gif"]
        assert "PNG, JPEG, TIFF, BMP or WebP" in err
    code, result, _ = georgia("predict", other)
    assert (code, result["predictions"]) == (3, [])
    nameless = grey_images / "nameless"
    shutil.copy(grey_images / "PG" / "PG (1).png", nameless)
    assert georgia("predict", nameless)[0] == 0


def test_few_images_among_other_files_are_not_all(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    for number in range(30):
        (grey_images / f"scan {number}.dcm").write_bytes(bytes(128) + b"DICM")
        (grey_images / "PG" / f"film {number}.mp4").touch()
        (grey_images / "PG" / f"PG ({number}).json").touch()
    told = "georgia: not read: 30 files of other kinds (.mp4 30); images are"
    for more in ((), ("--out", tmp_path / "p.csv")):
        code, result, err = georgia("predict", brightness_model, grey_images, *more)
        assert (code, len(result["predictions"]), len(result["failed"])) == (3, 8, 30)
        assert err.count(told) == 1
    (grey_images / "CEX" / "CEX (0).json").touch()
    code, _, err = georgia("predict", brightness_model, grey_images / "CEX")
    assert code == 0
    assert "not read" not in err


@pytest.mark.parametrize("option", ["--sheet", "--out"])
def test_input_image_is_never_overwritten(
    georgia: Any, brightness_model: Path, grey_images: Path, option: str
) -> None:
    target = grey_images / "PG" / "PG (1).png"
    if option == "--out":
        target = target.rename(grey_images / "PG" / "PG (1).csv")
    before = target.read_bytes()
    source = grey_images if option == "--sheet" else target
    code, _, err = georgia("predict", brightness_model, source, option, target)
    assert code == 2
    assert "never written over" in err
    assert target.read_bytes() == before


def test_input_table_is_never_overwritten(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    table = grey_images / "set.csv"
    table.write_text("path,note\nPG/PG (1).png,mine\n")
    code, _, err = georgia("predict", brightness_model, table, "--out", table)
    assert code == 2
    assert "never written over" in err
    assert table.read_text() == "path,note\nPG/PG (1).png,mine\n"


def test_sheet_among_images_is_rejected(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    sheet = grey_images / "PG" / "sheet.png"
    code, _, err = georgia("predict", brightness_model, grey_images, "--sheet", sheet)
    assert code == 2
    assert "must not lie in the data folder" in err
    assert not sheet.exists()


def test_only_broken_files_exit_with_3(georgia: Any, brightness_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    code, result, _ = georgia("predict", brightness_model, tmp_path / "a.png", "--sheet", tmp_path / "s.png")
    assert code == 3
    assert result["predictions"] == []


def test_table_and_sheet_are_written(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    table, sheet = tmp_path / "out" / "predictions.csv", tmp_path / "out" / "sheet.png"
    code, _, _ = georgia("predict", brightness_model, grey_images, "--out", table, "--sheet", sheet)
    assert code == 0
    with table.open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 8
    with Image.open(sheet) as page:
        assert page.format == "PNG"


def test_foreign_keras_file_needs_class_names(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "GAweights.h5"
    shutil.copy(brightness_model / "foreign.h5", file)
    code, result, err = georgia("predict", file, grey_images)
    assert (code, result) == (2, None)
    assert "--classes" in err
    code, result, _ = georgia("predict", file, grey_images, "--classes", "CEX,PG")
    assert code == 0
    assert labels(result) == labels(georgia("predict", brightness_model, grey_images)[1])


@pytest.mark.slow
def test_bundled_model_is_the_default(georgia: Any, synthetic_crops: Path) -> None:
    code, result, err = georgia("predict", synthetic_crops / "CEX")
    assert code == 0
    assert len(result["predictions"]) == 40
    assert sum(line.startswith("georgia: ") for line in err.splitlines()) == 1
    assert "crystals" in err


def test_screen_table_has_file_and_classes(
    brightness_model: Path, grey_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from georgia.cli import main

    assert main(["predict", str(brightness_model), str(grey_images / "PG")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["file", "label", "probability", "P(CEX)", "P(PG)"]
    assert len(lines) == 5


def test_ray_rejects_sheet_and_missing_package(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("predict", brightness_model, grey_images, "--engine", "ray")
    code, result, err = georgia(*args, "--sheet", tmp_path / "sheet.png")
    assert (code, result) == (2, None)
    assert "one machine must make all predictions" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, result, err = georgia(*args, "--out", tmp_path / "predictions.csv")
    assert (code, result) == (2, None)
    assert "pip install 'georgia[ray]'" in err
    assert not list(tmp_path.glob("predictions*"))


@pytest.mark.slow
def test_few_images_use_onnx_runtime(
    georgia: Any, synthetic_crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEORGIA_PRECISION", raising=False)
    crop = next(synthetic_crops.glob("PG/*.png"))
    results = [georgia("predict", crop, *args)[1] for args in ((), ("--precision", "float32"))]
    assert [result["engine"] for result in results] == ["onnxruntime", "openvino"]
    probabilities = [result["predictions"][0]["probabilities"]["PG"] for result in results]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-4)
    assert georgia("predict", synthetic_crops / "CEX")[1]["engine"] == "openvino"


def test_unused_bits_are_said_once(
    georgia: Any, brightness_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEORGIA_DEPTH", raising=False)
    ramp = np.linspace(0, 4095, 900).astype(np.uint16).reshape(30, 30)
    for name in ("a.png", "b.png"):
        Image.fromarray(ramp).save(tmp_path / name)
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "black.png")
    code, result, err = georgia("predict", brightness_model, tmp_path, "--out", tmp_path / "t.csv")
    assert code == 0
    assert err.count("2 files of 16 bits use 12 bits at most") == 1
    assert "set GEORGIA_DEPTH=12, in training too" in err
    (notice,) = result["notices"]
    assert notice.startswith("2 files of 16 bits")
    monkeypatch.setenv("GEORGIA_DEPTH", "12")
    code, result, err = georgia("predict", brightness_model, tmp_path)
    assert (code, result["notices"], "16 bits" in err) == (0, [], False)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet"])
def test_table_says_what_made_it(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, suffix: str
) -> None:
    table = tmp_path / f"t.{suffix}"
    beside = tmp_path / f"t.{suffix}-metadata.json"
    beside.write_text("of an earlier table")
    code, result, _ = georgia("predict", brightness_model, grey_images, "--out", table)
    assert code == 0
    if suffix == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        made = {key.decode(): value.decode() for key, value in parquet.read_schema(table).metadata.items()}
    else:
        made = json.loads((table if suffix == "json" else beside).read_text())
    sha256 = hashlib.sha256((brightness_model / "model.onnx").read_bytes()).hexdigest()
    assert (made["model_sha256"], made["precision"]) == (sha256, result["precision"])
    assert (made["engine"], made["model"]) == (result["engine"], result["model"])
    if suffix in ("csv", "jsonl"):
        assert (made["table"], made["sample_bits"], made["classes"]) == (table.name, 0, result["classes"])


@pytest.mark.filterwarnings("default:bfloat16 is not used")
def test_unshown_bfloat16_predicts_in_float32(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEORGIA_UNPROVEN_BFLOAT16", raising=False)
    table = tmp_path / "t.csv"
    command = ("predict", brightness_model, grey_images, "--precision", "bfloat16", "--out", table)
    code, result, err = georgia(*command)
    assert (code, result["precision"], err.count("bfloat16 is not used for model")) == (0, "float32", 1)
    assert json.loads(table.with_name("t.csv-metadata.json").read_text())["precision"] == "float32"


def _say_what_it_was_fitted_with(model: Path, target: Path) -> Path:
    shutil.copytree(model, target)
    details = json.loads((target / "bundle.json").read_text())
    (target / "bundle.json").write_text(json.dumps({**details, "recipe": {"class_weights": True}}))
    return target


def test_prior_corrects_table_and_says_so(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    model, out = _say_what_it_was_fitted_with(brightness_model, tmp_path / "model"), tmp_path / "out.csv"
    _, raw, _ = georgia("predict", model, grey_images)
    code, result, stderr = georgia("predict", model, grey_images, "--prior", "CEX=0.9,PG=0.1", "--out", out)
    assert code == 0
    assert "stated class frequencies CEX 0.900, PG 0.100" in stderr
    assert result["prior"]["frequencies"] == {"CEX": 0.9, "PG": 0.1}
    for before, after in zip(raw["predictions"], result["predictions"], strict=True):
        p = 0.9 * before["probabilities"]["CEX"]
        expected = p / (p + 0.1 * before["probabilities"]["PG"])
        assert after["probabilities"]["CEX"] == pytest.approx(expected, abs=1e-6)
    beside = json.loads((tmp_path / "out.csv-metadata.json").read_text())
    assert beside["prior"]["kind"] == "stated"
    assert len(out.read_text().splitlines()) == 1 + len(raw["predictions"])
    assert not (tmp_path / "out.csv.lock").exists()


def test_prior_is_estimated_from_the_images(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    model = _say_what_it_was_fitted_with(brightness_model, tmp_path / "model")
    code, result, _ = georgia("predict", model, grey_images, "--prior", "estimate")
    assert code == 0
    assert result["prior"]["kind"] == "estimated"
    assert sum(result["prior"]["frequencies"].values()) == pytest.approx(1)


def test_prior_that_cannot_be_used_is_told(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    code, _, stderr = georgia("predict", brightness_model, grey_images, "--prior", "estimate")
    assert code == 2
    assert "must say with which class frequencies it was fitted" in stderr
    code, _, stderr = georgia(
        "predict", brightness_model, grey_images, "--prior", "estimate", "--resume", "--out", "x.csv"
    )
    assert code == 2
    assert "one run on one machine must make all predictions" in stderr
