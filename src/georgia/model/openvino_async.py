"""Run a compiled OpenVINO net on batch after batch without waiting in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Arrays = list[npt.NDArray[np.float32]]


class AsyncNet:
    """A compiled net, and perhaps a second one (``head``) that takes its first output.

    Any number of threads may use it at once: each stream has requests of its own.
    """

    def __init__(self, body: Any, head: Any | None = None) -> None:
        self._body, self._head = body, head
        # One more than run at once, so that the next batch waits ready.
        self._n_lanes = 1 + int(body.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: deque[_Lane] = deque()

    def stream(self, batches: Iterable[tuple[T, npt.NDArray[Any] | None]]) -> Iterator[tuple[T, Arrays]]:
        """Yield each batch's token and outputs (float32), in order; a batch of None has no outputs."""
        busy: deque[tuple[T, _Lane]] = deque()
        try:
            for token, batch in batches:
                if len(busy) == self._n_lanes:
                    yield self._collect(busy)
                busy.append((token, self._take_lane()))
                busy[-1][1].start(batch)
            while busy:
                yield self._collect(busy)
        finally:  # no lane keeps running when the caller closes the stream early
            for _, lane in busy:
                lane.wait()

    def _take_lane(self) -> _Lane:
        try:
            return self._idle.popleft()
        except IndexError:
            return _Lane(self._body.create_infer_request(), self._head and self._head.create_infer_request())

    def _collect(self, busy: deque[tuple[T, _Lane]]) -> tuple[T, Arrays]:
        token, lane = busy.popleft()
        outputs = lane.wait()
        self._idle.append(lane)
        return token, outputs


class _Lane:
    """One request for the body and one for the head, used by one stream at a time."""

    def __init__(self, body: Any, head: Any | None) -> None:
        self._body, self._head = body, head
        self._batch: npt.NDArray[Any] | None = None

    def start(self, batch: npt.NDArray[Any] | None) -> None:
        """Start on a batch; None has no outputs."""
        # Kept until the outputs are there: the engine reads it in place.
        self._batch = None if batch is None else np.ascontiguousarray(batch)
        if self._batch is not None:
            self._body.start_async({0: self._batch}, share_inputs=True)

    def wait(self) -> Arrays:
        """Return the outputs, copied: the engine writes its next ones into the same memory."""
        if self._batch is None:
            return []
        self._body.wait()
        self._batch = None
        request = self._body
        if self._head is not None:
            request = self._head
            crossing = self._body.output_tensors
            request.infer({number: tensor.data for number, tensor in enumerate(crossing)})
        return [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
