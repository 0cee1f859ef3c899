"""What version 0.1 wrote is read: bundle, run folder, split, audit, study, store, tables, settings."""

from __future__ import annotations

import csv
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

KEPT = Path(__file__).parents[1] / "kept" / "v0.1"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what version 0.1 wrote (in float32), as if it had been made where the copy lies."""
    monkeypatch.setenv("GEORGIA_PRECISION", "float32")
    folder = tmp_path / "kept"
    shutil.copytree(KEPT, folder)
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".csv"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("@ROOT@", str(folder)), encoding="utf-8")
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_bundle_predicts_as_it_did(georgia: Any, kept: Path) -> None:
    code, result, _ = georgia("predict", kept / "run", kept / "crops", "--out", kept / "now.csv")
    assert code == 0
    before = [row for row in read_rows(kept / "predictions.csv") if row["file"].startswith("crops/")]
    now = read_rows(kept / "now.csv")
    assert list(now[0]) == list(before[0])
    assert len(now) == len(before) == len(result["predictions"])
    for new, old in zip(now, before, strict=True):
        assert Path(new["file"]).name == Path(old["file"]).name
        assert (new["label"], new["set"]) == (old["label"], old["set"])
        for column in ("probability", "p_CEX", "p_PG", "unknown_score"):
            assert float(new[column]) == pytest.approx(float(old[column]), abs=2e-4)


def test_run_folder_loads_and_evaluates(georgia: Any, kept: Path) -> None:
    from georgia.evaluate import Evaluation

    before = Evaluation.load(kept / "run")
    code, result, _ = georgia("evaluate", kept / "run", kept / "run" / "split.csv")
    assert code == 0
    assert result["accuracy"] == pytest.approx(before.metrics.accuracy)
    assert result["confusion"] == before.to_json_dict()["confusion"]


def test_robustness_and_evaluation_folders_load(kept: Path) -> None:
    from georgia.evaluate import Evaluation
    from georgia.evaluate.robustness import Robustness

    for folder in ("run", "evaluation"):
        assert Evaluation.load(kept / folder).metrics.n > 0
        assert Robustness.load(kept / folder).rows


def test_split_and_audit_keep_groups_and_splits(kept: Path) -> None:
    from georgia.audit import Audit
    from georgia.catalog import read_catalog

    for file in ("split/split.csv", "run/split.csv"):
        records = read_catalog(kept / file, verify=False).records
        parts = [row["part"] for row in read_rows(kept / file)]
        assert sorted(record.split for record in records) == sorted(parts)
    audited = read_catalog(kept / "audit" / "audit.csv", verify=False).records
    assert {record.group for record in audited} == {
        row["group"] for row in read_rows(kept / "audit/audit.csv")
    }
    assert len(Audit.load(kept / "audit").catalog.records) == len(audited)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_backbone")
@pytest.mark.filterwarnings("ignore:.* is now called:FutureWarning")
def test_finished_study_is_not_run_again(georgia: Any, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    monkeypatch.chdir(kept)
    settings = ("backbone=tiny", "size_px=32", "epochs=2", "views=2", "robustness=8", "standardize=no")
    options = [item for setting in settings for item in ("--set", setting)]
    code, result, err = georgia(
        *("study", "crops", "--out", "study", "--repeats", "2", "--grid", "trainable_share=0.0,0.1"),
        *options,
        *("--set", "weights=none"),
    )
    assert (code, result["n_started"], len(result["rows"])) == (0, 0, 4), err


def test_study_loads(kept: Path) -> None:
    from georgia.study.files import load_study

    study = load_study(kept / "study")
    assert len(study.rows) == 4
    assert all(row.is_done for row in study.rows)


def test_store_opens_verifies_and_exports(georgia: Any, kept: Path) -> None:
    from georgia.monitor import open_store
    from georgia.monitor.columns import TABLE

    code, result, _ = georgia("verify", kept / "store.db")
    assert (code, result["n_frames"]) == (0, 8)
    code, _, _ = georgia("frames", kept / "store.db", "--out", kept / "now.csv")
    assert code == 0
    head, *rows = (kept / "frames.csv").read_text(encoding="utf-8").splitlines()
    # Columns that were added since stand behind all others, and are empty.
    added = [column.public for column in TABLE if column.added]
    now = [",".join((head, *added)), *(row + "," * len(added) for row in rows)]
    assert (kept / "now.csv").read_text(encoding="utf-8").splitlines() == now
    store = open_store(str(kept / "store.db"))
    (alarm,) = store.alarms(limit=5)
    assert (alarm.acknowledged_by, alarm.note) == ("Ada", "seen, stirring off")
    store.close()


@pytest.mark.slow
def test_store_goes_on_with_its_batch(georgia: Any, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (kept / "frames").mkdir()
    Image.new("L", (320, 256), 90).save(kept / "frames" / "f99.png")
    args = ("monitor", kept / "run", "--watch", kept / "frames", "--db", kept / "store.db", "--once")
    settings = ("source=probe", "tile_px=64", "baseline_frames=5", "min_detail=0", "limit=0.505")
    options = [item for setting in settings for item in ("--set", setting)]
    from georgia.cli import main

    assert main([*map(str, args), "--batch", "kept", *options]) == 0
    capsys.readouterr()
    code, result, _ = georgia("verify", kept / "store.db")
    assert (code, result["n_frames"]) == (0, 9)


CONFIGS = {
    "audit": "georgia.audit:AuditConfig",
    "split": "georgia.split:SplitConfig",
    "train": "georgia.train:TrainConfig",
    "predict": "georgia.predict:PredictConfig",
    "evaluate": "georgia.evaluate:EvaluateConfig",
    "explain": "georgia.explain:ExplainConfig",
    "cluster": "georgia.cluster:ClusterConfig",
    "study": "georgia.study:StudyConfig",
    "simulate": "georgia.synthetic.simulate:SimulateConfig",
    "monitor": "georgia.monitor.settings:MonitorConfig",
    "serve": "georgia.web.config:ServeConfig",
    "fetch": "georgia.fetch:FetchConfig",
}


@pytest.mark.parametrize("section", CONFIGS)
@pytest.mark.filterwarnings("ignore:.* is now called:FutureWarning")
def test_every_setting_is_still_taken(section: str) -> None:
    import importlib

    from georgia.config import build_config, flatten_config, read_toml_section

    module, name = CONFIGS[section].split(":")
    cls = getattr(importlib.import_module(module), name)
    config = build_config(cls, read_toml_section(KEPT / "settings.toml", section))
    flat = flatten_config(config)
    for key, value in tomllib.loads((KEPT / "settings.toml").read_text(encoding="utf-8"))[section].items():
        now = flat[getattr(cls, "renamed", {}).get(key, key)]
        assert str(list(now) if isinstance(now, tuple) else now) == str(value), key
