"""How the page and the REST service are started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError, MissingDependencyError
from georgia.web.config import ServeConfig

if TYPE_CHECKING:
    import uvicorn

    from georgia.model.bundle import Bundle
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store
    from georgia.process.moments.settings import MomentsConfig
    from georgia.web.probe_site import ProbeSite

_SERVER: dict[str, Any] = {
    # uvicorn's own setting of logs closes the log files of the program that serves.
    "log_config": None,
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    # Whose word is taken for an address is a setting of ours: trusted_proxies.
    "proxy_headers": False,
    "timeout_keep_alive": 20,
    "timeout_graceful_shutdown": 3,
    "h11_max_incomplete_event_size": 64 * 1024,
    "ws": "none",
    "lifespan": "on",
}


def open_service(
    config: ServeConfig,
    bundle: Bundle,
    store: Store,
    monitor: Monitor | None = None,
    folder: Path | None = None,
    on_start: Callable[[str], None] = lambda _: None,
    moments: MomentsConfig | None = None,
) -> uvicorn.Server:
    """Return a server that is ready to ``run()``.

    Args:
        config: its token must be set.
        bundle: the model that classifies images dropped on the page.
        store: frames, batches, alarms.
        monitor: one that runs in this process, if any.
        folder: the run folder, for its report and model card.
        on_start: called with the address once the port is open.
        moments: how the moments of batches are found.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
        MissingDependencyError: the extra ``web`` is not installed.
    """
    with needing_packages():
        from georgia.web.app import create_app
        from georgia.web.service import Service
    opened, service = open_listeners(config), Service(config, bundle, store, monitor, folder)
    if moments is not None:
        service.use_moments(moments)
    # What hangs in a decoder, and pages that listen, would otherwise be waited for.
    return make_server(create_app(service), config, opened, on_start, service.close)


def open_probes_service(
    config: ServeConfig, sites: Mapping[str, ProbeSite], on_start: Callable[[str], None]
) -> uvicorn.Server:
    """Return a server of several probes that is ready to ``run()``; see ``open_service``.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
    """
    from georgia.web.probes_app import ProbesApp

    opened, app = open_listeners(config), ProbesApp(sites, config)
    return make_server(app, config, opened, on_start, app.close)


@contextmanager
def needing_packages() -> Iterator[None]:
    """Name the extra whose packages are missing.

    Raises:
        MissingDependencyError: the extra ``web`` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Cannot serve",
            needs="FastAPI and uvicorn are needed",
            got=error,
            hint="pip install 'georgia[web]'.",
        ) from error


def make_server(
    app: Any,
    config: ServeConfig,
    opened: list[socket.socket],
    on_start: Callable[[str], None],
    on_end: Callable[[], None],
) -> uvicorn.Server:
    """Return a server of an ASGI application on open sockets, its connections bounded by the settings.

    ``on_start`` is called with the address once the port is open, ``on_end`` before the last requests are
    waited for.
    """
    with needing_packages():
        import uvicorn

        from georgia.web.connections import make_protocol
    settings = uvicorn.Config(app, http=make_protocol(config), **_SERVER)  # type: ignore[arg-type]

    class Server(uvicorn.Server):
        async def serve(self, sockets: list[socket.socket] | None = None) -> None:
            await super().serve(sockets or opened)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            on_end()
            await super().shutdown(sockets)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                on_start(f"http://{_in_brackets(find_name(config))}:{port}/")

    return Server(settings)


def find_name(config: ServeConfig) -> str:
    """Return a name or address under which a browser can open the service.

    ``0.0.0.0`` and ``::`` are where it listens, and no address: that of this machine's network is taken. A
    service that responds to certain names only has the first of them.
    """
    if config.allowed_hosts and config.host.strip("[]") not in config.allowed_hosts:
        return config.allowed_hosts[0]
    host = config.host.strip("[]")
    if host not in ("0.0.0.0", "::", ""):
        return host
    is_ipv6 = host == "::"
    try:
        # Nothing is sent: the system only chooses its way. Source of the addresses: RFC 5737 and 3849.
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.connect(("2001:db8::1" if is_ipv6 else "192.0.2.1", 9))
            return str(trial.getsockname()[0])
    except OSError:  # a machine without a network
        return "::1" if is_ipv6 else "127.0.0.1"


def open_listeners(config: ServeConfig) -> list[socket.socket]:
    """Return listening sockets for the host and port of the settings; port 0 becomes a free one.

    Raises:
        InputError: the port is taken or not allowed, or the host is not this machine's.
    """
    host, port, opened = config.host.strip("[]"), config.port, []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost may stand for an IPv4 and an IPv6 address; both get one port.
        for family, address in dict.fromkeys((item[0], item[4][0]) for item in found):
            listener = socket.create_server((str(address), port), family=family, backlog=2048)
            opened.append(listener)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in opened:
            listener.close()
        raise _describe_fault(error, host, port) from error
    return opened


def _describe_fault(error: OSError, host: str, port: int) -> InputError:
    what = f"Cannot listen on {_in_brackets(host)}:{port}"
    if error.errno == errno.EADDRINUSE:
        hint = f"--port {port + 1 if port < 65535 else 8420}, or --port 0 for any free one."
        return InputError(what, needs="a free port is needed", got="one that another program uses", hint=hint)
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError(
            what, needs="a port from 1024 on is needed", got=error.strerror, hint="Give --port 8420."
        )
    return InputError(
        what, needs="an address of this machine is needed", got=error.strerror or error, hint="See --host."
    )


def _in_brackets(host: str) -> str:
    host = host.strip("[]")
    return f"[{host}]" if ":" in host else host
