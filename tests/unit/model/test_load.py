"""Models open from a run folder, a bundle or an ONNX file; whatever is no model is rejected in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from georgia.errors import InputError
from georgia.model.load import is_model, load_bundle, load_bundled_model

BUNDLE = load_bundled_model()
FOLDER = BUNDLE.model_path.parent


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_folder_file_and_onnx_open_same_model() -> None:
    bundles = [load_bundle(path) for path in (FOLDER, FOLDER / "bundle.json", FOLDER / "model.onnx")]
    for bundle in bundles:
        assert (bundle.labels, bundle.preprocess) == (BUNDLE.labels, BUNDLE.preprocess)
        assert bundle.thresholds == BUNDLE.thresholds
        assert bundle.name == BUNDLE.name
    assert is_model(FOLDER)
    assert not is_model(FOLDER.parent)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda folder: folder / "none", "it must exist; got no such file"),
        (lambda folder: folder, "it must hold bundle.json"),
        (lambda folder: write(folder / "a.txt", "x"), "a folder with bundle.json, an .onnx, or a Keras"),
        (lambda folder: write(folder / "a.onnx", "x"), "a whole ONNX file is needed"),
        (lambda folder: write(folder / "a.h5", "x"), "such as --classes CEX,PG"),
        (lambda folder: write(folder / "bundle.json", "{"), "it must be JSON that names its model file"),
        (
            lambda folder: write(folder / "bundle.json", '{"model": "a.onnx"}'),
            "must lie beside it; got no 'a.onnx'",
        ),
    ],
)
def test_unusable_model_is_one_line(make: object, rule: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rule) as caught:
        load_bundle(make(tmp_path))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_model_keeps_its_own_names() -> None:
    assert load_bundle(FOLDER, ("CEX", "PG")) == BUNDLE
    with pytest.raises(InputError, match="this model's classes are CEX, PG; got PG, CEX"):
        load_bundle(FOLDER / "model.onnx", ("PG", "CEX"))
