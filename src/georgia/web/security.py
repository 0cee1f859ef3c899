"""What every request passes first: allowed hosts, its address, body size, rate, security headers, the token.

Plain ASGI, so that a body is counted while it arrives and a stream of events is never held back.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from georgia.web.access import Access
from georgia.web.addresses import ADDRESS_UNKNOWN, Proxies, Slots, group_address
from georgia.web.config import ServeConfig, is_loopback
from georgia.web.current import CURRENT
from georgia.web.http_errors import RejectedRequest, error_response

# A model's report is one page with its styles, scripts and images inside; it gets no origin of its own.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Source: OWASP Secure Headers Project; the page loads nothing from elsewhere and is framed by nobody.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
}
UPLOAD_PATH = "/api/predict"
# Where passwords are tried: each takes a while to hash.
_LOGIN_PATHS = ("/api/session", "/api/session/password")
# What a plant's own watchdogs ask, and the page's own files: no viewer may use up what these need.
_UNLIMITED_PATHS = ("/api/health", "/metrics", "/static/")
# What a person who names windows does, one request a key.
_NAMING_PATHS = ("/spotcheck/names", "/spotcheck/withdrawals")
# No request but an upload needs more.
_MOST_BYTES = 2**16
# Addresses whose rate is remembered; beyond that the one that asked longest ago is forgotten.
_MOST_ADDRESSES = 4096


class RateLimiter:
    """So many requests a minute for each address, saved up to that number (a token bucket)."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._now = per_minute, now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, address: str) -> float:
        """Take one request; return 0, or the seconds after which the next one is allowed."""
        now = self._now()
        with self._lock:
            left, since = self._left.pop(address, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - since) * self._per_minute / 60)
            is_allowed = left >= 1
            self._left[address] = (left - 1 if is_allowed else left, now)
            if len(self._left) > _MOST_ADDRESSES:
                self._left.popitem(last=False)
        return 0.0 if is_allowed else (1 - left) * 60 / self._per_minute


class SecurityMiddleware:
    """The outermost layer of the service: it wraps the whole application, its error responses too."""

    def __init__(self, app: ASGIApp, config: ServeConfig, access: Access | None = None) -> None:
        self._app, self._config, self._access = app, config, access
        self._proxies = Proxies(config.trusted_proxies)
        # Nobody who reads, uploads or guesses tokens uses up what those with the token may do.
        self._limiters = {
            "read": RateLimiter(config.requests_per_minute),
            "upload": RateLimiter(config.uploads_per_minute),
            "change": RateLimiter(config.changes_per_minute),
            # A person names a few windows a second.
            "name": RateLimiter(config.requests_per_minute),
            "other": RateLimiter(config.changes_per_minute),
            "login": RateLimiter(config.logins_per_minute),
        }
        self._uploads = Slots(config.n_waiting, config.waiting_per_address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it before any route gets it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with_headers = _add_headers(send)
        scope = self._with_client(scope)
        if scope["method"] == "HEAD":
            scope, with_headers = {**scope, "method": "GET"}, _send_head_only(with_headers)
        kind, address = self._kind_of(scope), group_address(scope["client"][0])
        rejection = self._reject(scope, kind, address)
        if rejection is not None:
            await rejection(scope, receive, with_headers)
            return
        body = self._limit_body(receive, self._most_bytes(kind))
        if kind != "upload":
            await self._app(scope, body, with_headers)
            return
        fault = self._uploads.take(address)
        if fault:
            await _busy(fault, address)(scope, receive, with_headers)
            return
        try:
            await self._app(scope, body, with_headers)
        finally:
            self._uploads.give_back(address)

    def _with_client(self, scope: Scope) -> Scope:
        """Return the scope with the address of who asks, which a trusted proxy may have forwarded."""
        peer = scope["client"] or (ADDRESS_UNKNOWN, 0)
        headers = Headers(scope=scope)
        client = self._proxies.find_client(peer[0], headers.getlist("x-forwarded-for"))
        if self._proxies.trust(peer[0]) and headers.get("x-forwarded-proto", "").lower() == "https":
            scope = {**scope, "scheme": "https"}
        return {**scope, "client": (client, peer[1] if client == peer[0] else 0)}

    def _kind_of(self, scope: Scope) -> str:
        """Return whose limits it has: none to watch, read, upload, log in, other.

        Who has the token or is logged in has limits of their own, to change something and to name windows.
        """
        if scope["method"] in ("GET", "HEAD"):
            return "watch" if scope["path"].startswith(_UNLIMITED_PATHS) else "read"
        if scope["path"] == UPLOAD_PATH:
            return "upload"
        if scope["path"].endswith(_LOGIN_PATHS):
            return "login"
        headers = Headers(scope=scope)
        kind, _, given = headers.get("authorization", "").partition(" ")
        has_token = kind.lower() == "bearer" and is_token(given, self._config)
        has_token = has_token or (self._access is not None and self._access.is_known(headers))
        if has_token and scope["path"].endswith(_NAMING_PATHS):
            return "name"
        return "change" if has_token else "other"

    def _most_bytes(self, kind: str) -> int:
        most = self._config.max_upload_bytes
        return most if kind == "upload" else min(most, _MOST_BYTES)

    def _reject(self, scope: Scope, kind: str, address: str) -> Response | None:
        """Return the error response of a request that no route may get, None for any other."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own_host(host):
            message = f"This service does not respond to the name {host!r}. Name it in allowed_hosts."
            return error_response(421, message, scope=scope)
        origin = headers.get("origin")
        if origin is not None and kind not in ("read", "watch") and origin.split("//")[-1] != host:
            return error_response(
                403, f"Requests that change something may not come from pages of {origin!r}."
            )
        wait_s = self._limiters[kind].take(address) if kind in self._limiters else 0.0
        if wait_s:
            message = f"Too many requests from {address}. Try again in {wait_s:.0f} s."
            later = {"Retry-After": str(int(wait_s) + 1)}
            return error_response(429, message, headers=later, scope=scope)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._most_bytes(kind):
            error = _too_large(self._most_bytes(kind))
            return error_response(error.status_code, error.detail, headers=error.headers)
        return None

    def _is_own_host(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if self._config.allowed_hosts:
            return name.lower() in self._config.allowed_hosts
        # A page elsewhere that points its own name at the loopback (DNS rebinding) is rejected.
        return not self._config.is_loopback or is_loopback(name)

    def _limit_body(self, receive: Receive, most: int) -> Receive:
        """Cut a body off where it grows beyond what it may hold; the routes' error handlers say so."""
        left = most

        async def count() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise _too_large(most)
            return message

        return count


def _too_large(most: int) -> RejectedRequest:
    return RejectedRequest(413, f"A request may hold {most} bytes at most.", {"Connection": "close"})


def _busy(fault: str, address: str) -> Response:
    """Return the error response of an upload that would wait behind too many others."""
    headers = {"Retry-After": "5", "Connection": "close"}
    if fault == "address":
        return error_response(429, f"Too many images from {address} wait here.", headers=headers)
    return error_response(503, "Too many images wait here.", headers=headers)


def _send_head_only(send: Send) -> Send:
    """Send the head of a response to GET, without a body; an endless one sees a client that is gone."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head


def _add_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


_BEARER = HTTPBearer(scheme_name="token", description="Printed when the service starts.", auto_error=False)


def is_token(given: str, config: ServeConfig) -> bool:
    """Return whether a text is the service's token, in a time that tells nothing of it."""
    return hmac.compare_digest(given.strip().encode("utf-8", "replace"), config.token.encode())


def require_token(config: ServeConfig) -> Callable[[HTTPAuthorizationCredentials | None], None]:
    """Return the dependency of routes that change something: it rejects with 401 who has not the token.

    Once people log in, who may change what was asked before, and the token is not.
    """

    def check(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        given = credentials.credentials if credentials else ""
        if CURRENT.get() is not None or is_token(given, config):
            return
        got = "another" if given else "none"
        message = f"Changing something needs the service's token as 'Authorization: Bearer …'; got {got}."
        raise RejectedRequest(401, message, {"WWW-Authenticate": "Bearer"})

    return check
