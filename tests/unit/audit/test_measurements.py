"""Laws of the measurements of one image."""

from __future__ import annotations

import struct
import zlib
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


@pytest.mark.parametrize("place", ["before", "behind", "text"])
def test_exif_of_png_is_found_wherever_it_stands(tmp_path: Path, place: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    Image.fromarray(render_texture(1)).save(tmp_path / "plain.png")
    data = (tmp_path / "plain.png").read_bytes()
    chunk = _make_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    if place == "text":
        profile = exif.tobytes().hex().encode()
        text = b"\nexif\n%8d\n%s\n" % (len(profile) // 2, profile)
        chunk = _make_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    # 33 bytes of signature and header come first, 12 of the end last.
    at = len(data) - 12 if place == "behind" else 33
    (tmp_path / "tagged.png").write_bytes(data[:at] + chunk + data[at:])
    assert measure_file(tmp_path / "tagged.png")["exif"] == "Make=Acme"
    assert measure_file(tmp_path / "plain.png")["exif"] == "none"


def _make_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
