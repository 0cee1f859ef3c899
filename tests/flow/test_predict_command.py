"""``georgia predict`` from arguments to predictions, tables and sheets."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

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
