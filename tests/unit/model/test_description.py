"""A damaged or contradictory description of a model is one line, never another prediction."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from georgia.errors import InputError
from georgia.model.bundle import Bundle, save_bundle
from georgia.model.description import METADATA_KEY, read_onnx_description
from georgia.model.load import load_bundle, load_bundled_model

BUNDLED = load_bundled_model().model_path.parent
KEPT = Path(__file__).parents[2] / "kept" / "v0.1" / "run"
NAN, DEEP = float("nan"), "[" * 100_000 + "]" * 100_000
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    NAN,
    float("inf"),
    1e400,
    10**400,
    "x",
    "0.5",
    [],
    ["x"],
    {},
    {"x": 1},
)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A copy of the bundled model, without the hash of its file, as version 0.1 wrote bundles."""
    for name in ("bundle.json", "model.onnx"):
        shutil.copy(BUNDLED / name, tmp_path / name)
    change(tmp_path, lambda details: details.pop("model_sha256"))
    return tmp_path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's description around a small net: only what describes it is read here."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("described")
    described = onnx.load(str(BUNDLED / "model.onnx"), load_external_data=False).metadata_props
    model = onnx.load(str(next(KEPT.glob("*.onnx"))))
    del model.metadata_props[:]
    model.metadata_props.extend(described)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    shutil.copy(BUNDLED / "bundle.json", folder)
    change(folder, lambda details: details.pop("model_sha256"))
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    for name in ("bundle.json", "model.onnx"):
        shutil.copy(template / name, tmp_path / name)
    return tmp_path


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    details = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    edit(details)
    (folder / "bundle.json").write_text(json.dumps(details), encoding="utf-8")


def check_one_line(source: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_bundle(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def open_or_reject(source: Path) -> Bundle | None:
    """Return the bundle, None where one line rejects it."""
    try:
        return load_bundle(source)
    except InputError as error:
        if "\n" in str(error):
            raise
        return None


@pytest.mark.parametrize("source", [BUNDLED, KEPT], ids=["bundled", "kept"])
def test_bundles_of_version_0_1_open(source: Path) -> None:
    bundle = load_bundle(source)
    described = read_onnx_description(bundle.model_path)
    assert described is not None
    assert described["classes"] == list(bundle.labels.names)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda d: d["classes"].reverse(), "got classes PG, CEX where the file has CEX, PG"),
        (lambda d: d["preprocess"].update(color_order="BGR"), "another entry of preprocess"),
        (lambda d: d["preprocess"].update(size_px=64), "another entry of preprocess"),
        (lambda d: d["preprocess"].update(mean=[0, 0, 0]), "another entry of preprocess"),
        (lambda d: d["unknown"].update(threshold=3.0), "another entry of unknown"),
        (lambda d: d.pop("unknown"), "another entry of unknown"),
        (lambda d: d["calibration"].update(temperature=1.0), "another entry of calibration"),
        (lambda d: d["unknown"].update(threshold=NAN), "unknown.threshold must be a finite number; got nan"),
        (lambda d: d["unknown"].update(threshold="high"), "threshold must be a finite number; got high"),
        (lambda d: d["preprocess"].update(mean=[NAN, 0, 0]), "mean must be three finite numbers"),
        (lambda d: d["preprocess"].update(scale=[0, 1, 1]), "scale must be three finite numbers above 0"),
        (lambda d: d["preprocess"].update(size_px=100000), "size_px must be a whole number from 1 to 4096"),
        (lambda d: d.update(preprocess="x"), "preprocess must be a table"),
        (lambda d: d.update(classes="CEX,PG"), "classes must be a list of texts"),
        (lambda d: d.update(classes=["CEX", 1], preprocess=[]), "list of texts · preprocess must be a table"),
        (lambda d: d.update(unknown=[1]), "unknown must be a table"),
        (lambda d: d["data"].update(median_side_px="wide"), "median_side_px must be a side in px; got wide"),
        (lambda d: d["conformal"]["limits"]["0.05"].update(PG=NAN), "conformal limits must be probabilities"),
        (lambda d: d.pop("classes"), "no classes"),
        (lambda d: d.update(model_sha256="0" * 64), r"must be the file that bundle.json describes"),
    ],
)
def test_changed_bundle_is_one_line(folder: Path, edit: Callable[[Any], object], match: str) -> None:
    change(folder, edit)
    check_one_line(folder, match)


@pytest.mark.parametrize("text", ["[1, 2]", "null", "{", DEEP, '{"model": ' + DEEP + "}", ""])
def test_odd_json_is_one_line(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text, encoding="utf-8")
    check_one_line(folder, "Cannot (read|use) ")


def test_name_and_note_may_be_changed(folder: Path) -> None:
    change(folder, lambda details: details.update(name="ours", note="by hand"))
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.note) == ("ours", "by hand")


def _list_places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to each entry; of a list only its first."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield (*place, key)
        yield from _list_places(entry, (*place, key))


def _put(details: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        details = details[key]
    details[place[-1]] = value


DETAILS = json.loads((BUNDLED / "bundle.json").read_text(encoding="utf-8"))
DECIDING = ("model", "classes", "preprocess", "unknown", "conformal", "calibration", "data", "name", "note")


def _subsample(places: list[tuple[Any, ...]]) -> list[Any]:
    """Every fourth place quickly, the others with the slow tests."""
    return [
        pytest.param(place, id=str(place), marks=[pytest.mark.slow] if number % 4 else [])
        for number, place in enumerate(places)
    ]


@pytest.mark.parametrize("place", _subsample([p for p in _list_places(DETAILS) if p[0] in DECIDING]))
def test_any_odd_value_is_rejected_or_changes_nothing(
    folder: Path, template: Path, place: tuple[Any, ...]
) -> None:
    expected = load_bundle(template)
    for value in ODD:
        change(folder, lambda details, value=value: _put(details, place, value))
        bundle = open_or_reject(folder)
        if bundle is not None:
            assert (bundle.labels, bundle.preprocess) == (expected.labels, expected.preprocess)
            assert bundle.thresholds == expected.thresholds
        shutil.copy(template / "bundle.json", folder / "bundle.json")


def _rewrite_metadata(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(file))
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            details = json.loads(entry.value)
            edit(details)
            entry.value = json.dumps(details)
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("place", _subsample([p for p in _list_places(DETAILS) if p[0] in DECIDING[1:]]))
def test_odd_metadata_of_lone_file_is_one_line(folder: Path, template: Path, place: tuple[Any, ...]) -> None:
    for value in (NAN, "x", -1, {}):
        _rewrite_metadata(folder / "model.onnx", lambda details, value=value: _put(details, place, value))
        open_or_reject(folder / "model.onnx")
        shutil.copy(template / "model.onnx", folder / "model.onnx")


def test_classes_swapped_in_both_texts_are_noticed(folder: Path) -> None:
    change(folder, lambda details: details["classes"].reverse())
    _rewrite_metadata(folder / "model.onnx", lambda details: details["classes"].reverse())
    check_one_line(folder, "must name the same classes twice; got PG,CEX and CEX,PG")
    check_one_line(folder / "model.onnx", "must name the same classes twice")


def test_replaced_model_file_is_noticed(whole: Path) -> None:
    bundle = load_bundle(whole)
    save_bundle(whole, "model.onnx", bundle.labels, bundle.preprocess, bundle.metadata)
    assert load_bundle(whole).labels == bundle.labels
    data = bytearray((whole / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (whole / "model.onnx").write_bytes(data)
    check_one_line(whole, r"it must be the file that bundle.json describes \(SHA-256 ")


@pytest.mark.parametrize("keep", [0, 1, 100, 5_000_000])
def test_cut_model_file_is_one_line(whole: Path, keep: int) -> None:
    data = (whole / "model.onnx").read_bytes()
    (whole / "model.onnx").write_bytes(data[:keep])
    check_one_line(whole, "Cannot (open|use) ")


def test_foreign_net_beside_bundle_is_rejected(whole: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(whole / "model.onnx"))
    del model.metadata_props[:]
    (whole / "model.onnx").write_bytes(model.SerializeToString())
    check_one_line(whole, "must hold class names and preprocessing too; got a foreign ONNX file")
