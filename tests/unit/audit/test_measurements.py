"""Laws of the measurements of one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.audit_examples import render_texture

from georgia.audit.measurements import measure_border, measure_file, measure_noise, measure_pixels


def test_noise_level_equals_added_noise() -> None:
    rng = np.random.default_rng(1)
    slope = np.add.outer(np.arange(200) * 0.3, np.arange(200) * 0.2) + 60
    noisy = np.clip(np.rint(slope + rng.normal(0, 6, slope.shape)), 0, 255).astype(np.uint8)
    assert measure_noise(noisy) == pytest.approx(6, rel=0.05)


def test_border_counts_all_sides() -> None:
    image = render_texture(1, 40, 50)[..., 0]
    assert measure_border(image) == 0
    assert measure_border(np.pad(image, ((3, 1), (2, 0)))) == 6


def test_rotation_changes_no_statistic() -> None:
    image = render_texture(2, 40, 50)
    rotated = measure_pixels(np.rot90(image).copy())
    for name, value in measure_pixels(image).items():
        assert rotated[name] == pytest.approx(value, rel=1e-4), name


def test_exif_names_camera_or_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "P1"
    Image.fromarray(render_texture(1)).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(render_texture(1)).save(tmp_path / "b.jpg")
    assert measure_file(tmp_path / "a.jpg")["exif"] == "Make=Acme, Model=P1"
    assert measure_file(tmp_path / "b.jpg")["exif"] == "none"
