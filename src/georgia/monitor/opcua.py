"""An OPC UA server for the plant's control system: fraction, interval, state, alarm, time, heartbeat."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.opcua_access import Users, protect, read_users
from georgia.monitor.opcua_probe import NAMESPACE, STATE_NUMBERS, VARIABLES, OpcuaProbe
from georgia.monitor.records import MonitorEvent
from georgia.monitor.settings import OpcuaConfig

__all__ = ["NAMESPACE", "STATE_NUMBERS", "VARIABLES", "OpcuaProbe", "OpcuaServer", "open_opcua_server"]

_START_TIMEOUT_S = 60.0


def open_opcua_server(
    address: str, access: OpcuaConfig | None = None, probes: Sequence[str] = ()
) -> OpcuaServer:
    """Start the server and return it; an event given to it is shown at once.

    Raises:
        InputError: the address cannot be used or is taken, or a certificate, key or user cannot be used.
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
    _check_free(address, parts.hostname, parts.port)
    return OpcuaServer(address, access or OpcuaConfig(), probes)


def _check_free(address: str, host: str, port: int) -> None:
    """Reject an address that cannot be listened on: asyncua would print a traceback."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            if os.name != "nt":  # there it would allow a port that another program listens on
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except (OSError, UnicodeError) as error:
        raise _cannot_serve(address, getattr(error, "strerror", None) or error) from error


def _cannot_serve(address: str, got: object) -> InputError:
    return InputError(
        f"Cannot serve OPC UA at {address!r}",
        needs="the address must be free on this computer",
        got=got,
        hint="Choose another port.",
    )


class OpcuaServer:
    """The server, in a thread of its own. Clients can read and subscribe, and change nothing.

    Without ``probes`` it has one object "Probe", and is a listener of the monitor itself. With their names
    it has an object for each in a folder "Probes"; ``for_probe`` returns what listens to one's monitor.
    """

    def __init__(self, address: str, access: OpcuaConfig, probes: Sequence[str] = ()) -> None:
        self.address, self._access = address, access
        self._users = Users(read_users(access.opcua_users))
        self._loop = asyncio.new_event_loop()
        self._probes = {name: OpcuaProbe(self._loop) for name in probes or ("",)}
        self._is_serving = False
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="georgia-opcua", daemon=True)
        self._thread.start()
        self._ready.wait(_START_TIMEOUT_S)
        if isinstance(self._error, InputError):
            raise self._error
        if self._error is not None or not self._is_serving:
            raise _cannot_serve(address, self._error or f"no response in {_START_TIMEOUT_S:g} s")

    def for_probe(self, name: str) -> OpcuaProbe:
        """Return the listener that shows one probe of several."""
        return self._probes[name]

    @property
    def n_shown(self) -> int:
        """Return the number of events that were shown, of all probes."""
        return sum(probe.n_shown for probe in self._probes.values())

    @property
    def n_checked(self) -> int:
        """Return how often a spot check's result was shown, of all probes."""
        return sum(probe.n_checked for probe in self._probes.values())

    def __call__(self, event: MonitorEvent) -> None:
        """Show an event of the one probe; returns at once."""
        self._probes[""](event)

    def show_checked(
        self, values: tuple[float, float, float] | None, at_s: float = 0.0, is_current: bool = True
    ) -> None:
        """Show what people found of the one probe's batch; see ``OpcuaProbe.show_checked``."""
        self._probes[""].show_checked(values, at_s, is_current)

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
        from asyncua import ua
        from asyncua.server.server import Server

        server = Server(user_manager=self._users)  # type: ignore[arg-type]
        await server.init()
        server.allow_remote_admin(False)
        await protect(server, self._access)
        server.set_endpoint(self.address)
        server.set_server_name("Georgia monitor")
        space = await server.register_namespace(NAMESPACE)
        parent = server.nodes.objects
        if "" not in self._probes:
            folder = ua.NodeId(ua.String("Probes/"), ua.Int16(space))  # no probe has such a name
            parent = await parent.add_folder(folder, ua.QualifiedName("Probes", space))
        for name, probe in self._probes.items():
            await probe.build(parent, space, name)
        async with server:
            self._is_serving = True
            self._ready.set()
            await self._stop.wait()
