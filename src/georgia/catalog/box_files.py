"""Boxes and image classes from files of labelling programs: COCO, Label Studio, CVAT and YOLO.

The form is told from the content. Images are looked for beside the file, in ``images`` there, one folder up
likewise, and in the root that a ``split.json`` beside it names; nothing is fetched. A file that declares a
document type is rejected, so no XML entity is ever expanded.
Source: cocodataset.org/#format-data; labelstud.io/guide/export (JSON); CVAT for images 1.1;
docs.ultralytics.com/datasets/detect.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from xml.parsers import expat

from georgia.catalog.folders import SourceContents, split_of_name
from georgia.errors import InputError, UnreadableImageError
from georgia.files import read_json, reading
from georgia.images.containers import SUFFIXES
from georgia.images.decode import name_window, read_frame_info
from georgia.images.listing import walk_files
from georgia.images.other_files import OtherFiles
from georgia.records import Record, split_window
from georgia.text import count_noun

MOST_BYTES = 256 * 2**20
BOX_SUFFIXES = (".json", ".xml")
_CLASS_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")
_YAML_ITEM = re.compile(r"\s+(?:-|(\d+)\s*:)\s*(.+?)\s*")


def read_box_file(file: Path) -> SourceContents:
    """Return the boxes and classes of a JSON or XML file as records, with a fault for each wrong entry.

    Raises:
        InputError: it cannot be read, or is of no form that is known.
    """
    boxes = _Boxes(file.parent)
    if file.stat().st_size > MOST_BYTES:
        raise _reject(file, f"at most {MOST_BYTES:,} bytes are allowed", f"{file.stat().st_size:,}")
    if file.suffix.lower() == ".xml":
        return _read_cvat(file, boxes)
    with reading(f"Cannot read {str(file)!r}", "a JSON file of COCO or Label Studio is needed"):
        try:
            content = json.loads(file.read_text(encoding="utf-8-sig"))
        except RecursionError as error:
            raise _reject(
                file, "a JSON file of COCO or Label Studio is needed", "too deep a nesting"
            ) from error
    if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
        return _read_coco(content, boxes)
    if isinstance(content, list) and content and all(_is_task(task) for task in content):
        return _read_label_studio(content, boxes)
    raise _reject(
        file,
        "JSON of COCO (images, annotations, categories) or of Label Studio (tasks with data and "
        "annotations) is needed",
        f"{type(content).__name__} of {len(content) if isinstance(content, (dict, list)) else 1}",
    )


def _reject(file: Path, needs: str, got: str) -> InputError:
    return InputError(f"Cannot read {str(file)!r}", needs=needs, got=got)


class _Boxes:
    """The records so far; ``place`` in the calls names an entry of the file for a message."""

    def __init__(self, folder: Path) -> None:
        self.found = SourceContents()
        self._roots = [folder, folder / "images", folder.parent, folder.parent / "images"]
        self._classes: dict[Path, str] = {}
        self._n_twice = 0
        self._others: Counter[str] = Counter()
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            self._roots.append(Path(read_json(folder / "split.json")["root"]))

    def fault(self, place: str, fault: str) -> None:
        self.found.faults.append(f"{place} {fault}")

    def find(self, place: str, name: object, size: Sequence[object] = ()) -> Path | None:
        """Return an image by the name in the file; its size, px, must be the one told there."""
        if not isinstance(name, str) or not name.strip():
            self.fault(place, "names no image")
            return None
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            for root in self._roots:
                try:
                    if (root / spelling).is_file():
                        return self._check_size(place, root / spelling, size)
                except (OSError, ValueError):
                    continue
        self.fault(place, f"names {name!r}, which is no file (looked for in {str(self._roots[0])!r})")
        return None

    def _check_size(self, place: str, path: Path, size: Sequence[object]) -> Path | None:
        if len(size) != 2 or any(value is None for value in size):
            return path
        try:
            info = read_frame_info(path)
            told = tuple(int(float(str(value))) for value in size)
        except UnreadableImageError:
            return path
        except (ValueError, OverflowError):
            self.fault(place, f"has the size {size[0]!r}×{size[1]!r}, which is no number of px")
            return None
        if told != (info.width_px, info.height_px):
            real = f"{info.width_px}×{info.height_px}"
            self.fault(place, f"is for {told[0]}×{told[1]} px, but {path.name!r} has {real}: no box fits")
            return None
        return path

    def add(
        self, place: str, path: Path, class_name: object, box: Sequence[object] | None, split: str
    ) -> None:
        """Take one image, or one window of it; what stands there twice with one class is taken once."""
        if not isinstance(class_name, str) or not class_name.strip():
            self.fault(place, "has no class")
            return
        if box is not None:
            try:
                path = name_window(path, [float(str(value)) for value in box])
            except (ValueError, OverflowError) as error:
                known = str(error).startswith("has ")
                self.fault(
                    place, str(error) if known else f"has the box {box!r:.80}; four numbers are needed"
                )
                return
        before = self._classes.get(path)
        if before == class_name:
            self._n_twice += 1
        elif before is not None:
            self.fault(place, f"gives {path.name!r} the class {class_name!r}, which was {before!r} before")
        else:
            self._classes[path] = class_name
            self.found.records.append(Record(path, class_name.strip(), split=split))

    def leave_out(self, kind: str) -> None:
        """Count a shape that is no box, such as a polygon."""
        self._others[kind] += 1

    def finish(self, form: str, n_images: int) -> SourceContents:
        """Return what was found, with a note of the form and of images without a box."""
        n_used = len({split_window(record.path)[0] for record in self.found.records})
        empty = f"; {count_noun(n_images - n_used, 'image')} without a box" if n_images > n_used else ""
        twice = f"; {count_noun(self._n_twice, 'box')} stood there twice" if self._n_twice else ""
        self.found.notes.append(f"read as {form}{empty}{twice}")
        if self._others:
            shown = ", ".join(f"{kind!r:.40} {n:,}" for kind, n in self._others.most_common(5))
            n_others = count_noun(self._others.total(), "shape")
            self.found.notes.append(f"left out {n_others}, no upright boxes: {shown}")
        return self.found


def _read_coco(content: Mapping[str, Any], boxes: _Boxes) -> SourceContents:
    names: dict[Any, object] = {}
    frames: dict[Any, Path | None] = {}
    for at, category in enumerate(_entries(content["categories"])):
        if "id" not in category or not isinstance(category.get("name"), str):
            boxes.fault(f"categories[{at}]", "has no id or no name")
            continue
        if str(category["id"]) in names:
            boxes.fault(f"categories[{at}]", f"has id {category['id']!r:.40} as another has")
        names[str(category["id"])] = category["name"]
    for at, image in enumerate(_entries(content["images"])):
        size = (image.get("width"), image.get("height"))
        if str(image.get("id")) in frames:
            boxes.fault(f"images[{at}]", f"has id {image.get('id')!r:.40} as another has")
        frames[str(image.get("id"))] = boxes.find(f"images[{at}]", image.get("file_name"), size)
    n_crowds = 0
    for at, entry in enumerate(_entries(content["annotations"])):
        place, image_id, category_id = f"annotations[{at}]", entry.get("image_id"), entry.get("category_id")
        if str(image_id) not in frames:
            boxes.fault(place, f"has image_id {image_id!r:.40}, which no image has")
        elif str(category_id) not in names:
            boxes.fault(place, f"has category_id {category_id!r:.40}, which no category has")
        elif entry.get("iscrowd"):
            n_crowds += 1
        else:
            path, box = frames[str(image_id)], entry.get("bbox")
            if not isinstance(box, list) or len(box) != 4:
                boxes.fault(place, f"has the bbox {box!r:.80}; x, y, width and height are needed")
            elif path is not None:
                boxes.add(place, path, names[str(category_id)], box, "")
    if n_crowds:
        boxes.found.notes.append(f"{count_noun(n_crowds, 'box')} of crowds left out (iscrowd)")
    return boxes.finish("COCO", len(frames))


def _entries(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list; what is none counts as an empty one, which is a fault of its own."""
    items = value if isinstance(value, list) else []
    return [item if isinstance(item, dict) else {} for item in items]


def _is_task(task: object) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and "annotations" in task


def _read_label_studio(tasks: Sequence[Mapping[str, Any]], boxes: _Boxes) -> SourceContents:
    for at, task in enumerate(tasks):
        place = f"task {task.get('id', at)!r:.40}"
        done = [entry for entry in _entries(task["annotations"]) if not entry.get("was_cancelled")]
        if not done:
            continue
        if len(done) > 1:
            boxes.fault(place, f"has {len(done)} annotations; keep the one that holds")
            continue
        results = []
        for one in _entries(done[0].get("result")):
            if str(one.get("type")) in _LABEL_STUDIO:
                results.append(one)
            elif str(one.get("type")) in _LABEL_STUDIO_SHAPES:
                boxes.leave_out(str(one["type"]))
        sizes = [(one.get("original_width"), one.get("original_height")) for one in results]
        path = _find_upload(place, task["data"], sizes[0] if sizes else (), boxes)
        for number, one in enumerate(results) if path is not None else ():
            _add_result(f"{place}, result {number}", path, one, boxes)
    return boxes.finish("Label Studio", len(tasks))


# Kind of a result, and the key of its classes.
_LABEL_STUDIO = {"rectanglelabels": "rectanglelabels", "choices": "choices"}
# Kinds of shapes with a class that are no boxes. Source: labelstud.io/tags
_LABEL_STUDIO_SHAPES = {f"{kind}labels" for kind in ("polygon", "brush", "ellipse", "keypoint", "vector")}
# Source: docs.cvat.ai, XML annotation format.
_CVAT_SHAPES = {"polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"}


def _split_url(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        return urlsplit("")


def _find_upload(place: str, data: Mapping[str, Any], size: Sequence[object], boxes: _Boxes) -> Path | None:
    """Return a task's image: its address is a path, or one of Label Studio's own for files that it serves."""
    texts = [value for value in data.values() if isinstance(value, str)]
    url = next((text for text in texts if Path(_split_url(text).path).suffix.lower() in SUFFIXES), "")
    url = url or next((text for text in texts if "?d=" in text), "")
    parts = _split_url(url)
    served = parse_qs(parts.query).get("d", [""])[0]
    name = served or (unquote(parts.path) if parts.scheme or url.startswith("/data/") else url)
    if "/data/upload/" in name or parts.scheme:
        name = Path(name).name
    short = _UPLOAD_PREFIX.sub("", name, count=1) if "/data/upload/" in url else name
    n_before = len(boxes.found.faults)
    found = boxes.find(place, name, size)
    if found is None and short != name and "no file" in boxes.found.faults[-1]:
        del boxes.found.faults[n_before:]
        found = boxes.find(place, short, size)
    return found


def _add_result(place: str, path: Path | None, result: Mapping[str, Any], boxes: _Boxes) -> None:
    value = result.get("value")
    value = value if isinstance(value, dict) else {}
    names = value.get(_LABEL_STUDIO[result["type"]])
    if path is None or not isinstance(names, list) or len(names) != 1:
        boxes.fault(place, f"has the classes {names!r:.80}; one is needed")
        return
    if result["type"] == "choices":
        boxes.add(place, path, names[0], None, "")
        return
    if value.get("rotation"):
        boxes.fault(place, f"has a box that is rotated by {value['rotation']!r:.20} degrees")
        return
    _add_relative(place, path, names[0], [value.get(key) for key in ("x", "y", "width", "height")], boxes)


def _add_relative(
    place: str,
    path: Path,
    name: str,
    values: Sequence[object],
    boxes: _Boxes,
    whole: float = 100,
    split: str = "",
) -> None:
    """Take a box in fractions of its frame, which is ``whole`` wide and high."""
    try:
        info = read_frame_info(path)
        x, y, width, height = (float(str(value)) / whole for value in values)
    except UnreadableImageError as error:
        boxes.fault(place, f"needs the size of {path.name!r}: {error}")
        return
    except (ValueError, OverflowError):
        boxes.fault(place, f"has the box {list(values)!r:.80}; four numbers are needed")
        return
    size = (info.width_px, info.height_px)
    box = [x * size[0], y * size[1], width * size[0], height * size[1]]
    boxes.add(place, path, name, box, split)


def _read_cvat(file: Path, boxes: _Boxes) -> SourceContents:
    parser = expat.ParserCreate()
    state: dict[str, Any] = {"path": None, "split": "", "n": 0, "root": "", "in_image": False}

    def start(tag: str, values: dict[str, str]) -> None:
        place = f"line {parser.CurrentLineNumber}"
        state["root"] = state["root"] or tag
        if tag == "track":
            boxes.fault(place, "is of a video; export as 'CVAT for images 1.1'")
        elif tag == "image":
            state["n"] += 1
            state["path"] = boxes.find(place, values.get("name"), (values.get("width"), values.get("height")))
            state["split"], state["in_image"] = split_of_name(values.get("subset", "")), True
        elif tag in ("box", "tag") and state["in_image"] and state["path"] is not None:
            _add_shape(place, tag, values, state, boxes)
        elif tag in _CVAT_SHAPES and state["in_image"]:
            boxes.leave_out(tag)

    def end(tag: str) -> None:
        state["in_image"] = state["in_image"] and tag != "image"

    def reject(*_: object) -> None:
        raise _reject(file, "XML of CVAT without a document type is needed", "a DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = reject
    try:
        with file.open("rb") as stream:
            parser.ParseFile(stream)
    except InputError:
        raise
    except (expat.ExpatError, LookupError, ValueError, OSError) as error:  # a LookupError: no such encoding
        raise _reject(file, "XML of CVAT is needed", str(error)) from error
    if state["root"] != "annotations":
        raise _reject(file, "XML of CVAT with the root <annotations> is needed", f"<{state['root']:.40}>")
    return boxes.finish("CVAT for images", state["n"])


def _add_shape(
    place: str, tag: str, values: Mapping[str, str], state: Mapping[str, Any], boxes: _Boxes
) -> None:
    if tag == "tag":
        boxes.add(place, state["path"], values.get("label"), None, state["split"])
        return
    try:
        left, top, right, bottom = (float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        rotation = float(values.get("rotation", 0))
    except (KeyError, ValueError):
        boxes.fault(place, "has a box without four numbers xtl, ytl, xbr and ybr")
        return
    if rotation:
        boxes.fault(place, f"has a box that is rotated by {rotation:g} degrees")
        return
    box = (left, top, right - left, bottom - top)
    boxes.add(place, state["path"], values.get("label"), box, state["split"])


def find_yolo_classes(folder: Path) -> Path | None:
    """Return the file with the classes of a folder in YOLO's form, or None if it has none, or no labels.

    That is ``data.yaml``, ``classes.txt`` or ``obj.names``, and a text of boxes for one of the images.
    """
    file = next((folder / name for name in _CLASS_FILES if (folder / name).is_file()), None)
    if file is None:
        return None
    is_yolo = any(
        path.suffix.lower() in SUFFIXES and _find_label_text(folder, path).is_file()
        for path in walk_files(folder, lambda name: Path(name).suffix.lower() in SUFFIXES)
    )
    return file if is_yolo else None


def _find_label_text(folder: Path, image: Path) -> Path:
    """Return the text with an image's boxes: in ``labels`` for images in ``images``, else beside it."""
    parts = list(image.relative_to(folder).parts)
    at = next((at for at in range(len(parts) - 2, -1, -1) if parts[at] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return folder.joinpath(*parts).with_suffix(".txt")


def read_yolo(folder: Path, class_file: Path) -> SourceContents:
    """Return the boxes of a folder in YOLO's form: a text beside each image, ``class x y width height``.

    Raises:
        InputError: a folder cannot be listed, or the file with the classes cannot be read.
    """
    boxes, others, n_images = _Boxes(folder), OtherFiles(), 0
    names = _read_class_names(class_file)
    for image in walk_files(folder, others.is_read):
        n_images += 1
        text = _find_label_text(folder, image)
        if not text.is_file():
            continue
        if text.stat().st_size > MOST_BYTES // 16:
            boxes.fault(f"{text.name!r}", f"has more than {MOST_BYTES // 16:,} bytes")
            continue
        folders = image.relative_to(folder).parts[:-1]
        split = next((found for found in map(split_of_name, folders) if found), "")
        lines = text.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            cells = line.split()
            place = f"{text.relative_to(folder).as_posix()!r} line {number}"
            if not cells:
                continue
            if len(cells) != 5 or not cells[0].isascii() or not cells[0].isdigit():
                boxes.fault(place, f"is {line!r:.60}; class number, x, y, width and height are needed")
            elif len(cells[0]) > 6 or int(cells[0]) not in names:
                boxes.fault(place, f"has class {cells[0]:.20}, which {class_file.name} does not name")
            else:
                _add_centred(place, image, names[int(cells[0])], cells[1:], boxes, split)
    found = boxes.finish("YOLO", n_images)
    if len(others):
        found.notes.append(f"passed over {others.describe()}; images are PNG, JPEG, TIFF, BMP and WebP")
    return found


def _add_centred(place: str, image: Path, name: str, cells: Sequence[str], boxes: _Boxes, split: str) -> None:
    try:
        x, y, width, height = map(float, cells)
    except ValueError:
        boxes.fault(place, f"has the box {' '.join(cells)!r:.60}; four numbers from 0 to 1 are needed")
        return
    if not all(0 <= value <= 1 for value in (x, y, width, height)):
        boxes.fault(place, f"has the box {' '.join(cells)!r:.60}; four numbers from 0 to 1 are needed")
        return
    values = (x - width / 2, y - height / 2, width, height)
    _add_relative(place, image, name, values, boxes, 1, split)


def _read_class_names(file: Path) -> dict[int, str]:
    """Return the names by number, from one name a line or from ``names`` in a YAML file.

    Raises:
        InputError: there are none, or they are written in another way than YOLO's programs do.
    """
    if file.stat().st_size > 2**20:
        raise _reject(file, "names of classes are needed", f"{file.stat().st_size:,} bytes")
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    if file.suffix not in (".yaml", ".yml"):
        # An empty line counts: the number of a class is that of its line.
        return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    names: dict[int, str] = {}
    at = next((at for at, line in enumerate(lines) if line.startswith("names:")), None)
    if at is not None:
        inline = lines[at].removeprefix("names:").split(" #")[0].strip()
        if inline.startswith("[") and inline.endswith("]"):
            names = {number: _unquote(text) for number, text in enumerate(inline[1:-1].split(","))}
        for line in lines[at + 1 :] if not inline else ():
            item = _YAML_ITEM.fullmatch(line.split(" #")[0]) or re.fullmatch(r"(?:-()) *(.+?) *", line)
            if item is None:
                break
            names[int(item[1]) if item[1] else len(names)] = _unquote(item[2])
    if not names or not all(names.values()):
        raise _reject(file, "names: with a list of the classes, or number: name lines, is needed", "none")
    return names


def _unquote(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
