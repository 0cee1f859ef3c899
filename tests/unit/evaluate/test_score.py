"""Evaluation: predictions against records, nothing lost, and equal after save and load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.evaluate import score
from georgia.evaluate.score import (
    Evaluation,
    Misclassified,
    check_class_names,
    evaluate_records,
    score_predictions,
)
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Failure, Record

LABELS = Labels(("CEX", "PG"))


def make_prediction(name: str, label: str, probability: float = 0.9) -> Prediction:
    other = {"CEX": "PG", "PG": "CEX", UNKNOWN: "PG"}[label]
    predicted = "CEX" if label == UNKNOWN else label
    return Prediction(Path(name), label, probability, {predicted: probability, other: 1 - probability})


def simulate(n: int = 60, seed: int = 0) -> tuple[Predictions, list[Record]]:
    rng = np.random.default_rng(seed)
    items, records = [], []
    for i in range(n):
        truth = LABELS.names[i % 2]
        label = truth if rng.random() < 0.8 else LABELS.names[(i + 1) % 2]
        items.append(make_prediction(f"{truth}/{truth} ({i}).png", label, float(rng.uniform(0.5, 1))))
        records.append(Record(items[-1].file, truth, group=f"crystal {i // 3}"))
    return Predictions(LABELS, tuple(items), (), "fake"), records


def test_order_of_records_changes_nothing() -> None:
    predictions, records = simulate()
    assert (
        score_predictions(predictions, records).to_json_dict()
        == score_predictions(predictions, records[::-1]).to_json_dict()
    )


def test_order_of_predictions_changes_no_metric() -> None:
    predictions, records = simulate()
    backwards = replace(predictions, items=predictions.items[::-1])
    first, other = score_predictions(predictions, records), score_predictions(backwards, records)
    assert first.metrics.to_json_dict() == other.metrics.to_json_dict()
    assert first.misclassified == other.misclassified
    assert first.ece == pytest.approx(other.ece)


def test_groups_of_records_reach_metrics() -> None:
    predictions, records = simulate()
    assert score_predictions(predictions, records).metrics.n_groups == 20
    alone = [replace(record, group="") for record in records]
    assert score_predictions(predictions, alone).metrics.n_groups == 60


def test_saved_evaluation_loads_equal(tmp_path: Path) -> None:
    predictions, records = simulate()
    items = (replace(predictions.items[0], label=UNKNOWN, unknown_score=0.25), *predictions.items[1:])
    items = (*items[:-1], replace(items[-1], set=("CEX", "PG")))
    failed = (Failure(Path("CEX/broken.png"), "the file is truncated"),)
    records = [*records, Record(failed[0].path, "CEX")]
    before = score_predictions(replace(predictions, items=items, failed=failed), records, seed=3)
    before.save(tmp_path)
    after = Evaluation.load(tmp_path)
    assert after.to_json_dict() == before.to_json_dict()
    assert after.predictions.items == before.predictions.items
    assert (after.truth, after.groups, after.failed, after.seed) == (
        before.truth,
        before.groups,
        before.failed,
        before.seed,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "predictions_test.csv"]


def test_saved_table_holds_truth_and_prediction(tmp_path: Path) -> None:
    predictions, records = simulate(4)
    score_predictions(predictions, records).save(tmp_path, "predictions.csv")
    lines = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,truth,label,probability,p_CEX,p_PG,unknown_score,set,group"
    assert lines[1].startswith("CEX/CEX (0).png,CEX,")
    assert len(lines) == 5


def test_evaluation_records_its_computation(tmp_path: Path) -> None:
    predictions, records = simulate(4)
    used = replace(predictions, precision="float32", processor="some processor")
    score_predictions(used, records).save(tmp_path)
    document = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert (document["engine"], document["precision"], document["processor"]) == (
        "fake",
        "float32",
        "some processor",
    )
    assert Evaluation.load(tmp_path).predictions.computation == used.computation
    for key in ("precision", "processor"):  # version 0.1 wrote neither
        del document[key]
    (tmp_path / "evaluation.json").write_text(json.dumps(document), encoding="utf-8")
    assert Evaluation.load(tmp_path).predictions.precision == ""


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"classes": ["a", "b"], "predictions": "x.csv"}'])
def test_damaged_evaluation_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read the evaluation"):
        Evaluation.load(tmp_path)


def test_json_has_promised_keys() -> None:
    document = score_predictions(*simulate()).to_json_dict()
    assert {"accuracy", "per_class", "confusion", "classes", "n_unknown", "ece"} <= set(document)
    assert json.loads(json.dumps(document)) == document


def test_misclassified_come_most_confident_first() -> None:
    items = (
        make_prediction("a", "PG", 0.6),
        make_prediction("b", "PG", 0.99),
        make_prediction("c", "CEX"),
        make_prediction("d", UNKNOWN),
    )
    records = [Record(Path(name), "CEX") for name in "abcd"]
    result = score_predictions(Predictions(LABELS, items, (), "fake"), records)
    assert result.misclassified == (
        Misclassified(Path("b"), "CEX", "PG", 0.99),
        Misclassified(Path("a"), "CEX", "PG", 0.6),
    )
    assert result.rejected == ((Path("d"), "CEX"),)
    assert (result.metrics.n_wrong, result.n_unknown, result.metrics.n_correct) == (2, 1, 1)


def test_rejected_images_stay_out_of_calibration() -> None:
    items = (make_prediction("a", "CEX", 0.9), make_prediction("b", UNKNOWN, 0.5))
    records = [Record(Path(name), "CEX") for name in "ab"]
    result = score_predictions(Predictions(LABELS, items, (), "fake"), records)
    assert result.ece == pytest.approx(0.1)
    nothing = score_predictions(Predictions(LABELS, items[1:], (), "fake"), records[1:])
    assert nothing.ece is None


def test_unreadable_files_stay_out_of_metrics() -> None:
    predictions, records = simulate()
    unreadable = Failure(records[0].path, "the file is empty")
    result = score_predictions(
        replace(predictions, items=predictions.items[1:], failed=(unreadable,)), records
    )
    assert result.failed == (unreadable,)
    assert result.metrics.n == 59


def test_relative_and_absolute_paths_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    predictions = Predictions(LABELS, (make_prediction("a.png", "CEX"),), (), "fake")
    assert score_predictions(predictions, [Record(tmp_path / "a.png", "CEX")]).metrics.n_correct == 1


def test_unmatched_files_are_rejected() -> None:
    predictions, records = simulate()
    with pytest.raises(InputError, match=r"records and predictions must be of the same files.*1 in all"):
        score_predictions(predictions, records[1:])
    with pytest.raises(InputError, match=r"each file may be listed once.*61 records"):
        score_predictions(predictions, [*records, records[0]])
    with pytest.raises(InputError, match="one readable image or more"):
        score_predictions(replace(predictions, items=()), [])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cex", "pg"], r"got 'cex', 'pg'\. Did you mean 'CEX' and 'PG'\? .*--class-names cex=CEX,pg=PG\."),
        (["0", "PG"], r"must be the model's \(CEX, PG\); got '0'\. Map .*--class-names 0=CLASS\."),
    ],
)
def test_unknown_class_names_are_reported_with_fix(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_class_names(names, LABELS)


def test_data_may_lack_a_class() -> None:
    check_class_names(["PG"], LABELS)
    predictions = Predictions(LABELS, (make_prediction("a", "PG"),), (), "fake")
    assert score_predictions(predictions, [Record(Path("a"), "PG")]).metrics.per_class["CEX"].support == 0


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "model.onnx", LABELS, PreprocessSpec())


def test_evaluation_runs_through_predict(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, records = simulate()
    calls = []

    def predict_files(model: Bundle, paths: list[Path], *_: object) -> Predictions:
        calls.append((model, paths))
        return predictions

    monkeypatch.setattr(score, "predict_files", predict_files)
    result = evaluate_records(bundle, records, LABELS)
    assert calls == [(bundle, [record.path for record in records])]
    assert result.to_json_dict() == score_predictions(predictions, records).to_json_dict()


def test_wrong_class_names_fail_before_work(bundle: Bundle) -> None:
    records = [Record(Path("nowhere.png"), "CEX")]
    with pytest.raises(InputError, match="Did you mean 'PG'"):
        evaluate_records(bundle, records, Labels(("CEX", "PGG")))
    with pytest.raises(InputError, match="one labelled image or more"):
        evaluate_records(bundle, [])
