"""What commands understand of data: said first, asked where ambiguous, whatever the bytes of names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from georgia.cli import main

FOLDS = "train=fold1,train=fold2,test=fold3"


@pytest.fixture
def folds(synthetic_crops: Path, tmp_path: Path) -> Path:
    root = tmp_path / "folds"
    for number, fold in enumerate(("fold1", "fold2", "fold3")):
        for name in ("CEX", "PG"):
            (root / fold / name).mkdir(parents=True)
            for file in sorted((synthetic_crops / name).iterdir())[number::3]:
                shutil.copy(file, root / fold / name)
    return root


@pytest.mark.parametrize("command", ["audit", "split", "train", "study"])
def test_ambiguous_folders_stop_with_a_question(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, str(folds), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert "Which are 'fold1', 'fold2', 'fold3': splits (--parts train=fold1,test=fold3)" in err
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_parts_settle_the_question(folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    args = ["split", str(folds), "--out", str(out), "--order", "given", "--audit", "none", "--parts", FOLDS]
    assert main([*args, "--json"]) == 0
    shown = capsys.readouterr()
    counts = json.loads(shown.out)["counts"]
    assert shown.err.startswith("data: 80 images, 2 classes: CEX 40, PG 40; train 54, valid 0, test 26\n")
    assert sum(counts["train"].values()) == 54
    assert sum(counts["test"].values()) == 26


def test_parts_without_meaning_exit_with_2(folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(folds), "--parts", "sometimes=fold1"]) == 2
    assert "Cannot use --parts" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
@pytest.mark.slow
def test_names_of_any_bytes_go_the_whole_way(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(synthetic_crops, data)
    odd = [os.fsdecode(b"\xb5m.png"), "a\nb.png", "a\rb.png"]
    for file, name in zip(sorted((data / "CEX").iterdir()), odd, strict=False):
        file.rename(data / "CEX" / name)
    assert main(["audit", str(data), "--out", str(tmp_path / "audit"), "--json"]) in (0, 4)
    assert json.loads(capsys.readouterr().out)["n_images"] == 80
    table = tmp_path / "audit" / "audit.csv"
    split = ["split", str(table), "--out", str(tmp_path / "split"), "--audit", str(tmp_path / "audit")]
    assert main([*split, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_placed"] == 80
    assert {path.name for path in (tmp_path / "split").rglob("*.png")} >= set(odd)
    assert main(["audit", str(tmp_path / "split" / "split.csv"), "--json"]) in (0, 4)
    assert json.loads(capsys.readouterr().out)["n_images"] == 80


@pytest.mark.slow
def test_audit_never_replaces_its_own_table(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(synthetic_crops), "--out", str(tmp_path / "audit"), "--json"]) in (0, 4)
    table = tmp_path / "audit" / "audit.csv"
    before = table.read_bytes()
    assert main(["audit", str(table), "--out", str(tmp_path / "audit")]) == 2
    assert "audit.csv, which is read, must not be replaced" in capsys.readouterr().err
    assert table.read_bytes() == before
