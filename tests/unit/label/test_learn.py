"""Learning from labels: an ordinary model that says what it was learned from, or nothing at all."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.errors import GateError, InputError
from georgia.evaluate.out_of_fold import read_out_of_fold
from georgia.evaluate.overlap import find_training_overlap
from georgia.evaluate.training_hashes import read_training_hashes
from georgia.label.cross_validation import find_reasons
from georgia.label.features import FeatureReader, StoppedError
from georgia.label.learn import UNFINISHED_FILE, learn, make_train_config
from georgia.label.learned import LearnResult
from georgia.label.records import NEITHER, UNCLEAR, ChoiceReason, Item, Label, Pool, PoolKind
from georgia.label.settings import LearnConfig, count_wanted
from georgia.model.load import load_bundle
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET
from georgia.records import Record, hash_file
from georgia.train.recipes import TrainConfig

pytest.importorskip("keras")
CLASSES = ("bright", "dark")
N = 60


@pytest.fixture(autouse=True)
def tiny_recipe(tiny_backbone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Learn on a small untrained net, with a cache of this test's own."""

    def make(config: LearnConfig) -> TrainConfig:
        return replace(make_train_config(config), backbone=tiny_backbone, size_px=32)

    monkeypatch.setattr("georgia.label.learn.make_train_config", make)
    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Sixty images of noise, every second one bright, two of each frame."""
    folder, items, rng = tmp_path / "pool", [], np.random.default_rng(0)
    folder.mkdir()
    for at in range(N):
        level = 200 if at % 2 else 90
        pixels = rng.integers(level - 60, level + 50, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{at:02}.png")
        items.append(Item(f"{at:02}.png", folder / f"{at:02}.png", group=f"frame {at // 2}"))
    return Pool(folder, tuple(items), PoolKind.CROPS)


def name_items(pool: Pool, n: int = N) -> list[Label]:
    return [
        Label(item.path, CLASSES[1 - at % 2], "Ada", "2026-01-01T00:00:00+00:00", at + 1, ChoiceReason.EVEN)
        for at, item in enumerate(pool.items[:n])
    ]


def learn_all(
    pool: Pool, out: Path, labels: Sequence[Label] | None = None, stop: Callable[[], bool] = lambda: False
) -> LearnResult:
    given = name_items(pool) if labels is None else labels
    even = [label.path for label in given]
    return learn(pool, given, CLASSES, out, LearnConfig(views=2, audit=False), even, QUIET, stop)


@pytest.mark.slow
def test_model_is_an_ordinary_one(pool: Pool, tmp_path: Path) -> None:
    result = learn_all(pool, tmp_path / "model")
    bundle = load_bundle(tmp_path / "model")
    found = Predictor(bundle, PredictConfig(precision="float32")).predict([each.file for each in pool.items])
    right = [item.label == label.name for item, label in zip(found.items, name_items(pool), strict=True)]
    assert np.mean(right) > 0.9
    assert result.metrics.n == N
    assert result.even is not None
    assert result.even.macro.f1 > 0.9
    assert "cross-validated macro F1" in result.summary()
    assert bundle.metadata["test"]["split"] == "none"
    assert "metrics" not in bundle.metadata
    assert not (tmp_path / "model" / UNFINISHED_FILE).exists()
    assert json.loads((tmp_path / "model" / "learned.json").read_text())["n_labels"] == N
    rows, fault = read_out_of_fold(bundle)
    right = sum(row.label == row.record.class_name for row in rows)
    assert (len(rows), fault, right) == (N, "", result.metrics.n_correct)
    report = (tmp_path / "model" / "report.html").read_text()
    assert "All metrics are cross-validated" in report
    assert f"{result.metrics.accuracy:.4f}" in report
    assert "| Ada | 2026-01-01 00:00 |" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    trained_on = read_training_hashes(bundle)
    assert trained_on is not None
    assert len(trained_on) == N
    assert {row.sha256 for row in rows} == {hash_file(item.file) for item in pool.items}
    folds = {
        row.record.group: {each.fold for each in rows if each.record.group == row.record.group}
        for row in rows
    }
    assert {len(own) for own in folds.values()} == {1}


@pytest.mark.slow
def test_images_learned_from_are_a_training_overlap(pool: Pool, tmp_path: Path) -> None:
    learn_all(pool, tmp_path / "model", name_items(pool, 40))
    records = [Record(item.file, "dark") for item in pool.items]
    overlap = find_training_overlap(load_bundle(tmp_path / "model"), records)
    assert set(overlap) == {item.file for item in pool.items[:40]}
    with (tmp_path / "model" / "learned_from.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["sha256"] for row in rows] == [hash_file(item.file) for item in pool.items[:40]]
    assert {row["who"] for row in rows} == {"Ada"}


@pytest.mark.slow
def test_stop_leaves_nothing(pool: Pool, tmp_path: Path) -> None:
    asked = threading.Event()

    class StopAtExport:
        def start(self, stage: str, total: int | None) -> None:
            if stage == "export":
                asked.set()

        def advance(self, count: int = 1, note: str = "") -> None:
            pass

        def say(self, line: str) -> None:
            pass

    with pytest.raises(StoppedError, match="Stopped"):
        labels = name_items(pool)
        config = LearnConfig(audit=False)
        learn(pool, labels, CLASSES, tmp_path / "model", config, (), StopAtExport(), asked.is_set)
    assert not (tmp_path / "model").exists()


def test_stop_before_the_first_image(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        learn_all(pool, tmp_path / "model", stop=lambda: True)
    assert not (tmp_path / "model").exists()


def test_too_few_labels_say_what_is_wanted(pool: Pool, tmp_path: Path) -> None:
    labels = [label for label in name_items(pool) if label.name == "bright" or label.order < 8]
    with pytest.raises(InputError, match=r"Cannot learn yet: .*6 more of dark; got bright 30, dark 4"):
        learn_all(pool, tmp_path / "model", labels)
    assert not (tmp_path / "model").exists()


def test_names_that_are_no_class_do_not_count(pool: Pool, tmp_path: Path) -> None:
    from dataclasses import replace

    labels = [replace(label, name=(UNCLEAR, NEITHER)[at % 2]) for at, label in enumerate(name_items(pool))]
    with pytest.raises(InputError, match=r"10 more of bright, 10 more of dark; got bright 0, dark 0"):
        learn_all(pool, tmp_path / "model", labels)


def test_one_group_of_a_class_is_too_few(pool: Pool, tmp_path: Path) -> None:
    from dataclasses import replace

    items = tuple(replace(item, group="f" if at % 2 else item.path) for at, item in enumerate(pool.items))
    with pytest.raises(InputError, match="bright in two groups or more"):
        learn_all(replace(pool, items=items), tmp_path / "model")


def test_folder_that_holds_something_is_kept(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bundle.json").write_text("{}")
    with pytest.raises(InputError, match=r"new or empty folder is needed; got bundle\.json"):
        learn_all(pool, tmp_path / "model")
    assert (tmp_path / "model" / "bundle.json").read_text() == "{}"


def test_folder_of_a_killed_learning_is_taken_over(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "model" / "state").mkdir(parents=True)
    for name in (UNFINISHED_FILE, "half.onnx", "state/x.npy"):
        (tmp_path / "model" / name).write_text("half")
    with pytest.raises(StoppedError):
        learn_all(pool, tmp_path / "model", stop=lambda: True)
    assert not any((tmp_path / "model").iterdir())


@pytest.mark.slow
def test_contradicting_labels_stop_and_leave_the_audit(pool: Pool, tmp_path: Path) -> None:
    shutil.copyfile(pool.items[0].file, pool.items[1].file)
    with pytest.raises(GateError, match="labels|not sound"):
        learn(pool, name_items(pool), CLASSES, tmp_path / "model", LearnConfig(views=1))
    held = {path.name for path in (tmp_path / "model").iterdir()}
    assert {UNFINISHED_FILE, "audit.json", "audit.html"} <= held
    assert "bundle.json" not in held
    with pytest.raises(StoppedError):
        learn_all(pool, tmp_path / "model", stop=lambda: True)


@pytest.mark.slow
def test_wrong_names_are_suspected(pool: Pool, tmp_path: Path) -> None:
    labels = name_items(pool)
    swapped = [
        replace(label, name=CLASSES[at % 2]) if at in (7, 20) else label for at, label in enumerate(labels)
    ]
    found = learn_all(pool, tmp_path / "model", swapped).suspected
    assert {each.path for each in found} == {"07.png", "20.png"}
    assert {each.path: (each.name, each.looks_like) for each in found}["07.png"] == ("dark", "bright")
    assert len(json.loads((tmp_path / "model" / "learned.json").read_text())["suspected"]) == 2


def test_reasons_of_duplicates_are_those_of_what_was_shown(tmp_path: Path) -> None:
    shown = Label("a.png", "dark", "Ada", "", 1, ChoiceReason.UNCERTAIN, number=7)
    copy = replace(shown, path="b.png", reason=ChoiceReason.DUPLICATE)
    lost = replace(copy, path="c.png", number=8)
    names = {tmp_path / name: name for name in ("a.png", "b.png", "c.png")}
    found = find_reasons(names, [shown, copy, lost], ["a.png"])
    assert [str(found[tmp_path / name]) for name in names.values()] == ["even", "uncertain", "duplicate"]


def test_wanted_labels_by_class() -> None:
    assert count_wanted({"CEX": 3, "PG": 12}) == {"CEX": 7, "PG": 0}
    assert count_wanted({"CEX": 3}, least_per_class=2) == {"CEX": 0}


@pytest.mark.slow
def test_features_are_computed_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_train_config(LearnConfig())
    paths = [item.file for item in pool.items[:10]]
    first = FeatureReader(config).read(paths, ["as is", "served", 1])
    assert first.values.shape[:2] == (10, 3)
    assert not np.allclose(first.values[:, 0], first.values[:, 2])
    again = FeatureReader(config)

    def fail(_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(again, "_frozen", type("Frozen", (), {"key": again.key, "__call__": fail})())
    renamed = paths[3].with_name("renamed.png")
    paths[3].rename(renamed)
    second = again.read([*paths[:3], renamed, *paths[4:]][::-1], ["as is", "served", 1])
    assert np.array_equal(second.values[::-1], first.values)


@pytest.mark.slow
def test_unreadable_image_is_a_row_without_numbers(pool: Pool) -> None:
    pool.items[1].file.write_bytes(b"no image")
    found = FeatureReader(make_train_config(LearnConfig())).read([each.file for each in pool.items[:3]])
    assert found.is_read.tolist() == [True, False, True]
    assert np.isnan(found.as_is[1]).all()
    assert [failure.path for failure in found.failures] == [pool.items[1].file]


def test_features_need_a_frozen_backbone(tiny_backbone: str) -> None:
    from georgia.train.recipes import recipe_config

    changes = {"backbone": tiny_backbone, "size_px": 32, "trainable_fraction": 1.0, "standardize": False}
    with pytest.raises(InputError, match="trainable_fraction must be 0; got 1"):
        FeatureReader(recipe_config("fast", changes))


@pytest.mark.slow
def test_known_features_make_the_same_model(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_all(pool, tmp_path / "first")
    learn_all(pool, tmp_path / "again")
    found = [load_bundle(tmp_path / name).metadata for name in ("first", "again")]
    for part in ("unknown", "calibration", "conformal", "head", "cross_validation"):
        assert found[1][part] == found[0][part]
    assert found[0]["unknown"]["n_valid"] > 0
