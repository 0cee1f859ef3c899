"""What the store hands out: batches, alarms, series for charts; and how its rows become results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from georgia.monitor.result import MEASURED, ChartPoint, ClassFraction, FileKey, FrameResult, iso_time

_CHART = tuple(ChartPoint.__dataclass_fields__)
_SAME = ("frame_time_s", "judged_at_s", *MEASURED, "model_sha256", "settings_id", "batch_id")


@dataclass(frozen=True)
class Batch:
    """One run of the plant: frames of one source under one name; ``ended_at_s`` is None while it runs."""

    id: int
    source: str
    name: str
    operator: str
    note: str
    impurity: str
    started_at_s: float
    ended_at_s: float | None
    n_frames: int
    chart_state: str = "{}"

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601."""
        plain = asdict(self)
        del plain["chart_state"]
        start, end = iso_time(plain.pop("started_at_s")), iso_time(plain.pop("ended_at_s"))
        return {**plain, "started_at": start, "ended_at": end}


@dataclass(frozen=True)
class Alarm:
    """One alarm: raised with a frame, cleared by later frames, acknowledged by somebody."""

    id: int
    batch_id: int
    frame_id: int | None
    raised_at_s: float
    frame_time_s: float
    cleared_at_s: float | None
    fraction: float | None
    low: float | None
    high: float | None
    reason: str
    acknowledged_at_s: float | None
    acknowledged_by: str | None
    note: str
    notified_at_s: float | None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601."""
        plain = {key: value for key, value in asdict(self).items() if not key.endswith("_s")}
        times = ("raised_at_s", "frame_time_s", "cleared_at_s", "acknowledged_at_s", "notified_at_s")
        return {**plain, **{name.removesuffix("_s"): iso_time(getattr(self, name)) for name in times}}


@dataclass(frozen=True)
class Series:
    """A batch over time, one entry a frame, or one for ``stride`` frames where there are many.

    Thinned entries hold the mean of the fraction, the outermost limits of its interval, and whether any of
    their frames stood in alarm. Fractions lie in 0–1; None where nothing was judged.
    """

    stride: int
    ordinal: tuple[int, ...]
    frame_time_s: tuple[float, ...]
    fraction: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    ewma: tuple[float | None, ...]
    ewma_limit: tuple[float | None, ...]
    cusum: tuple[float | None, ...]
    cusum_limit: tuple[float | None, ...]
    p_limit: tuple[float | None, ...]
    centre: tuple[float | None, ...]
    alarm: tuple[bool, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Return columns by name, times in seconds since 1970 as chart libraries want them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def frame_values(result: FrameResult, source: str) -> dict[str, Any]:
    """Return a result as the store's row, without ids, trail and chain."""
    classes = [asdict(item) for item in result.classes]
    return {
        **{name: getattr(result, name) for name in _SAME},
        **{name: getattr(result.chart, name) for name in _CHART},
        "source": source,
        "file": result.key.file,
        "size_bytes": result.key.size_bytes,
        "mtime_ns": result.key.mtime_ns,
        "sha256": result.key.sha256,
        "classes": json.dumps(classes, ensure_ascii=False),
        "seconds": json.dumps(dict(result.seconds)),
    }


def frame_of(row: Mapping[Any, Any]) -> FrameResult:
    """Return a row of the store as the result that it holds; the map stays in the store."""
    key = FileKey(row["file"], row["size_bytes"], row["mtime_ns"], row["sha256"])
    classes = tuple(ClassFraction(**item) for item in json.loads(row["classes"]))
    chart = ChartPoint(**{name: row[name] for name in _CHART})
    same = {name: row[name] for name in _SAME}
    seconds = json.loads(row["seconds"])
    result = FrameResult(key=key, classes=classes, chart=chart, seconds=seconds, **same)
    return replace(result, frame_id=row["id"], alarm=bool(row["alarm"]))


def series_of(rows: Sequence[Mapping[Any, Any]], stride: int) -> Series:
    """Return rows of the store as columns."""
    names = [name for name in Series.__dataclass_fields__ if name not in ("stride", "alarm")]
    columns = {name: tuple(row[name] for row in rows) for name in names}
    return Series(stride=stride, alarm=tuple(bool(row["alarm"]) for row in rows), **columns)
