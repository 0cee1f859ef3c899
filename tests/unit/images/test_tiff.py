"""Laws of reading TIFF: one scene is the same pixels whatever layout, depth and compression holds it."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import PIL
import pytest
import tifffile
from PIL import Image
from tests.helpers.images import GREY, GREY_RGB, SCENE

from georgia.errors import UnreadableImageError
from georgia.images.containers import MAX_PAGES_COUNTED
from georgia.images.decode import decode_image, read_image, read_info


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
    if (mode, compression) == ("YCbCr", "raw") and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("older Pillow cannot read the YCbCr that it writes")
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


@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_preview_before_the_image_is_passed_over(tmp_path, bigtiff):
    """Scanners and raw converters write a small page first: its pixels are not those of the image."""
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=bigtiff) as tif:
        for step in (4, 2):
            tif.write(SCENE[::step, ::step], photometric="rgb", subfiletype=1)
        tif.write(SCENE.astype(np.uint16) * 257, photometric="rgb")
        tif.write(SCENE[::3, ::3], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)
    info = read_info(tmp_path / "a.tif")
    assert (info.width_px, info.height_px, info.bit_depth) == (*SCENE.shape[1::-1], 16)


def test_tiff_preview_alone_is_an_image_unless_it_holds_one(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SCENE, photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), SCENE)
    with tifffile.TiffWriter(tmp_path / "b.tif") as tif:  # as a DNG
        tif.write(SCENE[::4, ::4], photometric="rgb", subfiletype=1, subifds=1)
        tif.write(SCENE, photometric="rgb")
    with pytest.raises(UnreadableImageError, match="it holds a preview, and the image itself"):
        read_image(tmp_path / "b.tif")


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


# --- written byte by byte --------------------------------------------------------------------------


def make_tiff(order: str, tags: dict[int, tuple[str, list[int]]], pixels: bytes, following: int = 0) -> bytes:
    """Write a TIFF with its pixels from byte 8 on, and its one page right behind them."""
    place = 8 + len(pixels) + len(pixels) % 2
    entries, far = b"", place + 2 + 12 * len(tags) + 4
    extra = b""
    for code, (kind, values) in sorted(tags.items()):
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(content) > 4:
            extra, content = extra + content, struct.pack(f"{order}I", far + len(extra))
        entries += struct.pack(f"{order}HHI", code, {"B": 1, "H": 3, "I": 4}[kind], len(values))
        entries += content.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", place)
    body = start + pixels.ljust(place - 8, b"\0") + struct.pack(f"{order}H", len(tags)) + entries
    return body + struct.pack(f"{order}I", following) + extra


def make_page(order: str, pixels: bytes, width: int = 8, height: int = 8, **changes: object) -> bytes:
    tags = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8]), 259: ("H", [1]), 262: ("H", [1]),
        273: ("I", [8]), 277: ("H", [1]), 278: ("I", [height]), 279: ("I", [len(pixels)]),
    }  # fmt: skip
    following = changes.pop("following", 0)
    tags |= {int(code[1:]): value for code, value in changes.items()}
    return make_tiff(order, tags, pixels, following)


PACKERS = {
    1: bytes,
    5: imagecodecs.lzw_encode,
    8: zlib.compress,
    32773: imagecodecs.packbits_encode,
    34925: imagecodecs.lzma_encode,
    50000: imagecodecs.zstd_encode,
}


def pack_rows(samples: np.ndarray, bits: int) -> bytes:
    rows = ("".join(f"{value:0{bits}b}" for value in row.ravel()) for row in samples)
    padded = (row + "0" * (-len(row) % 8) for row in rows)
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in padded)


@pytest.mark.parametrize("bits", range(2, 16))
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_packed_depths_agree(order, bits):
    top = 2**bits - 1
    rng = np.random.default_rng(bits)
    for (scheme, pack), width, n, mirrored in itertools.product(
        PACKERS.items(), (30, 31), (1, 3), (False, True)
    ):
        samples = rng.integers(0, top + 1, (9, width, n))
        pixels = pack(pack_rows(samples, bits))
        if mirrored:
            pixels = bytes(int(f"{value:08b}"[::-1], 2) for value in pixels)
        data = make_page(
            order, pixels, width, 9, _258=("H", [bits] * n), _259=("H", [scheme]), _277=("H", [n]),
            _262=("H", [2 if n == 3 else 1]), _266=("H", [1 + mirrored]),
        )  # fmt: skip
        expected = np.broadcast_to(np.rint(samples / top * 255), (9, width, 3))
        np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize("bits", [9, 12, 14])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_wide_samples_use_declared_depth(order, bits):
    samples = np.arange(64).reshape(8, 8) * (2**bits - 1) // 63
    pixels = samples.astype(f"{order}u2").tobytes()
    data = make_page(order, pixels, _258=("H", [16]), _281=("H", [2**bits - 1]))
    np.testing.assert_array_equal(decode_image(data)[:, :, 0], np.rint(samples / (2**bits - 1) * 255))


# --- lists of pages that do not end ----------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_circle_of_pages_is_damaged(tmp_path, order):
    first = make_page(order, bytes(64), following=72)
    # A second page right behind the first, which points to itself, to the first, or before its own start.
    pages = [first]
    for target in (len(first), 72):
        linked = make_page(order, bytes(64), following=len(first))
        copy = linked[72:-4] + struct.pack(f"{order}I", target)
        pages.append(linked + copy)
    for data in pages:
        (tmp_path / "a.tif").write_bytes(data)
        for read in (read_image, read_info):
            with pytest.raises(UnreadableImageError, match=r"damaged \(its list of pages has no end\)"):
                read(tmp_path / "a.tif")


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_big_circle_is_damaged(byteorder):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=True, byteorder=byteorder) as tif:
        tif.write(GREY, metadata=None)
        tif.write(GREY, metadata=None)
    data = bytearray(stream.getvalue())
    (place,) = struct.unpack_from(f"{byteorder}Q", data, 8)
    (n_tags,) = struct.unpack_from(f"{byteorder}Q", data, place)
    struct.pack_into(f"{byteorder}Q", data, place + 8 + 20 * n_tags, place)
    with pytest.raises(UnreadableImageError, match="its list of pages has no end"):
        decode_image(bytes(data))


def test_tiff_sub_pages_are_not_followed():
    data = make_page("<", bytes([9]) * 64, _330=("I", [72, 72, 72]))
    assert decode_image(data).mean() == 9


def test_tiff_long_list_is_not_followed():
    first = make_page("<", bytes(64))
    pages = b"".join(
        struct.pack("<HHHIII", 1, 256, 4, 1, 8, len(first) + 18 * (index + 1)) for index in range(200_000)
    )
    linked = make_page("<", bytes(64), following=len(first)) + pages
    with pytest.raises(UnreadableImageError, match=f"one page is needed; got {MAX_PAGES_COUNTED} or more"):
        decode_image(linked)


# --- samples and segments that do not fit ----------------------------------------------------------


@pytest.mark.parametrize("n_samples", [2, 3, 4])
@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_tiff_samples_without_colours_are_rejected(tmp_path, n_samples, layout):
    shape = (23, 31, n_samples) if layout == "contig" else (n_samples, 23, 31)
    samples = np.zeros(shape, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", planarconfig=layout)
    with pytest.raises(UnreadableImageError, match=rf"its {n_samples} samples per pixel have no colours"):
        read_image(tmp_path / "a.tif")


def test_tiff_grey_alpha_is_read(tmp_path):
    samples = np.dstack([GREY, np.full_like(GREY, 255)])
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


def test_tiff_colours_without_samples_are_damaged():
    data = make_page("<", bytes(128), _262=("H", [2]), _258=("H", [8, 8]), _277=("H", [2]))
    with pytest.raises(UnreadableImageError, match="RGB needs 3 samples per pixel; got 2"):
        decode_image(data)


def test_tiff_wrong_layout_is_damaged():
    pixels = np.full((8, 8, 3), 50, np.uint8).tobytes()
    options = {"_258": ("H", [8, 8, 8]), "_277": ("H", [3]), "_262": ("H", [2])}
    assert decode_image(make_page("<", pixels, **options)).shape == (8, 8, 3)
    # In another width than the standard's, tifffile takes the layout for planes, and finds one.
    with pytest.raises(UnreadableImageError, match="the file is damaged"):
        decode_image(make_page("<", pixels, **options, _284=("B", [1])))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_unwritten_strips_are_truncated(planar, compression):
    scene = np.full((64, 64, 3) if planar == "contig" else (3, 64, 64), 200, np.uint8)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, scene, photometric="rgb", planarconfig=planar, rowsperstrip=8, compression=compression
    )
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        tags = [tif.pages.first.tags[code] for code in (273, 279)]
    for tag in tags:
        kind, width = ("H", 2) if tag.dtype == 3 else ("I", 4)
        for position in range(4, 8):
            struct.pack_into(f"<{kind}", data, tag.valueoffset + width * position, 0)
    with pytest.raises(UnreadableImageError, match="the file is truncated"):
        decode_image(bytes(data))


@pytest.mark.parametrize("scheme", PACKERS)
def test_tiff_short_strip_is_truncated(scheme):
    pixels = PACKERS[scheme](bytes([7]) * 64)
    assert decode_image(make_page("<", pixels, _259=("H", [scheme]))).mean() == 7
    with pytest.raises(UnreadableImageError, match="the file is truncated"):
        decode_image(make_page("<", pixels, height=12, _259=("H", [scheme])))


def test_tiff_large_byte_count_is_read():
    data = make_page("<", bytes([7]) * 64, _279=("I", [35_711_440]))
    assert decode_image(data).mean() == 7


@pytest.mark.parametrize("scene", [SCENE, GREY], ids=["rgb", "grey"])
def test_tiff_zstd_agrees(tmp_path, scene):
    # Pillow writes it from version 12 on.
    kind = "rgb" if scene.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", scene, compression="zstd", photometric=kind, rowsperstrip=5)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), scene if scene.ndim == 3 else GREY_RGB)


@pytest.mark.parametrize("compression", ["lzw", "lzma", "zstd", "zlib", "packbits", None])
def test_tiff_float_compressions_agree(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", (GREY / 255).astype(np.float32), compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY_RGB)


@pytest.mark.parametrize("code", [273, 279])
def test_tiff_countless_strips_are_rejected(code):
    tags = {f"_{code}": ("I", [8] * 100_001)}
    with pytest.raises(UnreadableImageError, match="at most 100000 strips or tiles are allowed"):
        decode_image(make_page("<", bytes(64), **tags))
