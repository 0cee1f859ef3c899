"""Laws of depth: 16-bit samples that use fewer bits are as bright as 8-bit ones, once the depth is stated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from tests.helpers.images import GREY, GREY_RGB, SCENE, save_png16

from georgia.errors import InputError, UnreadableImageError
from georgia.images.decode import find_used_bits, image_from_array, iter_images, read_image
from georgia.images.depth import DEPTH_VARIABLE, DepthWatch, find_stated_bits
from georgia.images.preprocess import PreprocessSpec


def deepen(scene: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(scene / 255 * (2**bits - 1)).astype(np.uint16)


def save_all(folder: Path, bits: int) -> list[tuple[Path, np.ndarray]]:
    clear = np.dstack([deepen(SCENE, bits), np.full(GREY.shape, 65535, np.uint16)])
    paths = [folder / name for name in ("g.png", "c.png", "a.png", "g.tif", "c.tif")]
    save_png16(paths[0], deepen(GREY, bits))
    save_png16(paths[1], deepen(SCENE, bits))
    save_png16(paths[2], clear)
    tifffile.imwrite(paths[3], deepen(GREY, bits))
    tifffile.imwrite(paths[4], deepen(SCENE, bits), photometric="rgb", byteorder=">", compression="zlib")
    return list(zip(paths, (GREY_RGB, SCENE, SCENE, GREY_RGB, SCENE), strict=True))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_stated_depth_restores_brightness(tmp_path, monkeypatch, bits):
    files = save_all(tmp_path, bits)
    monkeypatch.setenv(DEPTH_VARIABLE, str(bits))
    for path, expected in files:
        np.testing.assert_array_equal(read_image(path), expected, err_msg=path.name)
        assert find_used_bits(path) == bits
    np.testing.assert_array_equal(image_from_array(deepen(SCENE, bits)), SCENE)


def test_stated_depth_changes_no_other_file(tmp_path, monkeypatch):
    PillowImage.fromarray(SCENE).save(tmp_path / "8.png")
    tifffile.imwrite(tmp_path / "14.tif", deepen(GREY, 14), extratags=[(281, "H", 1, 2**14 - 1, True)])
    tifffile.imwrite(tmp_path / "f.tif", (GREY / 255).astype(np.float32))
    paths = sorted(tmp_path.iterdir())
    before = [read_image(path) for path in paths]
    monkeypatch.setenv(DEPTH_VARIABLE, "12")
    for path, image in zip(paths, before, strict=True):
        np.testing.assert_array_equal(read_image(path), image)
        assert find_used_bits(path) == 0


def test_stated_depth_too_small_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv(DEPTH_VARIABLE, "12")
    for path, _ in save_all(tmp_path, 13):
        with pytest.raises(
            UnreadableImageError, match=r"do not fit 12 bits \(GEORGIA_DEPTH\); the largest is"
        ):
            read_image(path)


@pytest.mark.parametrize("stated", ["twelve", "7", "17", "12.0", "-12", "²"])
def test_stated_depth_of_wrong_kind_stops(tmp_path, monkeypatch, stated):
    PillowImage.fromarray(SCENE).save(tmp_path / "a.png")
    monkeypatch.setenv(DEPTH_VARIABLE, stated)
    with pytest.raises(InputError, match="Cannot use GEORGIA_DEPTH: it must be 8 to 16 bits; got"):
        list(iter_images([tmp_path / "a.png"]))
    with pytest.raises(InputError, match="Cannot use GEORGIA_DEPTH"):
        PreprocessSpec.from_dict(PreprocessSpec(64).to_dict())


@pytest.mark.parametrize("stated", ["", " ", None])
def test_stated_depth_may_be_absent(monkeypatch, stated):
    monkeypatch.delenv(DEPTH_VARIABLE, raising=False)
    if stated is not None:
        monkeypatch.setenv(DEPTH_VARIABLE, stated)
    assert find_stated_bits() == 0


def test_model_asks_for_depth_of_training(monkeypatch):
    values = PreprocessSpec(64, sample_bits=12).to_dict()
    monkeypatch.setenv(DEPTH_VARIABLE, "14")
    assert PreprocessSpec.from_dict(values).sample_bits == 12
    monkeypatch.delenv(DEPTH_VARIABLE)
    with pytest.raises(InputError, match="it was trained with GEORGIA_DEPTH=12"):
        PreprocessSpec.from_dict(values)
    assert "sample_bits" not in PreprocessSpec(64).to_dict()


@pytest.mark.parametrize(
    ("largest", "note"),
    [
        (
            [4095, 3000],
            r"^2 files of 16 bits use 12 bits at most. If the camera has 12, they come out 16 times",
        ),
        (
            [1000],
            r"^1 file of 16 bits uses 10 bits at most. .* it comes out 64 times .* set GEORGIA_DEPTH=10",
        ),
        ([8191], r"uses 13 bits at most. If the camera has 14, it comes out 4 times"),
        ([200, 16384], ""),
        ([0], ""),
        ([], ""),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_watch_counts_unused_bits(tmp_path, monkeypatch, largest, note, suffix):
    monkeypatch.delenv("GEORGIA_DEPTH", raising=False)
    paths = []
    for number, top in enumerate(largest):
        samples = np.linspace(0, top, 600).astype(np.uint16).reshape(20, 30)
        paths.append(tmp_path / f"{number}.{suffix}")
        tifffile.imwrite(paths[-1], samples) if suffix == "tif" else save_png16(paths[-1], samples)
    PillowImage.fromarray(GREY).save(tmp_path / "eight.png")
    watch = DepthWatch()
    list(iter_images([*paths, tmp_path / "eight.png"], watch=watch))
    assert watch.n_files == len(largest)
    assert re.search(note, watch.describe()) if note else not watch.describe()
    monkeypatch.setenv("GEORGIA_DEPTH", "14")
    assert not watch.describe()
