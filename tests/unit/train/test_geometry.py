"""When images are shown whole or at one scale, and how large the window is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from georgia.audit import Audit, AuditConfig, Finding
from georgia.errors import InputError
from georgia.images.preprocess import EFFICIENTNET_LITE
from georgia.labels import Labels
from georgia.progress import QUIET
from georgia.records import Catalog, Record
from georgia.train.geometry import (
    apply_geometry,
    are_tight_crops,
    choose_window,
    find_reach,
    tells_by_size,
)
from georgia.train.network import Network
from georgia.train.recipes import recipe_config

SIZE = Finding("file-shortcut", "error", "width", "", {"property": "width_px"})
NETWORK = Network(None, None, None, EFFICIENTNET_LITE, (), "", None)


def audit_of(*findings: Finding) -> Audit:
    records = tuple(Record(Path(f"{n}.png"), "CEX" if n < 40 else "PG") for n in range(100))
    side = np.array([151.0] * 40 + [*np.linspace(130, 220, 60)])
    columns = {"width_px": side, "height_px": side + 3}
    return Audit(
        Catalog(Path(), Labels(("CEX", "PG")), records), findings, (), columns, (), AuditConfig(), 0.0
    )


def test_window_fits_nearly_all_images() -> None:
    window = choose_window(audit_of())
    small = audit_of().columns["width_px"][40:]
    assert 0.9 < (small >= window).mean() <= 0.97
    assert window < 151


def test_auto_acts_on_errors_of_size_only() -> None:
    config = recipe_config("fast")
    for findings in (
        (),
        (replace(SIZE, severity="warning"),),
        (replace(SIZE, evidence={"property": "mode"}),),
    ):
        assert not tells_by_size(audit_of(*findings))
        network, chosen = apply_geometry(NETWORK, config, audit_of(*findings), QUIET)
        assert (network.preprocess.window_px, chosen.geometry) == (0, "stretch")
    network, chosen = apply_geometry(NETWORK, config, audit_of(SIZE), QUIET)
    assert network.preprocess.window_px == chosen.window_px == choose_window(audit_of())
    assert (chosen.geometry, chosen.augmentation) == ("scale", "crystal-jitter")


def test_study_stretches_and_given_window_wins() -> None:
    assert apply_geometry(NETWORK, recipe_config("georgia"), audit_of(SIZE), QUIET)[1].geometry == "stretch"
    asked = recipe_config("fast", {"geometry": "scale", "window_px": 96, "audit": False})
    assert apply_geometry(NETWORK, asked, None, QUIET)[0].preprocess.window_px == 96


def test_window_needs_an_audit() -> None:
    with pytest.raises(InputError, match="with window_px where nothing is audited"):
        recipe_config("fast", {"geometry": "scale", "audit": False})


def draw_particle(height: int, width: int, margin: float, rng: np.random.Generator) -> np.ndarray:
    """Return an ellipse on noise that leaves ``margin``, part of each side, free all around."""
    image = np.full((height, width, 3), 90, np.uint8)
    axes = round(width * (0.5 - margin)), round(height * (0.5 - margin))
    cv2.ellipse(image, (width // 2, height // 2), axes, 0, 0, 360, (170, 170, 170), -1)
    noisy = image + rng.normal(0, 4, image.shape[:2])[..., None]
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def audit_files(folder: Path, margin: float, spread: float) -> Audit:
    """Return an audit's measurements of files with one particle each, in two classes."""
    rng = np.random.default_rng(3)
    records, sizes = [], []
    for number in range(24):
        height, width = (round(60 * np.exp(spread * value)) for value in rng.normal(size=2))
        path = folder / f"{number}.png"
        Image.fromarray(draw_particle(height, width, margin, rng)).save(path)
        records.append(Record(path, "CEX" if number % 2 else "PG"))
        sizes.append((width, height))
    widths, heights = np.array(sizes, np.float64).T
    catalog = Catalog(folder, Labels(("CEX", "PG")), tuple(records))
    columns = {"width_px": widths, "height_px": heights}
    return Audit(catalog, (SIZE,), (), columns, (), AuditConfig(), 0.0)


@pytest.mark.parametrize(
    ("margin", "spread", "geometry"), [(0.01, 0.4, "fit"), (0.2, 0.4, "scale"), (0.01, 0.1, "scale")]
)
def test_auto_fits_tight_crops_only(margin: float, spread: float, geometry: str, tmp_path: Path) -> None:
    audit = audit_files(tmp_path, margin, spread)
    assert are_tight_crops(audit) == (geometry == "fit")
    network, chosen = apply_geometry(NETWORK, recipe_config("fast"), audit, QUIET)
    assert chosen.geometry == geometry
    assert network.preprocess.keeps_aspect == (geometry == "fit")


def test_fit_needs_no_audit() -> None:
    asked = recipe_config("fast", {"geometry": "fit", "audit": False})
    network, chosen = apply_geometry(NETWORK, asked, None, QUIET)
    assert network.preprocess.keeps_aspect
    assert chosen.geometry == "fit"
    assert not are_tight_crops(None)


def test_reach_is_that_of_largest_thing() -> None:
    rng = np.random.default_rng(4)
    assert find_reach(draw_particle(80, 120, 0.0, rng)) > 0.95
    assert find_reach(draw_particle(80, 120, 0.25, rng)) == pytest.approx(0.5, abs=0.06)
    flat = np.full((40, 50, 3), 128, np.uint8)
    assert find_reach(flat) == 0.0
    assert find_reach(np.clip(flat + rng.normal(0, 3, (40, 50, 1)), 0, 255).astype(np.uint8)) == 0.0
