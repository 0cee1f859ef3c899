"""``georgia study`` from arguments to the table; a study that was killed ends as one that was not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")

TINY = (
    "--set",
    "weights=none",
    "--set",
    "size_px=32",
    "--set",
    "epochs=2",
    "--set",
    "views=1",
    "--set",
    "refit=no",
    "--set",
    "foreign_material=none",
)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--variants", "A,E"), "'E' is no variant"),
        (("--grid", "lr=0.1", "--grid", "epohcs=3"), "Did you mean 'epochs'"),
        (("--recipe", "fsat"), "Did you mean 'fast'"),
        (("--folds", "1"), "folds must be 0, or 2 or more"),
        (("--set", "epochs=many"), "epochs"),
    ],
)
def test_wrong_args_are_2_before_any_work(
    georgia: Any, synthetic_crops: Path, tmp_path: Path, args: tuple[str, ...], text: str
) -> None:
    code, result, err = georgia("study", synthetic_crops, "--out", tmp_path / "study", *args)
    assert (code, result) == (2, None)
    assert text in err
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_backbone")
def test_killed_study_ends_as_unbroken_one(georgia: Any, tmp_path: Path) -> None:
    from georgia.synthetic import render_dataset

    render_dataset(tmp_path / "crops", n_per_class=20, seed=7)
    tiny = (*TINY[2:], "--set", "backbone=tiny")
    args = [str(tmp_path / "crops"), "--folds", "2", "--grid", "weights=none,gone.h5", *tiny]
    code, whole, err = georgia("study", *args, "--out", tmp_path / "whole")
    assert (code, whole["n_started"]) == (3, 4)
    check_folds_and_failures(whole, err)
    broken, runs = tmp_path / "broken", tmp_path / "broken" / "runs"
    georgia_with_tiny = [sys.executable, "-m", "tests.helpers.tiny_backbone"]
    kill_in_the_second_run([*georgia_with_tiny, "study", *args, "--out", str(broken)])
    (ended,) = [path.parent for path in runs.glob("weights=none*/row.json")]
    before = {path: path.stat().st_mtime_ns for path in ended.rglob("*")}
    code, result, err = georgia("study", *args, "--out", broken)
    assert (code, result["n_started"]) == (3, 3)
    assert "1 of 4 runs are there already" in err
    assert {path: path.stat().st_mtime_ns for path in ended.rglob("*")} == before
    assert read_table(broken) == read_table(tmp_path / "whole")
    keys = ("f1", "f1_ci95", "missed", "epochs")
    assert [result["variants"][0][key] for key in keys] == [whole["variants"][0][key] for key in keys]


def check_folds_and_failures(result: dict[str, Any], err: str) -> None:
    reasons = [row["failed"] for row in result["table"]]
    assert [bool(reason) for reason in reasons] == [False, False, True, True]
    assert "gone.h5" in err
    (variant,) = result["variants"]
    tested = [
        row["file"]
        for fold in (1, 2)
        for row in read_rows(
            Path(result["out"], "runs", f"weights=none-1-fold{fold}", "predictions_test.csv")
        )
    ]
    assert len(set(tested)) == len(tested) == variant["n_test"] == 40


def kill_in_the_second_run(command: list[str]) -> None:
    """Run it until the first of two epochs of the second run has ended."""
    environ = {**os.environ, "GEORGIA_DIES_AT_STATE": "3"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environ, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the table without the time that they took."""
    rows = read_rows(folder / "study.csv")
    assert rows
    return [{key: value for key, value in row.items() if key != "run time"} for row in rows]
