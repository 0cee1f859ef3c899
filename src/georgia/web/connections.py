"""Connections to the service: how many, from whom, and how long each may let the service wait.

A connection waits for its client while it has no request, half a request, or a response that is not taken.
Only such connections are closed: when their time is up, or to make room for others, the oldest of the busiest
address first. So nobody who just holds connections open keeps others out, from the same address or another.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from georgia.web.addresses import ADDRESS_UNKNOWN, Proxies, group_address
from georgia.web.config import ServeConfig

_SWEEP_S = 0.5


class ConnectionTable:
    """All open connections of one service."""

    def __init__(self, config: ServeConfig) -> None:
        self._config, self._proxies = config, Proxies(config.trusted_proxies)
        self._open: dict[BoundedProtocol, str] = {}
        self._is_sweeping = False

    def add(self, protocol: BoundedProtocol) -> bool:
        """Take a new connection, at the cost of a waiting one where needed; return whether it may stay."""
        address = protocol.client[0] if protocol.client else ADDRESS_UNKNOWN
        # Everybody behind a trusted proxy has its address.
        group = ADDRESS_UNKNOWN if self._proxies.trust(address) else group_address(address)
        self._open[protocol] = group
        if not self._is_sweeping:
            self._is_sweeping = True
            protocol.loop.call_later(_SWEEP_S, self._sweep, protocol.loop)
        counts = Counter(self._open.values())
        if group != ADDRESS_UNKNOWN and counts[group] > self._config.connections_per_address:
            return self._make_room(protocol, group)
        if len(self._open) > self._config.connections:
            return self._make_room(protocol, max(counts, key=lambda name: counts[name])) or self._make_room(
                protocol, None
            )
        return True

    def remove(self, protocol: BoundedProtocol) -> None:
        """Forget a connection that has ended."""
        self._open.pop(protocol, None)

    def _make_room(self, newest: BoundedProtocol, group: str | None) -> bool:
        """Close the connection of a group that waits longest for its client; return whether there was one."""
        waiting = [
            protocol
            for protocol, name in self._open.items()
            if protocol is not newest and group in (None, name) and protocol.waits_for_client
        ]
        if not waiting:
            return False
        min(waiting, key=lambda protocol: protocol.since).end(503, "The service has too many connections.")
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close whatever has let the service wait too long; again and again while there are connections."""
        now = loop.time()
        for protocol in list(self._open):
            if protocol.waits_for_client and now - protocol.since > self._patience(protocol):
                protocol.end(408, "The request did not arrive in time.")
        self._is_sweeping = bool(self._open)
        if self._is_sweeping:
            loop.call_later(_SWEEP_S, self._sweep, loop)

    def _patience(self, protocol: BoundedProtocol) -> float:
        return self._config.head_timeout_s if protocol.is_between_requests else self._config.body_timeout_s


class BoundedProtocol(H11Protocol):
    """uvicorn's connection, which its table may close while it waits for its client."""

    def __init__(self, table: ConnectionTable, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._table = table
        # When it began to wait for the present request, or for its response to be taken; the loop's time.
        self.since = self.loop.time()

    @property
    def is_between_requests(self) -> bool:
        """Return whether no request has begun since the last response."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Return whether only the client can make it go on."""
        return self.is_between_requests or self.cycle.more_body or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse where nothing can be closed instead."""
        super().connection_made(transport)
        if not self._table.add(self):
            self.end(503, "The service has too many connections.", is_new=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._table.remove(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take what has arrived; a new request begins a new wait."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.since = self.loop.time()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take its response."""
        self.since = self.loop.time()
        super().pause_writing()

    def end(self, status: int, message: str, is_new: bool = False) -> None:
        """Close it now; a client that is new, or whose request is incomplete, is told why."""
        if self.transport.is_closing():
            return
        has_response = not self.is_between_requests and self.cycle.response_started
        if has_response or self.flow.write_paused:
            self.transport.abort()
            return
        if is_new or not self.is_between_requests or self.conn.trailing_data[0]:
            self.transport.write(_plain_response(status, message))
        self.transport.close()


def _plain_response(status: int, message: str) -> bytes:
    phrase = {408: "Request Timeout", 503: "Service Unavailable"}[status]
    code = phrase.lower().replace(" ", "_")
    body = json.dumps({"error": {"code": code, "message": message, "fields": []}}).encode()
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def make_protocol(config: ServeConfig) -> Callable[..., BoundedProtocol]:
    """Return what uvicorn calls for each connection."""
    table = ConnectionTable(config)

    class Protocol(BoundedProtocol):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(table, **arguments)

    return Protocol
