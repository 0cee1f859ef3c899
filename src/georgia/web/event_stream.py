"""New frames for every open page, as server-sent events.

The store is polled for what is new, so that the monitor may run in this process or in another. A page that
was disconnected gets what it missed by the number of the last frame it received.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from georgia.errors import GeorgiaError
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import StoreAwayError
from georgia.web.addresses import Slots
from georgia.web.http_errors import RejectedRequest
from georgia.web.service import Service

_log = logging.getLogger(__name__)

# Frames that one poll hands out, and that a page which was away gets at most.
MOST_FRAMES = 200
# A page so far behind is dropped; it connects again and asks for what it missed.
_QUEUE = 500
# A page that hears nothing for 5 s knows nothing of the probe, and says so.
_BEAT_S = 2.0
_COMMENT_S = 10.0
# What changes in a monitor's health while nothing happens.
_CLOCKS = frozenset(("at", "last_beat", "last_loop", "last_loop_age_s", "last_frame_age_s"))


class EventStream:
    """Polls the store once for all listeners, and sends them what is new."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._places = Slots(service.config.listeners, service.config.listeners_per_address)
        self._last_id = 0
        self._last_status = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._polled_at = time.monotonic()

    async def start(self) -> None:
        """Begin to poll, and to tell the pages every two seconds that the service lives."""
        self._last_id = await asyncio.to_thread(self._newest_id)
        self._tasks = [asyncio.create_task(self._poll_for_ever()), asyncio.create_task(self._beat_for_ever())]
        self._service.ends.append(self._end_all)

    async def stop(self) -> None:
        """Stop polling, and end the streams of all listeners."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end_all()

    def _end_all(self) -> None:
        for queue in self._listeners:
            _offer(queue, None)

    def take_place(self, address: str) -> Callable[[], None]:
        """Take the place of one listening page, before it listens; call the result once it has ended.

        Raises:
            RejectedRequest: 429, this address has all that it may have; 503, all places are taken.
        """
        fault = self._places.take(address)
        if fault == "address":
            most = self._service.config.listeners_per_address
            message = (
                f"{most} pages from {address} listen already. Close some, or raise listeners_per_address."
            )
            raise RejectedRequest(429, message, {"Retry-After": "30"})
        if fault:
            raise RejectedRequest(503, "Too many pages listen already.", {"Retry-After": "30"})
        return lambda: self._places.give_back(address)

    async def listen(self, last_id: int | None = None) -> AsyncIterator[str]:
        """Yield events: "status" first, then frames after ``last_id``, then all that comes; "beat" every 2 s.

        A beat holds the service's time ``at``, and by how many seconds its last poll of the store is late.
        """
        queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE)
        self._listeners.add(queue)
        try:
            yield _event("status", await asyncio.to_thread(self._service.describe_status))
            if last_id is not None:
                missed: list[dict[str, Any]] = []
                with suppress(StoreAwayError):
                    missed = await asyncio.to_thread(self._frames_after, last_id)
                for frame in missed:
                    yield _event("frame", frame, frame["frame"])
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), _COMMENT_S)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._listeners.discard(queue)

    async def _poll_for_ever(self) -> None:
        while True:
            try:
                await self._poll()
                # A poll that fails leaves it: the next beats say for how long.
                self._polled_at = time.monotonic()
            except GeorgiaError as error:
                _log.debug("the store could not be polled: %s", error)
            except Exception:
                _log.exception("one poll of the event stream failed")
            await asyncio.sleep(self._service.config.poll_interval_s)

    async def _beat_for_ever(self) -> None:
        while True:
            late_s = time.monotonic() - self._polled_at - self._service.config.poll_interval_s
            beat = {"at": iso_time(time.time()), "late_s": round(max(0.0, late_s), 1)}
            self._send(_event("beat", beat))
            await asyncio.sleep(_BEAT_S)

    async def _poll(self) -> None:
        if not self._listeners:
            # Nobody listens; whoever connects asks for what is new by the last number received.
            self._last_id = await asyncio.to_thread(self._newest_id)
            # It tells how old a sign of life is by looking again and again.
            await asyncio.to_thread(self._service.find_health)
            return
        # A store that is away has no frames, and a status that says so.
        with suppress(StoreAwayError):
            for frame in await asyncio.to_thread(self._frames_after, self._last_id):
                self._last_id = max(self._last_id, frame["frame"])
                self._send(_event("frame", frame, frame["frame"]))
        status = await asyncio.to_thread(self._service.describe_status)
        health = {name: value for name, value in status["health"].items() if name not in _CLOCKS}
        comparable = json.dumps({**status, "health": health, "at": "", "last": None}, sort_keys=True)
        if comparable != self._last_status:
            self._last_status = comparable
            self._send(_event("status", status))

    def _newest_id(self) -> int:
        frames = self._service.store.frames(limit=1)
        return frames[0].frame_id if frames else 0

    def _frames_after(self, last_id: int) -> list[dict[str, Any]]:
        frames = self._service.store.frames(after=last_id, limit=MOST_FRAMES)
        return [frame.to_json_dict() for frame in reversed(frames)]

    def _send(self, text: str) -> None:
        for queue in list(self._listeners):
            if not _offer(queue, text):
                self._listeners.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                _offer(queue, None)


def _offer(queue: asyncio.Queue[str | None], text: str | None) -> bool:
    try:
        queue.put_nowait(text)
    except asyncio.QueueFull:
        return False
    return True


def _event(kind: str, data: dict[str, Any], number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
