"""The settings of a live probe: what is watched, how frames are analysed, when an alarm is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from georgia.config import Config, Rule, Threads, above, at_least, between, flatten_config
from georgia.errors import InputError, format_message, mask_credentials
from georgia.model.engines import check_engine_name
from georgia.monitor.frametime import TimeFrom, compile_pattern, find_zone


class ChartName(StrEnum):
    """The chart that raises the alarm."""

    EWMA = "ewma"
    CUSUM = "cusum"
    P = "p"


@dataclass(frozen=True)
class TileConfig(Config):
    """How a frame is cut into windows and what a window must show to be analysed.

    ``tile_px`` 0 takes the scale that the model was trained on. ``overlap`` is the fraction of a window's
    side that its neighbour covers too. ``min_detail`` is the least detail of a window that is not empty.
    Source of 4.6: 1,080 windows of synthetic frames; 78 % of those without crystals lie below, and 4 % of
    those that crystals cover to a fifth or more.
    """

    tile_px: Annotated[int, Rule("0 (the model's) or 16 and more", lambda px: px == 0 or px >= 16)] = 0
    overlap: Annotated[float, between(0, 0.9)] = 0.25
    min_detail: Annotated[float, at_least(0)] = 4.6
    min_judged: Annotated[int, at_least(1)] = 5


@dataclass(frozen=True)
class ChartConfig(Config):
    """Limits of the charts, from a stated in-control period or given by hand.

    ``baseline_frames`` is the length of that period; ``mean`` and ``sigma`` given by hand make it needless.
    ``limit`` is a plain limit on the smoothed fraction that holds besides, during the period too.
    Source: λ and k, Lucas and Saccucci 1990, doi 10.1080/00401706.1990.10484583, and Montgomery,
    Introduction to Statistical Quality Control, 6th ed., ch. 9. L and h are wider than theirs (3 and 5):
    small fractions are skewed and the period is short; chosen for about one false alarm in 1,000 frames by
    benchmarks/alarms.py.
    """

    chart: ChartName = ChartName.EWMA
    baseline_frames: Annotated[int, at_least(5)] = 30
    mean: Annotated[float | None, between(0, 1)] = None
    sigma: Annotated[float | None, above(0)] = None
    limit: Annotated[float | None, above(0, 1)] = None
    ewma_lambda: Annotated[float, above(0, 1)] = 0.2
    ewma_width: Annotated[float, above(0)] = 4.0
    cusum_k: Annotated[float, at_least(0)] = 0.5
    cusum_h: Annotated[float, above(0)] = 9.0
    p_width: Annotated[float, above(0)] = 3.0
    raise_after: Annotated[int, at_least(1)] = 2
    clear_after: Annotated[int, at_least(1)] = 5
    clear_below: Annotated[float, above(0, 1)] = 0.7

    def find_faults(self) -> Iterable[str]:
        """Yield a fault where only one of mean and sigma is given."""
        if (self.mean is None) != (self.sigma is None):
            yield format_message("mean and sigma", "both or none must be given", "one of them")


_FOR_EVER = Rule("0 (for ever) or more", lambda days: days >= 0)
_WEB = Rule("http://… or https://…", lambda address: not address or _is_address(address, "http", "https"))
_OPCUA = Rule("opc.tcp://HOST:PORT/…", lambda address: not address or _is_address(address, "opc.tcp"))


def _is_address(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:  # a port above 65535, a bracket that is not closed
        return False


@dataclass(frozen=True)
class MonitorConfig(Config):
    """The settings of ``[monitor]``; docs/monitor.md explains each.

    ``source`` names the frames' origin in the store: the watched folder's path where it is empty. It stays
    the same when a network folder is mounted elsewhere. Durations are in seconds of a clock that never
    jumps. ``note`` is what the user adds to the record: probe, plant, file of the protocol.
    """

    renamed: ClassVar[Mapping[str, str]] = {"look_s": "poll_interval_s"}

    watch: Path = Path()
    db: str = "georgia-monitor.db"
    source: str = ""
    batch: str = ""
    operator: str = ""
    impurity: str = ""
    engine: str = "auto"
    threads: Threads = 0
    poll_interval_s: Annotated[float, between(0.05, 3600)] = 1.0
    grace_s: Annotated[float, at_least(0)] = 30.0
    no_frames_s: Annotated[float, above(0)] = 60.0
    time_from: TimeFrom = TimeFrom.FILE
    time_pattern: str = ""
    time_zone: str = "local"
    webhook: Annotated[str, _WEB] = ""
    opcua: Annotated[str, _OPCUA] = ""
    keep_maps_days: Annotated[float, _FOR_EVER] = 30.0
    keep_frames_days: Annotated[float, _FOR_EVER] = 0.0
    note: str = ""
    tiles: TileConfig = TileConfig()
    charts: ChartConfig = ChartConfig()

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the engine's name and with where frame times come from."""
        if self.time_from == TimeFrom.NAME and not self.time_pattern:
            rule = "a pattern such as %Y%m%d_%H%M%S is needed where time_from is name"
            yield format_message("time_pattern", rule, "none")
        checks: list[tuple[Callable[[str], object], str]] = [
            (check_engine_name, self.engine),
            (find_zone, self.time_zone),
        ]
        if self.time_pattern:
            checks.append((compile_pattern, self.time_pattern))
        for check, value in checks:
            try:
                check(value)
            except InputError as error:
                yield str(error)

    def to_json_dict(self) -> dict[str, Any]:
        """Return what the store keeps: all but its own address; passwords of others are hidden."""
        values = {**flatten_config(self), "watch": str(self.watch)}
        del values["db"]
        return {key: mask_credentials(v) if isinstance(v, str) else v for key, v in values.items()}
