"""Out-of-fold predictions as evidence: on groups that the current model never learned from, and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.evaluate import promote as gate
from georgia.evaluate.out_of_fold import (
    OUT_OF_FOLD,
    OUT_OF_FOLD_FILE,
    FoldPrediction,
    find_doubted,
    format_out_of_fold,
    read_out_of_fold,
)
from georgia.evaluate.promote import Evidence, PromoteConfig, Verdict, assess_promotion
from georgia.evaluate.score import Evaluation, score_predictions
from georgia.files import write_text
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record, hash_files
from georgia.text import format_csv

LABELS = Labels(("CEX", "PG"))
SPEC = PreprocessSpec(32)
N = 60


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Sixty images, a group each, of both classes in turn."""
    folder = tmp_path_factory.mktemp("data")
    rng, found = np.random.default_rng(1), []
    for at in range(N):
        Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)).save(folder / f"{at:02}.png")
        found.append(Record(folder / f"{at:02}.png", LABELS.names[at % 2], f"g{at:02}"))
    return found


def wrong(name: str) -> str:
    return LABELS.names[1 - LABELS.names.index(name)]


def make_current(folder: Path, learned: Sequence[Record] = ()) -> Bundle:
    """Return the model in use, which learned from such records; from synthetic ones without any."""
    folder.mkdir()
    rows = [[str(record.path), record.class_name, record.group, "train"] for record in learned]
    write_text(folder / "split.csv", format_csv([["path", "class", "group", "part"], *rows]))
    source = {} if learned else {"data": {"source": "georgia.synthetic"}}
    return Bundle(folder / "model.onnx", LABELS, SPEC, {**source, "name": "current"})


def make_new(folder: Path, learned: Sequence[Record], n_wrong: int = 0, chosen: str = "even") -> Bundle:
    """Return a model that learned from all records; its fold models were wrong on the first ``n_wrong``."""
    folder.mkdir()
    hashes = hash_files([record.path for record in learned])
    rows = [
        FoldPrediction(
            record,
            digest or "",
            at % 5,
            wrong(record.class_name) if at < n_wrong else record.class_name,
            0.9,
            chosen,
        )
        for at, (record, digest) in enumerate(zip(learned, hashes, strict=True))
    ]
    text, told = format_out_of_fold(rows, folder)
    write_text(folder / OUT_OF_FOLD_FILE, text)
    split = [[str(record.path), record.class_name, record.group, "train"] for record in learned]
    write_text(folder / "split.csv", format_csv([["path", "class", "group", "part"], *split]))
    return Bundle(folder / "model.onnx", LABELS, SPEC, {"name": "new", OUT_OF_FOLD: told})


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let exported files be wrong on so many of the images, and reject so many, instead of running a net."""

    def set_errors(current: int = 0, new: int = 0, rejected: int = 0) -> None:
        errors = {"current": current, "new": new}

        def evaluate(bundle: Bundle, records: Sequence[Record], labels: Labels, *_: Any) -> Evaluation:
            items = []
            for at, record in enumerate(sorted(records, key=lambda each: each.path)):
                is_wrong = at < errors[bundle.name]
                best = wrong(record.class_name) if is_wrong else record.class_name
                probabilities = {name: 0.9 if name == best else 0.1 for name in labels.names}
                is_rejected = bundle.name == "new" and at < rejected
                items.append(Prediction(record.path, UNKNOWN if is_rejected else best, 0.9, probabilities))
            return score_predictions(Predictions(labels, tuple(items), (), "none", 0.0), records)

        monkeypatch.setattr(gate, "evaluate_records", evaluate)

    return set_errors


def test_out_of_fold_decides_where_nothing_is_held_out(
    served: Callable[..., None], records: list[Record], tmp_path: Path
) -> None:
    current = make_current(tmp_path / "current")
    cases = (
        ("better", 1, 20, Verdict.NOT_WORSE),
        ("worse", 30, 1, Verdict.WORSE),
        ("unclear", 6, 5, Verdict.CANNOT_SAY),
    )
    for name, n_new, n_current, verdict in cases:
        # What the exported file makes of images that it learned from must not matter.
        served(current=n_current, new=0)
        new = make_new(tmp_path / name, records, n_new)
        for given in ((), records):
            found = assess_promotion(new, current, given, PromoteConfig(margin=0.05))
            assert (found.verdict, found.n_groups) == (verdict, N), (name, found.summary())
            assert found.groups.evidence is Evidence.OUT_OF_FOLD
            assert found.to_json_dict()["evidence"] == "out-of-fold"
            assert "models that learned from less stand in for the new one (out-of-fold)" in found.summary()
    assert "groups would show it, if the difference stays what it is" in found.summary()


def test_current_model_is_not_tested_on_what_it_learned(
    served: Callable[..., None], records: list[Record], tmp_path: Path
) -> None:
    served(current=0)
    new = make_new(tmp_path / "new", records)
    found = assess_promotion(new, make_current(tmp_path / "half", records[:20]), ())
    assert (found.n_groups, found.groups.out_of_fold, found.n_groups_learned) == (40, 40, 20)
    found = assess_promotion(new, make_current(tmp_path / "most", records[:40]), records)
    assert found.verdict is Verdict.CANNOT_SAY
    assert "30 groups are needed, 20 are there" in found.reasons
    found = assess_promotion(new, make_current(tmp_path / "all", records), records)
    assert (found.verdict, found.n, found.groups.evidence) == (Verdict.CANNOT_SAY, 0, Evidence.NONE)
    assert "30 groups are needed, 0 are there" in found.reasons


def test_held_out_groups_join_the_test(
    served: Callable[..., None], records: list[Record], tmp_path: Path
) -> None:
    served(current=10, new=0)
    new, current = make_new(tmp_path / "new", records[:20]), make_current(tmp_path / "current")
    found = assess_promotion(new, current, records)
    assert (found.groups.held_out, found.groups.out_of_fold, found.n_groups) == (40, 20, N)
    assert found.groups.evidence is Evidence.BOTH
    assert found.verdict is Verdict.NOT_WORSE
    doubted = {record.path for record in records[20:]}
    found = assess_promotion(new, current, records, doubted=doubted)
    assert (found.n_groups, found.groups.in_doubt) == (20, 40)
    assert "40 chosen because a model was in doubt are left out" in found.summary()


def test_images_chosen_by_doubt_do_not_count(
    served: Callable[..., None], records: list[Record], tmp_path: Path
) -> None:
    served(current=30)
    new = make_new(tmp_path / "new", records, chosen="uncertain")
    found = assess_promotion(new, make_current(tmp_path / "current"), records)
    assert (found.verdict, found.n_groups, found.groups.in_doubt) == (Verdict.CANNOT_SAY, 0, N)
    assert "60 chosen because a model was in doubt are left out" in found.summary()


def test_model_that_rejects_more_cannot_pass(
    served: Callable[..., None], records: list[Record], tmp_path: Path
) -> None:
    served(current=20, rejected=6)
    found = assess_promotion(make_new(tmp_path / "new", records), make_current(tmp_path / "current"), ())
    assert found.verdict is Verdict.CANNOT_SAY
    assert "the new model rejects 6 of 60 images as unknown, the current one 0" in found.summary()


def test_changed_images_and_tables_are_left_out(
    served: Callable[..., None], records: list[Record], tmp_path: Path
) -> None:
    served(current=20)
    current, new = make_current(tmp_path / "current"), make_new(tmp_path / "new", records)
    moved = []
    for record in records:
        path = tmp_path / "moved" / record.path.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(record.path.read_bytes())
        moved.append(Record(path, record.class_name, record.group))
    # Known by their content, wherever they lie; a name that was mended since counts.
    mended = [Record(moved[0].path, wrong(moved[0].class_name), moved[0].group), *moved[1:]]
    found = assess_promotion(new, current, mended)
    assert (found.n, found.comparison is not None and found.comparison.accuracy.this < 1) == (N, True)
    table = tmp_path / "new" / OUT_OF_FOLD_FILE
    table.write_text(table.read_text().replace("even", "asked"))
    rows, fault = read_out_of_fold(new)
    assert (rows, "is not the one that was written with it" in fault) == ((), True)
    assert "is not the one" in assess_promotion(new, current, ()).summary()
    table.unlink()
    assert "cannot be read (FileNotFoundError)" in read_out_of_fold(new)[1]


def test_table_of_labels_names_the_doubted(tmp_path: Path) -> None:
    head = ["path", "x", "y", "width", "height", "class", "reason"]
    rows = [
        ["a.png", "", "", "", "", "CEX", "even"],
        ["b.png", 0, 5, 9, 9, "CEX", "suspected"],
        ["c.png", "", "", "", "", "PG", "duplicate"],
    ]
    write_text(tmp_path / "labels.csv", format_csv([head, *rows]))
    names = {path.name for path in find_doubted(tmp_path / "labels.csv")}
    assert names == {"b.png#xywh=0,5,9,9", "c.png"}
    write_text(tmp_path / "other.csv", format_csv([["path", "class"], ["a.png", "CEX"]]))
    assert find_doubted(tmp_path / "other.csv") == find_doubted(tmp_path) == set()
