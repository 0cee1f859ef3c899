"""An OPC UA server for the plant's control system: fraction, interval, state, alarm, time, heartbeat."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.events import MonitorEvent
from georgia.monitor.result import State

if TYPE_CHECKING:
    from georgia.monitor.result import FrameResult

NAMESPACE = "urn:georgia:monitor"
# What stands below the object "Probe", with the value before the first frame.
VARIABLES: dict[str, Any] = {
    "Fraction": float("nan"),
    "FractionLow": float("nan"),
    "FractionHigh": float("nan"),
    "Impurity": "",
    "State": "warming up",
    "Alarm": False,
    "FrameTime": datetime(1970, 1, 1, tzinfo=UTC),
    "FrameFile": "",
    "JudgedWindows": 0,
    "Smoothed": float("nan"),
    "Limit": float("nan"),
    "Fault": "",
    "Heartbeat": 0,
}
# The last fraction is no longer what the probe sees.
_STALE: tuple[State, ...] = ("no frames", "camera blind", "unknown material", "no crystals")
_FROM_FRAME = ("Fraction", "FractionLow", "FractionHigh", "Smoothed", "JudgedWindows")
_START_TIMEOUT_S = 20.0


def open_plant(address: str) -> Plant:
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
    return Plant(address)


class Plant:
    """The server, in a thread of its own. It is a listener of the monitor: events set its variables.

    Clients can read and subscribe, and change nothing. Where the last fraction is no longer what the probe
    sees, its quality is "uncertain, last usable value". The heartbeat counts the monitor's turns, not the
    server's: it stands still when the loop does.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.n_shown = 0
        self._loop = asyncio.new_event_loop()
        self._nodes: dict[str, Any] = {}
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="georgia-plant", daemon=True)
        self._thread.start()
        self._ready.wait(_START_TIMEOUT_S)
        if self._error is not None or not self._nodes:
            raise InputError(
                f"Cannot serve OPC UA at {address!r}",
                needs="the address must be free on this computer",
                got=self._error or f"no answer in {_START_TIMEOUT_S:g} s",
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
        except Exception as error:  # told to whoever opened the server
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
    status = event.status
    values: dict[str, Any] = {
        "State": status.state,
        "Alarm": status.alarm,
        "Fault": status.fault,
        "Heartbeat": status.beat % 2**31,
    }
    if status.last is not None:
        values.update(_frame_values(status.last))
    return values


def _frame_values(frame: FrameResult) -> dict[str, Any]:
    chart = frame.chart
    values: dict[str, Any] = {
        "Impurity": frame.impurity,
        "FrameTime": datetime.fromtimestamp(frame.frame_time_s, UTC),
        "FrameFile": frame.file,
        "JudgedWindows": frame.n_judged,
    }
    numbers = {
        "Fraction": frame.fraction,
        "FractionLow": frame.low,
        "FractionHigh": frame.high,
        "Smoothed": chart.ewma,
        "Limit": chart.ewma_limit,
    }
    return {**values, **{name: value for name, value in numbers.items() if value is not None}}
