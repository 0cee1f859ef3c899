"""Laws of reading TIFF: one scene is the same pixels whatever layout, depth and compression holds it."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.helpers.images import GREY, GREY_RGB, SCENE

from georgia.errors import UnreadableImageError
from georgia.images.decode import read_image


@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "layout", [{}, {"tile": (16, 16)}, {"predictor": 2}, {"rowsperstrip": 5}, {"bigtiff": 1}]
)
def test_tiff_8_and_16_bit_agree(tmp_path, scene, compression, byteorder, layout):
    if "predictor" in layout and compression is None:
        layout = {}
    layout = dict(layout)
    with tifffile.TiffWriter(
        tmp_path / "a.tif", byteorder=byteorder, bigtiff=bool(layout.pop("bigtiff", 0))
    ) as tif:
        photometric = "rgb" if scene.ndim == 3 else "minisblack"
        tif.write(scene.astype(np.uint16) * 257, photometric=photometric, compression=compression, **layout)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), scene if scene.ndim == 3 else GREY_RGB)


def test_tiff_16_bit_lzw_agrees(tmp_path):
    cv2.imwrite(
        str(tmp_path / "a.tif"), SCENE[:, :, ::-1].astype(np.uint16) * 257, [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages.first.compression == 5
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)


@pytest.mark.parametrize("predictor", [1, 3])
def test_tiff_float_lzw_agrees(tmp_path, predictor):
    info = {317: predictor}
    Image.fromarray((GREY / 255).astype(np.float32)).save(
        tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=info
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages.first.predictor == predictor
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


def test_tiff_16_bit_planar_agrees(tmp_path):
    planes = np.moveaxis(SCENE, -1, 0).astype(np.uint16) * 257
    tifffile.imwrite(
        tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression="zlib"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)


@pytest.mark.parametrize("tag", [281, 341])
def test_tiff_declared_bit_depth_is_used(tmp_path, tag):
    samples = np.rint(GREY.astype(float) / 255 * 4095).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, extratags=[(tag, "H", 1, 4095, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_tiff_packed_samples_fill_range(tmp_path, bits):
    top = 2**bits - 1
    samples = np.rint(GREY / 255 * top).astype(np.uint8 if bits < 8 else np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, bitspersample=bits, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[:, :, 1], np.rint(samples / top * 255))


@pytest.mark.parametrize("compression", ["jpeg2000", "webp"])
def test_tiff_unread_compression_is_named(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", SCENE, photometric="rgb", compression=compression)
    with pytest.raises(UnreadableImageError, match=rf"its compression is not read \({compression.upper()}\)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_tiff_cmyk_equals_pillow(tmp_path, mode, compression):
    Image.fromarray(SCENE).convert(mode).save(tmp_path / "a.tif", compression=compression)
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_allclose(read_image(tmp_path / "a.tif"), np.array(image.convert("RGB")), atol=1)


def test_tiff_missing_strip_is_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), rowsperstrip=4)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for code in (273, 279):
            struct.pack_into("<I", data, tif.pages.first.tags[code].offset + 4, 1)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UnreadableImageError, match="the file is damaged"):
        read_image(tmp_path / "a.tif")


def test_tiff_largest_value_is_no_depth(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.uint16) * 100, extratags=[(281, "H", 1, 25500, True)])
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.uint16) * 100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "b.tif"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
def test_tiff_float_agrees(tmp_path, dtype, scene):
    tifffile.imwrite(
        tmp_path / "a.tif",
        (scene / 255).astype(dtype),
        photometric="rgb" if scene.ndim == 3 else "minisblack",
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), scene if scene.ndim == 3 else GREY_RGB)


@pytest.mark.parametrize("value", [1.5, -0.2, np.nan, np.inf])
def test_tiff_float_outside_range_is_rejected(tmp_path, value):
    samples = (GREY / 255).astype(np.float32)
    samples[3, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", samples)
    with pytest.raises(UnreadableImageError, match=r"floats must lie in 0 to 1; got .*16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int8])
def test_tiff_wide_integers_are_rejected(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 9), dtype))
    with pytest.raises(UnreadableImageError, match="8 or 16 bits without sign"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_white_is_zero_is_inverted(tmp_path, dtype):
    top = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", top - GREY.astype(dtype) * (top // 255), photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


def test_tiff_jpeg_equals_pillow(tmp_path):
    Image.fromarray(np.repeat(SCENE, 4, axis=0)).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.array(image.convert("RGB")))


def test_tiff_spectral_cube_is_rejected(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((5, 6, 20), np.uint16), photometric="rgb", planarconfig="contig"
    )
    with pytest.raises(UnreadableImageError, match="at most 8 samples per pixel are allowed; got 20"):
        read_image(tmp_path / "a.tif")


def test_tiff_imagej_stack_is_counted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 9, 9), np.uint8), imagej=True)
    with pytest.raises(UnreadableImageError, match="one page is needed; got 4"):
        read_image(tmp_path / "a.tif")


def test_tiff_reduced_pages_are_ignored(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(SCENE, photometric="rgb")
        tif.write(SCENE[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)


def test_tiff_large_strip_is_bounded(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages.first
        counts = page.tags[279]
        offsets = page.tags[273]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    big = zlib.compress(bytes(50_000_000))
    struct.pack_into("<I", data, offsets.valueoffset, len(data))
    struct.pack_into("<I" if counts.dtype == 4 else "<H", data, counts.valueoffset, min(len(big), 65535))
    (tmp_path / "a.tif").write_bytes(bytes(data) + big)
    assert read_image(tmp_path / "a.tif").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("options", "codes", "value", "reason"),
    [
        ({"compression": "jpeg"}, (256, 257, 278), 8, "a segment is larger than the image"),
        ({"compression": "zlib", "tile": (512, 512)}, (322, 323), 60_000, "its segments do not make"),
    ],
)
def test_tiff_segment_beyond_image_is_rejected(tmp_path, options, codes, value, reason):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((512, 512), np.uint8), **options)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for tag in (tif.pages.first.tags[code] for code in codes):
            struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, value)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / "a.tif")
