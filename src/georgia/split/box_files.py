"""A split as files for labelling programs: COCO, YOLO, Label Studio, CVAT. ``read_catalog`` reads them again.

Names of images are those below the split's root, or whole paths elsewhere. An image without a box is a box of
its whole size in COCO and YOLO, and a class of the image in the others. Sources: ``catalog/box_files.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from georgia.catalog.read import relative_name
from georgia.errors import InputError, UnreadableImageError
from georgia.files import write_text
from georgia.images.decode import read_frame_info
from georgia.records import Box, split_window
from georgia.split.make import Split
from georgia.text import describe_many

# One image: its name, width and height (px), split, and its boxes with their classes; None: the whole image.
_Entry = tuple[str, int, int, str, list[tuple[Box | None, str]]]


def write_boxes(split: Split, folder: Path, form: str) -> list[Path]:
    """Write a split in a form of ``BOX_FORMS`` into a folder; return the files.

    A frame with windows in two splits is named in both.

    Raises:
        InputError: an image cannot be read, or its name cannot stand in such a file.
    """
    entries, written = _gather(split), []
    for name, text in BOX_FORMS[form](entries, split).items():
        write_text(folder / name, text)
        written.append(folder / name)
    if form == "yolo":
        _link_images(entries, split, folder)
    return written


def _format_yolo(entries: list[_Entry], split: Split) -> dict[str, str]:
    """Return data.yaml and a text for each image; the images themselves are linked beside them."""
    names = split.labels.names
    parts = dict.fromkeys(entry[3] for entry in entries)
    folders = [f"{'val' if part == 'valid' else part}: images/{part}" for part in parts]
    classes = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(names)]
    files = {"data.yaml": "\n".join(["path: .", *folders, "names:", *classes, ""])}
    for name, width, height, part, windows in entries:
        lines = []
        for box, class_name in windows:
            left, top, own_width, own_height = box or (0, 0, width, height)
            centre = (left + own_width / 2) / width, (top + own_height / 2) / height
            values = (*centre, own_width / width, own_height / height)
            lines.append(" ".join([str(names.index(class_name)), *(f"{value:.9f}" for value in values)]))
        target = f"labels/{part}/{Path(_flatten(name)).stem}.txt"
        if target in files:
            raise InputError(
                "Cannot write boxes for YOLO",
                needs="each image needs a name of its own, whatever its suffix",
                got=repr(name),
                hint="Rename it, or use --mode coco.",
            )
        files[target] = "\n".join([*lines, ""])
    return files


def _link_images(entries: list[_Entry], split: Split, folder: Path) -> None:
    for name, _, _, part, _ in entries:
        target = folder / "images" / part / _flatten(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name that is absolute stays so.
        source = (split.root / name).resolve()
        if os.path.lexists(target):
            continue
        try:
            target.hardlink_to(source)
        except OSError:
            target.symlink_to(source)


def _flatten(name: str) -> str:
    return name.strip("/").replace("/", "_").replace(":", "_")


def _gather(split: Split) -> list[_Entry]:
    entries: dict[tuple[str, str], _Entry] = {}
    faults = []
    for record in split.records:
        file, box = split_window(record.path)
        key = relative_name(file, split.root), record.split
        if key not in entries:
            try:
                info = read_frame_info(file)
                key[0].encode()
            except UnreadableImageError as error:
                faults.append(f"{key[0]!r}: {error}")
                continue
            except UnicodeEncodeError:
                faults.append(f"{key[0]!r}: its name is not UTF-8")
                continue
            entries[key] = (key[0], info.width_px, info.height_px, record.split, [])
        entries[key][4].append((box, record.class_name))
    if faults:
        raise InputError(f"Cannot write boxes: {describe_many(faults)}.")
    return list(entries.values())


def _to_json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _format_coco(entries: list[_Entry], split: Split) -> dict[str, str]:
    names = split.labels.names
    files = {}
    for part in dict.fromkeys(entry[3] for entry in entries):
        images: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for name, width, height, _, windows in (entry for entry in entries if entry[3] == part):
            images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
            for box, class_name in windows:
                values = box or (0, 0, width, height)
                kind = names.index(class_name) + 1
                boxes.append(
                    {
                        **{"id": len(boxes) + 1, "image_id": len(images), "category_id": kind},
                        **{"bbox": list(values), "area": values[2] * values[3], "iscrowd": 0},
                    }
                )
        categories = [{"id": at, "name": name} for at, name in enumerate(names, start=1)]
        content = {"images": images, "annotations": boxes, "categories": categories}
        files[f"coco-{part}.json"] = _to_json(content)
    return files


def _format_label_studio(entries: list[_Entry], split: Split) -> dict[str, str]:
    tasks = []
    for number, (name, width, height, part, windows) in enumerate(entries, start=1):
        results: list[dict[str, Any]] = []
        size = {"original_width": width, "original_height": height, "to_name": "image"}
        for box, class_name in windows:
            if box is None:
                value: dict[str, Any] = {"choices": [class_name]}
                results.append({"type": "choices", "from_name": "class", "value": value, **size})
                continue
            fractions = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
            value = dict(zip(("x", "y", "width", "height"), (100 * f for f in fractions), strict=True))
            value |= {"rotation": 0, "rectanglelabels": [class_name]}
            results.append({"type": "rectanglelabels", "from_name": "box", "value": value, **size})
        data = {"image": name, "split": part}
        tasks.append({"id": number, "data": data, "annotations": [{"result": results}]})
    return {"label-studio.json": _to_json(tasks)}


def _format_cvat(entries: list[_Entry], split: Split) -> dict[str, str]:
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>"]
    for number, (name, width, height, part, windows) in enumerate(entries):
        size = f'width="{width}" height="{height}"'
        lines.append(f'<image id="{number}" name={quoteattr(name)} subset="{part}" {size}>')
        for box, class_name in windows:
            label = quoteattr(class_name)
            if box is None:
                lines.append(f'<tag label={label} source="manual"></tag>')
                continue
            left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
            edges = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
            lines.append(f'<box label={label} source="manual" occluded="0" {edges} z_order="0"></box>')
        lines.append("</image>")
    return {"cvat.xml": "\n".join([*lines, "</annotations>", ""])}


BOX_FORMS: dict[str, Callable[[list[_Entry], Split], dict[str, str]]] = {
    "coco": _format_coco,
    "yolo": _format_yolo,
    "label-studio": _format_label_studio,
    "cvat": _format_cvat,
}
