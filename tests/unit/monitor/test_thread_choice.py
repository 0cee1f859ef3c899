"""The net's threads: measured on the first frames, equal outputs, the cheaper way that keeps up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.monitor import BrightnessAnalyzer, write_frame

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.health import read_health
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.thread_choice import N_TRIAL, Arrivals, Cost, ThreadTrial, choose_threads

WINDOWS = [np.zeros(3, np.float32)] * 10
# Seconds of (CPU, clock) of a frame with so many threads.
CHEAP_ALONE = {1: (0.8, 0.8), 2: (1.0, 0.5)}


@dataclass
class Machine:
    """Clocks that only the net moves, and nets that cost what they are told to."""

    costs: dict[int, tuple[float, float]] = field(default_factory=lambda: dict(CHEAP_ALONE))
    offset: float = 0.0
    broken: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    opened: list[int] = field(default_factory=list)

    def open(self, n_threads: int) -> Any:
        self.opened.append(n_threads)
        return _Net(self, n_threads)

    def trial(self, n_threads: int = 0, n_many: int = 2) -> ThreadTrial:
        return ThreadTrial(self.open, n_threads, n_many, lambda: self.cpu_s, lambda: self.wall_s)


@dataclass
class _Net:
    machine: Machine
    n_threads: int
    name: str = "drawn"
    precision: str = "float32"
    device: str = "CPU"

    def run(self, prepared: Sequence[Any]) -> Any:
        if self.n_threads == self.machine.broken:
            raise RuntimeError("no such instruction")
        cpu_s, wall_s = self.machine.costs.get(self.n_threads, (1.0, 1.0))
        self.machine.cpu_s += cpu_s
        self.machine.wall_s += wall_s
        value = 0.2 + (self.machine.offset if self.n_threads > 1 else 0.0)
        return {"probabilities": np.full((len(prepared), 2), value, np.float32)}


def run_trial(trial: ThreadTrial, every_s: float | None = 6.0, n_waiting: int = 0) -> None:
    """Compute the first frames; one comes in so many seconds."""
    trial.run(WINDOWS)
    clock = [0.0]
    trial.arrivals = Arrivals(now=lambda: clock[0])
    for _ in range(N_TRIAL):
        clock[0] += every_s or 0.0
        if every_s is not None:
            trial.note_arrival(n_waiting)
        trial.run(WINDOWS)


@pytest.mark.parametrize(
    ("costs", "every_s", "n_waiting", "expected", "reason"),
    [
        (CHEAP_ALONE, 6.0, 0, 1, "least CPU time; frames come every 6.0 s"),
        (CHEAP_ALONE, 0.9, 0, 2, "cheaper does not keep up; frames come every 0.9 s"),
        (
            CHEAP_ALONE,
            6.0,
            3,
            2,
            "cheaper does not keep up; frames come as fast as they can be taken",
        ),
        (CHEAP_ALONE, None, 0, 1, "least CPU time; frames come at a rate that is not known"),
        ({1: (0.9, 0.9), 2: (0.8, 0.5)}, 6.0, 0, 2, "least CPU time; frames come every 6.0 s"),
        (
            {1: (9.0, 4.0), 2: (9.5, 3.0)},
            1.0,
            0,
            2,
            "cheaper does not keep up; frames come every 1.0 s",
        ),
    ],
)
def test_trial_keeps_cheapest_that_keeps_up(
    costs: dict[int, tuple[float, float]], every_s: float | None, n_waiting: int, expected: int, reason: str
) -> None:
    trial = Machine(costs).trial()
    assert trial.is_measuring
    assert trial.describe()["threads"] is None
    run_trial(trial, every_s, n_waiting)
    assert not trial.is_measuring
    assert (trial.n_threads, trial.reason) == (expected, reason)
    assert (trial.costs[1].cpu_s, trial.costs[1].wall_s) == pytest.approx(costs[1])
    assert trial.describe()["costs"]["2"]["cpu_s"] == costs[2][0]


def test_trial_ignores_first_and_disturbed_frame() -> None:
    machine = Machine()
    trial = machine.trial()
    trial.run(WINDOWS)
    assert machine.cpu_s == CHEAP_ALONE[1][0], "the very first frame is computed once"
    machine.costs[1] = (5.0, 4.9)  # the first frame of the trial warms up
    trial.run(WINDOWS)
    machine.costs[1] = (0.8, 0.8)
    trial.run(WINDOWS)
    machine.costs[1] = (3.0, 3.0)  # other work beside it
    trial.run(WINDOWS)
    trial.run(WINDOWS)
    assert trial.costs[1].cpu_s == pytest.approx(0.8)


def test_trial_with_other_outputs_keeps_one_thread() -> None:
    trial = Machine({1: (2.0, 2.0), 2: (0.5, 0.5)}, offset=0.01).trial()
    run_trial(trial)
    assert trial.n_threads == 1
    assert "the outputs differ by 0.01" in trial.reason


def test_trial_with_undefined_outputs_keeps_one_thread() -> None:
    trial = Machine({1: (2.0, 2.0), 2: (0.5, 0.5)}, offset=float("nan")).trial()
    run_trial(trial)
    assert trial.n_threads == 1


def test_trial_passes_frames_with_few_windows() -> None:
    machine = Machine()
    trial = machine.trial()
    for _ in range(20):
        trial.run(WINDOWS[:3])
    assert trial.is_measuring
    assert machine.cpu_s == pytest.approx(20 * CHEAP_ALONE[1][0])


def test_trial_stops_after_its_frames() -> None:
    machine = Machine()
    trial = machine.trial()
    run_trial(trial)
    before = machine.cpu_s
    trial.run(WINDOWS)
    assert machine.cpu_s - before == pytest.approx(CHEAP_ALONE[1][0])


def test_very_slow_net_is_not_computed_twice() -> None:
    machine = Machine({1: (60.0, 60.0), 2: (70.0, 35.0)})
    trial = machine.trial()
    trial.run(WINDOWS)
    steps = []
    for _ in range(2 * N_TRIAL):
        before = machine.wall_s
        trial.run(WINDOWS)
        steps.append(machine.wall_s - before)
    assert steps == [60.0, 35.0] * N_TRIAL
    assert (trial.is_measuring, trial.n_threads) == (False, 1)
    assert trial.costs[2].wall_s == pytest.approx(35.0)


def test_net_that_fails_with_more_threads_is_served_with_one() -> None:
    trial = Machine(broken=2).trial()
    trial.run(WINDOWS)
    assert len(trial.run(WINDOWS)["probabilities"]) == len(WINDOWS)
    assert (trial.n_threads, trial.reason) == (1, "it fails with more: RuntimeError: no such instruction")


def test_threads_by_hand_are_not_measured() -> None:
    machine = Machine()
    trial = machine.trial(n_threads=3)
    trial.run(WINDOWS)
    assert (machine.opened, trial.n_threads, trial.reason) == ([3], 3, "set by hand")


def test_one_processor_is_not_measured() -> None:
    machine = Machine()
    assert machine.trial(n_many=1).reason == "one processor"
    assert machine.opened == [0]


def test_waiting_frames_call_for_faster_way() -> None:
    machine = Machine()
    trial = machine.trial()
    run_trial(trial)
    assert trial.n_threads == 1
    for _ in range(4):
        trial.note_arrival(9)
    assert trial.n_threads == 1
    trial.note_arrival(9)
    assert (trial.n_threads, trial.reason, machine.opened) == (2, "frames waited", [1, 2, 2])


def test_choice_without_able_way_is_fastest() -> None:
    assert choose_threads({1: Cost(1.0, 1.0), 4: Cost(3.0, 0.9)}, 0.1) == 4


@pytest.mark.parametrize(("given", "expected"), [("auto", 0), ("0", 0), (0, 0), ("4", 4), (4, 4)])
def test_threads_setting_is_auto_or_number(given: Any, expected: int) -> None:
    config = build_config(MonitorConfig, {"watch": "probe", "threads": given})
    assert config.n_threads == expected
    assert config.to_json_dict()["threads"] == expected


@pytest.mark.parametrize("given", ["many", "-1", "1025", "1.5", ""])
def test_threads_setting_rejects_other_values(given: str) -> None:
    with pytest.raises(InputError, match="threads must be auto, or a number from 1 to 1024"):
        build_config(MonitorConfig, {"watch": "probe", "threads": given})


def test_monitor_records_threads_once_measured(tmp_path: Path) -> None:
    class Measures(BrightnessAnalyzer):
        def analyze(self, image: Any) -> Any:
            found = super().analyze(image)
            self.threads = 1 if self.n_analyzed >= 3 else None
            return found

    for n in range(5):
        write_frame(tmp_path / "probe" / f"f{n}.png", n, seed=n)
    store = Store(str(tmp_path / "a.db"))
    config = MonitorConfig(watch=tmp_path / "probe", poll_interval_s=0.05)
    monitor = Monitor(Measures(threads=None), config, store)
    assert monitor.health().threads is None
    monitor.run(once=True)
    assert monitor.health().threads == 1
    assert monitor.health().to_json_dict()["threads"] == 1
    events = {event.action: event.detail for event in store.audit_log()}
    assert events["monitor started"]["threads"] == {"threads": None, "reason": "one processor"}
    assert events["threads chosen"]["threads"] == 1
    assert [event.action for event in store.audit_log()].count("threads chosen") == 1
    assert read_health(store, 0.0).threads is None
    store.close()
