"""Laws of the checks of single images that a bad and a good example do not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from georgia.audit import AuditConfig, Finding, run_audit
from georgia.catalog.read import read_catalog
from georgia.images.depth import DEPTH_VARIABLE
from georgia.synthetic import render_dataset

FAST = AuditConfig(n_permutations=39, alpha=0.05, near_copies=False)
LIGHT = ("blank", "too-dark")


def render_deep(folder: Path, bits: int) -> Path:
    """Render crops and save them as 16-bit TIFF of which fewer bits are in use, declared nowhere."""
    render_dataset(folder, n_per_class=6, seed=3)
    for path in sorted(folder.rglob("*.png")):
        grey = np.asarray(PillowImage.open(path).convert("L"), np.float64)
        grey *= 255 / grey.max()
        tifffile.imwrite(path.with_suffix(".tif"), np.rint(grey / 255 * (2**bits - 1)).astype(np.uint16))
        path.unlink()
    return folder


def find_light(folder: Path) -> list[Finding]:
    return [item for item in run_audit(read_catalog(folder), FAST).findings if item.check in LIGHT]


@pytest.mark.parametrize(("bits", "camera"), [(8, 8), (10, 10), (11, 12), (12, 12)])
def test_unused_bits_are_no_reason_to_delete(tmp_path, monkeypatch, bits, camera):
    monkeypatch.delenv(DEPTH_VARIABLE, raising=False)
    folder = render_deep(tmp_path / "data", bits)
    findings = find_light(folder)
    assert {name for item in findings for name in item.files} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.tif")
    }
    for item in findings:
        assert f"because the 16-bit files of this set use {bits} bits or fewer" in item.message
        assert f"(GEORGIA_DEPTH={camera} reads them as {camera} bits)" in item.message
        assert item.remedy.startswith(f"Keep them: set GEORGIA_DEPTH={camera} ")
        assert item.evidence["used_bits"] == bits
    monkeypatch.setenv(DEPTH_VARIABLE, str(bits))
    assert not find_light(folder)


def test_dark_image_of_full_set_is_dark(tmp_path, monkeypatch):
    monkeypatch.delenv(DEPTH_VARIABLE, raising=False)
    folder = render_deep(tmp_path / "data", 16)
    dark = min(folder.rglob("*.tif"))
    tifffile.imwrite(dark, tifffile.imread(dark) // 16)
    (finding,) = find_light(folder)
    assert finding.files == (dark.relative_to(folder).as_posix(),)
    assert "remove what shows nothing" in finding.remedy or "show nothing" in finding.remedy


def test_dark_8_bit_files_stand_apart(tmp_path, monkeypatch):
    monkeypatch.delenv(DEPTH_VARIABLE, raising=False)
    folder = render_deep(tmp_path / "data", 12)
    grey = np.full((60, 60), 9, np.uint8)
    PillowImage.fromarray(grey).save(folder / "CEX" / "dark.png")
    plain = [item for item in find_light(folder) if "CEX/dark.png" in item.files]
    assert [item.files for item in plain] == [("CEX/dark.png",)]
    assert "GEORGIA_DEPTH" not in plain[0].remedy
