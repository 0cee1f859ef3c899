"""Turns with one net: none starves, each has its part, and a wait is no hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.helpers.monitor import wait_for
from tests.helpers.patience import PATIENCE_S

from georgia.monitor.fair_queue import FairQueue, SharedNet


def run_queue(costs: dict[str, float], weights: dict[str, float], n: int) -> list[str]:
    """Return who had ``n`` queue, where all always want one, by a clock that only queue move."""
    at = [0.0]
    queue = FairQueue(now=lambda: at[0])
    taken: list[str] = []
    gate = threading.Event()

    def work(name: str) -> None:
        while len(taken) < n:
            with queue.take(name, weights.get(name, 1.0)):
                gate.wait(PATIENCE_S)
                # All others wait by now, so that each turn is a choice.
                wait_for(lambda: len(queue._waiting) == len(costs) - 1 or len(taken) >= n)
                taken.append(name)
                at[0] += costs[name]

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in costs]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    return taken[:n]


def test_time_is_even_whatever_a_frame_costs() -> None:
    taken = run_queue({"large": 4.0, "small": 1.0}, {}, 50)
    assert 9 <= taken.count("large") <= 11


def test_weight_is_a_proportion_of_the_time() -> None:
    taken = run_queue({"a": 1.0, "b": 1.0}, {"a": 3.0}, 40)
    assert 29 <= taken.count("a") <= 31


def test_backlog_waits_behind_a_rare_frame() -> None:
    at = [0.0]
    queue = FairQueue(now=lambda: at[0])
    order: list[str] = []

    def take(name: str) -> None:
        with queue.take(name):
            order.append(name)

    def start(name: str) -> threading.Thread:
        thread = threading.Thread(target=take, args=(name,), daemon=True)
        thread.start()
        wait_for(lambda: name in queue._waiting)
        return thread

    for _ in range(100):  # one that has had the net all the time
        with queue.take("backlog"):
            at[0] += 1
    with queue.take("backlog"):
        at[0] += 1
        rare = start("rare")
    rare.join(PATIENCE_S)
    with queue.take("other"):
        waiting = [start("backlog"), start("rare")]
    for thread in waiting:
        thread.join(PATIENCE_S)
    # Who was away has no credit for it, and still goes before the one that has had most.
    assert order == ["rare", "rare", "backlog"]


def test_waiting_says_that_it_lives_and_failure_ends() -> None:
    queue, signs = FairQueue(), threading.Event()
    with queue.take("a"):
        waits = threading.Thread(target=lambda: _take(queue, "b", signs.set), daemon=True)
        waits.start()
        assert signs.wait(PATIENCE_S)
    waits.join(PATIENCE_S)
    with pytest.raises(ValueError, match="broken"), queue.take("a"):
        raise ValueError("broken")
    assert queue.holder == ""


def _take(queue: FairQueue, name: str, say: Callable[[], None]) -> None:
    with queue.take(name, while_waiting=say):
        pass


def test_net_must_keep_up_with_frames_of_all() -> None:
    told: list[int] = []
    trial: Any = SimpleNamespace(
        name="n", precision="float32", device="CPU", note_arrival=told.append, run=lambda items: {"n": items}
    )
    shared = SharedNet(trial)
    busy, quiet = shared.for_probe("busy"), shared.for_probe("quiet")
    for net, n in ((busy, 7), (quiet, 0), (busy, 6), (quiet, 1), (busy, 0)):
        net.note_arrival(n)
    assert told == [7, 7, 6, 7, 1]
    assert quiet.run([]) == {"n": []}
    assert quiet.take_waited() >= 0.0
    assert quiet.take_waited() == 0.0
