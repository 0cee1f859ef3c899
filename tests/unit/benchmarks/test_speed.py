"""Tables of ``scripts/bench``: arithmetic of epochs, and one table for each processor."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "benchmarks"))

import processors  # noqa: E402
import speed  # noqa: E402
import study_size  # noqa: E402

MACHINE: dict[str, Any] = {
    "processor": "AMD EPYC",
    "instructions": "AVX-512 BF16",
    "cores": 2,
    "openvino_capabilities": ["BF16", "FP32"],
    "load_before": 0.5,
}


def spent(wall_s: float) -> dict[str, float]:
    return {"wall_s": wall_s, "cpu_s": 2 * wall_s}


# The study: 0.2 s an image in training, 0.1 s in each of three validations. Georgia: 36.6 s for the features
# of the validation images, 110 s for the first epoch, of which 10 s are compiling, 100 s for the next.
FOUND: dict[str, Any] = {
    "n_train": 1000,
    "n_valid": 366,
    "n_study": 128,
    "study": {"train": spent(0.2), "evaluate": spent(0.1), "predict": spent(0.1)},
    "float32": {"validation features": spent(36.6), "epoch 1": spent(110.0), "epoch 2": spent(100.0)},
}


def make_document(**changes: Any) -> dict[str, Any]:
    return {"machine": MACHINE, "quick": False, "runs": [{"train": FOUND}], "seconds": [60.0], **changes}


def test_epoch_ratios_follow_from_stages() -> None:
    rows = {what: (value, aim) for what, value, aim in speed.list_ratios({"train": FOUND}, MACHINE)}
    name = "train georgia, 1,000 + 366 images, float32: study's epoch / "
    study = 1000 * 0.2 + 366 * 0.3
    assert rows[f"{name}first epoch"] == (pytest.approx(study / 146.6), ">= 4")
    assert rows[f"{name}later epochs"] == (pytest.approx(study / 100), ">= 4.5")
    assert rows[f"{name}later epochs of processor time"] == (pytest.approx(study / 100), "")
    assert not [what for what in rows if "bfloat16" in what]
    assert speed.list_ratios({"train": FOUND}, {**MACHINE, "instructions": "AMX"})[0][2] == ">= 8"


def test_busy_machine_shows_processor_time_alone() -> None:
    found = {**FOUND, "float32": {name: {**value, "wall_s": 1e9} for name, value in FOUND["float32"].items()}}
    busy = make_document(machine={**MACHINE, "load_before": 6.0}, runs=[{"train": found}])
    rows = speed.rows_of(busy)
    assert rows[0] == (rows[0][0], pytest.approx((1000 * 0.2 + 366 * 0.3) / 146.6), ">= 4")
    assert all(what.endswith("of processor time") for what, _, _ in rows)
    assert not [line for line in speed.render_document(busy, []) if "wall" in line]


def test_extrapolation_counts_features_once() -> None:
    seconds = study_size.georgia_training_s(FOUND, "float32", "wall_s")
    assert seconds == pytest.approx(3416 * 0.1 + 10 + 4 * 9564 * 0.1)
    study = study_size.study_epoch_s(FOUND, "wall_s", 9564, 3416)
    rows = {what: value for what, value, _ in study_size.list_train_rows(FOUND, ("", ""))}
    whole = "4 epochs of 9,564 + 3,416 images, extrapolated"
    assert rows[f"{whole}: study's way, hours"] == pytest.approx(4 * study / 3600)
    assert rows[f"{whole}: Georgia in float32, hours"] == pytest.approx(seconds / 3600)


def test_arithmetic_is_written_out() -> None:
    study, georgia, *_ = study_size.describe_arithmetic(FOUND)
    assert "9,564 × 0.200 s + 3,416 × (0.100 + 2 × 0.100) s = 2,938 s an epoch, × 4 = 3.26 h" in study
    features, epochs = "37 s × 3,416 / 366 (validation features)", "4 × 100 s × 9,564 / 1,000"
    assert f"{features} + 10 s (compiling) + {epochs} = " in georgia


def test_processors_are_never_mixed(tmp_path: Path) -> None:
    other = {**MACHINE, "instructions": "AMX"}
    assert processors.name_results(MACHINE) == "amd-epyc-avx-512-bf16-2-cores.json"
    assert processors.name_results(other) != processors.name_results(MACHINE)
    assert processors.name_results({**MACHINE, "cores": 4}) != processors.name_results(MACHINE)
    processors.check_same(tmp_path, {**MACHINE, "load_before": 9.0}, make_document())
    with pytest.raises(SystemExit, match="holds runs on AMD EPYC, AVX-512 BF16, 2 cores, this is .* AMX"):
        processors.check_same(tmp_path, other, make_document())


def test_page_has_a_table_per_file(tmp_path: Path) -> None:
    older = {"machine": {**MACHINE, "instructions": "AVX2"}, "remark": "Taken over."}
    held = make_document(**older, runs=[], table=[["predict: files → CSV", 2.7, ">= 8"]])
    for name, document in (("new", make_document()), ("old", held)):
        processors.write(document, tmp_path / "results" / f"{name}.json")
    page = tmp_path / "speed.md"
    page.write_text(f"above\n{speed.MARKS[0]}\nstale\n{speed.MARKS[1]}\nbelow\n", encoding="utf-8")
    documents = processors.read_all(tmp_path / "results")
    speed.write_docs(page, documents, {"new": [], "old": ["kept.png"]})
    text = page.read_text(encoding="utf-8")
    assert (text[:6], text[-6:]) == ("above\n", "below\n")
    assert "stale" not in text
    new, old = text.split("### AMD EPYC, AVX2, 2 cores")
    for text in ("### AMD EPYC, AVX-512 BF16, 2 cores", "hours | 3.26 |"):
        assert text in new
    assert "predict" not in new
    for text in ("Taken over.", "| predict: files → CSV | 2.70 | >= 8 |", "](../images/kept.png)"):
        assert text in old


def test_merged_runs_keep_sections_of_any() -> None:
    runs = [{"start": {"help": 1.0}}, {"start": {"help": 3.0}, "cores": {"1": 5.0}}, {"start": {"help": 2.0}}]
    assert speed.merge(runs) == {"start": {"help": 2.0}, "cores": {"1": 5.0}}


def test_stages_are_milliseconds_of_each_clock() -> None:
    stages = {"float32": {"augment": {"wall_s": 0.0004, "cpu_s": 0.0005}}}
    lines = speed.render_stages(stages, study_size.CLOCKS)
    assert lines[-3:] == [
        "| stage | float32, wall | float32, processor |",
        "|---|---|---|",
        "| augment | 0.4 | 0.5 |",
    ]


def test_kept_results_are_rendered_on_the_page() -> None:
    """The page holds what the files hold: a table that was not made of them is no measurement."""
    page = (ROOT / "docs" / "measurements" / "speed.md").read_text(encoding="utf-8")
    for name, document in processors.read_all().items():
        assert processors.name_results(document["machine"]) == f"{name}.json"
        for what, value, aim in speed.rows_of(document):
            assert f"| {what} | {value:.2f} | {aim} |" in page
    assert len(re.findall(r"^### .* cores$", page, re.MULTILINE)) == len(processors.read_all())
