"""``georgia study`` from words to the table; a study that was killed ends as one that was not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")

TINY = ("--set", "weights=none", "--set", "size_px=32", "--set", "epochs=2", "--set", "views=1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--variants", "A,E"), "'E' is no variant"),
        (("--grid", "lr=0.1", "--grid", "epohcs=3"), "Did you mean 'epochs'"),
        (("--recipe", "fsat"), "Did you mean 'fast'"),
        (("--folds", "1"), "folds must be 0, or 2 or more"),
        (("--set", "epochs=many"), "epochs"),
    ],
)
def test_wrong_words_are_2_before_any_work(
    georgia: Any, drawn_crops: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, result, err = georgia("study", drawn_crops, "--out", tmp_path / "study", *words)
    assert (code, result) == (2, None)
    assert said in err
    assert not (tmp_path / "study").exists()


def read_table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the table without the time that they took."""
    with (folder / "study.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    return [{key: value for key, value in row.items() if key != "run time"} for row in rows]


@pytest.mark.slow
def test_killed_study_goes_on_and_its_table_is_that_of_an_unbroken_one(
    georgia: Any, drawn_crops: Path, tmp_path: Path
) -> None:
    words = [str(drawn_crops), "--variants", "fast,A", "--repeats", "1", *TINY]
    code, whole, _ = georgia("study", *words, "--out", tmp_path / "whole")
    assert (code, whole["n_started"]) == (0, 2)
    broken, runs = tmp_path / "broken", tmp_path / "broken" / "runs"
    command = [sys.executable, "-m", "georgia", "study", *words, "--out", str(broken)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(runs.glob("*/row.json")) or len(list(runs.glob("*/state/resume.npz"))) == 0:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    ended = next(runs.glob("*/row.json"))
    before = {path: path.stat().st_mtime_ns for path in ended.parent.rglob("*")}
    code, result, err = georgia("study", *words, "--out", broken)
    assert (code, result["n_started"]) == (0, 1)
    assert "1 of 2 runs are there already" in err
    assert {path: path.stat().st_mtime_ns for path in ended.parent.rglob("*")} == before
    assert read_table(broken) == read_table(tmp_path / "whole")
    assert result["comparisons"] == whole["comparisons"]


@pytest.mark.slow
def test_folds_test_every_picture_once_and_a_failed_run_is_a_row(
    georgia: Any, drawn_crops: Path, tmp_path: Path
) -> None:
    words = ["--folds", "2", "--grid", "weights=none,gone.h5", *TINY[2:]]
    code, result, err = georgia("study", drawn_crops, "--out", tmp_path / "study", *words)
    assert code == 3
    reasons = {row["run name"]: row["failed"] for row in result["table"]}
    assert [bool(reason) for reason in reasons.values()] == [False, False, True, True]
    assert "gone.h5" in err
    (variant,) = result["variants"]
    assert variant["n_test"] == 80
    tested = [
        row["file"]
        for fold in (1, 2)
        for row in csv.DictReader(
            (tmp_path / "study" / "runs" / f"weights=none-1-fold{fold}" / "predictions_test.csv").open()
        )
    ]
    assert len(set(tested)) == len(tested) == 80
