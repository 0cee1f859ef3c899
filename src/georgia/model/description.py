"""What describes a model, ``bundle.json`` and the metadata of the ONNX file: read, checked, compared.

A description decides predictions: class order, preprocessing, thresholds. It is checked by structure
before anything uses it, and where a model has two of them, they must say the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, get_args

from georgia.errors import InputError
from georgia.files import reading
from georgia.images.symmetry import SymmetryMode

# The entry of an ONNX file's metadata that holds what ``bundle.json`` holds.
METADATA_KEY = "georgia"
# Entries that may be renamed by hand: nothing is computed from them.
_FREE = ("name", "note", "created")
_TEXTS = ("model", "name", "note", "created", "weights_file", "model_sha256")
_TABLES = (
    *("recipe", "data", "versions", "backbone", "audit", "training", "metrics", "parity", "int8"),
    *("calibration", "unknown", "conformal", "promotion"),
)
# Largest side of a network input, px: above it one image in float32 takes 200 MB.
MAX_SIZE_PX = 4096
# Most bytes of metadata that are read from an ONNX file; real ones hold some ten thousand.
MAX_METADATA_BYTES = 64 * 2**20
# Source: onnx.proto, ModelProto.metadata_props; a StringStringEntryProto is key (1) and value (2).
_METADATA_PROPS = 14


def check_description(details: Any, what: str) -> None:
    """Check the types and ranges of all entries that something is computed from.

    Raises:
        InputError: some are missing or wrong; one line lists them all.
    """
    faults = list(_find_faults(details)) if isinstance(details, Mapping) else ["it must be a JSON object"]
    if faults:
        raise InputError(
            f"Cannot use {what}",
            needs="its description of the model must be whole",
            got=" · ".join(faults),
            hint="Copy the model again from where it was trained.",
        )


def check_agreement(details: Mapping[str, Any], metadata: Mapping[str, Any], file: Path) -> None:
    """Check that ``bundle.json`` says what the ONNX file beside it says of itself.

    Raises:
        InputError: they differ in anything but a name or a note.
    """
    names = [
        key for key in metadata if key not in _FREE and _plain(metadata[key]) != _plain(details.get(key))
    ]
    if names:
        shown = ", ".join(names)
        if "classes" in names:
            shown = f"classes {_list(details.get('classes'))} where the file has {_list(metadata['classes'])}"
        raise InputError(
            f"Cannot use {str(file.with_name('bundle.json'))!r}",
            needs=f"it must say what {file.name} says of itself",
            got=f"another entry of {shown}" if "classes" not in names else shown,
            hint=f"Copy both again from where they were trained, or give {file.name} alone.",
        )


def read_onnx_description(file: Path) -> dict[str, Any] | None:
    """Return what an ONNX file says of itself, without reading its net; None for a foreign file.

    Raises:
        InputError: it is damaged, no ONNX file, or its metadata contradict themselves.
    """
    with reading(f"Cannot open model {str(file)!r}", "a whole ONNX file is needed"):
        entries = dict(_list_metadata(file))
    return parse_metadata(entries, file)


def parse_metadata(entries: Mapping[str, str], file: Path) -> dict[str, Any] | None:
    """Return the description in an ONNX file's metadata; None for a foreign file.

    Raises:
        InputError: it is no JSON, is not whole, or its two lists of classes differ.
    """
    if METADATA_KEY not in entries:
        return None
    what = f"model {str(file)!r}"
    with reading(f"Cannot use {what}", "its metadata must be JSON"):
        details = json.loads(entries[METADATA_KEY])
    check_description(details, what)
    names = ",".join(details["classes"])
    if entries.get("classes", names) != names:
        raise InputError(
            f"Cannot use {what}",
            needs="its metadata must name the same classes twice",
            got=f"{names} and {entries['classes']}",
            hint="Copy the model again from where it was trained.",
        )
    return dict(details)


def _find_faults(details: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"no {key}" for key in ("classes", "preprocess") if key not in details)
    for key in _TEXTS:
        if not isinstance(details.get(key, ""), (str, type(None))):
            yield f"{key} must be a text"
    for key in _TABLES:
        if not isinstance(details.get(key, {}), (Mapping, type(None))):
            yield f"{key} must be a table"
    classes = details.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        yield "classes must be a list of texts"
    spec = details.get("preprocess", {})
    yield from _find_preprocess_faults(spec) if isinstance(spec, Mapping) else ("preprocess must be a table",)
    data, recipe = _table(details, "data"), _table(details, "recipe")
    if data.get("median_side_px") is not None and not _is_number(data["median_side_px"], 0, 1e6):
        yield f"data.median_side_px must be a side in px; got {_show(data['median_side_px'])}"
    if recipe.get("label_smoothing") is not None and not _is_number(recipe["label_smoothing"], 0, 0.999):
        yield f"recipe.label_smoothing must be from 0 to 1; got {_show(recipe['label_smoothing'])}"
    yield from _find_threshold_faults(details)


def _find_preprocess_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    if "size_px" in spec and not (_is_number(spec["size_px"], 1, MAX_SIZE_PX) and spec["size_px"] % 1 == 0):
        yield f"size_px must be a whole number from 1 to {MAX_SIZE_PX}; got {_show(spec['size_px'])}"
    if spec.get("color_order", "RGB") not in ("RGB", "BGR"):
        yield f"color_order must be RGB or BGR; got {_show(spec['color_order'])}"
    if "window_px" in spec and not _is_number(spec["window_px"], 1, 1e6):
        yield f"window_px must be a side in px; got {_show(spec['window_px'])}"
    if spec.get("symmetry", "none") not in get_args(SymmetryMode):
        yield f"symmetry must be {', '.join(get_args(SymmetryMode))}; got {_show(spec['symmetry'])}"
    for key, low in (("mean", -1e6), ("scale", 1e-6)):
        value = spec.get(key, [1, 1, 1])
        if not isinstance(value, list) or len(value) != 3 or not all(_is_number(v, low, 1e6) for v in value):
            more = " above 0" if low > 0 else ""
            yield f"{key} must be three finite numbers{more}; got {_show(value)}"


def _find_threshold_faults(details: Mapping[str, Any]) -> Iterator[str]:
    unknown, calibration = _table(details, "unknown"), _table(details, "calibration")
    if not _is_number(unknown.get("threshold", 1.0)):
        yield f"unknown.threshold must be a finite number; got {_show(unknown['threshold'])}"
    if "temperature" in calibration and not _is_number(calibration["temperature"], 1e-9):
        yield f"calibration.temperature must be above 0; got {_show(calibration['temperature'])}"
    conformal = _table(details, "conformal")
    if conformal:
        limits = conformal.get("limits")
        by_rate = list(limits.values()) if isinstance(limits, Mapping) else [None]
        values = [
            v
            for by_class in by_rate
            for v in (by_class.values() if isinstance(by_class, Mapping) else [None])
        ]
        if not all(_is_number(value, 0, 1) for value in [*values, conformal.get("error_rate", 0)]):
            yield "conformal limits must be probabilities from 0 to 1, by error rate and class"
        if not all(_is_number(count, 0) for count in _table(conformal, "n_groups").values()):
            yield "conformal.n_groups must be numbers of groups, by class"


def _table(details: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = details.get(key)
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    is_plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A whole number of thousands of digits is no float.
    return is_plain and abs(value) < 1e300 and math.isfinite(value) and low <= value <= high


def _show(value: Any) -> str:
    return str(value)[:40]


def _list(names: Any) -> str:
    return (
        ", ".join(map(str, names))
        if isinstance(names, Sequence) and not isinstance(names, str)
        else str(names)
    )


def _plain(value: Any) -> str:
    """Return one text for equal values, undefined numbers among them."""
    return json.dumps(value, sort_keys=True)


def _list_metadata(file: Path) -> Iterable[tuple[str, str]]:
    """Yield the metadata of an ONNX file; all else of the protocol buffer is stepped over by its length."""
    n_bytes = file.stat().st_size
    found: set[str] = set()
    with file.open("rb") as stream:
        while stream.tell() < n_bytes:
            field, length = read_field(stream, n_bytes)
            if field != _METADATA_PROPS:
                stream.seek(length, 1)
                continue
            if length > MAX_METADATA_BYTES:
                raise ValueError(f"{length} bytes of metadata")
            entry = _parse_entry(stream.read(length))
            if entry[0] in found:
                raise ValueError(f"two entries {entry[0]!r} in its metadata")
            found.add(entry[0])
            yield entry


def _parse_entry(data: bytes) -> tuple[str, str]:
    import io

    texts, stream = {1: "", 2: ""}, io.BytesIO(data)
    while stream.tell() < len(data):
        field, length = read_field(stream, len(data))
        texts[field] = stream.read(length).decode()
    return texts[1], texts[2]


def read_field(stream: BinaryIO | Any, end: int) -> tuple[int, int]:
    """Read a protocol buffer's next key; return the field's number and the bytes to step over.

    Source: protobuf.dev, encoding: wire types 0 (varint), 1 (8 bytes), 2 (length first), 5 (4 bytes).
    """
    key = _read_varint(stream)
    kind = key & 7
    if kind == 0:
        _read_varint(stream)
    if kind not in (0, 1, 2, 5) or not key >> 3:
        raise ValueError("bytes that are no ONNX file")
    length = _read_varint(stream) if kind == 2 else {0: 0, 1: 8, 5: 4}[kind]
    if stream.tell() + length > end:
        raise ValueError("a file that ends early")
    return key >> 3, length


def _read_varint(stream: BinaryIO | Any) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("a file that ends early")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("bytes that are no ONNX file")
