"""The settings of the page and the REST service."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from georgia.config import Rule, above, at_least, between
from georgia.errors import format_message
from georgia.model.engines import PrecisionName
from georgia.monitor.people.roles import SignedAction
from georgia.monitor.people.sessions import LoginRules
from georgia.web.addresses import is_network

# A token that somebody could guess is none. Source: 128 bits of base64, RFC 6749 section 10.10.
MIN_TOKEN = 16
_BY_SETTING = [action for action in SignedAction if action != SignedAction.PROMOTE]
_SIGNED = Rule(f"of {', '.join(_BY_SETTING)}", lambda name: name in _BY_SETTING)


@dataclass(frozen=True)
class ServeConfig(LoginRules):
    """Everything that ``[serve]`` in a settings file may say; docs/serve.md explains each.

    ``allowed_hosts`` are the names that browsers may use for the service; by default those of the
    loopback, or any where it is bound elsewhere. ``frames`` is the folder with the frames of a monitor
    that runs in another process. Rates are requests a minute from one address. ``trusted_proxies`` are
    addresses or networks whose ``X-Forwarded-For`` is believed. ``sign`` are
    actions that need a signature. Raise ``pixels_in_flight`` for more large images at a time, where there is
    the memory: each pixel takes up to 30 bytes.
    """

    renamed: ClassVar[Mapping[str, str]] = {"look_s": "poll_interval_s"}

    host: str = "127.0.0.1"
    port: Annotated[int, Rule("0 (any free one) to 65535", lambda port: 0 <= port <= 65535)] = 8420
    db: str = "georgia-monitor.db"
    frames: Path | None = None
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()
    engine: str = "auto"
    precision: PrecisionName = "auto"
    max_upload_bytes: Annotated[int, at_least(1)] = 32 * 2**20
    max_pixels: Annotated[int, at_least(1)] = 50_000_000
    pixels_in_flight: Annotated[int, at_least(1)] = 50_000_000
    decode_timeout_s: Annotated[float, above(0)] = 10.0
    uploads_per_minute: Annotated[int, at_least(1)] = 60
    changes_per_minute: Annotated[int, at_least(1)] = 60
    requests_per_minute: Annotated[int, at_least(1)] = 6000
    logins_per_minute: Annotated[int, at_least(1)] = 20
    n_predicting: Annotated[int, at_least(1)] = 2
    n_waiting: Annotated[int, at_least(1)] = 16
    waiting_per_address: Annotated[int, at_least(1)] = 4
    connections: Annotated[int, at_least(1)] = 256
    connections_per_address: Annotated[int, at_least(1)] = 64
    listeners: Annotated[int, at_least(1)] = 64
    listeners_per_address: Annotated[int, at_least(1)] = 16
    head_timeout_s: Annotated[float, above(0)] = 20.0
    body_timeout_s: Annotated[float, above(0)] = 60.0
    trusted_proxies: Annotated[tuple[str, ...], Rule("addresses or networks", is_network)] = ()
    sign: Annotated[tuple[str, ...], _SIGNED] = ()
    oidc_issuer: str = ""
    oidc_client: str = ""
    oidc_redirect: str = ""
    oidc_claim: str = "groups"
    oidc_roles: str = ""
    poll_interval_s: Annotated[float, between(0.05, 60)] = 1.0
    no_frames_s: Annotated[float, above(0)] = 60.0

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the token; it is never shown itself."""
        if not self.is_loopback and not self.token:
            yield format_message(
                f"host {self.host!r}",
                "a token is needed where others can reach the service",
                "none",
                "Give --token, or stay on 127.0.0.1.",
            )
        if self.token and len(self.token) < MIN_TOKEN:
            yield format_message(
                "token",
                f"{MIN_TOKEN} letters or more are needed",
                len(self.token),
                "Example: openssl rand -base64 24.",
            )

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def make_token() -> str:
    """Return a token that nobody can guess: 192 bits, base64."""
    return secrets.token_urlsafe(24)
