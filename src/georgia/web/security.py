"""What every request passes first: allowed hosts, body size, request rate, security headers, the token.

Plain ASGI, so that a body is counted while it arrives and a stream of events is never held back.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from georgia.web.config import ServeConfig, is_loopback
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

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        self._app, self._config = app, config
        self._reads = RateLimiter(config.requests_per_minute)
        self._uploads = RateLimiter(config.uploads_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it before any route gets it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with_headers = _add_headers(send)
        rejection = self._reject(scope)
        if rejection is not None:
            await rejection(scope, receive, with_headers)
            return
        await self._app(scope, self._limit_body(receive), with_headers)

    def _reject(self, scope: Scope) -> JSONResponse | None:
        """Return the error response of a request that no route may get, None for any other."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own_host(host):
            message = f"This service does not respond to the name {host!r}. Name it in allowed_hosts."
            return error_response(421, message)
        origin = headers.get("origin")
        is_read = scope["method"] in ("GET", "HEAD")
        if origin is not None and not is_read and origin.split("//")[-1] != host:
            return error_response(
                403, f"Requests that change something may not come from pages of {origin!r}."
            )
        address = scope["client"][0] if scope.get("client") else ""
        wait_s = (self._reads if is_read else self._uploads).take(address)
        if wait_s:
            message = f"Too many requests from {address}. Try again in {wait_s:.0f} s."
            return error_response(429, message, headers={"Retry-After": str(int(wait_s) + 1)})
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._config.max_upload_bytes:
            error = self._too_large()
            return error_response(error.status_code, error.detail, headers=error.headers)
        return None

    def _is_own_host(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if self._config.allowed_hosts:
            return name.lower() in self._config.allowed_hosts
        # A page elsewhere that points its own name at the loopback (DNS rebinding) is rejected.
        return not self._config.is_loopback or is_loopback(name)

    def _limit_body(self, receive: Receive) -> Receive:
        """Cut a body off where it grows beyond what it may hold; the routes' error handlers say so."""
        left = self._config.max_upload_bytes

        async def count() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise self._too_large()
            return message

        return count

    def _too_large(self) -> RejectedRequest:
        message = f"A request may hold {self._config.max_upload_bytes} bytes at most."
        return RejectedRequest(413, message, {"Connection": "close"})


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


def require_token(config: ServeConfig) -> Callable[[HTTPAuthorizationCredentials | None], None]:
    """Return the dependency of routes that change something: it rejects with 401 who has not the token."""

    def check(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        given = credentials.credentials if credentials else ""
        if hmac.compare_digest(given.strip().encode("utf-8", "replace"), config.token.encode()):
            return
        got = "another" if given else "none"
        message = f"Changing something needs the service's token as 'Authorization: Bearer …'; got {got}."
        raise RejectedRequest(401, message, {"WWW-Authenticate": "Bearer"})

    return check
