"""``georgia train`` from arguments to a run folder that predicts and evaluates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")

# As small as a run can be: a net that has learned nothing still has to be exported and reported.
SMALL = ("--weights", "none", "--set", "size_px=32", "--set", "epochs=1")
TINY = (*SMALL, "--set", "backbone=tiny", "--set", "refit=no", "--set", "foreign_material=none")
pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("--set", "backbone=tiny", "--set", "foreign_material=none"), id="tiny"),
        pytest.param((), id="default", marks=pytest.mark.slow),
    ],
)
def tiny_run(
    request: pytest.FixtureRequest, synthetic_crops: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of a tiny net; with the slow tests one of the default net too."""
    from georgia.cli import main

    out = tmp_path_factory.mktemp("runs") / "tiny"
    args = ["train", str(synthetic_crops), "--out", str(out), *SMALL, "--set", "prefix=TRY"]
    assert main([*args, *request.param]) == 0
    return out


def test_run_holds_every_artifact(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    assert {
        "bundle.json",
        "report.html",
        "history.csv",
        "split.csv",
        "settings.toml",
        "trained_on.txt",
    } <= names
    assert {"MODEL_CARD.md", "robustness.json"} <= names
    assert {"TRYmetrics_plot.png", "TRYFinalTestResults.txt", "TRYfinal_confusion_matrix.png"} <= names
    stamped = {path.suffix: path.stem for path in tiny_run.glob("TRYweights_*")}
    assert set(stamped) == {".h5", ".onnx"}
    assert len(set(stamped.values())) == 1


def test_small_set_is_refitted_and_says_so(tiny_run: Path) -> None:
    bundle = json.loads((tiny_run / "bundle.json").read_text(encoding="utf-8"))
    n_train, n_valid = (sum(bundle["data"]["counts"][split].values()) for split in ("train", "valid"))
    refit = bundle["training"]["refit"]
    assert refit == {"n_images": n_train + n_valid, "n_epochs": 1, "n_heads": 4, "n_folds": 5}
    assert bundle["calibration"]["n"] == n_train + n_valid
    assert "Refit: 4 heads" in (tiny_run / "report.html").read_text(encoding="utf-8").replace("\xa0", " ")


def test_evaluate_repeats_metrics_of_run(georgia: Any, tiny_run: Path) -> None:
    code, result, _ = georgia("evaluate", tiny_run, tiny_run / "split.csv")
    assert code == 0
    text = (tiny_run / "TRYFinalTestResults.txt").read_text(encoding="utf-8")
    for name, expected in result["per_class"].items():
        row = next(line.split() for line in text.splitlines() if line.split()[:1] == [name])
        assert row[1:] == [f"{expected[key]:.4f}" for key in ("precision", "recall", "f1")] + [
            str(expected["support"])
        ]


def test_run_onnx_and_weights_agree(georgia: Any, tiny_run: Path, synthetic_crops: Path) -> None:
    probabilities = []
    for model in (tiny_run, next(tiny_run.glob("*.onnx")), next(tiny_run.glob("*.h5"))):
        code, result, _ = georgia("predict", model, synthetic_crops / "PG")
        assert code == 0
        probabilities.append([item["probabilities"]["PG"] for item in result["predictions"]])
    assert probabilities[0] == probabilities[1]
    assert probabilities[0] == pytest.approx(probabilities[2], abs=1e-4)


@pytest.mark.slow
def test_settings_file_repeats_the_run(
    georgia: Any, tiny_run: Path, synthetic_crops: Path, tmp_path: Path
) -> None:
    code, result, _ = georgia(
        "train",
        synthetic_crops,
        "--out",
        tmp_path / "again",
        "--config",
        tiny_run / "settings.toml",
        "--set",
        "backbone=tiny",
    )
    assert code == 0
    assert set(result) >= {"run", "recipe", "epochs", "seconds", "metrics", "files"}
    assert result["epochs"] == 1
    columns = slice(1, None)
    ours, theirs = (
        (folder / "split.csv").read_text().splitlines()[columns] for folder in (tiny_run, tmp_path / "again")
    )
    assert ours == theirs


def test_second_run_in_folder_is_rejected(georgia: Any, tiny_run: Path, synthetic_crops: Path) -> None:
    code, _, err = georgia("train", synthetic_crops, "--out", tiny_run, *TINY)
    assert code == 2
    assert "--resume" in err


@pytest.mark.slow
def test_broken_image_is_left_out_with_3(georgia: Any, synthetic_crops: Path, tmp_path: Path) -> None:
    data = tmp_path / "crops"
    shutil.copytree(synthetic_crops, data)
    (data / "PG" / "half.png").write_bytes((data / "PG" / "PG (1).png").read_bytes()[:300])
    code, result, err = georgia("train", data, "--out", tmp_path / "run", *TINY)
    assert code == 3
    assert [Path(failure["file"]).name for failure in result["failed"]] == ["half.png"]
    assert "half.png" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--recipe", "fsat"), "Did you mean 'fast'"),
        (("--weights", "nothing.h5"), "nothing.h5"),
        (("--device", "tpu"), "device"),
        (("--set", "learning_rat=1"), "Did you mean 'learning_rate'"),
        (("--set", "epochs=many", "--set", "batch_size=no"), "batch_size"),
    ],
)
def test_wrong_settings_are_2_before_any_work(
    georgia: Any, synthetic_crops: Path, tmp_path: Path, args: tuple[str, ...], text: str
) -> None:
    code, result, err = georgia("train", synthetic_crops, "--out", tmp_path / "run", *args)
    assert (code, result) == (2, None)
    assert text in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def rotated_duplicate(tmp_path: Path, synthetic_crops: Path) -> Path:
    """Synthetic crops, of which one CEX stands rotated among the PG."""
    from PIL import Image

    data = tmp_path / "crops"
    shutil.copytree(synthetic_crops, data)
    image = Image.open(data / "CEX" / "CEX (1).png").transpose(Image.Transpose.ROTATE_90)
    image.save(data / "PG" / "rotated.png")
    return data


@pytest.mark.slow
def test_contradicting_labels_stop_with_4(georgia: Any, rotated_duplicate: Path, tmp_path: Path) -> None:
    code, result, err = georgia("train", rotated_duplicate, "--out", tmp_path / "run", *TINY)
    assert (code, result) == (4, None)
    assert "--set allow=conflict" in err
    assert (tmp_path / "run" / "audit.json").is_file()
    code, _, _ = georgia(
        "train", rotated_duplicate, "--out", tmp_path / "run", *TINY, "--set", "allow=conflict"
    )
    assert code == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    first_line = page[page.index('class="verdict') : page.index("</section>")]
    assert "The data is not sound: conflict" in first_line
    assert "Allowed on request" in first_line


def test_bundle_records_precision_and_acceptance(tiny_run: Path) -> None:
    bundle = json.loads((tiny_run / "bundle.json").read_text(encoding="utf-8"))
    assert bundle["precision"]["served"] == "float32"
    trial = bundle["precision"]["bfloat16"]
    assert trial["n"] > 0
    assert trial["is_shown"] in (True, False)
    acceptance = bundle["acceptance"]
    assert (acceptance["stated"], acceptance["n"] > 0) == (0.99, True)
    assert acceptance["fraction"] > 0.9
    evaluation = json.loads((tiny_run / "evaluation.json").read_text(encoding="utf-8"))
    assert (evaluation["engine"], evaluation["precision"]) == ("openvino", "float32")
    assert evaluation["processor"]


@pytest.mark.slow
def test_model_that_rejects_all_stops_with_4(
    georgia: Any, synthetic_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from georgia.evaluate import serving
    from georgia.evaluate.assessment import Acceptance

    monkeypatch.setattr(serving, "measure_acceptance", lambda *_: Acceptance(0.0, 0.99, 16, 16))
    out = tmp_path / "run"
    code, result, err = georgia("train", synthetic_crops, "--out", out, *TINY, "--set", "robustness=0")
    assert code == 4
    assert "georgia: quality gate failed: The exported file accepts 0.0 % of the 16 validation images" in err
    assert (result["verdict"]["level"], result["verdict"]["reasons"][0]["concern"]) == ("bad", "acceptance")
    page = (out / "report.html").read_text(encoding="utf-8").replace("\xa0", " ")
    assert page.index('class="verdict bad"') < page.index("The exported file accepts 0.0 %")
    assert "The exported file accepts 0.0 %" in (out / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_gate_fails_alike_everywhere(
    georgia: Any, synthetic_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import georgia as package
    from georgia.errors import GateError
    from georgia.evaluate import serving
    from georgia.evaluate.assessment import Acceptance

    monkeypatch.setattr(serving, "measure_acceptance", lambda *_: Acceptance(0.0, 0.99, 16, 16))
    settings = {"weights": "none", "size_px": 32, "epochs": 1, "backbone": "tiny", "robustness": 0}
    settings |= {"refit": "no", "foreign_material": "none"}
    with pytest.raises(GateError, match="the model cannot be used: The exported file accepts 0") as caught:
        package.train(synthetic_crops, tmp_path / "run", progress=False, **settings)
    run = caught.value.result
    assert "accepts 0.0 %" in run.gate
    assert run.files["report"].is_file()
    assert not (tmp_path / "run" / "state").exists()
    changes = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    args = ("study", synthetic_crops, "--variants", "fast", "--repeats", "1", *changes)
    code, result, err = georgia(*args, "--out", tmp_path / "study")
    assert code == 4
    assert "run fast-1: quality gate failed: The exported file accepts 0.0 %" in err
    assert "accepts 0.0 %" in result["table"][0]["quality gate"]
    again, _, _ = georgia(*args, "--out", tmp_path / "study")
    assert again == 4
    dry, result, _ = georgia(*args, "--set", "rehearse=yes", "--out", tmp_path / "dry")
    assert (dry, result["table"][0]["quality gate"]) == (0, "")


def test_audit_verdict_stands_in_bundle_and_report(tiny_run: Path) -> None:
    import json

    audit = json.loads((tiny_run / "bundle.json").read_text(encoding="utf-8"))["audit"]
    assert (audit["gate"], audit["findings"]) == ("pass", [])
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert audit["verdict"] in page
    assert "near-duplicates of one crystal in two splits" not in page


def test_bundle_names_median_side(tiny_run: Path) -> None:
    import json

    from georgia.model.load import load_bundle
    from georgia.monitor.tile import find_tile_px

    side_px = json.loads((tiny_run / "bundle.json").read_text(encoding="utf-8"))["data"]["median_side_px"]
    assert 100 < side_px < 260  # what georgia.synthetic renders: 125 to 225 px a side
    assert find_tile_px(load_bundle(tiny_run)) == side_px


def hash_files(folder: Path) -> dict[str, str]:
    import hashlib

    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_finished_run_is_not_resumed(
    georgia: Any, tiny_run: Path, synthetic_crops: Path, grey_images: Path
) -> None:
    before = hash_files(tiny_run)
    for data in (synthetic_crops, grey_images):
        code, result, err = georgia("train", data, "--out", tiny_run, *TINY, "--resume")
        assert (code, result) == (2, None)
        assert "finished run" in err
    assert hash_files(tiny_run) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "error"),
    [("evaluate", KeyboardInterrupt()), ("report", OSError(28, "No space left on device"))],
)
def test_stop_after_training_is_resumed(
    georgia: Any,
    synthetic_crops: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    import time

    from georgia.train import finish

    def stop(*_: Any) -> Any:
        finish.STEPS[step] = kept
        raise error

    kept, args = finish.STEPS[step], ("train", synthetic_crops, "--out", tmp_path / "run", *TINY)
    monkeypatch.setitem(finish.STEPS, step, stop)
    code, _, err = georgia(*args)
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2), err
    assert "Traceback" not in err
    moment = time.strftime
    monkeypatch.setattr(time, "strftime", lambda form, *rest: moment(form.replace("%Y", "2031"), *rest))
    code, _, err = georgia(*args, "--resume")
    assert code == 0, err
    assert {path.suffix for path in (tmp_path / "run").glob("GAweights_*")} == {".h5", ".onnx"}
    assert len(list((tmp_path / "run").glob("GAweights_*"))) == 2
    assert not (tmp_path / "run" / "state").exists()


@pytest.mark.parametrize("command", ["train", "study"])
def test_output_in_data_is_rejected(georgia: Any, grey_images: Path, command: str) -> None:
    before = hash_files(grey_images)
    code, _, err = georgia(command, grey_images, "--out", grey_images / "run", "--set", "epochs=1")
    assert code == 2
    assert "must not lie in the data folder" in err
    assert hash_files(grey_images) == before


@pytest.mark.slow
def test_audit_section_and_options_are_obeyed(georgia: Any, synthetic_crops: Path, tmp_path: Path) -> None:
    import tomllib

    settings = tmp_path / "s.toml"
    settings.write_text("[audit]\nnear_copies = false\n", encoding="utf-8")
    args = ("train", synthetic_crops, "--config", settings, "--group-regex", r"\((\d)\d*\)", *TINY)
    code, _, err = georgia(*args, "--out", tmp_path / "run")
    assert code == 0, err
    written = tomllib.loads((tmp_path / "run" / "settings.toml").read_text(encoding="utf-8"))
    assert written["audit"] == {"near_copies": False, "group_regex": r"\((\d)\d*\)"}
    code, _, err = georgia(*args, "--out", tmp_path / "other", "--time-regex", "(")
    assert code == 2
    assert "time_regex" in err
