"""``georgia evaluate`` from arguments to metrics and report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def test_metrics_match_known_truth(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    code, result, _ = georgia("evaluate", brightness_model, grey_images)
    assert code == 0
    assert result["accuracy"] == pytest.approx(7 / 8)
    assert result["classes"] == ["CEX", "PG"]
    assert result["confusion"] == [[3, 1], [0, 4]]
    assert result["per_class"]["CEX"]["recall"] == 0.75
    assert [Path(row["file"]).name for row in result["mistakes"]] == ["CEX (3).png"]
    assert {"n_unknown", "ece"} <= set(result)


def test_class_order_changes_no_name(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    folders = {"CEX": "1", "PG": "0"}
    for name, folder in folders.items():
        (grey_images / name).rename(grey_images / folder)
    args = ("--class-names", "1=CEX,0=PG")
    _, result, _ = georgia("evaluate", brightness_model, grey_images, *args)
    assert result["per_class"]["CEX"]["recall"] == 0.75
    assert result["per_class"]["PG"]["recall"] == 1.0


def test_broken_file_exits_with_3(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    (grey_images / "PG" / "empty.png").touch()
    code, result, err = georgia("evaluate", brightness_model, grey_images)
    assert code == 3
    assert result["n"] == 8
    assert [Path(row["file"]).name for row in result["failed"]] == ["empty.png"]
    assert "empty.png" in err


def test_part_selects_a_split(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split"
    args = ("--order", "name", "--fractions", "0.34,0.33,0.33")
    assert georgia("split", grey_images, "--out", split, *args)[0] == 0
    sizes = {}
    for part in ("train", "valid", "test", "all"):
        sizes[part] = georgia("evaluate", brightness_model, split, "--part", part)[1]["n"]
    assert georgia("evaluate", brightness_model, split)[1]["n"] == sizes["test"]
    assert sizes["all"] == 8 == sizes["train"] + sizes["valid"] + sizes["test"]
    code, _, err = georgia("evaluate", brightness_model, grey_images, "--part", "test")
    assert code == 2
    assert "Leave --part out" in err


def test_report_and_tables_are_written(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, result, _ = georgia("evaluate", brightness_model, grey_images, "--out", out)
    assert code == 0
    assert {Path(file) for file in result["files"]} == set(out.iterdir())
    assert {"evaluation.json", "predictions_test.csv"} <= {Path(file).name for file in result["files"]}
    page = (out / "report.html").read_text(encoding="utf-8")
    for file in out.iterdir():
        assert (f'href="./{file.name}"' in page) is (file.name != "report.html")
    assert "CEX (3).png" in page
    assert "0.8750" in (out / "FinalTestResults.txt").read_text(encoding="utf-8")


def test_unknown_class_names_are_rejected(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    (grey_images / "PG").rename(grey_images / "pgg")
    code, _, err = georgia("evaluate", brightness_model, grey_images)
    assert code == 2
    assert "--class-names pgg=PG" in err


@pytest.mark.slow
def test_second_model_is_compared(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    args = ("--against", brightness_model / "model.onnx", "--out", out)
    code, result, _ = georgia("evaluate", brightness_model, grey_images, *args)
    assert code == 0
    pair = result["comparison"]
    assert (pair["n"], pair["n_both_right"], pair["n_neither_right"]) == (8, 7, 1)
    assert pair["accuracy"]["p_value"] == 1.0
    assert "No difference beyond chance" in pair["in_words"]
    assert (out / "comparison.json").is_file()
    assert "Comparison with another model" in (out / "report.html").read_text(encoding="utf-8")


def test_robustness_is_measured_and_shown(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, result, _ = georgia("evaluate", brightness_model, grey_images, "--robustness", "--out", out)
    assert code == 0
    table = result["robustness"]
    assert (table["n"], len(table["rows"])) == (8, 17)
    assert {row["accuracy"]["difference"] for row in table["rows"] if "rot" in row["change"]} == {0.0}
    assert (out / "robustness.json").is_file()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Robustness to image perturbations" in page
    assert "cropped to one size, 30×24 px" in page


def test_what_is_wrong_is_said_first(brightness_model: Path, grey_images: Path, capsys: Any) -> None:
    from georgia.cli import main

    assert main(["evaluate", str(brightness_model), str(grey_images)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CAUTION: Too few images to rely on the metrics (fewer than 20 of a class)")
    assert lines[-1].startswith("7 of 8 correct: accuracy 0.8750. 1 of 8 images was misclassified; the error")


def test_sets_below_promise_are_said(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, capsys: Any
) -> None:
    from georgia.cli import main

    model = tmp_path / "model"
    shutil.copytree(brightness_model, model)
    details = json.loads((model / "bundle.json").read_text(encoding="utf-8"))
    groups, limits = {"CEX": 90, "PG": 95}, {"0.05": {"CEX": 1.0, "PG": 1.0}}
    details["conformal"] = {"error_rate": 0.05, "limits": limits, "n_groups": groups}
    (model / "bundle.json").write_text(json.dumps(details), encoding="utf-8")
    _, result, _ = georgia("evaluate", model, grey_images)
    assert (result["sets"]["n_holding"], result["sets"]["n"], result["sets"]["is_short"]) == (0, 8, True)
    assert result["verdict"]["level"] == "bad"
    assert "sets" in [reason["concern"] for reason in result["verdict"]["reasons"]]
    assert main(["evaluate", str(model), str(grey_images)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("BAD: The prediction sets hold the true class of 0.0 % of 8 accepted images")
    assert lines[-1].startswith("Prediction sets, stated to hold the true class of 95 % of images: they hold")
    assert georgia("evaluate", brightness_model, grey_images)[1]["sets"] is None


@pytest.mark.slow
def test_everything_rejected_is_bad(georgia: Any, grey_images: Path, tmp_path: Path) -> None:
    from georgia.model.load import load_bundled_model

    rng = np.random.default_rng(0)
    for path in grey_images.glob("*/*.png"):
        Image.fromarray(rng.integers(0, 256, (90, 90, 3), np.uint8)).save(path)
    folder, out = load_bundled_model().model_path.parent, tmp_path / "report"
    code, result, _ = georgia("evaluate", folder, grey_images, "--out", out)
    assert (code, result["n_unknown"]) == (0, 8)
    assert result["verdict"]["level"] == "bad"
    assert result["verdict"]["reasons"][0]["concern"] == "all-rejected"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'class="verdict bad"' in page
    assert "None of 8" not in page
    assert "All 8 images in 8 groups were rejected" in page or "All 8 images were rejected" in page


def test_precision_is_an_option_and_a_setting(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text('[evaluate]\nprecision = "half"\n', encoding="utf-8")
    for args in (("--precision", "half"), ("--config", tmp_path / "s.toml")):
        code, _, err = georgia("evaluate", brightness_model, grey_images, *args)
        assert (code, "precision must be one of auto, float32, bfloat16, int8, " in err) == (2, True)
    _, result, _ = georgia("evaluate", brightness_model, grey_images, "--precision", "float32")
    assert (result["precision"], bool(result["processor"])) == ("float32", True)


def test_report_of_run_is_not_overwritten(georgia: Any, brightness_model: Path, grey_images: Path) -> None:
    before = sorted(brightness_model.iterdir())
    code, _, err = georgia("evaluate", brightness_model, grey_images, "--out", brightness_model)
    assert code == 2
    assert "Cannot use --out" in err
    assert sorted(brightness_model.iterdir()) == before


def rename_class(model: Path, target: Path) -> None:
    """Copy a model with the class PX for PG, in ``bundle.json`` and in the ONNX file."""
    onnx = pytest.importorskip("onnx")
    from georgia.labels import Labels
    from georgia.model import load_bundle, save_bundle

    shutil.copytree(model, target)
    bundle, net = load_bundle(target), onnx.load(str(target / "model.onnx"))
    for entry in net.metadata_props:
        entry.value = entry.value.replace("PG", "PX")
    onnx.save(net, str(target / "model.onnx"))
    save_bundle(target, "model.onnx", Labels(("CEX", "PX")), bundle.preprocess, bundle.metadata)


def test_models_of_other_classes_are_rejected(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    against = tmp_path / "other"
    rename_class(brightness_model, against)
    code, _, err = georgia("evaluate", brightness_model, grey_images, "--against", against)
    assert code == 2
    assert "both models must have the same classes (CEX, PG); got CEX, PX" in err


@pytest.mark.slow
def test_training_overlap_is_counted(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(brightness_model, run)
    parts = ["train", "train", "valid", "test"]
    rows = [f"{grey_images}/PG/PG ({n}).png,PG,{part}" for n, part in enumerate(parts)]
    rows += [f"{grey_images}/CEX/CEX ({n}).png,CEX,test" for n in range(4)]
    (run / "split.csv").write_text("path,class,part\n" + "\n".join(rows) + "\n", encoding="utf-8")
    copy = tmp_path / "copy"
    shutil.copytree(grey_images, copy)
    for data in (grey_images, copy):
        out = tmp_path / f"report of {data.name}"
        code, result, _ = georgia("evaluate", run, data, "--out", out)
        assert code == 0
        assert result["n_seen_in_training"] == 3
        assert "3 of 8 images are in" in (out / "report.html").read_text(encoding="utf-8")
    assert georgia("evaluate", run, run / "split.csv", "--part", "test")[1]["n_seen_in_training"] == 0
    assert georgia("evaluate", brightness_model, grey_images)[1]["n_seen_in_training"] == 0


@pytest.mark.slow
def test_ood_rejection_is_measured(
    georgia: Any, brightness_model: Path, synthetic_crops: Path, grey_images: Path, tmp_path: Path
) -> None:
    from georgia.model.load import load_bundled_model

    code, _, err = georgia("evaluate", brightness_model, grey_images, "--unknown", grey_images)
    assert code == 2
    assert "unknown score" in err
    ood = tmp_path / "ood"
    ood.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(ood / f"noise {seed}.png")
    known = tmp_path / "known"
    for crop in (file for name in ("CEX", "PG") for file in sorted((synthetic_crops / name).iterdir())[:6]):
        (known / crop.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(crop, known / crop.parent.name)
    shutil.copy(crop, ood / "crystal.png")
    (ood / "broken.png").touch()
    model, out = load_bundled_model().model_path.parent, tmp_path / "report"
    code, result, _ = georgia("evaluate", model, known, "--unknown", ood, "--out", out)
    assert code == 3
    found = result["unknown"]
    assert (found["n"], found["n_refused"], found["refused"]) == (4, 3, 0.75)
    assert found["refused_ci95"][0] < 0.75 < found["refused_ci95"][1]
    assert [Path(row["file"]).name for row in found["accepted"]] == ["crystal.png"]
    assert 0.7 < found["auroc"] < 1
    assert str(out / "ood.json") in result["files"]
    assert "crystal.png" in (out / "report.html").read_text(encoding="utf-8")
