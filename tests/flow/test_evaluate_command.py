"""``georgia evaluate`` from words to figures and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_figures_are_those_of_the_known_truth(
    georgia: Any, brightness_model: Path, grey_pictures: Path
) -> None:
    code, result, _ = georgia("evaluate", brightness_model, grey_pictures)
    assert code == 0
    assert result["accuracy"] == pytest.approx(7 / 8)
    assert result["classes"] == ["CEX", "PG"]
    assert result["confusion"] == [[3, 1], [0, 4]]
    assert result["per_class"]["CEX"]["recall"] == 0.75
    assert [Path(one["file"]).name for one in result["mistakes"]] == ["CEX (3).png"]
    assert {"n_unknown", "ece"} <= set(result)


def test_order_of_the_models_classes_changes_no_name(
    georgia: Any, brightness_model: Path, grey_pictures: Path
) -> None:
    folders = {"CEX": "1", "PG": "0"}
    for name, folder in folders.items():
        (grey_pictures / name).rename(grey_pictures / folder)
    words = ("--class-names", "1=CEX,0=PG")
    _, result, _ = georgia("evaluate", brightness_model, grey_pictures, *words)
    assert result["per_class"]["CEX"]["recall"] == 0.75
    assert result["per_class"]["PG"]["recall"] == 1.0


def test_broken_file_is_left_out_of_the_figures_and_3(
    georgia: Any, brightness_model: Path, grey_pictures: Path
) -> None:
    (grey_pictures / "PG" / "empty.png").touch()
    code, result, err = georgia("evaluate", brightness_model, grey_pictures)
    assert code == 3
    assert result["n"] == 8
    assert [Path(one["file"]).name for one in result["failed"]] == ["empty.png"]
    assert "empty.png" in err


def test_part_is_that_of_split_folders(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split"
    words = ("--order", "name", "--fractions", "0.34,0.33,0.33")
    assert georgia("split", grey_pictures, "--out", split, *words)[0] == 0
    sizes = {}
    for part in ("train", "valid", "test", "all"):
        sizes[part] = georgia("evaluate", brightness_model, split, "--part", part)[1]["n"]
    assert georgia("evaluate", brightness_model, split)[1]["n"] == sizes["test"]
    assert sizes["all"] == 8 == sizes["train"] + sizes["valid"] + sizes["test"]
    code, _, err = georgia("evaluate", brightness_model, grey_pictures, "--part", "test")
    assert code == 2
    assert "--part" in err


def test_report_and_deliverables_are_written(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, result, _ = georgia("evaluate", brightness_model, grey_pictures, "--out", out)
    assert code == 0
    assert all(Path(file).is_file() for file in result["files"])
    assert "CEX (3).png" in (out / "report.html").read_text(encoding="utf-8")
    assert "0.8750" in (out / "FinalTestResults.txt").read_text(encoding="utf-8")


def test_strange_class_names_are_refused_with_a_hint(
    georgia: Any, brightness_model: Path, grey_pictures: Path
) -> None:
    (grey_pictures / "PG").rename(grey_pictures / "pgg")
    code, _, err = georgia("evaluate", brightness_model, grey_pictures)
    assert code == 2
    assert "--class-names pgg=PG" in err


def test_second_model_is_compared_on_the_same_files(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    words = ("--against", brightness_model / "model.onnx", "--out", out)
    code, result, _ = georgia("evaluate", brightness_model, grey_pictures, *words)
    assert code == 0
    pair = result["comparison"]
    assert (pair["n"], pair["n_both_right"], pair["n_neither_right"]) == (8, 7, 1)
    assert pair["accuracy"]["p_value"] == 1.0
    assert "No difference beyond chance" in pair["in_words"]
    assert (out / "comparison.json").is_file()
    assert "Against another model" in (out / "report.html").read_text(encoding="utf-8")


def test_changed_pictures_are_tried_and_shown(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, result, _ = georgia("evaluate", brightness_model, grey_pictures, "--robustness", "--out", out)
    assert code == 0
    table = result["robustness"]
    assert (table["n"], len(table["rows"])) == (8, 17)
    assert {row["accuracy"]["difference"] for row in table["rows"] if "rot" in row["change"]} == {0.0}
    assert (out / "robustness.json").is_file()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Do the answers stand changes of the picture?" in page
    assert "cropped to one size, 30×24 px" in page
