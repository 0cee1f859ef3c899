"""The settings of a live probe: what is watched, how frames are judged, when an alarm is raised."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from georgia.errors import InputError, format_message
from georgia.model.engines import check_engine_name
from georgia.monitor.frametime import check_pattern, check_zone

ChartName = Literal["ewma", "cusum", "p"]


@dataclass(frozen=True)
class TileConfig:
    """How a frame is cut into windows and what a window must show to be judged.

    ``tile_px`` 0 takes the scale that the model was trained on. ``overlap`` is the share of a window's
    side that its neighbour covers too. ``min_detail`` is the least detail of a window that is not empty.
    Source of 4.6: 1,080 windows of drawn frames; 78 % of those without crystals lie below, and 4 % of those
    that crystals cover to a fifth or more.
    """

    tile_px: int = 0
    overlap: float = 0.25
    min_detail: float = 4.6
    min_judged: int = 5


@dataclass(frozen=True)
class ChartConfig:
    """Limits of the charts, from a stated in-control period or given by hand.

    ``baseline_frames`` is the length of that period; ``mean`` and ``sigma`` given by hand make it needless.
    ``limit`` is a plain limit on the smoothed fraction that holds besides, during the period too.
    Source: λ and k, Lucas and Saccucci 1990, doi 10.1080/00401706.1990.10484583, and Montgomery,
    Introduction to Statistical Quality Control, 6th ed., ch. 9. L and h are wider than theirs (3 and 5):
    small fractions are skewed and the period is short; chosen for about one false alarm in 1,000 frames by
    benchmarks/alarms.py.
    """

    chart: ChartName = "ewma"
    baseline_frames: int = 30
    mean: float | None = None
    sigma: float | None = None
    limit: float | None = None
    ewma_lambda: float = 0.2
    ewma_width: float = 4.0
    cusum_k: float = 0.5
    cusum_h: float = 9.0
    p_width: float = 3.0
    raise_after: int = 2
    clear_after: int = 5
    clear_below: float = 0.7


@dataclass(frozen=True)
class MonitorConfig(TileConfig, ChartConfig):
    """Everything that ``[monitor]`` in a settings file may say; docs/monitor.md explains each.

    ``source`` names the frames' origin in the store: the watched folder's path where it is empty. It stays
    the same when a share is mounted elsewhere. Durations are in seconds of a clock that never jumps.
    """

    watch: Path = Path()
    db: str = "georgia-monitor.db"
    source: str = ""
    batch: str = ""
    operator: str = ""
    impurity: str = ""
    engine: str = "auto"
    threads: int = 0
    look_s: float = 1.0
    grace_s: float = 30.0
    no_frames_s: float = 60.0
    time_from: Literal["file", "name", "exif"] = "file"
    time_pattern: str = ""
    time_zone: str = "local"
    webhook: str = ""
    opcua: str = ""
    keep_maps_days: float = 30.0
    keep_frames_days: float = 0.0
    # What a place of work adds to the record: probe, plant, file of the protocol.
    note: str = field(default="")

    def __post_init__(self) -> None:
        faults = [
            format_message(name, rule, getattr(self, name))
            for name, rule, holds in _RULES
            if not holds(getattr(self, name))
        ]
        if (self.mean is None) != (self.sigma is None):
            faults.append(format_message("mean and sigma", "both or none must be given", "one of them"))
        if self.time_from == "name" and not self.time_pattern:
            faults.append(
                format_message(
                    "time_pattern",
                    "a pattern such as %Y%m%d_%H%M%S is needed where time_from is name",
                    "none",
                )
            )
        if faults:
            raise InputError(" ".join(faults))
        check_engine_name(self.engine)
        check_zone(self.time_zone)
        if self.time_pattern:
            check_pattern(self.time_pattern)

    @property
    def tiles(self) -> TileConfig:
        """Return the settings of the windows."""
        return TileConfig(**{name: getattr(self, name) for name in TileConfig.__dataclass_fields__})

    @property
    def charts(self) -> ChartConfig:
        """Return the settings of the charts."""
        return ChartConfig(**{name: getattr(self, name) for name in ChartConfig.__dataclass_fields__})

    def to_json_dict(self) -> dict[str, Any]:
        """Return what the store keeps: everything but the address of the store, which may hold a password."""
        values = {**asdict(self), "watch": str(self.watch)}
        del values["db"]
        return values


def _between(low: float, high: float) -> Any:
    return lambda value: value is None or low <= value <= high


def _above(low: float) -> Any:
    return lambda value: value is None or value > low


_RULES: tuple[tuple[str, str, Any], ...] = (
    ("look_s", "0.05 to 3600 s is needed", _between(0.05, 3600)),
    ("grace_s", "0 s or more is needed", _between(0, 1e9)),
    ("no_frames_s", "more than 0 s is needed", _above(0)),
    ("tile_px", "0 (the model's) or 16 px and more is needed", lambda v: v == 0 or v >= 16),
    ("overlap", "0 to 0.9 is needed", _between(0, 0.9)),
    ("min_detail", "0 or more is needed", _between(0, 1e9)),
    ("min_judged", "1 or more is needed", _between(1, 1e9)),
    ("baseline_frames", "5 or more is needed", _between(5, 1e9)),
    ("mean", "it lies in 0–1", _between(0, 1)),
    ("sigma", "more than 0 is needed", _above(0)),
    ("limit", "more than 0, at most 1, is needed", lambda v: v is None or 0 < v <= 1),
    ("ewma_lambda", "more than 0, at most 1, is needed", lambda v: 0 < v <= 1),
    ("ewma_width", "more than 0 is needed", _above(0)),
    ("cusum_k", "0 or more is needed", _between(0, 1e9)),
    ("cusum_h", "more than 0 is needed", _above(0)),
    ("p_width", "more than 0 is needed", _above(0)),
    ("raise_after", "1 or more is needed", _between(1, 1e9)),
    ("clear_after", "1 or more is needed", _between(1, 1e9)),
    ("clear_below", "more than 0, at most 1, is needed", lambda v: 0 < v <= 1),
    ("keep_maps_days", "0 (for ever) or more is needed", _between(0, 1e9)),
    ("keep_frames_days", "0 (for ever) or more is needed", _between(0, 1e9)),
    ("webhook", "http://… or https://… is needed", lambda v: not v or v.startswith(("http://", "https://"))),
    ("opcua", "opc.tcp://HOST:PORT/… is needed", lambda v: not v or v.startswith("opc.tcp://")),
)
