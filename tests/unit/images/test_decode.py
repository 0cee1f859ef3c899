"""Laws of reading images: one scene is the same pixels whatever file holds it."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, ImageOps

from georgia.errors import InputError, UnreadableImageError
from georgia.images.decode import MAX_PIXELS, iter_images, read_image, read_info, reduce_depth
from georgia.images.listing import find_images, natural_key
from georgia.records import Failure


def draw_scene(height: int = 23, width: int = 31, seed: int = 0) -> np.ndarray:
    """Return a colour image (H, W, 3), uint8, that no symmetry maps on itself."""
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 255, height * width).reshape(height, width, 1)
    return np.clip(smooth * [1.0, 0.6, 0.3] + rng.integers(0, 40, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


SCENE = draw_scene()
GREY = SCENE[:, :, 0]
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)


def save_png16(path: Path, samples: np.ndarray) -> None:
    """Write 16-bit PNG by OpenCV, which keeps all bits; colours in RGB(A) order."""
    if samples.ndim == 3:
        samples = samples[:, :, [2, 1, 0, 3][: samples.shape[2]]]
    path.write_bytes(cv2.imencode(".png", samples)[1].tobytes())


def make_png(width: int, height: int, bits: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    """Write a PNG chunk by chunk; ``extra`` chunks stand before the pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    parts = [chunk(part[:4], part[4:]) for part in extra]
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(parts)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# --- one scene, many files ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("b.tif", {"compression": "tiff_lzw"}),
        ("c.tif", {"compression": "tiff_adobe_deflate"}),
        ("d.tif", {"compression": "packbits"}),
        ("e.tif", {"compression": "lzma"}),
        ("f.tif", {"compression": "zstd"}),
        ("CEX (1) [x] ü µm.png", {}),
    ],
)
@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
def test_lossless_files_of_one_scene_agree(tmp_path, name, options, scene):
    Image.fromarray(scene).save(tmp_path / name, **options)
    expected = scene if scene.ndim == 3 else GREY_RGB
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "layout", [{}, {"tile": (16, 16)}, {"predictor": 2}, {"rowsperstrip": 5}, {"bigtiff": 1}]
)
def test_8_and_16_bit_tiff_of_one_scene_agree(tmp_path, scene, compression, byteorder, layout):
    if "predictor" in layout and compression is None:
        layout = {}
    layout = dict(layout)
    with tifffile.TiffWriter(
        tmp_path / "a.tif", byteorder=byteorder, bigtiff=bool(layout.pop("bigtiff", 0))
    ) as tif:
        photometric = "rgb" if scene.ndim == 3 else "minisblack"
        tif.write(scene.astype(np.uint16) * 257, photometric=photometric, compression=compression, **layout)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), scene if scene.ndim == 3 else GREY_RGB)


def test_16_bit_lzw_tiff_agrees(tmp_path):
    cv2.imwrite(
        str(tmp_path / "a.tif"), SCENE[:, :, ::-1].astype(np.uint16) * 257, [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages.first.compression == 5
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)


@pytest.mark.parametrize("predictor", [1, 3])
def test_float_lzw_tiff_agrees(tmp_path, predictor):
    info = {317: predictor}
    Image.fromarray((GREY / 255).astype(np.float32)).save(
        tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=info
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages.first.predictor == predictor
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


def test_16_bit_planar_tiff_agrees(tmp_path):
    planes = np.moveaxis(SCENE, -1, 0).astype(np.uint16) * 257
    tifffile.imwrite(
        tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression="zlib"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_8_and_16_bit_png_of_one_scene_agree(tmp_path, n_channels):
    scene = np.dstack([SCENE, draw_scene(seed=5)[:, :, :1]])[:, :, :n_channels].squeeze()
    Image.fromarray(scene).save(tmp_path / "8.png")
    save_png16(tmp_path / "16.png", scene.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png"))


def test_16_bit_grey_alpha_png_agrees_with_8_bit(tmp_path):
    pair = np.dstack([GREY, draw_scene(seed=5)[:, :, 1]])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pair.astype(np.uint16) * 257)
    (tmp_path / "16.png").write_bytes(make_png(31, 23, 16, 4, rows))
    Image.fromarray(pair, "LA").save(tmp_path / "8.png")
    np.testing.assert_array_equal(read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png"))


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_16_bit_png_keeps_the_low_byte(tmp_path, shape):
    samples = np.random.default_rng(1).integers(0, 65536, shape, dtype=np.uint16)
    save_png16(tmp_path / "a.png", samples)
    expected = np.rint(samples / 257).astype(np.uint8)
    expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_reduce_depth_is_v_over_257_rounded_for_every_value():
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(reduce_depth(values), np.rint(values / 257))


@pytest.mark.parametrize("tag", [281, 341])
def test_declared_bit_depth_is_honoured(tmp_path, tag):
    samples = np.rint(GREY.astype(float) / 255 * 4095).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, extratags=[(tag, "H", 1, 4095, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_packed_samples_fill_the_whole_range(tmp_path, bits):
    top = 2**bits - 1
    samples = np.rint(GREY / 255 * top).astype(np.uint8 if bits < 8 else np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, bitspersample=bits, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[:, :, 1], np.rint(samples / top * 255))


@pytest.mark.parametrize("compression", ["jpeg2000", "webp"])
def test_unread_compression_is_named(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", SCENE, photometric="rgb", compression=compression)
    with pytest.raises(UnreadableImageError, match=rf"its compression is not read \({compression.upper()}\)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_other_colours_are_what_pillow_reads(tmp_path, mode, compression):
    Image.fromarray(SCENE).convert(mode).save(tmp_path / "a.tif", compression=compression)
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_allclose(read_image(tmp_path / "a.tif"), np.array(image.convert("RGB")), atol=1)


def test_tiff_with_fewer_strips_than_rows_is_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), rowsperstrip=4)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for code in (273, 279):
            struct.pack_into("<I", data, tif.pages.first.tags[code].offset + 4, 1)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UnreadableImageError, match="the file is damaged"):
        read_image(tmp_path / "a.tif")


def test_largest_value_of_the_content_is_not_a_bit_depth(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.uint16) * 100, extratags=[(281, "H", 1, 25500, True)])
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.uint16) * 100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "b.tif"))


def test_brightness_never_depends_on_content(tmp_path):
    dark = np.full((9, 9), 257 * 3, np.uint16)
    bright = dark.copy()
    bright[0, 0] = 65535
    save_png16(tmp_path / "dark.png", dark)
    save_png16(tmp_path / "bright.png", bright)
    np.testing.assert_array_equal(
        read_image(tmp_path / "dark.png")[1:], read_image(tmp_path / "bright.png")[1:]
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
def test_float_tiff_of_0_to_1_agrees(tmp_path, dtype, scene):
    tifffile.imwrite(
        tmp_path / "a.tif",
        (scene / 255).astype(dtype),
        photometric="rgb" if scene.ndim == 3 else "minisblack",
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), scene if scene.ndim == 3 else GREY_RGB)


@pytest.mark.parametrize("value", [1.5, -0.2, np.nan, np.inf])
def test_float_outside_of_0_to_1_is_refused(tmp_path, value):
    samples = (GREY / 255).astype(np.float32)
    samples[3, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", samples)
    with pytest.raises(UnreadableImageError, match=r"floats must lie in 0 to 1; got .*16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int8])
def test_signed_and_wide_integers_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 9), dtype))
    with pytest.raises(UnreadableImageError, match="8 or 16 bits without sign"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted(tmp_path, dtype):
    top = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", top - GREY.astype(dtype) * (top // 255), photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


# --- modes, alpha, orientation -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
def test_opaque_alpha_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rgba = np.dstack([SCENE, np.full(GREY.shape, 255, np.uint8)])
    Image.fromarray(rgba).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_image(path), SCENE)


@pytest.mark.parametrize("depth", [8, 16])
def test_clear_pixels_are_black_whatever_colour_hides_there(tmp_path, depth):
    rgba = np.dstack([SCENE, np.where(GREY > 128, 255, 0).astype(np.uint8)])
    if depth == 8:
        Image.fromarray(rgba).save(tmp_path / "a.png")
        tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    else:
        save_png16(tmp_path / "a.png", rgba.astype(np.uint16) * 257)
        wide = rgba.astype(np.uint16) * 257
        tifffile.imwrite(tmp_path / "a.tif", wide, photometric="rgb", extrasamples=["unassalpha"])
    expected = np.where((GREY > 128)[:, :, None], SCENE, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


def test_half_clear_pixel_is_half_as_bright(tmp_path):
    Image.new("LA", (4, 4), (200, 128)).save(tmp_path / "a.png")
    assert np.unique(read_image(tmp_path / "a.png")).tolist() == [100]


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.fromarray(SCENE).quantize(16)
    image.save(tmp_path / "a.png")
    expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    image.save(tmp_path / "b.png", transparency=3)
    clear = (np.array(image) == 3)[:, :, None]
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), np.where(clear, 0, expected))
    image.save(tmp_path / "c.png", transparency=bytes([255, 255, 255, 0]))
    np.testing.assert_array_equal(read_image(tmp_path / "c.png"), np.where(clear, 0, expected))
    image.save(tmp_path / "d.tif")
    image.save(tmp_path / "e.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "d.tif"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "e.bmp"), expected)


def test_transparent_colour_of_a_16_bit_png(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">6H", 1000, 2000, 3000, 1000, 2000, 3001) for _ in range(2))
    (tmp_path / "a.png").write_bytes(
        make_png(2, 2, 16, 2, rows, b"tRNS" + struct.pack(">3H", 1000, 2000, 3000))
    )
    assert read_image(tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [4, 8, 12]]
    rows = b"".join(b"\0" + struct.pack(">2H", 6000, 6001) for _ in range(2))
    (tmp_path / "b.png").write_bytes(make_png(2, 2, 16, 0, rows, b"tRNS" + struct.pack(">H", 6000)))
    assert read_image(tmp_path / "b.png")[0].tolist() == [[0, 0, 0], [23, 23, 23]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_1_bit_is_black_and_white(tmp_path, suffix):
    mask = GREY > 128
    options = {"compression": "group4"} if suffix == ".tif" else {}
    Image.fromarray(mask).save(tmp_path / f"a{suffix}", **options)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}")[:, :, 1], np.where(mask, 255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_what_pillow_reads(tmp_path, mode):
    Image.fromarray(SCENE).convert(mode).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.array(image.convert("RGB")))


def test_jpeg_in_tiff_is_read(tmp_path):
    Image.fromarray(np.repeat(SCENE, 4, axis=0)).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.array(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(SCENE).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)
    info = read_info(path)
    assert (info.height_px, info.width_px) == expected.shape[:2]


def test_wrong_suffix_with_good_content_reads(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), SCENE)
    assert read_info(tmp_path / "a.jpg").format == "PNG"


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("a.png", "L", ("grey", 8, "PNG")),
        ("b.png", "RGBA", ("RGBA", 8, "PNG")),
        ("c.png", "P", ("palette", 1, "PNG")),
        ("d.png", "I;16", ("grey", 16, "PNG")),
        ("e.jpg", "RGB", ("RGB", 8, "JPEG")),
        ("f.jpg", "CMYK", ("CMYK", 8, "JPEG")),
        ("g.tif", "I;16", ("grey", 16, "TIFF")),
        ("h.tif", "RGBA", ("RGBA", 8, "TIFF")),
        ("i.bmp", "RGB", ("RGB", 8, "BMP")),
        ("j.webp", "RGBA", ("RGBA", 8, "WebP")),
    ],
)
def test_info_tells_what_the_file_is(tmp_path, name, mode, expected):
    Image.new(mode, (7, 5)).save(tmp_path / name)
    info = read_info(tmp_path / name)
    assert (info.mode, info.bit_depth, info.format) == expected
    assert (info.width_px, info.height_px) == (7, 5)
    assert info.n_bytes == (tmp_path / name).stat().st_size


# --- what cannot be read -----------------------------------------------------------------------


def save_all(folder: Path) -> list[Path]:
    image = Image.fromarray(draw_scene(60, 80))
    paths = [folder / f"good{suffix}" for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp")]
    paths += [folder / "lzw.tif", folder / "deep.png", folder / "deep.tif"]
    for path in paths[:5]:
        image.save(path)
    image.save(paths[5], compression="tiff_lzw")
    save_png16(paths[6], np.array(image).astype(np.uint16) * 250)
    tifffile.imwrite(paths[7], np.array(image).astype(np.uint16) * 250, compression="zlib")
    return paths


def test_truncated_files_are_refused_at_any_length(tmp_path):
    for path in save_all(tmp_path):
        data = path.read_bytes()
        for length in sorted({1, 5, 11, 13, 30, 60, len(data) // 3, len(data) // 2, len(data) * 9 // 10}):
            path.write_bytes(data[:length])
            with pytest.raises(UnreadableImageError, match=r"^[^\n]{5,140}$"):
                read_image(path)


def test_damaged_files_give_pixels_or_one_clause_and_no_warning(tmp_path, capfd):
    rng = np.random.default_rng(3)
    for path in save_all(tmp_path):
        data = bytearray(path.read_bytes())
        for _ in range(60):
            broken = bytearray(data)
            for position in rng.integers(2, len(data), 4):
                broken[position] = rng.integers(256)
            path.write_bytes(bytes(broken))
            _, item = next(iter_images([path], workers=1))
            reason = item.error if isinstance(item, Failure) else ""
            assert "\n" not in reason
            assert str(path) not in reason
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.png", b"", "^the file is empty$"),
        ("text.png", b"this is a text, not an image\n" * 9, "^not a PNG, JPEG, TIFF, BMP or WebP image$"),
        ("page.png", b"<html></html>", "^not a PNG"),
        ("gif.png", b"GIF89a" + bytes(40), "^not a PNG"),
        ("magic.png", b"\x89PNG\r\n\x1a\n", "^the file is truncated$"),
        ("magic.jpg", b"\xff\xd8\xff\xe0", "^the file is truncated$"),
        ("magic.tif", b"II*\0" + bytes(30), "^the file is "),
        ("magic.bmp", b"BM", "^the file is truncated$"),
        ("magic.webp", b"RIFF\x10\0\0\0WEBP", "^the file is truncated$"),
        ("nothing.png", make_png(0, 4, 8, 0, b""), r"^it has no pixels \(0×4\)$"),
        ("odd.png", make_png(9, 9, 8, 5, bytes(200)), "^the file is damaged"),
    ],
)
def test_bad_content_is_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / name)


def test_places_without_a_file_are_named(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"^no such file$"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match=r"^it is a folder, not a file$"):
        read_image(tmp_path)


def test_unreadable_permission_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"x")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableImageError, match=r"^no permission to read it$"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png"])
def test_more_pages_than_one_are_counted(tmp_path, suffix):
    frames = [Image.fromarray(draw_scene(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableImageError, match=r"^one page is needed; got 3\. Split the stack$"):
        read_image(tmp_path / f"a{suffix}")


def test_spectral_cubes_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((5, 6, 20), np.uint16), photometric="rgb", planarconfig="contig"
    )
    with pytest.raises(UnreadableImageError, match="at most 8 samples per pixel are allowed; got 20"):
        read_image(tmp_path / "a.tif")


def test_imagej_stack_is_counted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 9, 9), np.uint8), imagej=True)
    with pytest.raises(UnreadableImageError, match="one page is needed; got 4"):
        read_image(tmp_path / "a.tif")


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(SCENE, photometric="rgb")
        tif.write(SCENE[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_pixel_limit_stops_before_decoding(tmp_path, suffix):
    Image.new("RGB", (100, 50)).save(tmp_path / f"a{suffix}")
    assert read_image(tmp_path / f"a{suffix}", max_pixels=5000).shape == (50, 100, 3)
    with pytest.raises(UnreadableImageError, match="at most 4999 pixels are allowed; got 100×50"):
        read_image(tmp_path / f"a{suffix}", max_pixels=4999)


def test_bomb_is_refused_without_warning(tmp_path):
    bomb = make_png(60_000, 60_000, 8, 0, bytes(1000))
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(UnreadableImageError, match=f"at most {MAX_PIXELS} pixels"):
        read_image(tmp_path / "a.png")


def test_tiff_strip_that_expands_too_far_is_bounded(tmp_path):
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


def test_big_images_below_the_limit_neither_warn_nor_fail(tmp_path):
    rows = bytes((12_000 // 8 + 1) * 10_000)
    (tmp_path / "a.png").write_bytes(make_png(12_000, 10_000, 1, 0, rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_info(tmp_path / "a.png").width_px == 12_000
        with pytest.raises(UnreadableImageError, match="got 12000×10000"):
            read_image(tmp_path / "a.png", max_pixels=100_000_000)


def test_nothing_global_changes(tmp_path):
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for path in save_all(tmp_path):
        read_image(path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_broken_exif_stops_no_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "JPEG", exif=exif.tobytes()[:20] + b"\xff" * 9)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    assert read_image(tmp_path / "a.jpg").shape == SCENE.shape


# --- many images -----------------------------------------------------------------------------


def test_iter_keeps_the_order_and_gives_failures(tmp_path):
    paths = []
    for index in range(20):
        paths.append(tmp_path / f"{index}.png")
        if index % 5 == 3:
            paths[-1].write_text("no image")
        else:
            Image.new("L", (200 if index % 2 else 3, 5), index).save(paths[-1])
    for workers in (1, 3):
        found = list(iter_images(paths, workers))
        assert [position for position, _ in found] == list(range(20))
        for index, item in found:
            if index % 5 == 3:
                assert item == Failure(paths[index], "not a PNG, JPEG, TIFF, BMP or WebP image")
            else:
                assert item[0, 0, 0] == index


def test_iter_reads_little_ahead_and_stops_when_closed(tmp_path):
    Image.new("L", (5, 5)).save(tmp_path / "a.png")
    taken = []

    def name_paths():
        for index in range(1000):
            taken.append(index)
            yield tmp_path / "a.png"

    images = iter_images(name_paths(), workers=2)
    next(images)
    images.close()
    assert len(taken) == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("georgia-images")]


def test_iter_of_nothing_is_nothing():
    assert list(iter_images([])) == []


# --- finding -----------------------------------------------------------------------------------


def test_natural_order_counts():
    names = ["CEX (10).png", "cex (2).png", "CEX (1).png", "b10a2", "b2a10", "b2a9"]
    expected = ["b2a9", "b2a10", "b10a2", "CEX (1).png", "cex (2).png", "CEX (10).png"]
    assert sorted(names, key=natural_key) == expected
    names.reverse()
    assert sorted(names, key=natural_key) == expected


def make_tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_find_takes_files_folders_and_globs(tmp_path):
    make_tree(tmp_path, "a/2.png", "a/10.PNG", "a/deep/1.tif", "a/notes.txt", "a/.hidden.png", "a/Thumbs.db")
    make_tree(tmp_path, "__MACOSX/a/1.png", "b [1]/x[2].png", "c.dat")

    def names(*sources):
        return [path.relative_to(tmp_path).as_posix() for path in find_images(sources)]

    assert names(tmp_path / "a") == ["a/2.png", "a/10.PNG", "a/deep/1.tif"]
    assert names(str(tmp_path / "a" / "*.p*")) == ["a/2.png"] or names(str(tmp_path / "a" / "*.[pP]*"))
    assert names(tmp_path / "b [1]" / "x[2].png") == ["b [1]/x[2].png"]
    assert names(tmp_path / "b [1]") == ["b [1]/x[2].png"]
    assert names(tmp_path / "c.dat") == ["c.dat"]
    assert names(tmp_path / "a" / "2.png", tmp_path / "a") == ["a/2.png", "a/10.PNG", "a/deep/1.tif"]
    assert names(str(tmp_path / "**" / "*.tif")) == ["a/deep/1.tif"]


def test_find_names_all_sources_that_hold_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    sources = [tmp_path / "empty", tmp_path / "none.png", str(tmp_path / "*.xyz")]
    with pytest.raises(InputError, match=r"Found no images: .*empty'.*none\.png'.*\*\.xyz'"):
        find_images(sources)
