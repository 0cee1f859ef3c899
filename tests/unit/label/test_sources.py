"""What becomes of a source: crops as they are, frames cut as a monitor cuts them, duplicates found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.labelling import write_crops

from georgia.errors import InputError
from georgia.images.decode import read_image
from georgia.label.pool_cache import read_known_pool
from georgia.label.records import PoolKind
from georgia.label.settings import LabelConfig
from georgia.label.sources import add_items, find_windows, group_items, read_pool
from georgia.model.load import load_bundled_model
from georgia.monitor.result import EMPTY_CODE
from georgia.monitor.settings import TileConfig
from georgia.monitor.tile import FrameAnalyzer, find_tile_px
from georgia.synthetic import render_frame


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one synthetic frame of 430×440 px."""
    folder = tmp_path_factory.mktemp("rendered")
    frame = render_frame(0, (430, 440), pg_fraction=0.3, coverage=0.15)
    Image.fromarray(frame.image[:, :, 0]).save(folder / "f0.png")
    return folder


def write_frames(folder: Path, rendered: Path, n: int = 2) -> Path:
    """Write frames that are no duplicates: each shows another part of the same field."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(rendered / "f0.png", folder / "f0.png")
    image = np.asarray(Image.open(rendered / "f0.png"))
    for number in range(1, n):
        moved = np.roll(image, 97 * number, axis=(0, 1))
        Image.fromarray(moved).save(folder / f"f{number}.png")
    return folder


@pytest.mark.slow
def test_frames_are_cut_as_a_monitor_cuts_them(tmp_path: Path) -> None:
    """The windows that are named are exactly those that the net of a monitor is given; dark ones too."""
    folder = tmp_path / "frames"
    folder.mkdir()
    frame = render_frame(0, (600, 640), pg_fraction=0.3, coverage=0.15)
    Image.fromarray(frame.image[:, :, 0]).save(folder / "f0.png")
    Image.fromarray(read_image(folder / "f0.png") // 16).save(folder / "dark.png")
    bundle = load_bundled_model()
    analyzer = FrameAnalyzer(bundle, TileConfig(), engine="onnxruntime", threads=1)
    for name in ("f0.png", "dark.png"):
        image = read_image(folder / name)
        tiles = analyzer.analyze(image).map
        wanted = [tuple(map(int, box)) for box in tiles.boxes[tiles.codes != EMPTY_CODE]]
        boxes, n_empty = find_windows(image, find_tile_px(bundle), LabelConfig())
        assert boxes == wanted
        assert n_empty == int((tiles.codes == EMPTY_CODE).sum())
    assert n_empty == len(tiles.codes)


def test_pool_of_frames(tmp_path: Path, rendered: Path) -> None:
    folder = write_frames(tmp_path / "frames", rendered)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    pool = read_pool(folder, LabelConfig(near=False))
    assert pool.kind is PoolKind.FRAMES
    assert pool.tile_px == 168
    assert {item.group for item in pool.items} == {"f0.png", "f1.png"}
    assert all(item.path.startswith(f"{item.file.name}#xywh=") for item in pool.items)
    assert [failure.path.name for failure in pool.failures] == ["broken.png"]
    assert [item.time_s for item in pool.items] == pytest.approx(
        [item.file.stat().st_mtime for item in pool.items]
    )


def test_pool_of_crops_finds_rotated_duplicates(tmp_path: Path) -> None:
    folder = write_crops(tmp_path / "crops", 3)
    Image.open(folder / "c1.png").transpose(Image.Transpose.ROTATE_90).save(folder / "z.png")
    pool = read_pool(folder, LabelConfig())
    assert pool.kind is PoolKind.CROPS
    sets = pool.find_duplicates()
    assert [[pool.items[at].path for at in members] for members in sets.values()] == [["c1.png", "z.png"]]
    assert [item.group for item in pool.items] == ["", "c1.png", "", "c1.png"]


def test_crops_and_frames_together_are_rejected(tmp_path: Path, rendered: Path) -> None:
    write_crops(write_frames(tmp_path / "mixed", rendered), 2)
    with pytest.raises(InputError, match="2 of 4 images .* --set cut=crops or --set cut=frames"):
        read_pool(tmp_path / "mixed", LabelConfig())
    assert read_pool(tmp_path / "mixed", LabelConfig(cut="crops")).kind is PoolKind.CROPS


def test_pool_of_a_table(tmp_path: Path, rendered: Path) -> None:
    write_frames(tmp_path / "frames", rendered, 1)
    table = tmp_path / "boxes.csv"
    table.write_text("path,x,y,width,height\nframes/f0.png,0,0,64,64\nframes/f0.png,100,90,64,64\n")
    pool = read_pool(table, LabelConfig())
    assert pool.kind is PoolKind.TABLE
    assert [item.path for item in pool.items] == [
        "frames/f0.png#xywh=0,0,64,64",
        "frames/f0.png#xywh=100,90,64,64",
    ]
    assert {item.group for item in pool.items} == {"frames/f0.png"}


def test_pool_without_images_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of crops or frames, or a table .* got nothing"):
        read_pool(tmp_path / "no", LabelConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="images that show something are needed; got none"):
        read_pool(tmp_path / "empty", LabelConfig())
    (tmp_path / "empty" / "a.png").write_text("no image")
    with pytest.raises(InputError, match="1 file that cannot be read, such as 'a.png'"):
        read_pool(tmp_path / "empty", LabelConfig())
    (tmp_path / "blank").mkdir()
    Image.fromarray(np.full((500, 500), 128, np.uint8)).save(tmp_path / "blank" / "a.png")
    with pytest.raises(InputError, match="16 empty windows.* lower min_detail"):
        read_pool(tmp_path / "blank", LabelConfig())


def test_frames_with_a_common_duplicate_are_one_group(tmp_path: Path, rendered: Path) -> None:
    pool = read_pool(write_frames(tmp_path / "frames", rendered, 3), LabelConfig(near=False))
    names = [item.file.name for item in pool.items]
    grouped = group_items(pool.items, [(names.index("f0.png"), names.index("f2.png"))])
    assert {(item.file.name, item.group) for item in grouped} == {
        ("f0.png", "f0.png"),
        ("f1.png", "f1.png"),
        ("f2.png", "f0.png"),
    }


def test_pool_is_known_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path / "cache"))
    folder = write_crops(tmp_path / "crops", 3)
    first = read_known_pool(folder, LabelConfig())
    with monkeypatch.context() as patch:
        patch.setattr("georgia.label.pool_cache.read_pool", lambda *_: pytest.fail("read again"))
        assert read_known_pool(folder, LabelConfig()) == first
        # The next start asks for the kind that was found.
        assert read_known_pool(folder, LabelConfig(cut="crops")) == first
    Image.open(folder / "c1.png").rotate(180).save(folder / "new.png")
    assert len(read_known_pool(folder, LabelConfig()).items) == 4
    for file in (tmp_path / "cache" / "pools").iterdir():
        file.write_text("{}")
    assert len(read_known_pool(folder, LabelConfig()).items) == 4


def test_added_items_join_the_group_of_their_frame(tmp_path: Path, rendered: Path) -> None:
    pool = read_pool(write_frames(tmp_path / "frames", rendered, 1), LabelConfig(near=False))
    wider = add_items(pool, ["f0.png#xywh=1,2,50,60", "gone.png#xywh=1,2,50,60", pool.items[0].path])
    (added,) = set(wider.items) - set(pool.items)
    assert (added.path, added.box, added.group) == ("f0.png#xywh=1,2,50,60", (1, 2, 50, 60), "f0.png")
    assert add_items(pool, []) is pool
