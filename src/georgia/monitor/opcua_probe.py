"""What an OPC UA server shows of one probe: its nodes, their values, times and qualities."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from georgia.monitor.columns import BY_NAME, Kind
from georgia.monitor.records import MonitorEvent, MonitorStatus
from georgia.monitor.result import State

if TYPE_CHECKING:
    from asyncua.common.node import Node

NAMESPACE = "urn:georgia:monitor"
# The nodes below the object "Probe" that show a column of the last frame, in the order of their identifiers.
_COLUMNS = {
    "Fraction": BY_NAME["fraction"],
    "FractionLow": BY_NAME["low"],
    "FractionHigh": BY_NAME["high"],
    "Impurity": BY_NAME["impurity"],
    "State": BY_NAME["state"],
    "Alarm": BY_NAME["alarm"],
    "FrameTime": BY_NAME["frame_time_s"],
    "FrameFile": BY_NAME["file"],
    "JudgedWindows": BY_NAME["n_judged"],
    "Smoothed": BY_NAME["ewma"],
    "Limit": BY_NAME["ewma_limit"],
}
# Added after version 0.1, behind all others: a node keeps its identifier.
_MORE_COLUMNS = {
    "Cusum": BY_NAME["cusum"],
    "CusumLimit": BY_NAME["cusum_limit"],
    "PLimit": BY_NAME["p_limit"],
    "Centre": BY_NAME["centre"],
    "PlainLimit": BY_NAME["limit"],
    "LeadingLimit": BY_NAME["leading"],
    "SmoothedLow": BY_NAME["ewma_low"],
    "SmoothedHigh": BY_NAME["ewma_high"],
}
_ALL_COLUMNS = {**_COLUMNS, **_MORE_COLUMNS}
_EMPTY = {Kind.NUMBER: float("nan"), Kind.TIME: datetime(1970, 1, 1, tzinfo=UTC)}
# The number of each state, which is never given to another one: control systems compare numbers.
STATE_NUMBERS = {
    State.NOT_RUNNING: 0,
    State.WARMING_UP: 1,
    State.IN_CONTROL: 2,
    State.WARNING: 3,
    State.ALARM: 4,
    State.NO_CRYSTALS: 5,
    State.NO_FRAMES: 6,
    State.UNKNOWN_MATERIAL: 7,
    State.CAMERA_BLIND: 8,
    State.FROZEN_CAMERA: 9,
    State.UNREADABLE_FRAMES: 10,
    State.FOLDER_AWAY: 11,
    State.STORE_AWAY: 12,
    State.CLEAR: 13,
    State.DARK: 14,
    State.FOULED: 15,
    State.LIMITS_UNCONFIRMED: 16,
}
for _state in State:  # a newer one follows, in the order of its definition
    STATE_NUMBERS.setdefault(_state, len(STATE_NUMBERS))
# What people found of the running batch: fraction and limits. They wait for a spot check, not for frames.
_CHECKED = ("FractionChecked", "FractionCheckedLow", "FractionCheckedHigh")
# All nodes, with the value before the first frame.
VARIABLES: dict[str, Any] = {
    **{name: _EMPTY.get(column.kind, column.kind.python_type()) for name, column in _COLUMNS.items()},
    "State": str(State.WARMING_UP),
    "Fault": "",
    "Heartbeat": 0,
    "Batch": "",
    "BatchNumber": 0,
    "StateNumber": STATE_NUMBERS[State.WARMING_UP],
    "Backlog": 0,
    **{name: _EMPTY.get(column.kind, column.kind.python_type()) for name, column in _MORE_COLUMNS.items()},
    **dict.fromkeys(_CHECKED, float("nan")),
}
# Of fractions: the range and the unit, "one" in UN/ECE Recommendation 20, as OPC 10000-8 numbers it.
_RANGES = {name: (0.0, 1.0) for name, column in _ALL_COLUMNS.items() if column.unit == "0–1"}
_RANGES |= dict.fromkeys(_CHECKED, (0.0, 1.0))
_ONE = int.from_bytes(b"C62", "big")
_UNITS = {**dict.fromkeys(_RANGES, "1"), "JudgedWindows": "windows", "Backlog": "frames"}
# The last fraction is no longer what the probe sees.
_STALE = (
    *(State.NO_FRAMES, State.CAMERA_BLIND, State.UNKNOWN_MATERIAL, State.NO_CRYSTALS),
    *(State.CLEAR, State.DARK, State.FOULED),
    *(State.FROZEN_CAMERA, State.UNREADABLE_FRAMES, State.FOLDER_AWAY, State.STORE_AWAY),
)
_FROM_FRAME = {name for name, column in _ALL_COLUMNS.items() if column.kind in (Kind.NUMBER, Kind.INTEGER)}
_FROM_FRAME.add("LeadingLimit")
# What a frame says, with its time; the monitor's own are the others.
_WITH_FRAME_TIME = _ALL_COLUMNS.keys() - {"State", "Alarm"}
# What the server itself knows, also where the monitor's loop is dead.
_OF_SERVER = ("State", "Fault")
# What nothing is known of before the monitor's first event: an alarm may stand from before.
_OF_MONITOR = ("Alarm", "Batch", "BatchNumber", "Backlog")


class OpcuaProbe:
    """One probe's object in the server. It is a listener of the monitor: events set its variables.

    A frame's values have its time as their source timestamp; before the first frame their quality is "bad,
    waiting for initial data". Where the last fraction is no longer what the probe sees, its quality is
    "uncertain, last usable value"; so is all that a frame of before this start says, its alarm and state
    among it, until a new frame is analysed. The heartbeat counts the monitor's passes, not the server's: it
    stops with the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.n_shown = self.n_checked = 0
        self._loop = loop
        self._shown: dict[str, tuple[Any, int, Any]] = {}
        self._nodes: dict[str, Any] = {}

    async def build(self, parent: Node, space: int, name: str = "") -> None:
        """Make the object and its variables; a named one has identifiers that begin with its name."""
        from asyncua import ua

        def identify(*parts: str) -> Any:
            # By name, so that a probe keeps its identifiers when another one is added or removed.
            return ua.NodeId(ua.String(".".join((name, *parts))), ua.Int16(space)) if name else space

        def call(text: str) -> Any:
            return ua.QualifiedName(text, space) if name else text

        probe = await parent.add_object(identify(), call(name or "Probe"))
        nodes = {
            variable: await probe.add_variable(identify(variable), call(variable), value)
            for variable, value in VARIABLES.items()
        }
        await _describe_nodes(nodes)
        await self._await_first_frame(nodes)
        self._nodes = nodes

    def __call__(self, event: MonitorEvent) -> None:
        """Show an event; returns at once."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._show(_values_of(event), event), self._loop)

    def show_checked(
        self, values: tuple[float, float, float] | None, at_s: float = 0.0, is_current: bool = True
    ) -> None:
        """Show what people found of the running batch: fraction and limits; returns at once.

        ``None``: nobody has checked it, and the quality is bad. Where it is not ``is_current``, as of a batch
        that has gone on since, the quality is uncertain. ``at_s`` is when the last window was named.
        """
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._show_checked(values, at_s, is_current), self._loop)

    async def _show_checked(
        self, values: tuple[float, float, float] | None, at_s: float, is_current: bool
    ) -> None:
        from asyncua import ua
        from asyncua.ua.status_codes import StatusCodes

        quality = StatusCodes.Good if is_current else StatusCodes.UncertainLastUsableValue
        if values is None:
            quality, values = StatusCodes.BadWaitingForInitialData, (float("nan"),) * 3
        at = ua.DateTime.fromtimestamp(at_s, UTC) if at_s else ua.DateTime.now(UTC)
        status = ua.StatusCode(ua.UInt32(int(quality)))
        for name, value in zip(_CHECKED, values, strict=True):
            await self._nodes[name].write_value(ua.DataValue(ua.Variant(value), status, SourceTimestamp=at))
        self.n_checked += 1

    async def _await_first_frame(self, nodes: dict[str, Node]) -> None:
        from asyncua import ua
        from asyncua.ua.status_codes import StatusCodes

        waiting = ua.StatusCode(ua.UInt32(StatusCodes.BadWaitingForInitialData))
        for name in (*_WITH_FRAME_TIME, *_OF_MONITOR, *_CHECKED):
            await nodes[name].write_value(
                ua.DataValue(_variant(VARIABLES[name]), waiting, SourceTimestamp=ua.DateTime.now(UTC))
            )

    async def _show(self, values: dict[str, Any], event: MonitorEvent) -> None:
        from asyncua import ua
        from asyncua.ua.status_codes import StatusCodes

        status = event.status
        now = ua.DateTime.fromtimestamp(status.at_s, UTC) if status.at_s else ua.DateTime.now(UTC)
        taken = now
        if status.last is not None:
            taken = ua.DateTime.fromtimestamp(status.last.frame_time_s, UTC)
        for name in VARIABLES:
            if name not in values and name not in self._shown:
                continue  # it waits for its first value
            value, at = values.get(name), now
            if value is None:
                value = self._shown[name][0]
            quality = int(getattr(StatusCodes, _find_quality(name, name in values, status)))
            if quality == StatusCodes.Good and name in _WITH_FRAME_TIME:
                at = taken
            before = self._shown.get(name)
            if before is not None and before[:2] == (value, quality) and quality != StatusCodes.Good:
                at = before[2]  # the moment from which on it was so
            self._shown[name] = (value, quality, at)
            await self._nodes[name].write_value(
                ua.DataValue(_variant(value), ua.StatusCode(ua.UInt32(quality)), SourceTimestamp=at)
            )
        self.n_shown += 1


def _find_quality(name: str, has_value: bool, status: MonitorStatus) -> str:
    """Return the name of the OPC UA status code of a variable at an event."""
    last = status.last
    # No loop works: nothing that it said last is known to hold now.
    if status.state == State.NOT_RUNNING and name not in _OF_SERVER:
        return "BadNotConnected"
    # The last frame is one of before the monitor's start.
    is_earlier = last is not None and status.n_frames == 0
    if name in _FROM_FRAME and (is_earlier or status.state in _STALE or not has_value):
        return "UncertainLastUsableValue"
    if is_earlier and (name in _WITH_FRAME_TIME or name == "Alarm"):
        return "UncertainLastUsableValue"
    # An outage is known now; any other state is that of the last frame.
    if is_earlier and name in ("State", "StateNumber") and last is not None and status.state == last.state:
        return "UncertainLastUsableValue"
    return "Good"


def _variant(value: Any) -> Any:
    from asyncua import ua

    # Whole numbers have many sizes in OPC UA: keep the one that each variable was made with.
    return ua.Variant(value, ua.VariantType.Int64) if type(value) is int else ua.Variant(value)


async def _describe_nodes(nodes: dict[str, Node]) -> None:
    """Give the variables what historians and panels ask for: range, unit, and the names of the states."""
    from asyncua import ua

    for name, (low, high) in _RANGES.items():
        await nodes[name].add_property(0, "EURange", ua.Range(Low=low, High=high))
    for name, text in _UNITS.items():
        unit = ua.EUInformation(
            NamespaceUri="http://www.opcfoundation.org/UA/units/un/cefact",
            UnitId=_ONE,
            DisplayName=ua.LocalizedText(text),
            Description=ua.LocalizedText("one"),
        )
        await nodes[name].add_property(0, "EngineeringUnits", unit)
    names = sorted(STATE_NUMBERS, key=STATE_NUMBERS.__getitem__)
    await nodes["StateNumber"].add_property(0, "EnumStrings", [ua.LocalizedText(str(name)) for name in names])


def _values_of(event: MonitorEvent) -> dict[str, Any]:
    """Return the values that an event sets; numbers that the last frame lacks keep their value."""
    status, values = event.status, {}
    for name, column in _ALL_COLUMNS.items() if status.last is not None else ():
        value = column.read(status.last)
        if value is not None:
            is_time, is_text = column.kind is Kind.TIME, column.kind is Kind.TEXT
            values[name] = datetime.fromtimestamp(value, UTC) if is_time else str(value) if is_text else value
    now: dict[str, Any] = {"State": str(status.state), "Alarm": status.alarm, "Fault": status.fault}
    now |= {"StateNumber": STATE_NUMBERS[State(status.state)], "Backlog": status.n_waiting}
    now |= {"Batch": status.batch_name, "BatchNumber": status.batch_id}
    return {**values, **now, "Heartbeat": status.beat % 2**31}
