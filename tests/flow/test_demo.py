"""``georgia demo``: the whole way, as small as it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.mark.slow
def test_whole_way_ends_with_a_report(georgia: Any, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(
        "[demo]\nn_per_class = 24\n[demo.changes]\n"
        'weights = "none"\nbackbone = "tiny"\nsize_px = 32\nepochs = 1\n',
        encoding="utf-8",
    )
    code, result, err = georgia("demo", "--out", tmp_path / "demo", "--config", file)
    assert code == 0
    assert set(result) >= {"run", "f1", "report", "seconds"}
    assert set(result["f1"]) == {"CEX", "PG"}
    assert Path(result["report"]).is_file()
    assert (tmp_path / "demo" / "crystals" / "truth.csv").is_file()
    assert "oneDNN" not in err
    assert "Traceback" not in err
    code, _, err = georgia("demo", "--out", tmp_path / "demo", "--config", file)
    assert code == 2
    assert "new or empty folder" in err


@pytest.mark.slow
@pytest.mark.timeout(2400)  # a minute on two free cores
def test_labels_end_with_a_checked_figure(
    georgia: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from georgia.train import fit_uncertainty

    # Nothing below depends on how much foreign material is measured; kept for no other test.
    monkeypatch.setattr(fit_uncertainty, "N_MATERIAL", (60, 60))
    monkeypatch.setattr(fit_uncertainty, "N_EMPTY", (20, 20))
    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "small.toml"
    file.write_text("[demo.label]\nframes = 6\nlabels = 60\nbatch_frames = 4\nnames = 30\n", encoding="utf-8")
    code, result, err = georgia("demo", "--label", "--out", tmp_path / "demo", "--config", file)
    assert code == 0, err
    assert 0 <= result["low"] <= result["truth"] <= result["high"] <= 1
    assert result["n"] == 30
    assert "scripted person" in Path(result["report"]).read_text(encoding="utf-8")
    # What it made is read by the commands for it.
    code, proof, _ = georgia("verify", tmp_path / "demo" / "batch.db")
    assert (code, proof["whole"]) == (0, True)
    code, predictions, _ = georgia("predict", result["run"], tmp_path / "demo" / "labels.csv")
    assert code == 0
    assert len(predictions["predictions"]) == result["n_labels"]


def test_two_demonstrations_at_once_are_rejected(georgia: Any, tmp_path: Path) -> None:
    code, _, err = georgia("demo", "--label", "--live", "--out", tmp_path / "demo")
    assert code == 2
    assert "Cannot use --label" in err


def test_setting_of_other_demonstration_is_named(georgia: Any, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[demo.label]\nlabel = 60\n", encoding="utf-8")
    code, _, err = georgia("demo", "--label", "--out", tmp_path / "demo", "--config", file)
    assert code == 2
    assert "the settings of 'demo.label': 'label' is no setting. Did you mean 'labels'?" in err
