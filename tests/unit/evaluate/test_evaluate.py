"""Evaluation: answers against records, nothing lost, and the same after a save."""

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


def answer(name: str, label: str, probability: float = 0.9) -> Prediction:
    other = {"CEX": "PG", "PG": "CEX", UNKNOWN: "PG"}[label]
    named = "CEX" if label == UNKNOWN else label
    return Prediction(Path(name), label, probability, {named: probability, other: 1 - probability})


def draw(n: int = 60, seed: int = 0) -> tuple[Predictions, list[Record]]:
    rng = np.random.default_rng(seed)
    items, records = [], []
    for i in range(n):
        truth = LABELS.names[i % 2]
        label = truth if rng.random() < 0.8 else LABELS.names[(i + 1) % 2]
        items.append(answer(f"{truth}/{truth} ({i}).png", label, float(rng.uniform(0.5, 1))))
        records.append(Record(items[-1].file, truth, group=f"crystal {i // 3}"))
    return Predictions(LABELS, tuple(items), (), "fake"), records


def test_order_of_records_changes_nothing() -> None:
    predictions, records = draw()
    assert (
        score_predictions(predictions, records).to_json_dict()
        == score_predictions(predictions, records[::-1]).to_json_dict()
    )


def test_order_of_answers_changes_no_figure() -> None:
    predictions, records = draw()
    turned = replace(predictions, items=predictions.items[::-1])
    one, other = score_predictions(predictions, records), score_predictions(turned, records)
    assert one.metrics.to_json_dict() == other.metrics.to_json_dict()
    assert one.misclassified == other.misclassified
    assert one.ece == pytest.approx(other.ece)


def test_groups_of_the_records_reach_the_figures() -> None:
    predictions, records = draw()
    assert score_predictions(predictions, records).metrics.n_groups == 20
    alone = [replace(record, group="") for record in records]
    assert score_predictions(predictions, alone).metrics.n_groups == 60


def test_save_then_load_gives_the_same(tmp_path: Path) -> None:
    predictions, records = draw()
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


def test_saved_table_has_truth_beside_each_answer(tmp_path: Path) -> None:
    predictions, records = draw(4)
    score_predictions(predictions, records).save(tmp_path, "answers.csv")
    lines = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,truth,label,probability,p_CEX,p_PG,unknown_score,set,group"
    assert lines[1].startswith("CEX/CEX (0).png,CEX,")
    assert len(lines) == 5


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"classes": ["a", "b"], "predictions": "x.csv"}'])
def test_damaged_evaluation_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read the evaluation"):
        Evaluation.load(tmp_path)


def test_json_has_the_promised_keys() -> None:
    document = score_predictions(*draw()).to_json_dict()
    assert {"accuracy", "per_class", "confusion", "classes", "n_unknown", "ece"} <= set(document)
    assert json.loads(json.dumps(document)) == document


def test_mistakes_are_wrong_names_with_the_surest_first() -> None:
    items = (answer("a", "PG", 0.6), answer("b", "PG", 0.99), answer("c", "CEX"), answer("d", UNKNOWN))
    records = [Record(Path(name), "CEX") for name in "abcd"]
    result = score_predictions(Predictions(LABELS, items, (), "fake"), records)
    assert result.misclassified == (
        Misclassified(Path("b"), "CEX", "PG", 0.99),
        Misclassified(Path("a"), "CEX", "PG", 0.6),
    )
    assert result.rejected == ((Path("d"), "CEX"),)
    assert (result.metrics.n_wrong, result.n_unknown, result.metrics.n_correct) == (2, 1, 1)


def test_refused_files_are_in_no_calibration_figure() -> None:
    items = (answer("a", "CEX", 0.9), answer("b", UNKNOWN, 0.5))
    records = [Record(Path(name), "CEX") for name in "ab"]
    result = score_predictions(Predictions(LABELS, items, (), "fake"), records)
    assert result.ece == pytest.approx(0.1)
    nothing = score_predictions(Predictions(LABELS, items[1:], (), "fake"), records[1:])
    assert nothing.ece is None


def test_unreadable_files_are_listed_and_in_no_figure() -> None:
    predictions, records = draw()
    lost = Failure(records[0].path, "the file is empty")
    result = score_predictions(replace(predictions, items=predictions.items[1:], failed=(lost,)), records)
    assert result.failed == (lost,)
    assert result.metrics.n == 59


def test_path_may_be_written_in_two_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    predictions = Predictions(LABELS, (answer("a.png", "CEX"),), (), "fake")
    assert score_predictions(predictions, [Record(tmp_path / "a.png", "CEX")]).metrics.n_correct == 1


def test_files_on_one_side_only_are_refused() -> None:
    predictions, records = draw()
    with pytest.raises(InputError, match=r"records and answers must be of the same files.*1 in all"):
        score_predictions(predictions, records[1:])
    with pytest.raises(InputError, match=r"each file may stand once.*61 records"):
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
def test_strange_class_names_are_all_named_with_the_way_out(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_class_names(names, LABELS)


def test_data_may_lack_a_class() -> None:
    check_class_names(["PG"], LABELS)
    predictions = Predictions(LABELS, (answer("a", "PG"),), (), "fake")
    assert score_predictions(predictions, [Record(Path("a"), "PG")]).metrics.per_class["CEX"].support == 0


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "model.onnx", LABELS, PreprocessSpec())


def test_evaluation_runs_through_predict(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, records = draw()
    asked = []

    def predict_files(model: Bundle, paths: list[Path], *_: object) -> Predictions:
        asked.append((model, paths))
        return predictions

    monkeypatch.setattr(score, "predict_files", predict_files)
    result = evaluate_records(bundle, records, LABELS)
    assert asked == [(bundle, [record.path for record in records])]
    assert result.to_json_dict() == score_predictions(predictions, records).to_json_dict()


def test_wrong_class_names_are_said_before_any_work(bundle: Bundle) -> None:
    records = [Record(Path("nowhere.png"), "CEX")]
    with pytest.raises(InputError, match="Did you mean 'PG'"):
        evaluate_records(bundle, records, Labels(("CEX", "PGG")))
    with pytest.raises(InputError, match="one labelled image or more"):
        evaluate_records(bundle, [])
