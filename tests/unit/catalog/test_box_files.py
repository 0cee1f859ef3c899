"""Boxes and classes from files of COCO, YOLO, Label Studio and CVAT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.images import SCENE

from georgia.catalog import read_catalog
from georgia.catalog.box_files import MOST_BYTES
from georgia.catalog.sources import expand_tables
from georgia.errors import InputError
from georgia.progress import Quiet
from georgia.split.make import Split, SplitConfig
from georgia.split.materialize import materialize_split

# Frames of 31×23 px.
EXPECTED = {"a.png#xywh=3,4,5,6": "CEX", "a.png#xywh=10,4,7,8": "PG", "b.png#xywh=0,0,31,23": "PG"}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(SCENE).save(tmp_path / "images" / name)
    return tmp_path


def make_coco() -> dict[str, Any]:
    boxes = [(1, [3.2, 4, 5, 6], 7), (1, [10, 4, 7, 8], 9), (2, [0, 0, 31, 23], 9)]
    return {
        "images": [
            {"id": number, "file_name": name, "width": 31, "height": 23}
            for number, name in ((1, "a.png"), (2, "b.png"), (3, "c.png"))
        ],
        "categories": [{"id": 7, "name": "CEX"}, {"id": 9, "name": "PG"}],
        "annotations": [{"image_id": image, "bbox": box, "category_id": kind} for image, box, kind in boxes],
    }


def make_task(number: int, image: str, *boxes: tuple[float, float, float, float, str]) -> dict[str, Any]:
    result = [
        {
            "type": "rectanglelabels",
            "original_width": 31,
            "original_height": 23,
            "value": {
                **{"x": x / 0.31, "y": y / 0.23, "width": width / 0.31, "height": height / 0.23},
                "rectanglelabels": [kind],
            },
        }
        for x, y, width, height, kind in boxes
    ]
    return {"id": number, "data": {"image": image}, "annotations": [{"result": result}]}


def make_label_studio() -> list[dict[str, Any]]:
    return [
        make_task(1, "/data/upload/1/0123abcd-a.png", (3, 4, 5, 6, "CEX"), (10, 4, 7, 8, "PG")),
        make_task(2, "/data/local-files/?d=images/b.png", (0, 0, 31, 23, "PG")),
        {"id": 3, "data": {"image": "c.png"}, "annotations": []},
    ]


CVAT = """<?xml version="1.0" encoding="utf-8"?><annotations>
<image id="0" name="a.png" width="31" height="23">
<box label="CEX" xtl="3.00" ytl="4.00" xbr="8.00" ybr="10.00" occluded="0"/>
<box label="PG" xtl="10" ytl="4" xbr="17" ybr="12"/></image>
<image id="1" name="b.png" width="31" height="23"><box label="PG" xtl="0" ytl="0" xbr="31" ybr="23"/></image>
<image id="2" name="c.png" width="31" height="23"></image></annotations>"""


def write(file: Path, content: object) -> Path:
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def write_yolo(folder: Path, *lines: str) -> Path:
    (folder / "labels").mkdir(exist_ok=True)
    write(folder / "data.yaml", "path: .\nnames:\n  0: CEX\n  1: 'PG' # impurity\n")
    rows = lines or tuple(
        f"{kind} {(x + w / 2) / 31:.6f} {(y + h / 2) / 23:.6f} {w / 31:.6f} {h / 23:.6f}"
        for kind, x, y, w, h in ((0, 3, 4, 5, 6), (1, 10, 4, 7, 8))
    )
    write(folder / "labels" / "a.txt", "\n".join(rows) + "\n")
    write(folder / "labels" / "b.txt", "1 0.5 0.5 1 1\n")
    return folder


@pytest.mark.parametrize("form", ["coco", "label studio", "cvat", "yolo"])
def test_boxes_of_each_form_are_windows(frames: Path, form: str) -> None:
    source = {
        "coco": lambda: write(frames / "boxes.json", make_coco()),
        "label studio": lambda: write(frames / "boxes.json", make_label_studio()),
        "cvat": lambda: write(frames / "boxes.xml", CVAT),
        "yolo": lambda: write_yolo(frames),
    }[form]()
    catalog = read_catalog(source)
    assert {record.path.name: record.class_name for record in catalog.records} == EXPECTED
    assert len({record.group for record in catalog.records}) == 2
    if form != "yolo":
        assert len(expand_tables([source])) == 3


def test_classes_of_whole_images_are_read(frames: Path) -> None:
    tags = CVAT.replace('<box label="PG" xtl="0" ytl="0" xbr="31" ybr="23"/>', '<tag label="PG"/>')
    names = [record.path.name for record in read_catalog(write(frames / "boxes.xml", tags)).records]
    assert "b.png" in names
    tasks = make_label_studio()
    tasks[1]["annotations"][0]["result"] = [{"type": "choices", "value": {"choices": ["PG"]}}]
    names = [record.path.name for record in read_catalog(write(frames / "boxes.json", tasks)).records]
    assert "b.png" in names


def change_coco(**changes: Any) -> dict[str, Any]:
    content = make_coco()
    content["annotations"][1] |= changes
    return content


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (change_coco(bbox=[30, 0, 5, 5]), "annotations[1] has the box 30,0,5,5, which lies beyond its frame"),
        (change_coco(bbox=[1, 2, 3]), "annotations[1] has the bbox [1, 2, 3]"),
        (
            change_coco(bbox=["a", 2, 3, 4]),
            "annotations[1] has the box ['a', 2, 3, 4]; four numbers",
        ),
        (change_coco(bbox=[0, 0, float("nan"), 4]), "annotations[1] has no box"),
        (change_coco(image_id=77), "annotations[1] has image_id 77, which no image has"),
        (change_coco(category_id=77), "annotations[1] has category_id 77"),
        (change_coco(bbox=[3, 4, 5, 6]), "gives 'a.png#xywh=3,4,5,6' the class 'PG', which was 'CEX' before"),
        (
            {**make_coco(), "images": [{"id": 1, "file_name": "z.png"}]},
            "images[0] names 'z.png', which",
        ),
        (
            {**make_coco(), "images": [{"id": 1, "file_name": "a.png", "width": 62, "height": 46}]},
            "images[0] is for 62×46 px, but 'a.png' has 31×23: no box fits",
        ),
        ([], "JSON of COCO"),
        ("[" * 100_000, "too deep"),
        (
            [make_task(1, "a.png") | {"annotations": [{"result": []}, {"result": []}]}],
            "task 1 has 2",
        ),
    ],
)
def test_json_fault_names_its_entry(frames: Path, content: object, fault: str) -> None:
    with pytest.raises(InputError) as raised:
        read_catalog(write(frames / "boxes.json", content))
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (CVAT.replace('xbr="17"', 'xbr="40"'), "line 4 has the box 10,4,30,8, which lies beyond"),
        (CVAT.replace('xbr="17"', 'xbr="x"'), "line 4 has a box without four numbers"),
        (CVAT.replace('occluded="0"', 'rotation="12"'), "line 3 has a box that is rotated by 12 degrees"),
        (CVAT.replace("<annotations>", "<annotations><track id='0'></track>"), "line 1 is of a video"),
        (CVAT[:-15], "unclosed token"),
        ("<html></html>", "root <annotations> is needed"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "without a document type"),
        ('<?xml version="1.0" encoding="utf-9"?><annotations/>', "unknown encoding: utf-9"),
    ],
)
def test_xml_fault_names_its_line(frames: Path, content: str, fault: str) -> None:
    with pytest.raises(InputError) as raised:
        read_catalog(write(frames / "boxes.xml", content))
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0 0.5 0.5 1.2 1", "'labels/a.txt' line 1 has the box '0.5 0.5 1.2 1'; four numbers from 0 to 1"),
        ("0 nan 0.5 1 1", "four numbers from 0 to 1"),
        ("7 0.5 0.5 1 1", "line 1 has class 7, which data.yaml does not name"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3", "line 1 is '0 0.1 0.1 0.2 0.2 0.3 0.3'; class number"),
    ],
)
def test_yolo_fault_names_its_line(frames: Path, line: str, fault: str) -> None:
    with pytest.raises(InputError) as raised:
        read_catalog(write_yolo(frames, line))
    assert fault in str(raised.value)


def test_yolo_folders_give_splits(frames: Path) -> None:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (frames / "set" / kind / split).mkdir(parents=True)
        Image.fromarray(SCENE).save(frames / "set" / "images" / split / f"{split}.png")
        write(frames / "set" / "labels" / split / f"{split}.txt", "0 0.25 0.5 0.5 1\n1 0.75 0.5 0.5 1\n")
    write(frames / "set" / "classes.txt", "CEX\nPG\n")
    assert {record.split for record in read_catalog(frames / "set").records} == {"train", "valid"}


def test_other_files_in_yolo_folder_are_told(frames: Path) -> None:
    write_yolo(frames)
    for name in ("c.heic", "d.dcm", "film.mp4", "labels/c.txt", "labels.cache", "README"):
        (frames / name).write_text("0 0.5 0.5 1 1\n")
    told: list[str] = []
    listener = Quiet()
    listener.say = told.append  # type: ignore[method-assign]
    read_catalog(frames, progress=listener)
    assert [line for line in told if "other kinds" in line] == [
        "note: passed over 3 files of other kinds (.dcm 1, .heic 1, .mp4 1); "
        "images are PNG, JPEG, TIFF, BMP and WebP"
    ]


def test_shapes_that_are_no_boxes_are_told(frames: Path) -> None:
    tasks = make_label_studio()
    tasks[0]["annotations"][0]["result"] += [
        {"type": "polygonlabels"},
        {"type": "brushlabels"},
        {"type": "x"},
    ]
    polygon = '<polygon label="PG" points="1,1;2,2;1,2"></polygon></image>'
    files = {
        "tasks.json": (tasks, "2 shapes, no upright boxes: 'polygonlabels' 1, 'brushlabels' 1"),
        "boxes.xml": (CVAT.replace("</image>", polygon, 1), "1 shape, no upright boxes: 'polygon' 1"),
    }
    for name, (content, note) in files.items():
        told: list[str] = []
        listener = Quiet()
        listener.say = told.append  # type: ignore[method-assign]
        read_catalog(write(frames / name, content), progress=listener)
        assert f"note: left out {note}" in told


def test_empty_line_keeps_class_numbers(frames: Path) -> None:
    write_yolo(frames, "0 0.5 0.5 0.2 0.2", "2 0.2 0.2 0.1 0.1")
    (frames / "data.yaml").unlink(missing_ok=True)
    (frames / "classes.txt").write_text("CEX\n\nPG\n")
    with pytest.raises(InputError, match=r"has class 1, which classes\.txt does not name"):
        read_catalog(frames)
    (frames / "labels" / "b.txt").unlink()
    assert read_catalog(frames).count_by_class() == {"CEX": 1, "PG": 1}


def test_ids_that_stand_twice_are_named(frames: Path) -> None:
    for name in ("categories", "images"):
        content = make_coco()
        content[name].append({**content[name][1], "id": content[name][0]["id"]})
        with pytest.raises(InputError, match=rf"{name}\[\d\] has id \d as another has"):
            read_catalog(write(frames / "boxes.json", content))


def test_file_too_large_is_rejected(frames: Path) -> None:
    file = frames / "boxes.json"
    with file.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="at most 268,435,456 bytes are allowed"):
        read_catalog(file)


@pytest.mark.parametrize("mode", ["coco", "label-studio", "cvat"])
def test_written_boxes_read_back(frames: Path, mode: Any) -> None:
    catalog = read_catalog(write(frames / "boxes.json", make_coco()))
    records = tuple(replace(record, split="train") for record in catalog.records)
    split = Split(frames, catalog.labels, records, SplitConfig())
    out = frames / "out"
    materialize_split(split, out, mode)
    file = next(path for path in out.iterdir() if path.stem.startswith(mode))
    assert materialize_split(split, out, mode).n_placed == 0
    again = read_catalog(file)
    assert {(record.path, record.class_name) for record in again.records} == {
        (record.path, record.class_name) for record in records
    }


def test_written_yolo_folder_reads_back(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("yolo")
    catalog = read_catalog(write(frames / "boxes.json", make_coco()))
    records = tuple(replace(record, split="train") for record in catalog.records)
    split = Split(frames, catalog.labels, records, SplitConfig())
    for _ in range(2):
        materialize_split(split, out, "yolo")
    again = read_catalog(out)
    found = {record.path.name.removeprefix("images_"): record.class_name for record in again.records}
    assert found == EXPECTED
    assert {record.split for record in again.records} == {"train"}


def check_one_line(file: Path) -> None:
    said = ""
    try:
        read_catalog(file)
    except InputError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.slow
def test_damaged_files_give_one_line(frames: Path) -> None:
    rng = np.random.default_rng(0)
    contents = [json.dumps(make_coco()), json.dumps(make_label_studio()), CVAT]
    values = [
        b"null",
        b"[]",
        b"{}",
        b"-1",
        b"1e999",
        b'"http://["',
        b"<",
        b">",
        b'"',
        b"\xff",
        b"\0",
        b"9" * 400,
    ]
    for at in range(600):
        content = bytearray(contents[at % 3].encode())
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            cut = int(rng.integers(0, 12))
            content[place : place + cut] = values[rng.integers(len(values))]
        file = frames / ("boxes.xml" if at % 3 == 2 else "boxes.json")
        file.write_bytes(bytes(content))
        check_one_line(file)


@pytest.mark.slow
def test_odd_values_give_one_line(frames: Path) -> None:
    for odd in (None, [], {}, [[]], -1, True, "", "x", 10**400, float("inf"), "http://[", "a.png\0"):
        for make in (make_coco, make_label_studio):
            for path in list_paths(make()):
                content: Any = make()
                holder = content
                for key in path[:-1]:
                    holder = holder[key]
                holder[path[-1]] = odd
                check_one_line(write(frames / "boxes.json", content))


def list_paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, inner in items for way in ((*before, key), *list_paths(inner, (*before, key)))]
