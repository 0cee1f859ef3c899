"""Laws of reading images: one scene is the same pixels whatever file holds it."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, ImageOps, PngImagePlugin
from tests.helpers.images import GREY, GREY_RGB, SCENE, make_png, make_scene, save_png16

from georgia.errors import UnreadableImageError
from georgia.images.decode import (
    MAX_PIXELS,
    decode_image,
    iter_images,
    read_image,
    read_info,
)
from georgia.images.depth import reduce_depth
from georgia.images.symmetry import EXIF_ORIENTATIONS
from georgia.records import Failure

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
        ("CEX (1) [x] ü µm.png", {}),
    ],
)
@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
def test_lossless_formats_agree(tmp_path, name, options, scene):
    Image.fromarray(scene).save(tmp_path / name, **options)
    expected = scene if scene.ndim == 3 else GREY_RGB
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_png_8_and_16_bit_agree(tmp_path, n_channels):
    scene = np.dstack([SCENE, make_scene(seed=5)[:, :, :1]])[:, :, :n_channels].squeeze()
    Image.fromarray(scene).save(tmp_path / "8.png")
    save_png16(tmp_path / "16.png", scene.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png"))


def test_png_16_bit_grey_alpha_agrees(tmp_path):
    pair = np.dstack([GREY, make_scene(seed=5)[:, :, 1]])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pair.astype(np.uint16) * 257)
    (tmp_path / "16.png").write_bytes(make_png(31, 23, 16, 4, rows))
    Image.fromarray(pair, "LA").save(tmp_path / "8.png")
    np.testing.assert_array_equal(read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png"))


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_png_16_bit_keeps_low_byte(tmp_path, shape):
    samples = np.random.default_rng(1).integers(0, 65536, shape, dtype=np.uint16)
    save_png16(tmp_path / "a.png", samples)
    expected = np.rint(samples / 257).astype(np.uint8)
    expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_reduce_depth_rounds_every_value():
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(reduce_depth(values), np.rint(values / 257))


def test_png_brightness_ignores_content(tmp_path):
    dark = np.full((9, 9), 257 * 3, np.uint16)
    bright = dark.copy()
    bright[0, 0] = 65535
    save_png16(tmp_path / "dark.png", dark)
    save_png16(tmp_path / "bright.png", bright)
    np.testing.assert_array_equal(
        read_image(tmp_path / "dark.png")[1:], read_image(tmp_path / "bright.png")[1:]
    )


# --- modes, alpha, orientation -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
def test_alpha_opaque_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rgba = np.dstack([SCENE, np.full(GREY.shape, 255, np.uint8)])
    Image.fromarray(rgba).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_image(path), SCENE)


@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_clear_pixels_are_black(tmp_path, depth):
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


def test_alpha_half_clear_halves_brightness(tmp_path):
    Image.new("LA", (4, 4), (200, 128)).save(tmp_path / "a.png")
    assert np.unique(read_image(tmp_path / "a.png")).tolist() == [100]


def test_palette_transparency_is_black(tmp_path):
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


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_transparent_grey_level_is_black_at_any_depth(tmp_path, bits):
    levels = np.arange(2**bits)
    row = "".join(f"{level:0{bits}b}" for level in levels).ljust(8, "0")
    data = b"\0" + int(row, 2).to_bytes(len(row) // 8, "big")
    for clear in {1, 2**bits - 1, 2**bits // 3}:
        chunk = b"tRNS" + struct.pack(">H", clear)
        (tmp_path / "a.png").write_bytes(make_png(2**bits, 1, bits, 0, data, chunk))
        wanted = np.rint(levels * 255 / (2**bits - 1)) * (levels != clear)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], wanted)


def test_png_16_bit_transparent_colour_is_black(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">6H", 1000, 2000, 3000, 1000, 2000, 3001) for _ in range(2))
    (tmp_path / "a.png").write_bytes(
        make_png(2, 2, 16, 2, rows, b"tRNS" + struct.pack(">3H", 1000, 2000, 3000))
    )
    assert read_image(tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [4, 8, 12]]
    rows = b"".join(b"\0" + struct.pack(">2H", 6000, 6001) for _ in range(2))
    (tmp_path / "b.png").write_bytes(make_png(2, 2, 16, 0, rows, b"tRNS" + struct.pack(">H", 6000)))
    assert read_image(tmp_path / "b.png")[0].tolist() == [[0, 0, 0], [23, 23, 23]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_mode_1_bit_is_black_and_white(tmp_path, suffix):
    mask = GREY > 128
    options = {"compression": "group4"} if suffix == ".tif" else {}
    Image.fromarray(mask).save(tmp_path / f"a{suffix}", **options)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}")[:, :, 1], np.where(mask, 255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_equals_pillow(tmp_path, mode):
    Image.fromarray(SCENE).convert(mode).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.array(image.convert("RGB")))


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


def test_read_image_ignores_suffix(tmp_path):
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
def test_read_info_describes_file(tmp_path, name, mode, expected):
    Image.new(mode, (7, 5)).save(tmp_path / name)
    info = read_info(tmp_path / name)
    assert (info.mode, info.bit_depth, info.format) == expected
    assert (info.width_px, info.height_px) == (7, 5)
    assert info.n_bytes == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_of_any_width(tmp_path, order, kind):
    width = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    value = struct.pack(order + width, 6).ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    exif = b"Exif\0\0" + start + struct.pack(order + "HHI", 0x0112, kind, 1) + value + bytes(4)
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = EXIF_ORIENTATIONS[6 - 1].apply(np.array(image))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)


@pytest.mark.parametrize("key", ["Raw profile type exif", "Raw profile type APP1"])
@pytest.mark.parametrize("chunk", ["tEXt", "zTXt", "iTXt", "iTXt packed"])
def test_png_text_orientation_is_applied(tmp_path, key, chunk):
    exif = Image.Exif()
    exif[0x0112] = 8
    profile = exif.tobytes()
    text = f"\nexif\n{len(profile):8d}\n" + "\n".join(
        profile[i : i + 36].hex() for i in range(0, len(profile), 36)
    )
    notes = PngImagePlugin.PngInfo()
    if chunk.startswith("iTXt"):
        notes.add_itxt(key, text, zip=chunk.endswith("packed"))
    else:
        notes.add_text(key, text, zip=chunk == "zTXt")
    Image.fromarray(SCENE).save(tmp_path / "a.png", pnginfo=notes)
    expected = EXIF_ORIENTATIONS[8 - 1].apply(SCENE)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    # The chunk that PNG has for it wins, wherever it stands.
    exif[0x0112] = 3
    Image.fromarray(SCENE).save(tmp_path / "b.png", pnginfo=notes, exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), SCENE[::-1, ::-1])


@pytest.mark.parametrize("text", ["\nexif\n 4\nnot hexadecimal", "", "\n\n\n", "\nexif\n 4\nffffffff"])
def test_png_broken_text_is_ignored(tmp_path, text):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Raw profile type exif", text, zip=True)
    Image.fromarray(SCENE).save(tmp_path / "a.png", pnginfo=notes)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), SCENE)


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda"])
@pytest.mark.parametrize("stray", [bytes(26), b"\xff" * 9, b"\x12\xff\0\x34", b"\xff\xd0\xff\x01"])
def test_jpeg_stray_bytes_change_nothing(tmp_path, marker, stray):
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", quality=95)
    data = (tmp_path / "a.jpg").read_bytes()
    place = data.index(marker)
    (tmp_path / "b.jpg").write_bytes(data[:place] + stray + data[place:])
    np.testing.assert_array_equal(read_image(tmp_path / "b.jpg"), read_image(tmp_path / "a.jpg"))


def make_bmp(header_size: int, alpha: int, file_header: bool = True) -> bytes:
    """Write a BMP of 32 bits with BITFIELDS, 8 by 8 pixels (90, 200, 10)."""
    header = struct.pack("<IiiHHIIiiII", header_size, 8, 8, 1, 32, 3, 256, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = header.ljust(header_size, b"\0")
    pixels = bytes([10, 200, 90, alpha]) * 64
    start = b"BM" + struct.pack("<IHHI", 14 + len(header) + 256, 0, 0, 14 + len(header))
    return (start if file_header else b"") + header + pixels


@pytest.mark.parametrize("header_size", [56, 108, 124])
@pytest.mark.parametrize("file_header", [True, False])
def test_bmp_empty_alpha_is_none(header_size, file_header):
    for alpha in (0, 255):
        assert decode_image(make_bmp(header_size, alpha, file_header))[3, 3].tolist() == [90, 200, 10]
    assert decode_image(make_bmp(header_size, 51, file_header))[3, 3].tolist() == [18, 40, 2]


@pytest.mark.parametrize("name", ["a.png", "b.png", "c.webp", "d.tif"])
def test_alpha_clear_everywhere_is_rejected(tmp_path, name):
    rgba = np.dstack([SCENE, np.zeros_like(GREY)])
    if name == "b.png":
        save_png16(tmp_path / name, rgba.astype(np.uint16) * 257)
    elif name == "d.tif":
        tifffile.imwrite(tmp_path / name, rgba, photometric="rgb", extrasamples=["unassalpha"])
    else:
        options = {"lossless": True, "exact": True} if name == "c.webp" else {}
        Image.fromarray(rgba).save(tmp_path / name, **options)
    with pytest.raises(UnreadableImageError, match="all its pixels are transparent"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_dib_equals_bmp(tmp_path, mode):
    image = Image.fromarray(SCENE).convert(mode)
    image.save(tmp_path / "a.dib")
    image.save(tmp_path / "a.bmp")
    assert (tmp_path / "a.dib").read_bytes()[:2] != b"BM"
    np.testing.assert_array_equal(read_image(tmp_path / "a.dib"), read_image(tmp_path / "a.bmp"))
    assert read_info(tmp_path / "a.dib").format == "BMP"


# --- what cannot be read -----------------------------------------------------------------------


def save_all(folder: Path) -> list[Path]:
    image = Image.fromarray(make_scene(60, 80))
    paths = [folder / f"good{suffix}" for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp")]
    paths += [folder / "lzw.tif", folder / "deep.png", folder / "deep.tif"]
    for path in paths[:5]:
        image.save(path)
    image.save(paths[5], compression="tiff_lzw")
    save_png16(paths[6], np.array(image).astype(np.uint16) * 250)
    tifffile.imwrite(paths[7], np.array(image).astype(np.uint16) * 250, compression="zlib")
    return paths


def test_read_image_rejects_truncated_files(tmp_path):
    for path in save_all(tmp_path):
        data = path.read_bytes()
        for length in sorted({1, 5, 11, 13, 30, 60, len(data) // 3, len(data) // 2, len(data) * 9 // 10}):
            path.write_bytes(data[:length])
            with pytest.raises(UnreadableImageError, match=r"^[^\n]{5,140}$"):
                read_image(path)


def test_read_image_stays_silent_on_damage(tmp_path, capfd):
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
def test_read_image_names_bad_content(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / name)


def test_read_image_names_missing_file(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"^no such file$"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match=r"^it is a folder, not a file$"):
        read_image(tmp_path)


def test_read_image_names_missing_permission(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"x")

    def reject(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", reject)
    with pytest.raises(UnreadableImageError, match=r"^no permission to read it$"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png"])
def test_read_image_counts_pages(tmp_path, suffix):
    frames = [Image.fromarray(make_scene(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableImageError, match=r"^one page is needed; got 3\. Split the stack$"):
        read_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_pixel_limit_stops_decoding(tmp_path, suffix):
    Image.new("RGB", (100, 50)).save(tmp_path / f"a{suffix}")
    assert read_image(tmp_path / f"a{suffix}", max_pixels=5000).shape == (50, 100, 3)
    with pytest.raises(UnreadableImageError, match="at most 4999 pixels are allowed; got 100×50"):
        read_image(tmp_path / f"a{suffix}", max_pixels=4999)


def test_pixel_limit_rejects_bomb(tmp_path):
    bomb = make_png(60_000, 60_000, 8, 0, bytes(1000))
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(UnreadableImageError, match=f"at most {MAX_PIXELS} pixels"):
        read_image(tmp_path / "a.png")


def test_pixel_limit_allows_big_images(tmp_path):
    rows = bytes((12_000 // 8 + 1) * 10_000)
    (tmp_path / "a.png").write_bytes(make_png(12_000, 10_000, 1, 0, rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_info(tmp_path / "a.png").width_px == 12_000
        with pytest.raises(UnreadableImageError, match="got 12000×10000"):
            read_image(tmp_path / "a.png", max_pixels=100_000_000)


def test_read_image_changes_nothing_global(tmp_path):
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for path in save_all(tmp_path):
        read_image(path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_exif_broken_stops_no_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "JPEG", exif=exif.tobytes()[:20] + b"\xff" * 9)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    assert read_image(tmp_path / "a.jpg").shape == SCENE.shape


# --- many images -----------------------------------------------------------------------------


def test_iter_images_keeps_order(tmp_path):
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


def test_iter_images_stops_when_closed(tmp_path):
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


def test_iter_images_of_nothing_is_empty():
    assert list(iter_images([])) == []


@pytest.mark.parametrize(
    ("encode", "reason"),
    [
        (lambda grey: imagecodecs.jpeg8_encode(grey.astype(np.uint16), bitspersample=12), "JPEG of 12 bits"),
        (imagecodecs.jpegls_encode, r"its kind is not read \(JPEG-LS\)"),
        (lambda grey: make_bmp(108, 255).replace(b"\0\x20\0\x03", b"\0\x02\0\x03"), "its kind is not read"),
    ],
)
def test_unread_kinds_are_named(encode, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(bytes(encode(np.ascontiguousarray(GREY))))


def test_jpeg_without_frame_is_damaged():
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "JPEG")
    data = stream.getvalue()
    start = data.index(b"\xff\xc0")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    with pytest.raises(UnreadableImageError, match=r"the file is damaged \(no header\)"):
        decode_image(data[:start] + data[end:])


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\2", b"\xff\xd0", b"\xff\xfe\0\4ab"])
def test_jpeg_of_empty_segments_is_damaged(segment):
    with pytest.raises(UnreadableImageError, match="too many segments"):
        decode_image(b"\xff\xd8" + segment * 1_000_000)
