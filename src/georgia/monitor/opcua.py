"""An OPC UA server for the plant's control system: fraction, interval, state, alarm, time, heartbeat."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.columns import BY_NAME, Kind
from georgia.monitor.records import MonitorEvent
from georgia.monitor.result import State

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
_EMPTY = {Kind.NUMBER: float("nan"), Kind.TIME: datetime(1970, 1, 1, tzinfo=UTC)}
# All nodes, with the value before the first frame.
VARIABLES: dict[str, Any] = {
    **{name: _EMPTY.get(column.kind, column.kind.python_type()) for name, column in _COLUMNS.items()},
    "State": str(State.WARMING_UP),
    "Fault": "",
    "Heartbeat": 0,
}
# The last fraction is no longer what the probe sees.
_STALE = (State.NO_FRAMES, State.CAMERA_BLIND, State.UNKNOWN_MATERIAL, State.NO_CRYSTALS)
_FROM_FRAME = {name for name, column in _COLUMNS.items() if column.kind in (Kind.NUMBER, Kind.INTEGER)}
_START_TIMEOUT_S = 20.0


def open_opcua_server(address: str) -> OpcuaServer:
    """Start the server and return it; an event given to it is shown at once.

    Raises:
        InputError: the address cannot be used or is taken.
        MissingDependencyError: asyncua is not installed.
    """
    try:
        import asyncua  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot serve OPC UA", needs="asyncua is needed", got=error, hint="pip install 'georgia[plant]'."
        ) from error
    parts = urlsplit(address)
    if parts.scheme != "opc.tcp" or not parts.hostname or not parts.port:
        raise InputError("Cannot serve OPC UA", needs="opc.tcp://HOST:PORT/NAME is needed", got=repr(address))
    return OpcuaServer(address)


class OpcuaServer:
    """The server, in a thread of its own. It is a listener of the monitor: events set its variables.

    Clients can read and subscribe, and change nothing. Where the last fraction is no longer what the probe
    sees, its quality is "uncertain, last usable value". The heartbeat counts the monitor's passes, not the
    server's: it stops with the loop.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.n_shown = 0
        self._loop = asyncio.new_event_loop()
        self._nodes: dict[str, Any] = {}
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="georgia-opcua", daemon=True)
        self._thread.start()
        self._ready.wait(_START_TIMEOUT_S)
        if self._error is not None or not self._nodes:
            raise InputError(
                f"Cannot serve OPC UA at {address!r}",
                needs="the address must be free on this computer",
                got=self._error or f"no response in {_START_TIMEOUT_S:g} s",
                hint="Choose another port.",
            )

    def __call__(self, event: MonitorEvent) -> None:
        """Show an event; returns at once."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._show(_values_of(event), event), self._loop)

    def close(self) -> None:
        """Stop the server."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10.0)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # raised where the server was opened
            self._error = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        from asyncua.server.server import Server

        server = Server()
        await server.init()
        server.set_endpoint(self.address)
        server.set_server_name("Georgia monitor")
        space = await server.register_namespace(NAMESPACE)
        probe = await server.nodes.objects.add_object(space, "Probe")
        nodes = {name: await probe.add_variable(space, name, value) for name, value in VARIABLES.items()}
        async with server:
            self._nodes = nodes
            self._ready.set()
            await self._stop.wait()

    async def _show(self, values: dict[str, Any], event: MonitorEvent) -> None:
        from asyncua import ua
        from asyncua.ua.status_codes import StatusCodes

        now = ua.DateTime.now(UTC)
        is_stale = event.status.state in _STALE
        for name, value in values.items():
            quality = StatusCodes.Good
            if is_stale and name in _FROM_FRAME:
                quality = StatusCodes.UncertainLastUsableValue
            # Whole numbers have many sizes in OPC UA: keep the one that each variable was made with.
            variant = ua.Variant(value, ua.VariantType.Int64) if type(value) is int else ua.Variant(value)
            await self._nodes[name].write_value(
                ua.DataValue(variant, ua.StatusCode(ua.UInt32(quality)), SourceTimestamp=now)
            )
        self.n_shown += 1


def _values_of(event: MonitorEvent) -> dict[str, Any]:
    """Return the values that an event sets; numbers that the last frame lacks keep their value."""
    status, values = event.status, {}
    for name, column in _COLUMNS.items() if status.last is not None else ():
        value = column.read(status.last)
        if value is not None:
            values[name] = datetime.fromtimestamp(value, UTC) if column.kind is Kind.TIME else value
    now = {"State": str(status.state), "Alarm": status.alarm, "Fault": status.fault}
    return {**values, **now, "Heartbeat": status.beat % 2**31}
