"""What stands before every route: allowed hosts, body size, rate, security headers, the token.

Plain ASGI, so that a body is counted while it arrives and a stream of events is never held back.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from georgia.web.config import LOOPBACK_NAMES, ServeConfig, is_loopback
from georgia.web.http_errors import Refusal, error_body

# Source: OWASP Secure Headers Project; the page loads nothing from elsewhere and is framed by nobody.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A model's report is one page with its styles, scripts and images inside; it gets no origin of its own.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
# Addresses whose allowance is remembered; beyond that the one that asked longest ago is forgotten.
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
    """The outermost layer of the service: it wraps the whole application, its answers to faults too."""

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        self._app, self._config = app, config
        self._requests = RateLimiter(config.requests_per_minute)
        self._uploads = RateLimiter(config.uploads_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it before any route sees it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send)
        refusal = self._refuse(scope)
        if refusal is not None:
            await _answer(guarded, *refusal)
            return
        counted = _Counted(receive, self._config.max_upload_bytes, self._too_large())
        await self._app(scope, counted, guarded)

    def _refuse(self, scope: Scope) -> tuple[int, str] | tuple[int, str, float] | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._knows(host):
            return 421, f"This service does not answer to {host!r}. Name it in allowed_hosts."
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and origin.split("//")[-1] != host:
            return 403, f"Requests that change something may not come from pages of {origin!r}."
        address = scope["client"][0] if scope.get("client") else ""
        allowance = self._requests if scope["method"] in ("GET", "HEAD") else self._uploads
        wait_s = allowance.take(address)
        if wait_s:
            return 429, f"Too many requests from {address}. Try again in {wait_s:.0f} s.", wait_s
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > self._config.max_upload_bytes:
            return 413, self._too_large()
        return None

    def _knows(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if self._config.allowed_hosts:
            return name.lower() in self._config.allowed_hosts
        # A page elsewhere that points its own name at the loopback (DNS rebinding) is not let in.
        return not self._config.is_loopback or is_loopback(name) or name.lower() in LOOPBACK_NAMES

    def _too_large(self) -> str:
        return f"A request may hold {self._config.max_upload_bytes} bytes at most."


class _Counted:
    """A body that is cut off where it grows beyond what it may hold; the routes' fault handler says so."""

    def __init__(self, receive: Receive, most: int, message: str) -> None:
        self._receive, self._left, self._message = receive, most, message

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise HTTPException(413, self._message, {"Connection": "close"})
        return message


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message.get("headers", [])}
            more = [
                *_HEADERS,
                (b"content-security-policy", PAGE_POLICY.encode()),
                (b"cache-control", b"no-store"),
            ]
            message = {
                **message,
                "headers": [*message.get("headers", []), *(item for item in more if item[0] not in own)],
            }
        await send(message)

    return guarded


async def _answer(send: Send, status: int, message: str, wait_s: float = 0.0) -> None:
    body = json.dumps(error_body(status, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if wait_s:
        headers.append((b"retry-after", str(int(wait_s) + 1).encode()))
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def check_token(request: Request, config: ServeConfig) -> None:
    """Refuse a request that changes something and does not hold the token.

    Raises:
        Refusal: 401, there is none, or it is another.
    """
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_right = scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode("utf-8", "replace"), config.token.encode()
    )
    if not is_right:
        got = "none" if not given else "another"
        message = f"Changing something needs the service's token as 'Authorization: Bearer …'; got {got}."
        raise Refusal(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": "Bearer"})
