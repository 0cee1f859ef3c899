"""What one frame of a live probe says: fractions with intervals, the charts' values, the state in words."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError

State = Literal[
    "warming up",
    "in control",
    "warning",
    "alarm",
    "no crystals",
    "no frames",
    "unknown material",
    "camera blind",
]
# What a frame gave: an answer, or why there is nothing to judge in it.
Status = Literal["judged", "no crystals", "unknown material", "camera blind"]

# Codes of windows without a class, in the map.
UNKNOWN_CODE, EMPTY_CODE = -1, -2


@dataclass(frozen=True)
class ClassFraction:
    """Share of the judged windows that show a class, 0–1, with its 95 % interval."""

    name: str
    fraction: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class TileMap:
    """The windows of one frame and what each shows.

    ``boxes`` (N, 4), int32: left, top, width, height in px. ``codes`` (N,), int8: position in ``names``,
    −1 unknown, −2 empty. ``probabilities`` (N, C), float16, rows of empty windows are 0.
    """

    width_px: int
    height_px: int
    names: tuple[str, ...]
    boxes: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float16]

    def label(self, index: int) -> str:
        """Return what a window shows: a class name, "unknown" or "empty"."""
        code = int(self.codes[index])
        return {UNKNOWN_CODE: "unknown", EMPTY_CODE: "empty"}.get(code) or self.names[code]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the map for a page: one entry a window, with its box in px."""
        windows = [
            {
                "left": int(box[0]),
                "top": int(box[1]),
                "width": int(box[2]),
                "height": int(box[3]),
                "label": self.label(position),
                "probabilities": [round(float(value), 4) for value in self.probabilities[position]],
            }
            for position, box in enumerate(self.boxes)
        ]
        size = {"width_px": self.width_px, "height_px": self.height_px}
        return {**size, "classes": list(self.names), "windows": windows}

    def to_bytes(self) -> bytes:
        """Return the map as a compressed npz file (nothing pickled)."""
        stream = io.BytesIO()
        head = json.dumps({"size": [self.width_px, self.height_px], "names": list(self.names)})
        np.savez_compressed(
            stream,
            head=np.frombuffer(head.encode(), np.uint8),
            boxes=self.boxes,
            codes=self.codes,
            probabilities=self.probabilities,
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> TileMap:
        """Read what ``to_bytes`` wrote.

        Raises:
            InputError: the bytes are no such file.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                head = json.loads(arrays["head"].tobytes().decode())
                width, height = head["size"]
                parts = (arrays["boxes"], arrays["codes"], arrays["probabilities"])
                return cls(int(width), int(height), tuple(head["names"]), *parts)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                "Cannot read a map",
                needs="an npz file with head, boxes, codes and probabilities is needed",
                got=error,
            ) from error


@dataclass(frozen=True)
class FileKey:
    """One file as it was seen: name below the watched folder, size, time of change, and its content."""

    file: str
    size_bytes: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True)
class ChartPoint:
    """The charts' values after one frame; ``over`` says how far beyond the limit the leading chart stands.

    ``over`` is the statistic's distance from the centre in units of the limit's: 1.0 lies on the limit.
    """

    ewma: float | None = None
    ewma_limit: float | None = None
    cusum: float | None = None
    cusum_limit: float | None = None
    p_limit: float | None = None
    centre: float | None = None
    over: float | None = None


@dataclass(frozen=True)
class FrameResult:
    """One frame, judged. ``fraction``, ``low`` and ``high`` are those of ``impurity``, 0–1, at 95 %.

    They are None where nothing could be judged; ``status`` says why. Times are seconds since 1970, UTC;
    ``seconds`` says where the computing time went. ``ordinal`` counts the frames of the batch from 1.
    """

    key: FileKey
    frame_time_s: float
    time_source: str
    status: Status
    state: State
    alarm: bool
    impurity: str
    fraction: float | None = None
    low: float | None = None
    high: float | None = None
    n_tiles: int = 0
    n_judged: int = 0
    n_unknown: int = 0
    n_empty: int = 0
    n_effective: float = 0.0
    classes: tuple[ClassFraction, ...] = ()
    chart: ChartPoint = ChartPoint()
    error: str = ""
    judged_at_s: float = 0.0
    model_sha256: str = ""
    settings_id: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    batch_id: int = 0
    frame_id: int = 0
    ordinal: int = 0
    map: TileMap | None = None

    @property
    def file(self) -> str:
        """Return the file's name below the watched folder."""
        return self.key.file

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form: one line of ``georgia monitor --json``, without the map."""
        plain = {key: getattr(self, key) for key in MEASURED}
        return {
            "frame": self.frame_id,
            "batch": self.batch_id,
            "file": self.file,
            "frame_time": iso_time(self.frame_time_s),
            **plain,
            "classes": {item.name: _without_name(item) for item in self.classes},
            "chart": asdict(self.chart),
            "judged_at": iso_time(self.judged_at_s),
            "sha256": self.key.sha256,
            "model_sha256": self.model_sha256,
            "settings_id": self.settings_id,
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }


# What a frame's row, JSON object and line have alike.
MEASURED = (
    "time_source",
    "status",
    "state",
    "alarm",
    "impurity",
    "fraction",
    "low",
    "high",
    "n_tiles",
    "n_judged",
    "n_unknown",
    "n_empty",
    "n_effective",
    "error",
    "ordinal",
)


def _without_name(item: ClassFraction) -> dict[str, float]:
    return {"fraction": item.fraction, "low": item.low, "high": item.high, "n": item.n}


def iso_time(seconds: float | None) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC, to the millisecond.

    >>> iso_time(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
