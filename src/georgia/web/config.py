"""The settings of the page and the REST service."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from georgia.errors import InputError, format_message

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
            format_message(name, rule, repr(getattr(self, name)))
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
            faults.append(
                format_message(
                    f"host {self.host!r}",
                    "a token is needed where others can reach the service",
                    "none",
                    "Give --token, or stay on 127.0.0.1.",
                )
            )
        if self.token and len(self.token) < MIN_TOKEN:
            faults.append(
                format_message(
                    "token",
                    f"{MIN_TOKEN} letters or more are needed",
                    len(self.token),
                    "Example: openssl rand -base64 24.",
                )
            )
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
