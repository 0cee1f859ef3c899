"""``georgia predict`` from words to answers, tables and sheets."""

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


def test_answers_have_the_promised_keys(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
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
def test_file_folder_glob_and_engine_say_the_same(
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


def test_broken_file_is_named_and_3(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    (grey_images / "notes.png").write_text("no image", encoding="utf-8")
    code, result, err = georgia("predict", brightness_model, grey_images)
    assert code == 3
    assert len(result["predictions"]) == 8
    assert [Path(one["file"]).name for one in result["failed"]] == ["notes.png"]
    assert "georgia: left out" in err


def test_image_of_another_format_is_named_and_3(
    georgia: Any, brightness_model: Path, grey_images: Path
) -> None:
    other = grey_images / "PG" / "moving.gif"
    Image.new("L", (30, 30)).save(other)
    (grey_images / "notes.txt").write_text("no image", encoding="utf-8")
    for source in (grey_images, f"{grey_images}/PG/*"):
        code, result, err = georgia("predict", brightness_model, source)
        assert code == 3
        assert [Path(one["file"]).name for one in result["failed"]] == ["moving.gif"]
        assert "PNG, JPEG, TIFF, BMP or WebP" in err
    code, result, _ = georgia("predict", other)
    assert (code, result["predictions"]) == (3, [])
    nameless = grey_images / "nameless"
    shutil.copy(grey_images / "PG" / "PG (1).png", nameless)
    assert georgia("predict", nameless)[0] == 0


@pytest.mark.parametrize("option", ["--sheet", "--out"])
def test_no_image_is_written_over(
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


def test_only_broken_files_are_still_3(georgia: Any, brightness_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    code, result, _ = georgia("predict", brightness_model, tmp_path / "a.png", "--sheet", tmp_path / "s.png")
    assert code == 3
    assert result["predictions"] == []


def test_table_and_sheet_are_written(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    table, sheet = tmp_path / "out" / "answers.csv", tmp_path / "out" / "sheet.png"
    code, _, _ = georgia("predict", brightness_model, grey_images, "--out", table, "--sheet", sheet)
    assert code == 0
    with table.open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 8
    with Image.open(sheet) as page:
        assert page.format == "PNG"


def test_foreign_keras_file_needs_names_and_then_works(
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


def test_no_model_means_the_bundled_one_and_says_so(georgia: Any, synthetic_crops: Path) -> None:
    code, result, err = georgia("predict", synthetic_crops / "CEX")
    assert code == 0
    assert len(result["predictions"]) == 40
    assert sum(line.startswith("georgia: ") for line in err.splitlines()) == 1
    assert "drawn crystals" in err


def test_screen_table_names_the_file_and_every_class(
    brightness_model: Path, grey_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from georgia.cli import main

    assert main(["predict", str(brightness_model), str(grey_images / "PG")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["file", "label", "probability", "P(CEX)", "P(PG)"]
    assert len(lines) == 5


def test_ray_refuses_what_it_cannot_do_before_any_work(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", brightness_model, grey_images, "--engine", "ray")
    code, result, err = georgia(*words, "--sheet", tmp_path / "sheet.png")
    assert (code, result) == (2, None)
    assert "it is drawn on one machine" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, result, err = georgia(*words, "--out", tmp_path / "answers.csv")
    assert (code, result) == (2, None)
    assert "pip install 'georgia[ray]'" in err
    assert not list(tmp_path.glob("answers*"))


def test_a_handful_starts_sooner_in_onnx_runtime_unless_something_was_chosen(
    georgia: Any, synthetic_crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEORGIA_PRECISION", raising=False)
    one = next(synthetic_crops.glob("PG/*.png"))
    answers = [georgia("predict", one, *words)[1] for words in ((), ("--precision", "float32"))]
    assert [answer["engine"] for answer in answers] == ["onnxruntime", "openvino"]
    shares = [answer["predictions"][0]["probabilities"]["PG"] for answer in answers]
    assert shares[0] == pytest.approx(shares[1], abs=1e-4)
    assert georgia("predict", synthetic_crops / "CEX")[1]["engine"] == "openvino"
