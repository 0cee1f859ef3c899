"""Predictions for files: equal in any order, batch and engine; broken files are listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.export.onnx_file import export_onnx
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.bundle import Bundle, save_bundle
from georgia.model.load import load_bundle
from georgia.predict.predictions import Predictions
from georgia.predict.predictor import PredictConfig, predict_files

keras = pytest.importorskip("keras")
LABELS = Labels(("CEX", "PG"))
SPEC = PreprocessSpec(32)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose net says PG where the image is bright: truth is known for grey images."""
    folder = tmp_path_factory.mktemp("model")
    image = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    output = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(image, output(x))
    output.set_weights([np.array([[-1, 1]] * 3, np.float32), np.zeros(2, np.float32)])
    export_onnx(model, SPEC, LABELS, folder / "model.onnx", {"name": "brightness"})
    save_bundle(folder, "model.onnx", LABELS, SPEC, {"name": "brightness"})
    return folder


@pytest.fixture
def bundle(model_folder: Path) -> Bundle:
    return load_bundle(model_folder)


def save_crops(folder: Path, levels: list[int]) -> list[Path]:
    paths = []
    for number, level in enumerate(levels):
        path = folder / f"crop ({number}).png"
        Image.fromarray(np.full((20 + number, 30, 3), level, np.uint8)).save(path)
        paths.append(path)
    return paths


def test_label_is_correct_with_its_probability(bundle: Bundle, tmp_path: Path) -> None:
    paths = save_crops(tmp_path, [0, 255, 10, 240])
    results = predict_files(bundle, paths)
    assert [item.label for item in results.items] == ["CEX", "PG", "CEX", "PG"]
    for item in results.items:
        assert item.probability == max(item.probabilities.values()) > 0.99
        assert item.probabilities[item.label] == item.probability
        assert sum(item.probabilities.values()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_engine_and_batch_change_nothing(
    bundle: Bundle, tmp_path: Path, engine: str, batch_size: int
) -> None:
    paths = save_crops(tmp_path, list(range(100, 160, 6)))
    plain = predict_files(bundle, paths).probability_array()
    other = predict_files(bundle, paths[::-1], PredictConfig(engine, batch_size)).probability_array()[::-1]
    np.testing.assert_allclose(other, plain, atol=1e-5)


def test_broken_files_are_listed_as_failed(bundle: Bundle, tmp_path: Path) -> None:
    paths = save_crops(tmp_path, [0, 255])
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:40])
    results = predict_files(bundle, [paths[0], broken, tmp_path / "absent.png", paths[1]])
    assert [item.file for item in results.items] == paths
    assert [failure.path.name for failure in results.failed] == ["broken.png", "absent.png"]
    assert all(failure.error and "\n" not in failure.error for failure in results.failed)


def test_no_file_gives_no_prediction(bundle: Bundle) -> None:
    results = predict_files(bundle, [])
    assert results.items == ()
    assert results.probability_array().shape == (0, 2)


@pytest.fixture
def results(bundle: Bundle, tmp_path: Path) -> Predictions:
    (tmp_path / "empty.png").touch()
    return predict_files(bundle, [*save_crops(tmp_path, [3, 250]), tmp_path / "empty.png"])


def test_table_formats_hold_same_rows(results: Predictions, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in (".csv", ".json", ".parquet"):
        results.save(tmp_path / f"out{suffix}")
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["CEX", "PG", ""]
    assert list(rows[0]) == ["file", "label", "probability", "p_CEX", "p_PG", "unknown_score", "set", "error"]
    assert rows[2]["error"]
    document = json.loads((tmp_path / "out.json").read_text())
    known = {"engine": results.engine, "precision": "float32", "processor": results.processor}
    assert {key: document[key] for key in known} == known
    metadata = parquet.read_schema(tmp_path / "out.parquet").metadata
    known |= {"model": results.details["model"], "model_sha256": results.details["model_sha256"]}
    assert {key.decode(): value.decode() for key, value in metadata.items()} == known
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row, item, stored in zip(rows, document["predictions"], table, strict=False):
        assert row["file"] == item["file"] == stored["file"]
        assert float(row["probability"]) == pytest.approx(item["probability"], abs=1e-6)
        assert stored["p_PG"] == pytest.approx(item["probabilities"]["PG"])
    assert document["failed"][0]["file"].endswith("empty.png")


def test_json_has_public_keys(results: Predictions) -> None:
    document = results.to_json_dict()
    assert set(document) >= {"predictions", "failed", "engine", "precision", "processor", "classes"}
    wanted = {"file", "label", "probability", "probabilities", "unknown_score", "set"}
    assert set(document["predictions"][0]) == wanted
    assert set(document["failed"][0]) == {"file", "error"}


def test_other_suffix_is_rejected(results: Predictions, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"the suffix must be one of .csv, .json, .jsonl, .parquet; got '.xlsx'"
    ):
        results.save(tmp_path / "out.xlsx")
