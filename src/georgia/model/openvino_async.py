"""Run a compiled OpenVINO net on batch after batch without waiting in between."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError

T = TypeVar("T")
B = TypeVar("B")
# Each way is measured for so many seconds of a stream, and on so many batches for each that runs at once. A
# shorter one would not earn the second net, which takes 0.2 s (bundled model) to 1 s (ResNet-101) to compile.
TRIAL_S, TRIAL_BATCHES = 2.0, 4
Arrays = list[npt.NDArray[np.float32]]


def explain_failed_run(engine: str, error: BaseException) -> InputError:
    """Return the error for a net that opened and does not run: its parts do not fit each other, mostly."""
    lines = str(error).strip().splitlines()
    return InputError(
        "Cannot run the model",
        needs=f"a net that {engine} can run on these images is needed",
        got=lines[-1][:300] if lines else type(error).__name__,
        hint="If it ran before, its file has changed, or memory is short.",
    )


def explain_unread(model: object, error: BaseException) -> InputError:
    """Return the error for a file that OpenVINO does not read."""
    lines = str(error).strip().splitlines()
    return InputError(
        f"Cannot open model {str(model)!r}",
        needs="an ONNX file that OpenVINO reads is needed",
        got=lines[-1] if lines else "an empty message",
    )


class AsyncNet:
    """A compiled net, and perhaps a second one (``head``) that takes its first output.

    Any number of threads may use it at once: each stream has requests of its own. ``n_at_once`` batches run
    at the same time, together on ``n_threads``.
    """

    def __init__(self, body: Any, head: Any | None = None) -> None:
        self._body, self._head = body, head
        self.n_threads = int(body.get_property("INFERENCE_NUM_THREADS"))
        self.n_at_once = int(body.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # One more than run at once, so that the next batch waits ready.
        self._n_lanes = 1 + self.n_at_once
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


class NetChoice:
    """A net on which all threads work at one batch (narrow), and the same with a batch for each (wide).

    Narrow gives the first outputs sooner. Wide has no threads that wait for one another after every layer: it
    needs less processor time, and a busy core delays one batch instead of all. Long streams measure both.
    """

    def __init__(self, first: AsyncNet, open_wide: Callable[[], AsyncNet] | None = None) -> None:
        self._first, self._open_wide = first, open_wide
        self._wide: AsyncNet | None = None
        self._opening = threading.Lock()
        # Which of the two long streams run on, None before both were measured.
        self.chosen = first if open_wide is None or first.n_threads == 1 else None
        if self.chosen is not None:
            self._open_wide = None  # it holds the net's numbers

    def split(self, batches: Iterator[B]) -> Iterator[tuple[AsyncNet, Iterator[B], Rate]]:
        """Yield nets, each with the batches that run on it next, and where their outputs are noted."""
        trials: dict[AsyncNet, Rate] = {}
        while self.chosen is None:
            first = next(batches, None)
            if first is None:
                return
            batches = chain([first], batches)
            if len(trials) == 2:
                self.chosen = max(trials, key=lambda net: trials[net].images_per_s)
                break
            net, rate = self._find_wide() if trials else self._first, Rate()
            trials[net] = rate
            yield net, _take_for(batches, TRIAL_S, TRIAL_BATCHES * net.n_at_once), rate
        yield self.chosen, batches, Rate()

    def _find_wide(self) -> AsyncNet:
        with self._opening:
            if self._wide is None:
                self._wide = self._open_wide() if self._open_wide is not None else self._first
                self._open_wide = None
            return self._wide


class Rate:
    """Images per second between the first outputs and the last."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._first_s, self._last_s, self._n = now, 0.0, 0.0, 0

    def note(self, n_images: int) -> None:
        """Count images whose outputs are there."""
        self._last_s = self._now()
        if not self._first_s:
            self._first_s = self._last_s
        else:
            self._n += n_images

    @property
    def images_per_s(self) -> float:
        """The rate; 0 before the second outputs."""
        return self._n / max(self._last_s - self._first_s, 1e-9)


def _take_for(batches: Iterator[B], seconds: float, at_least: int) -> Iterator[B]:
    """Yield batches for so long, and so many at least."""
    end = time.perf_counter() + seconds
    for number, batch in enumerate(batches, start=1):
        yield batch
        if number >= at_least and time.perf_counter() >= end:
            return


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
            try:
                self._body.start_async({0: self._batch}, share_inputs=True)
            except RuntimeError as error:
                self._batch = None
                raise explain_failed_run("OpenVINO", error) from error

    def wait(self) -> Arrays:
        """Return the outputs, copied: the engine writes its next ones into the same memory."""
        if self._batch is None:
            return []
        request = self._body
        try:
            self._body.wait()
            if self._head is not None:
                request = self._head
                crossing = self._body.output_tensors
                request.infer({number: tensor.data for number, tensor in enumerate(crossing)})
        except RuntimeError as error:
            raise explain_failed_run("OpenVINO", error) from error
        finally:
            self._batch = None
        return [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
