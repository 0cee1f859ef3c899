"""The result of one frame of a live probe: fractions with intervals, values of the charts, state."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.files import reading
from georgia.monitor import columns


class State(StrEnum):
    """State of the probe; NOT_RUNNING if no monitor runs."""

    WARMING_UP = "warming up"
    IN_CONTROL = "in control"
    WARNING = "warning"
    ALARM = "alarm"
    NO_CRYSTALS = "no crystals"
    CLEAR = "clear"
    NO_FRAMES = "no frames"
    UNKNOWN_MATERIAL = "unknown material"
    CAMERA_BLIND = "camera blind"
    DARK = "dark"
    FOULED = "fouled"
    FROZEN_CAMERA = "frozen camera"
    UNREADABLE_FRAMES = "unreadable frames"
    FOLDER_AWAY = "folder away"
    STORE_AWAY = "store away"
    LIMITS_UNCONFIRMED = "limits unconfirmed"
    UNLIKE_TRAINING = "unlike training"
    INPUT_DRIFT = "input drift"
    NOT_RUNNING = "not running"


class FrameStatus(StrEnum):
    """Whether a frame has a fraction, or why it has none."""

    ANALYSED = "judged"
    NO_CRYSTALS = State.NO_CRYSTALS.value
    UNKNOWN_MATERIAL = State.UNKNOWN_MATERIAL.value
    CAMERA_BLIND = State.CAMERA_BLIND.value
    CLEAR = State.CLEAR.value
    DARK = State.DARK.value
    FOULED = State.FOULED.value


# Codes of windows without a class, in the map.
UNKNOWN_CODE, EMPTY_CODE = -1, -2


@dataclass(frozen=True)
class ClassFraction:
    """Fraction of the analysed windows that show a class, 0–1, with its 95 % confidence interval."""

    name: str
    fraction: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class TileMap:
    """The windows that one frame was looked at in and what each shows.

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
        needs = "an npz file with head, boxes, codes and probabilities is needed"
        with reading("Cannot read a map", needs), np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes().decode())
            width, height = head["size"]
            names = tuple(map(str, head["names"]))
            boxes, codes, probabilities = (arrays[name] for name in ("boxes", "codes", "probabilities"))
            n = len(boxes)
            if boxes.shape != (n, 4) or codes.shape != (n,) or probabilities.shape != (n, len(names)):
                raise ValueError("arrays that do not fit each other")
            if n and not (EMPTY_CODE <= codes.min() <= codes.max() < len(names)):
                raise ValueError("a window of a class that is not named")
            kept = boxes.astype(np.int32), codes.astype(np.int8), probabilities.astype(np.float16)
            return cls(int(width), int(height), names, *kept)


@dataclass(frozen=True)
class FileKey:
    """One file as it was found: name below the watched folder, size, time of change, and its content."""

    file: str
    size_bytes: int
    mtime_ns: int
    sha256: str = ""


class LimitKind(StrEnum):
    """The limits of a probe: those of the charts, and the plain one on the smoothed fraction."""

    EWMA = "ewma"
    CUSUM = "cusum"
    P = "p"
    PLAIN = "limit"


@dataclass(frozen=True)
class ChartPoint:
    """The charts' values after one frame; ``georgia.monitor.columns`` explains each.

    ``leading`` is a ``LimitKind``: the limit that ``over`` is measured by.
    """

    ewma: float | None = None
    ewma_limit: float | None = None
    cusum: float | None = None
    cusum_limit: float | None = None
    p_limit: float | None = None
    centre: float | None = None
    over: float | None = None
    limit: float | None = None
    leading: str | None = None
    ewma_low: float | None = None
    ewma_high: float | None = None
    rejected: float | None = None
    rejected_limit: float | None = None
    light_drift: float | None = None
    detail_drift: float | None = None


@dataclass(frozen=True)
class FrameInput:
    """What a frame brings to the model: its windows that are not empty, and how many were rejected.

    ``score`` is their median unknown score, None where the model has none. ``grey`` is the median of their
    mean grey levels, 0–255, ``clipped`` the mean fraction of black and white pixels, 0–1, ``detail`` and
    ``structure`` are medians as in ``georgia.monitor.appearance``.
    """

    n_full: int
    n_unknown: int
    score: float | None
    grey: float
    clipped: float
    detail: float
    structure: float

    @property
    def rejected(self) -> float:
        """Return the rejected fraction of the windows, 0–1."""
        return self.n_unknown / max(1, self.n_full)


@dataclass(frozen=True)
class FrameAnalysis:
    """What the windows of one frame show; ``error`` is why it is blind, ``seconds`` the time of each step.

    ``threads`` are those of the net, None while they are measured. ``cover`` is the fraction of the field
    that crystals seem to cover, 0–1. ``n_skipped`` windows were left out, None where none ever is; ``subset``
    is 0, or the number of the one that was taken (``georgia.monitor.window_subsets``).
    """

    status: FrameStatus
    classes: tuple[ClassFraction, ...]
    n_tiles: int
    n_judged: int
    n_unknown: int
    n_empty: int
    n_effective: float
    map: TileMap
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    threads: int | None = None
    input: FrameInput | None = None
    cover: float | None = None
    n_skipped: int | None = None
    subset: int = 0

    def fraction_of(self, name: str) -> ClassFraction | None:
        """Return the fraction of a class, None where nothing was analysed."""
        return next((item for item in self.classes if item.name == name), None)


@dataclass(frozen=True)
class FrameResult:
    """One analysed frame; ``georgia.monitor.columns`` explains each value.

    ``fraction``, ``low`` and ``high`` are None where nothing could be analysed; ``status`` is the reason.
    """

    key: FileKey
    frame_time_s: float
    time_source: str
    status: FrameStatus
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
    threads: int | None = None
    cover: float | None = None
    n_skipped: int | None = None
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
        plain: dict[str, Any] = {}
        for column in columns.JSON:
            is_chart = column.attribute.startswith("chart.")
            (plain.setdefault("chart", {}) if is_chart else plain)[column.public] = column.read_public(self)
        plain["classes"] = {
            item.name: {"fraction": item.fraction, "low": item.low, "high": item.high, "n": item.n}
            for item in self.classes
        }
        plain["seconds"] = {name: round(value, 4) for name, value in self.seconds.items()}
        return plain
