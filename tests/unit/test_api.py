"""``import georgia`` as in a notebook: steps that are called, results that show themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_S

import georgia
from georgia.errors import InputError
from georgia.images import image_from_array, read_image
from georgia.records import Result


@pytest.fixture(scope="module")
def model() -> georgia.Model:
    return georgia.load()


def test_import_is_light() -> None:
    code = "import sys, georgia; dir(georgia); sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


def test_steps_are_packages_and_callable() -> None:
    import georgia.evaluate
    from georgia.audit import Audit

    assert callable(georgia.audit)
    assert callable(georgia.train)
    assert callable(georgia.evaluate)
    assert Audit.__module__ == "georgia.audit.result"
    assert {"load", "audit", "train", "evaluate"} <= set(dir(georgia))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        georgia.nothing  # noqa: B018


@pytest.mark.slow
def test_files_and_arrays_predict_alike(model: georgia.Model, synthetic_crops: Path) -> None:
    files = sorted((synthetic_crops / "PG").glob("*.png"))[:20]
    from_files = model.predict(files, progress=False)
    from_arrays = model.predict([read_image(file) for file in files], progress=False)
    assert [item.label for item in from_files.items] == [item.label for item in from_arrays.items]
    np.testing.assert_allclose(from_files.probability_array(), from_arrays.probability_array(), atol=1e-6)
    assert [str(item.file) for item in from_arrays.items[:2]] == ["array 0", "array 1"]


@pytest.mark.slow
def test_one_file_array_and_folder(model: georgia.Model, synthetic_crops: Path) -> None:
    file = min((synthetic_crops / "CEX").glob("*.png"))
    assert len(model.predict(file, progress=False).items) == 1
    assert len(model.predict(read_image(file), progress=False).items) == 1
    assert len(model.predict(synthetic_crops, progress=False).items) == 80
    with pytest.raises(InputError, match="either files or arrays are needed; got 1 files and 1 arrays"):
        model.predict([file, read_image(file)])


def test_array_types_agree_with_files(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = read_image(tmp_path / "grey.png")
    for array in (grey, grey[:, :, None], grey.astype(np.uint16) * 257, grey / 255, np.dstack([grey] * 3)):
        np.testing.assert_array_equal(image_from_array(array), expected)
    rgba = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(image_from_array(rgba), read_image(tmp_path / "rgba.png"))
    np.testing.assert_array_equal(image_from_array(grey > 99), image_from_array((grey > 99) / 1.0))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 5), np.uint8), r"got \(2, 3, 5\)"),
        (np.zeros((0, 3), np.uint8), r"got \(0, 3\)"),
        (np.zeros((4, 4), np.int32), "got int32"),
        (np.full((4, 4), 200.0), "floats from 0 to 1 are needed; got float64, 200.0 to 200.0"),
        (np.full((4, 4), np.nan), "floats from 0 to 1"),
    ],
)
def test_wrong_array_is_one_line(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_from_array(array)


@pytest.mark.slow
def test_audit_and_evaluate_return_results(synthetic_crops: Path, tmp_path: Path) -> None:
    audit = georgia.audit(synthetic_crops, out=tmp_path / "audit", progress=False)
    assert repr(audit).startswith("<Audit: 80 images in ")
    assert (tmp_path / "audit" / "audit.html").is_file()
    evaluation = georgia.evaluate(georgia.load(), synthetic_crops, progress=False)
    assert "80 images, accuracy " in repr(evaluation)
    assert [row["class"] for row in evaluation.to_rows()] == ["CEX", "PG"]
    assert "<table>" in evaluation._repr_html_()


def test_wrong_setting_is_named(synthetic_crops: Path) -> None:
    with pytest.raises(InputError, match="'enginge' is no setting. Did you mean 'engine'?"):
        georgia.load(enginge="onnxruntime")
    with pytest.raises(InputError, match="'alhpa' is no setting"):
        georgia.audit(synthetic_crops, alhpa=0.1)


def test_notebook_table_is_escaped_and_short(model: georgia.Model, tmp_path: Path) -> None:
    for number in range(22):
        Image.new("L", (40, 40), number * 10).save(tmp_path / f"<b>{number}.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = model.predict(tmp_path, progress=False)
    assert isinstance(result, Result)
    assert "1 could not be read" in result.summary()
    page = result._repr_html_()
    assert "<b>0" not in page
    assert "&lt;b&gt;0" in page
    assert "3 more rows" in page


@pytest.mark.slow
def test_results_become_data_frames(model: georgia.Model, synthetic_crops: Path) -> None:
    pandas = pytest.importorskip("pandas")
    result = model.predict(synthetic_crops / "CEX", progress=False)
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == [
        "file",
        "label",
        "probability",
        "p_CEX",
        "p_PG",
        "unknown_score",
        "set",
        "error",
    ]
    assert len(frame) == 40


def test_missing_pandas_is_one_line(model: georgia.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas is needed"):
        model.predict(np.zeros((40, 40), np.uint8), progress=False).to_pandas()


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_backbone")
def test_train_then_load(synthetic_crops: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    settings = {"weights": "none", "size_px": 32, "epochs": 1, "views": 1, "robustness": 0}
    trained = georgia.train(synthetic_crops, tmp_path / "run", backbone="tiny", progress=False, **settings)
    assert "macro F1" in repr(trained)
    assert trained.to_rows() == trained.evaluation.to_rows()
    shutil.copytree(trained.run, tmp_path / "moved")
    assert georgia.load(tmp_path / "moved").classes == ("CEX", "PG")


def test_bundled_model_takes_no_preprocessing() -> None:
    with pytest.raises(InputError, match="classes and preprocess are for a Keras file from elsewhere"):
        georgia.load(preprocess="unit")
