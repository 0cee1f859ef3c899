"""An interrupted run resumes: nothing is lost or twice, and the table is that of an uninterrupted run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.model.load import load_bundled_model
from georgia.predict.predictor import PredictConfig, Predictor, iter_predictions, predict_files
from georgia.predict.resume import journal_path, predict_to_table


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_bundled_model(), PredictConfig("openvino", batch_size=4))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(12):
        image = rng.integers(0, 256, (20 + number % 3, 30, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"crop ({number}).png")
    (folder / "crop (5).png").write_bytes(b"no image")
    return [folder / f"crop ({number}).png" for number in range(12)]


def run(predictor: Predictor, paths: list[Path], target: Path, resume: bool = False) -> bytes:
    for _ in predict_to_table(predictor, paths, target, resume):
        pass
    return target.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "stop_after"),
    [
        (".csv", 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((".csv", 0), (".json", 6), (".jsonl", 9), (".parquet", 9))
        ),
    ],
)
def test_resumed_table_equals_uninterrupted_one(
    predictor: Predictor, paths: list[Path], tmp_path: Path, suffix: str, stop_after: int
) -> None:
    whole = run(predictor, paths, tmp_path / f"whole{suffix}")
    target = tmp_path / f"interrupted{suffix}"
    interrupted = predict_to_table(predictor, paths, target)
    list(itertools.islice(interrupted, stop_after))
    interrupted.close()  # type: ignore[attr-defined]
    assert not target.exists()
    with journal_path(target).open("ab") as stream:
        stream.write(b'{"file": "half a li')
    assert run(predictor, paths, target, resume=True) == whole
    assert not journal_path(target).exists()


def test_resume_opens_only_remaining_files(
    predictor: Predictor, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "predictions.csv"
    interrupted = predict_to_table(predictor, paths, target)
    list(itertools.islice(interrupted, 8))
    interrupted.close()  # type: ignore[attr-defined]
    opened: list[Path] = []
    iterate = Predictor.iterate

    def watch(self: Predictor, paths: Iterator[Path], progress: object) -> object:
        return iterate(self, (opened.append(path) or path for path in paths), progress)  # type: ignore

    monkeypatch.setattr(Predictor, "iterate", watch)
    run(predictor, paths, target, resume=True)
    assert opened == paths[8:]


def test_run_without_resume_starts_over(predictor: Predictor, paths: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "predictions.csv"
    interrupted = predict_to_table(predictor, paths[:4], target)
    next(interrupted)
    interrupted.close()  # type: ignore[attr-defined]
    assert run(predictor, paths[4:8], target).count(b"\n") == 5


def test_resume_rejects_other_model_or_engine(
    predictor: Predictor, paths: list[Path], tmp_path: Path
) -> None:
    target = tmp_path / "predictions.csv"
    interrupted = predict_to_table(predictor, paths, target)
    next(interrupted)
    interrupted.close()  # type: ignore[attr-defined]
    other = Predictor(predictor.bundle, PredictConfig("onnxruntime"))
    with pytest.raises(InputError, match="must be those that it began with; got another engine"):
        predict_to_table(other, paths, target, resume=True)
    journal_path(target).write_text("scribble")
    with pytest.raises(InputError, match="got another first line"):
        predict_to_table(predictor, paths, target, resume=True)


def test_resume_names_what_differs(
    predictor: Predictor, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "predictions.csv"
    interrupted = predict_to_table(predictor, paths, target)
    next(interrupted)
    interrupted.close()  # type: ignore[attr-defined]
    begun = journal_path(target).read_text()
    monkeypatch.setenv("GEORGIA_DEPTH", "12")
    with pytest.raises(InputError, match=r"another GEORGIA_DEPTH \(12, not none\)"):
        predict_to_table(predictor, paths, target, resume=True)
    monkeypatch.delenv("GEORGIA_DEPTH")
    precision = predictor.engine.precision
    journal_path(target).write_text(
        begun.replace(f'"{precision}"', '"half"').replace('"model": "', '"model": "0')
    )
    with pytest.raises(InputError, match=rf"another model; another precision \({precision}, not half\)"):
        predict_to_table(predictor, paths, target, resume=True)
    # A journal of version 0.1 knows nothing of depths.
    journal_path(target).write_text(begun.replace(', "sample_bits": 0', ""))
    assert run(predictor, paths, target, resume=True).count(b"\n") == len(paths) + 1


def test_second_run_on_table_is_rejected(predictor: Predictor, paths: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "predictions.csv"
    whole = run(predictor, paths, tmp_path / "whole.csv")
    first = predict_to_table(predictor, paths, target)
    next(first)
    for resume in (False, True):
        with pytest.raises(InputError, match=r"Cannot write .*one process at a time.*got process \d+ on"):
            predict_to_table(predictor, paths, target, resume)
    assert len(list(first)) == len(paths) - 1
    assert target.read_bytes() == whole
    tables = ["predictions.csv", "whole.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*tables, *(f"{name}-metadata.json" for name in tables)]
    )


@pytest.mark.parametrize("damage", ["lost", "cut", "longer", "torn"])
def test_damaged_journal_replaces_no_table(
    predictor: Predictor, paths: list[Path], tmp_path: Path, damage: str
) -> None:
    target = tmp_path / "predictions.csv"
    target.write_text("an earlier table")
    outcomes = predict_to_table(predictor, paths, target)
    list(itertools.islice(outcomes, len(paths)))
    journal = journal_path(target)
    if damage == "lost":
        journal.unlink()
    elif damage == "cut":
        journal.write_bytes(b"")
    else:
        more = {"longer": b'{"file": "x.png", "error": "late"}\n', "torn": b'{"file": "x.p\n'}[damage]
        with journal.open("ab") as stream:
            stream.write(more)
    with pytest.raises(InputError, match="must hold the 12 predictions that were made"):
        next(outcomes)
    assert target.read_text() == "an earlier table"
    assert not target.with_name("predictions.csv.lock").exists()


def test_rejected_resume_leaves_no_lock(predictor: Predictor, paths: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "predictions.csv"
    journal_path(target).write_text("scribble")
    with pytest.raises(InputError, match="got another first line"):
        predict_to_table(predictor, paths, target, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv.part"]


@pytest.mark.slow
def test_predictions_stream_from_endless_files(predictor: Predictor, paths: list[Path]) -> None:
    n_read = 0

    def endless() -> Iterator[Path]:
        nonlocal n_read
        for path in itertools.cycle(paths):
            n_read += 1
            yield path

    outcomes = predictor.iterate(endless())
    first = list(itertools.islice(outcomes, 20))
    outcomes.close()  # type: ignore[attr-defined]
    assert n_read < 60
    expected = predict_files(predictor.bundle, paths)
    assert [item for item in first[:12] if item in expected.failed] == list(expected.failed)
    assert next(iter_predictions(predictor.bundle, paths[:1])).label == expected.items[0].label


def test_batch_of_broken_files_gives_failures(predictor: Predictor, paths: list[Path]) -> None:
    assert list(predictor.iterate([paths[5]] * 40)) == list(predictor.iterate([paths[5]])) * 40
