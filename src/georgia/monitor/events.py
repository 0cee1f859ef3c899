"""What a monitor tells its listeners: the page, the plant, the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from georgia.monitor.records import Alarm
from georgia.monitor.result import FrameResult, State, iso_time

EventKind = Literal["frame", "state", "alarm", "unreadable", "fault", "heartbeat"]


@dataclass(frozen=True)
class MonitorStatus:
    """How the monitor stands: the state in words, the last frame, what waits, and what is wrong.

    ``fault`` is empty while folder and store answer. ``beat`` counts the loop's turns.
    """

    state: State
    alarm: bool
    batch_id: int
    n_frames: int
    n_waiting: int
    n_unwritten: int
    n_unreadable: int
    n_repeats: int
    fault: str
    beat: int
    at_s: float
    is_running: bool = True
    last: FrameResult | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, the last frame without its map."""
        names = [name for name in self.__dataclass_fields__ if name not in ("at_s", "last")]
        last = self.last.to_json_dict() if self.last is not None else None
        return {**{name: getattr(self, name) for name in names}, "at": iso_time(self.at_s), "last": last}


@dataclass(frozen=True)
class MonitorEvent:
    """One thing that happened; ``frame`` or ``alarm`` is there for events of that kind.

    ``status`` is the monitor's after it. Listeners are called in the monitor's own thread and must
    return at once.
    """

    kind: EventKind
    status: MonitorStatus
    frame: FrameResult | None = None
    alarm: Alarm | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        frame = self.frame.to_json_dict() if self.frame is not None else None
        alarm = self.alarm.to_json_dict() if self.alarm is not None else None
        status = {**self.status.to_json_dict(), "last": None}
        return {"kind": self.kind, "status": status, "frame": frame, "alarm": alarm, **self.detail}


Listener = Callable[[MonitorEvent], None]
