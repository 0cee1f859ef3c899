"""Another model in the place of the one in use: one step, back again, and whole after any kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.models import write_model

from georgia.errors import InputError
from georgia.model import promotion
from georgia.model.load import load_bundle
from georgia.model.promotion import Sign, go_back, replace_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("first", "second", "third"):
        write_model(root / name, name, is_inverted=name == "third")
    return root


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(made, tmp_path / "models")
    return tmp_path / "models"


def test_new_model_takes_the_place(models: Path) -> None:
    current, new = models / "first", models / "second"
    before, after = load_bundle(current), load_bundle(new)
    bundle = replace_model(new, current, Sign("A. Miller", "more labels", figures={"n_groups": 40}))
    assert (bundle.name, bundle.sha256) == ("second", after.sha256)
    assert load_bundle(current).sha256 == after.sha256
    record = json.loads((current / "bundle.json").read_text())["promotion"]
    assert record["from"] == {"name": "first", "model_sha256": before.sha256}
    assert record["to"] == {"name": "second", "model_sha256": after.sha256}
    assert (record["who"], record["reason"], record["figures"]) == (
        "A. Miller",
        "more labels",
        {"n_groups": 40},
    )
    # The new folder is as it was, and the old model is still there.
    assert "promotion" not in json.loads((new / "bundle.json").read_text())
    assert (current / "model.onnx").exists()
    assert bundle.model_path.with_name("reference.npz").exists()


def test_going_back_undoes_one_promotion_each(models: Path) -> None:
    current = models / "first"
    first = load_bundle(current).sha256
    replace_model(models / "second", current, Sign("A"))
    second = load_bundle(current).sha256
    replace_model(models / "third", current, Sign("A"))
    assert go_back(current, "B", "worse at night").sha256 == second
    assert load_bundle(current).metadata["promotion"]["reason"] == "worse at night"
    assert go_back(current, "B").sha256 == first
    with pytest.raises(InputError, match="the model in use is the first one"):
        go_back(current, "B")
    # What was in force once is kept, each with its record.
    kept = [json.loads(file.read_text()).get("promotion") for file in sorted(current.glob("bundle-*.json"))]
    assert [record and record["decision"] for record in kept] == [None, "promoted", "promoted", "back"]
    assert replace_model(models / "third", current, Sign("A")).name == "third"
    assert go_back(current, "B").sha256 == first


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 11))
@pytest.mark.parametrize("back", [False, True])
def test_kill_at_any_moment_leaves_a_model(
    models: Path, step: int, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, new = models / "first", models / "second"
    if back:
        replace_model(new, current, Sign("A"))
    before = load_bundle(current).sha256
    count = 0

    def die_at(name: str) -> None:
        original = getattr(promotion, name)

        def write(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(promotion, name, write)

    with monkeypatch.context() as patch:
        patch.setattr(promotion.shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing
        for name in ("write_json", "write_bytes", "load_bundle"):
            die_at(name)
        try:
            go_back(current, "B") if back else replace_model(new, current, Sign("A"))
        except KeyboardInterrupt:
            assert count == step
    monkeypatch.undo()
    left = load_bundle(current).sha256
    if left == before:
        go_back(current, "B") if back else replace_model(new, current, Sign("A"))
    assert load_bundle(current).sha256 != before
    replace_model(models / "third", current, Sign("A"))
    assert not list(current.glob(".promoting-*"))


def test_same_model_is_rejected(models: Path) -> None:
    with pytest.raises(InputError, match="the new model must be another one"):
        replace_model(models / "first", models / "first", Sign("A"))


def test_file_has_no_place(models: Path) -> None:
    with pytest.raises(InputError, match="the folder of a model with bundle.json is needed; got a file"):
        replace_model(models / "second", models / "first" / "model.onnx", Sign("A"))
    with pytest.raises(InputError, match="the folder of a model with bundle.json is needed; got no such"):
        replace_model(models / "second", models / "none", Sign("A"))
    assert not (models / "none").exists()


def test_damaged_new_model_changes_nothing(models: Path) -> None:
    current, new = models / "first", models / "second"
    (new / "model.onnx").write_bytes((new / "model.onnx").read_bytes() + b"x")
    before = (current / "bundle.json").read_bytes()
    with pytest.raises(InputError, match="it must be the file that bundle.json describes"):
        replace_model(new, current, Sign("A"))
    assert (current / "bundle.json").read_bytes() == before


def test_lost_earlier_model_is_said(models: Path) -> None:
    current = models / "first"
    replace_model(models / "second", current, Sign("A"))
    (current / "model.onnx").unlink()
    assert load_bundle(current).name == "second"
    with pytest.raises(InputError, match="the model that bundle-001.json names must still be there"):
        go_back(current, "B")
    assert load_bundle(current).name == "second"


@pytest.mark.parametrize("folder", ["..", "/etc", "model-x", "a/b"])
def test_promotion_cannot_point_elsewhere(models: Path, folder: str) -> None:
    file = models / "first" / "bundle.json"
    details = {**json.loads(file.read_text()), "promotion": {"folder": folder}}
    file.write_text(json.dumps(details))
    with pytest.raises(InputError, match="it must be JSON that names its model file"):
        load_bundle(models / "first")


def test_held_place_is_not_replaced(models: Path) -> None:
    from georgia.files import hold_folder

    with hold_folder(models / "first"), pytest.raises(InputError, match="one process at a time"):
        replace_model(models / "second", models / "first", Sign("A"))
