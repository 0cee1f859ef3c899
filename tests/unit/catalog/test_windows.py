"""Windows of frames from a CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.images import SCENE

from georgia.catalog import read_catalog
from georgia.catalog.sources import expand_tables
from georgia.errors import InputError
from georgia.split.make import Split, SplitConfig, make_split

HEAD = "path,x,y,width,height,class,group\n"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.fromarray(SCENE).save(tmp_path / name)
    return tmp_path


def write(folder: Path, *rows: str, head: str = HEAD) -> Path:
    (folder / "set.csv").write_text(head + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder / "set.csv"


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def start(self, *_: object) -> None: ...
    def advance(self, *_: object) -> None: ...


def test_windows_of_frame_are_one_group(frames: Path) -> None:
    table = write(
        frames, "a.png,0,0,5,6,CEX,", "a.png,5,0,5,6,PG,", "b.png,1,2,7,8,PG,own", "b.png,9,2,7,8,PG,"
    )
    said = Said()
    catalog = read_catalog(table, progress=said)  # type: ignore[arg-type]
    assert [record.group for record in catalog.records] == ["a.png", "a.png", "own", "b.png"]
    assert said.lines[0].startswith("data: 4 images (4 windows of 2 frames), 2 classes: CEX 1, PG 3")
    assert catalog.records[0].path == frames / "a.png#xywh=0,0,5,6"


def test_whole_frame_joins_its_windows(frames: Path) -> None:
    catalog = read_catalog(write(frames, "a.png,0,0,5,6,CEX,", "a.png,,,,,PG,", "b.png,,,,,PG,"))
    assert [record.group for record in catalog.records] == ["a.png", "a.png", ""]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a.png,0,0,33,6,CEX,", "line 3 has the box 0,0,33,6, which lies beyond its frame of 31×23 px"),
        ("a.png,-3,0,5,6,CEX,", "line 3 has the box -3,0,5,6, which lies beyond"),
        ("a.png,0,0,0,6,CEX,", "line 3 has the empty box 0,0,0,6"),
        (
            "a.png,nan,0,5,6,CEX,",
            "line 3 has no box: x, y, width and height must be numbers of px; got nan,0,5,6",
        ),
        ("a.png,0,0,5,,CEX,", "line 3 has the box '0,0,5,'; four numbers of px are needed"),
        ("a.png,0,0,five,6,CEX,", "four numbers of px are needed"),
        ("b.png,0,0,5,6,CEX,", "line 3 names 'b.png' again after line 2"),
        ("b.png#xywh=0,0,5,6,1,1,2,2,CEX,", "line 3 names 'b.png#xywh=0'"),
        ('"b.png#xywh=0,0,5,6",1,1,2,2,CEX,', "line 3 has a box in its columns and another behind its path"),
        ('"b.png#xywh=30,0,5,6",,,,,CEX,', "line 3 has the box 30,0,5,6, which lies beyond"),
        ("no.png,0,0,5,6,CEX,", "line 3 names 'no.png', which is no file"),
    ],
)
def test_faulty_box_names_its_line(frames: Path, row: str, fault: str) -> None:
    with pytest.raises(InputError) as raised:
        read_catalog(write(frames, "b.png,0,0,5,6,CEX,", row))
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


def test_width_alone_is_no_box(frames: Path) -> None:
    table = write(frames, "a.png,999,CEX", "b.png,999,PG", head="path,width,class\n")
    assert [record.path.name for record in read_catalog(table).records] == ["a.png", "b.png"]


def test_split_manifest_of_windows_reads_back(frames: Path, tmp_path: Path) -> None:
    rows = [
        f"{name},{left},0,5,6,{kind},{name}{left}"
        for name in ("a.png", "b.png")
        for left, kind in ((0, "CEX"), (5, "PG"), (10, "CEX"), (15, "PG"))
    ]
    split = make_split(read_catalog(write(frames, *rows)), SplitConfig((0.5, 0.5, 0.0)))
    split.save(tmp_path / "out")
    assert Split.load(tmp_path / "out").records == split.records
    again = read_catalog(tmp_path / "out" / "split.csv")
    assert set(again.records) == set(split.records)


def test_table_without_classes_gives_sources(frames: Path) -> None:
    table = write(frames, "a.png,1,2,3,4", "b.png,,,,", head="path,x,y,width,height\n")
    assert expand_tables([table, "other"]) == [frames / "a.png#xywh=1,2,3,4", frames / "b.png", "other"]


def test_image_called_csv_is_no_table(frames: Path) -> None:
    (frames / "a.png").rename(frames / "a.csv")
    assert expand_tables([frames / "a.csv"]) == [frames / "a.csv"]


def test_unreadable_frame_fails_once_read(frames: Path) -> None:
    (frames / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
    catalog = read_catalog(write(frames, "a.png,0,0,5,6,CEX,", "b.png,0,0,5,6,PG,", "broken.png,0,0,5,6,PG,"))
    assert [failure.path.name for failure in catalog.failures] == ["broken.png#xywh=0,0,5,6"]
