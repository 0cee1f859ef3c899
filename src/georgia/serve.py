"""The settings of the page and the REST service, and how they are started."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.errors import InputError, MissingDependencyError, describe_fault

if TYPE_CHECKING:
    import uvicorn

    from georgia.bundle import Bundle
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store

LOOPBACK_NAMES = ("localhost",)
# A token that somebody could guess is none. Source: 128 bits of base64, RFC 6749 section 10.10.
MIN_TOKEN = 16


@dataclass(frozen=True)
class ServeConfig:
    """Everything that ``[serve]`` in a settings file may say; docs/serve.md explains each.

    ``allowed_hosts`` are the names that browsers may use for the service; by default those of the
    loopback, or any where it is bound elsewhere. ``frames`` is the folder with the frames of a monitor
    that runs in another process. Rates are requests a minute from one address.
    """

    host: str = "127.0.0.1"
    port: int = 8420
    db: str = "georgia-monitor.db"
    frames: Path | None = None
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()
    engine: str = "auto"
    max_upload_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    uploads_per_minute: int = 60
    requests_per_minute: int = 1200
    n_predicting: int = 2
    look_s: float = 1.0
    no_frames_s: float = 60.0

    def __post_init__(self) -> None:
        faults = [
            describe_fault(name, rule, repr(getattr(self, name)))
            for name, rule, holds in (
                ("port", "0 (any free one) to 65535 is needed", 0 <= self.port <= 65535),
                ("max_upload_bytes", "1 or more is needed", self.max_upload_bytes >= 1),
                ("max_pixels", "1 or more is needed", self.max_pixels >= 1),
                ("uploads_per_minute", "1 or more is needed", self.uploads_per_minute >= 1),
                ("requests_per_minute", "1 or more is needed", self.requests_per_minute >= 1),
                ("n_predicting", "1 or more is needed", self.n_predicting >= 1),
                ("look_s", "0.05 to 60 s is needed", 0.05 <= self.look_s <= 60),
                ("no_frames_s", "more than 0 s is needed", self.no_frames_s > 0),
            )
            if not holds
        ]
        if not self.is_loopback and not self.token:
            do = "Give --token, or stay on 127.0.0.1."
            rule = "a token is needed where others can reach the service"
            faults.append(describe_fault(f"host {self.host!r}", rule, "none", do))
        if self.token and len(self.token) < MIN_TOKEN:
            do = "Example: openssl rand -base64 24."
            rule = f"{MIN_TOKEN} letters or more are needed"
            faults.append(describe_fault("token", rule, len(self.token), do))
        if faults:
            raise InputError(" ".join(faults))

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK_NAMES


def make_token() -> str:
    """Return a token that nobody can guess: 192 bits, base64."""
    return secrets.token_urlsafe(24)


def open_service(
    config: ServeConfig,
    bundle: Bundle,
    store: Store,
    monitor: Monitor | None = None,
    folder: Path | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> uvicorn.Server:
    """Return a server that is ready to ``run()``.

    Args:
        config: its token must be set.
        bundle: what answers for pictures that are dropped in.
        store: frames, batches, alarms.
        monitor: one that runs in this process, if any.
        folder: the run folder, for its report and model card.
        on_start: called with the address once the port is open.

    Raises:
        MissingDependencyError: the extra ``web`` is not installed.
    """
    try:
        import uvicorn

        from georgia.web.app import create_app
        from georgia.web.service import Service
    except ModuleNotFoundError as error:
        do = "pip install 'georgia[web]'."
        raise MissingDependencyError(
            describe_fault("Cannot serve", "FastAPI and uvicorn are needed", error, do)
        ) from error
    app = create_app(Service(config, bundle, store, monitor, folder))
    settings = uvicorn.Config(
        app,
        host=config.host.strip("[]"),
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=3,
        limit_concurrency=200,
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        lifespan="on",
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
            await super().startup(sockets)  # type: ignore[arg-type]
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                on_start(f"http://{_in_brackets(config.host)}:{port}/")

    return Server(settings)


def _in_brackets(host: str) -> str:
    host = host.strip("[]")
    return f"[{host}]" if ":" in host else host
