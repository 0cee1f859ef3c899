"""The promotion gate: a better model passes, a worse one does not, and too little to tell is a no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.evaluate import promote as gate
from georgia.evaluate.promote import PromoteConfig, Verdict, assess_promotion, promote
from georgia.evaluate.score import Evaluation, score_predictions
from georgia.evaluate.training_hashes import read_training_hashes, save_training_hashes
from georgia.evaluate.unseen import find_unseen
from georgia.files import write_text
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record, hash_file
from georgia.text import format_csv

LABELS = Labels(("CEX", "PG"))


def make_records(folder: Path, n: int, per_group: int = 1) -> list[Record]:
    records = []
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for at in range(n):
        file = folder / f"{at}.png"
        Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)).save(file)
        records.append(Record(file, LABELS.names[(at // per_group) % 2], f"g{at // per_group}"))
    return records


def make_bundle(folder: Path, trained: Sequence[Record] | None, name: str = "") -> Bundle:
    """Return a model that learned from such records; None: there is no list of them."""
    folder.mkdir()
    if trained is not None:
        rows = [[str(record.path), record.class_name, record.group, "train"] for record in trained]
        write_text(folder / "split.csv", format_csv([["path", "class", "group", "part"], *rows]))
    return Bundle(folder / "model.onnx", LABELS, PreprocessSpec(32), {"name": name or folder.name})


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let models be wrong on so many of the images, the first ones, instead of running a net."""

    def set_errors(**n_wrong: int) -> None:
        def evaluate(bundle: Bundle, records: Sequence[Record], labels: Labels, *_: Any) -> Evaluation:
            items = []
            for at, record in enumerate(records):
                own = labels.names.index(record.class_name)
                best = 1 - own if at < n_wrong[bundle.name] else own
                probabilities = {name: 0.9 if name == labels.names[best] else 0.1 for name in labels.names}
                items.append(Prediction(record.path, labels.names[best], 0.9, probabilities))
            return score_predictions(Predictions(labels, tuple(items), (), "none", 0.0), records)

        monkeypatch.setattr(gate, "evaluate_records", evaluate)

    return set_errors


@pytest.fixture
def data(tmp_path: Path) -> list[Record]:
    return make_records(tmp_path / "data", 90)


@pytest.fixture
def pair() -> tuple[Bundle, Bundle]:
    """Two models that learned from synthetic crystals only."""
    spec, synthetic = PreprocessSpec(32), {"data": {"source": "georgia.synthetic"}}
    new, current = (
        Bundle(Path("m.onnx"), LABELS, spec, {**synthetic, "name": name}) for name in ("new", "current")
    )
    return new, current


@pytest.mark.parametrize(
    ("n_new", "n_current", "verdict"),
    [
        (2, 30, Verdict.NOT_WORSE),
        (0, 0, Verdict.NOT_WORSE),
        (30, 2, Verdict.WORSE),
        (6, 2, Verdict.CANNOT_SAY),
        (2, 2, Verdict.NOT_WORSE),
    ],
)
def test_verdict_follows_the_paired_test(
    errors: Callable[..., None],
    data: list[Record],
    pair: tuple[Bundle, Bundle],
    n_new: int,
    n_current: int,
    verdict: Verdict,
) -> None:
    errors(new=n_new, current=n_current)
    found = assess_promotion(*pair, data, PromoteConfig(margin=0.05))
    assert (found.verdict, found.n_groups) == (verdict, 90)
    assert found.is_open == (verdict is Verdict.NOT_WORSE)
    assert "90 groups" in found.summary()


def test_few_groups_cannot_say(
    errors: Callable[..., None], tmp_path: Path, pair: tuple[Bundle, Bundle]
) -> None:
    # Many images, few groups: the group is the unit.
    errors(new=0, current=100)
    records = make_records(tmp_path / "few", 120, per_group=10)
    found = assess_promotion(*pair, records)
    assert found.verdict is Verdict.CANNOT_SAY
    assert "30 groups are needed, 12 are there" in found.reasons


def test_class_without_groups_cannot_say(
    errors: Callable[..., None], data: list[Record], pair: tuple[Bundle, Bundle]
) -> None:
    errors(new=0, current=0)
    found = assess_promotion(*pair, [record for record in data if record.class_name == "CEX"])
    assert found.verdict is Verdict.CANNOT_SAY
    assert "5 groups with PG are needed, 0 are there" in found.reasons


@pytest.mark.slow
def test_learned_groups_are_left_out(errors: Callable[..., None], data: list[Record], tmp_path: Path) -> None:
    errors(a=0, b=0)
    models = make_bundle(tmp_path / "a", data[:30]), make_bundle(tmp_path / "b", data[20:60])
    found = assess_promotion(*models, data)
    assert (found.n_groups, found.n_groups_learned) == (30, 60)
    nothing = assess_promotion(*models, data[:60])
    assert "0 groups that neither learned from (60 that one did are left out)" in nothing.summary()
    assert (nothing.verdict, nothing.n, nothing.comparison) == (Verdict.CANNOT_SAY, 0, None)


def test_whole_group_is_left_out(tmp_path: Path) -> None:
    records = make_records(tmp_path / "data", 20, per_group=5)
    copy = tmp_path / "copy.png"
    copy.write_bytes(records[0].path.read_bytes())
    bundle = make_bundle(tmp_path / "a", [Record(copy, "CEX")])
    found = find_unseen([bundle], records)
    assert set(found.groups) == {"g1", "g2", "g3"}


def test_windows_of_a_learned_frame_are_left_out(tmp_path: Path) -> None:
    file = make_records(tmp_path / "data", 1)[0].path
    learned, other = (Record(Path(f"{file}#xywh={left},0,8,8"), "CEX") for left in (0, 16))
    found = find_unseen([make_bundle(tmp_path / "a", [learned])], [other])
    assert found.records == ()


def test_unknown_training_images_cannot_say(
    errors: Callable[..., None], data: list[Record], pair: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    errors(new=0, current=30, bare=0, gone=0)
    found = assess_promotion(make_bundle(tmp_path / "bare", None), pair[1], data)
    assert found.verdict is Verdict.CANNOT_SAY
    assert "no split.csv beside it" in found.summary()
    lost = make_bundle(tmp_path / "gone", [Record(tmp_path / "lost.png", "CEX")])
    found = assess_promotion(lost, pair[1], data)
    assert found.verdict is Verdict.CANNOT_SAY
    assert "1 of the images that it learned from are not at hand" in found.summary()


def test_hashes_stand_in_for_images_that_are_gone(tmp_path: Path) -> None:
    records = make_records(tmp_path / "data", 4)
    bundle = make_bundle(tmp_path / "a", [Record(tmp_path / "gone.png", "CEX")])
    digest = hash_file(records[2].path)
    write_text(tmp_path / "a" / "learned_from.csv", format_csv([["path", "sha256"], ["gone.png", digest]]))
    found = find_unseen([bundle], records)
    assert (set(found.groups), found.doubts) == ({"g0", "g1", "g3"}, ())
    write_text(tmp_path / "a" / "learned_from.csv", format_csv([["path", "sha256"], ["gone.png", ""]]))
    assert "not at hand" in find_unseen([bundle], records).doubts[0]


def test_written_hashes_say_what_a_model_learned_from(tmp_path: Path) -> None:
    records = make_records(tmp_path / "data", 4)
    moved = tmp_path / "moved.png"
    moved.write_bytes(records[2].path.read_bytes())
    window = Record(Path(f"{records[3].path}#xywh=0,0,8,8"), "PG", split="valid")
    learned = [Record(moved, "CEX", split="train"), window, replace(records[0], split="test")]
    bundle = make_bundle(tmp_path / "a", None)
    bundle = replace(bundle, metadata={**bundle.metadata, "data": {"sha256": "f00"}})
    table = save_training_hashes(tmp_path / "a", learned, "f00")
    assert table is not None
    moved.unlink()
    found = find_unseen([bundle], records)
    assert (set(found.groups), found.n_groups_learned, found.doubts) == ({"g0", "g1"}, 2, ())
    # Of other data, cut off, or too many: nothing is known.
    whole = table.read_text()
    for text in (whole.replace("f00", "f01"), whole[:-9], whole.splitlines()[0]):
        table.write_text(text)
        assert read_training_hashes(bundle) is None
    assert "no split.csv beside it" in find_unseen([bundle], records).doubts[0]
    assert save_training_hashes(tmp_path / "a", [window, learned[2]], "f00", most=0) is None
    assert save_training_hashes(tmp_path / "a", learned, "f00") is None  # one is gone


def test_closed_gate_needs_a_person(tmp_path: Path) -> None:
    for who, reason, is_overridden in (("A", "x", False), ("", "x", True), ("A", " ", True)):
        with pytest.raises(InputError, match="Cannot replace model"):
            promote(tmp_path / "a", tmp_path / "b", None, who, reason, is_overridden)
