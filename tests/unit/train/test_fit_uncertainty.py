"""Fitting on the exported file's outputs: views belong to their image, foreign material where it may be."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from georgia.labels import Labels
from georgia.records import Catalog, Record
from georgia.split.make import SplitConfig, make_split
from georgia.train.fit_uncertainty import fit_uncertainty
from georgia.train.network import build_network
from georgia.train.recipes import recipe_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_backbone")]


def fit(
    folder: Path, names: tuple[str, str], foreign_material: str = "auto", symmetry: str = "none"
) -> dict[str, object]:
    """Return what a small untrained net's unknown score says of itself, fitted on 24 images of noise."""
    from georgia.backbones import find_backbone

    rng = np.random.default_rng(0)
    records = []
    for number in range(24):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 80 + 80 * (number % 2), (48, 48, 3), dtype=np.uint8)).save(path)
        records.append(Record(path, names[number % 2]))
    records.sort(key=lambda record: record.class_name)
    config = recipe_config("fast", {"backbone": "tiny", "size_px": 32, "symmetry": symmetry})
    network = build_network(config, 2)
    split = make_split(Catalog(folder, Labels(names), tuple(records)), SplitConfig((0.5, 0.5, 0.0)))
    layers = find_backbone("tiny").levels
    unknown = fit_uncertainty(network, split, layers, foreign_material=foreign_material).unknown
    assert unknown is not None
    return dict(unknown.to_dict())


def test_view_joins_group_of_its_image(tmp_path: Path) -> None:
    found = fit(tmp_path, ("a", "b"))
    assert found["n_valid"] == found["n_valid_groups"] == 12
    assert found["n_scored_groups"] == 24
    assert "n_material" not in found


def test_averaging_net_takes_limits_from_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its training images are measured in one run each, which says nothing of averaged scores."""
    few = fit(tmp_path, ("a", "b"), symmetry="average")
    assert few["n_scored_groups"] == 24
    monkeypatch.setattr("georgia.train.fit_uncertainty.ENOUGH_TRAIN", 6)
    many = fit(tmp_path, ("a", "b"), symmetry="average")
    assert many["n_train"] == 12
    assert many["n_scored_groups"] == many["n_valid_groups"] == 12


def test_views_and_appearance_cover_every_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records stand class after class, here dark before bright; few of them are measured."""
    measured: dict[str, list[float]] = {"make_known_view": [], "measure_appearance": []}
    module = "georgia.train.fit_uncertainty"
    for name, greys in measured.items():
        original = getattr(importlib.import_module(module), name)

        def note(image: npt.NDArray[np.uint8], greys: Any = greys, original: Any = original) -> Any:
            greys.append(float(image.mean()))
            return original(image)

        monkeypatch.setattr(f"{module}.{name}", note)
    monkeypatch.setattr(f"{module}.MAX_VIEW_RUNS", 6)
    monkeypatch.setattr(f"{module}.MAX_DESCRIBED", 6)
    fit(tmp_path, ("dark", "light"))
    for name, greys in measured.items():
        assert min(greys[:6]) < 60 < max(greys[:6]), name


def test_material_is_rendered_for_crystals_or_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "georgia.train.fit_uncertainty"
    monkeypatch.setattr(f"{module}.N_MATERIAL", (18, 36))
    monkeypatch.setattr(f"{module}.N_EMPTY", (2, 4))
    assert fit(tmp_path, ("CEX", "PG"))["n_material"] == 20
    assert fit(tmp_path, ("a", "b"), "rendered")["n_material"] == 20
    assert "n_material" not in fit(tmp_path, ("CEX", "PG"), "none")
    monkeypatch.setattr(f"{module}.ENOUGH_TRAIN", 6)
    assert fit(tmp_path, ("CEX", "PG"))["n_material"] == 40


def make_outputs(groups: list[str]) -> Any:
    """Return outputs of images of two classes, of which those of group "old" are most confident."""
    from georgia.train.fit_uncertainty import _Outputs

    rng = np.random.default_rng(3)
    truth = np.arange(len(groups)) % 2
    logits = rng.normal(0, 1.5, (len(groups), 2)) + 1.5 * np.eye(2)[truth]
    logits[[group.startswith("old") for group in groups]] += 20 * np.eye(2)[truth][0]
    records = tuple(Record(Path(f"{at}.png"), "ab"[true], groups[at]) for at, true in enumerate(truth))
    return _Outputs(logits.astype(np.float32), np.zeros((len(groups), 1), np.float32), records)


def test_groups_that_leak_set_no_limits() -> None:
    from georgia.train.fit_uncertainty import _calibrate

    labels, new = Labels(("a", "b")), [f"new {number}" for number in range(80)]
    alone = _calibrate(make_outputs(new), {"old 1"}, labels)
    both = _calibrate(make_outputs([*new, *["old 1"] * 40, ""]), {"old 1", ""}, labels)
    assert both[1].n_images == {"a": 41, "b": 40}
    assert abs(both[0].temperature - alone[0].temperature) < 0.1
    leaked = _calibrate(make_outputs(["old 1"] * 40), {"old 1"}, labels)
    assert leaked[1].n_groups == {"a": 0, "b": 0}
    assert set(leaked[1].limits[0.05].values()) == {0.0}
