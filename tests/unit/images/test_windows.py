"""Windows of frames: paths with a box behind them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.images import GREY, SCENE, save_png16

from georgia.errors import UnreadableImageError
from georgia.images import decode
from georgia.images.decode import iter_images, read_image, read_info
from georgia.images.listing import find_images
from georgia.images.windows import make_box
from georgia.records import Failure, format_window, hash_file, hash_files, split_window


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    Image.fromarray(SCENE).save(tmp_path / "frame.png")
    return tmp_path / "frame.png"


def test_window_path_round_trips(frame: Path) -> None:
    path = Path(format_window(frame, (3, 4, 5, 6)))
    assert split_window(path) == (frame, (3, 4, 5, 6))
    assert split_window(f"{frame}#xywh=pixel:3,4,5,6") == (frame, (3, 4, 5, 6))


@pytest.mark.parametrize(
    "text", ["#xywh=", "#xywh=1,2,3", "#xywh=1,2,3,-4", "#xywh=percent:1,2,3,4", "#xywh=1,2,3,٤"]
)
def test_fragment_of_other_form_is_no_window(frame: Path, text: str) -> None:
    assert split_window(f"{frame}{text}")[1] is None


def test_window_pixels_are_those_of_box(frame: Path) -> None:
    found = read_image(f"{frame}#xywh=3,4,5,6")
    assert np.array_equal(found, SCENE[4:10, 3:8])
    found[:] = 0  # a copy of its own


def test_real_file_of_that_name_wins(frame: Path) -> None:
    real = frame.with_name("frame.png#xywh=3,4,5,6")
    Image.fromarray(SCENE[:2, :3]).save(real, "PNG")
    assert split_window(real) == (real, None)
    assert read_image(real).shape == (2, 3, 3)


def test_window_info_has_own_size(frame: Path) -> None:
    whole, part = read_info(frame), read_info(f"{frame}#xywh=3,4,5,6")
    assert (part.width_px, part.height_px, part.mode, part.format) == (5, 6, whole.mode, "PNG")
    assert part.n_bytes == round(whole.n_bytes * 30 / SCENE[:, :, 0].size)


def test_window_of_deep_frame_is_reduced_alike(tmp_path: Path) -> None:
    save_png16(tmp_path / "deep.png", GREY.astype(np.uint16) * 256)
    whole = read_image(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png#xywh=1,2,7,8"), whole[2:10, 1:8])


def test_window_of_rotated_frame_counts_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SCENE).save(tmp_path / "rotated.png", exif=exif)
    upright = read_image(tmp_path / "rotated.png")
    assert upright.shape[:2] == SCENE.shape[1::-1]
    assert np.array_equal(read_image(tmp_path / "rotated.png#xywh=1,20,9,8"), upright[20:28, 1:10])


@pytest.mark.parametrize("box", ["0,0,32,5", "31,0,1,1", "0,23,1,1", "0,0,0,5", "999999999,0,1,1"])
def test_window_beyond_frame_is_rejected(frame: Path, box: str) -> None:
    with pytest.raises(UnreadableImageError, match=r"does not lie within the frame of 31×23 px"):
        read_image(f"{frame}#xywh={box}")
    with pytest.raises(UnreadableImageError, match="does not lie within"):
        read_info(f"{frame}#xywh={box}")


def test_windows_of_frame_decode_once(frame: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode_image = decode.decode_image
    monkeypatch.setattr(decode, "decode_image", lambda *args: calls.append(1) or decode_image(*args))
    paths = [f"{frame}#xywh={left},0,4,4" for left in range(20)]
    found = [image for _, image in iter_images(paths, workers=4)]
    assert len(calls) == 1
    assert all(np.array_equal(image, SCENE[:4, at : at + 4]) for at, image in enumerate(found))


def test_windows_of_missing_frame_all_fail(tmp_path: Path) -> None:
    found = [item for _, item in iter_images([tmp_path / f"no.png#xywh={n},0,4,4" for n in range(3)])]
    assert all(isinstance(item, Failure) and item.error == "no such file" for item in found)


def test_window_hashes_differ_by_box(frame: Path, tmp_path: Path) -> None:
    same = tmp_path / "twin.png"
    same.write_bytes(frame.read_bytes())
    first, second, twin = hash_files(
        [f"{frame}#xywh=0,0,4,4", f"{frame}#xywh=1,0,4,4", f"{same}#xywh=0,0,4,4"]
    )
    assert first == twin
    assert len({first, second, hash_file(frame)}) == 3


def test_window_is_found_by_name(frame: Path) -> None:
    path = Path(f"{frame}#xywh=0,0,4,4")
    assert find_images([path, str(path), frame]) == [path, frame]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((math.nan, 0, 4, 4), "must be numbers of px"),
        ((0, 0, math.inf, 4), "must be numbers of px"),
        ((0, 0, 1e300, 4), "must be numbers of px"),
        ((0, 0, 0, 4), "must be above 0"),
        ((0, 0, 4, -4), "must be above 0"),
        ((-2, 0, 4, 4), "beyond its frame of 31×23 px"),
        ((28, 0, 5, 4), "beyond its frame of 31×23 px"),
        ((0.1, 0.1, 0.3, 4), "holds no whole pixel"),
        ((31, 0, 1, 4), "holds no whole pixel"),
    ],
)
def test_box_that_cannot_be_used(values: tuple[float, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_box(values, (31, 23))
