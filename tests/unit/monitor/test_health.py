"""A monitor that is dead, hung or blind says so, in memory and to other processes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame
from tests.helpers.patience import PATIENCE_S

from georgia.config import build_config
from georgia.errors import InputError, UnreadableImageError
from georgia.images.depth import DepthWatch
from georgia.monitor import run, tables, watch
from georgia.monitor.connect import StoreAwayError, writing
from georgia.monitor.health import (
    HealthState,
    RunningClock,
    Step,
    StepWatch,
    claim_source,
    read_health,
    read_processor_waits,
)
from georgia.monitor.records import MonitorEvent
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.supervisor import MonitorFailedError, Supervisor

# Nothing hangs that a slow disk or processor delays; what is to hang has its own ``SOON``.
FAST = {"heartbeat_s": 0.05, "hung_after_s": 60.0, "unreadable_after": 3, "folder_away_after_s": 0.2}
SOON = {"hung_after_s": 0.6}


class Probe:
    """A folder, a store, and a monitor with what it said."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "probe"
        self.folder.mkdir()
        self.store = Store(str(root / "store.db"))
        self.events: list[MonitorEvent] = []

    def monitor(self, analyzer: Any = None, **changes: Any) -> Monitor:
        values = {"poll_interval_s": 0.05, "min_judged": 1, "grace_s": 0.1, "source": "probe", **FAST}
        config = build_config(MonitorConfig, {"watch": self.folder}, values, changes)
        return Monitor(analyzer or BrightnessAnalyzer(), config, self.store, [self.events.append], "tester")

    def supervise(self, analyzer: Any = None, **changes: Any) -> Supervisor:
        supervisor = Supervisor(self.monitor(analyzer, **changes))
        supervisor.start()
        return supervisor

    def health(self) -> Any:
        return read_health(self.store, time.time())

    def outages(self) -> list[tuple[str, str]]:
        events = [event for event in self.events if event.kind == "outage"]
        return [(event.detail["outage"], event.detail["change"]) for event in events]

    def actions(self) -> list[str]:
        return [entry.action for entry in self.store.audit_log()][::-1]


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    probe = Probe(tmp_path)
    yield probe
    probe.store.close()


@pytest.fixture
def lifted() -> Iterator[threading.Event]:
    """What ends a hang that a test made."""
    event = threading.Event()
    yield event
    event.set()


def test_running_clock_skips_pauses() -> None:
    now = [0.0]
    clock = RunningClock(lambda: now[0], dict)
    for now[0] in (1.0, 2.5, 602.5, 603.0):
        seconds = clock.tick()
    assert seconds == pytest.approx(2.5 + 2.0 + 0.5)


def test_running_clock_leaves_out_waits_for_processors() -> None:
    now, waits = [0.0], {"1": 5.0, "2": 0.0}
    clock = RunningClock(lambda: now[0], lambda: dict(waits))
    for _ in range(100):  # one thread gets a tenth of its time, the others wait for it
        now[0] += 0.5
        waits["1"] += 0.45
        waits["2"] += 0.01
        seconds = clock.tick()
    assert seconds == pytest.approx(5.0)
    for _ in range(100):  # nobody competes: a loop that hangs is measured in full
        now[0] += 0.5
        seconds = clock.tick()
    assert seconds == pytest.approx(55.0)
    for _ in range(100):
        now[0] += 0.5
        waits["1"] += 0.5
        waits["new"] = waits.get("new", 0.0) + 0.5
        seconds = clock.tick()
    assert seconds == pytest.approx(60.0)


def test_processor_waits_of_all_threads_are_read() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this system does not say how long threads wait for a processor")
    assert str(threading.get_native_id()) in read_processor_waits()
    assert all(0 <= seconds < 1e6 for seconds in read_processor_waits().values())


def test_step_is_measured_from_its_beginning() -> None:
    now = [0.0]
    steps = StepWatch(lambda: now[0], dict)
    assert steps.measure(Step(1)) == 0
    now[0] = 1.5
    assert steps.measure(Step(1)) == 1.5
    assert steps.measure(Step(2)) == 0


def test_running_monitor_beats_into_store(probe: Probe) -> None:
    assert probe.health().state == HealthState.UNKNOWN
    write_frame(probe.folder / "a.png", 1)
    supervisor = probe.supervise()
    # A beat may come between the frame's analysis and the end of its round.
    wait_for(lambda: probe.health().last_frame_s and not probe.health().backlog)
    health = probe.health()
    assert (health.state, health.is_ok, health.backlog, health.source) == ("running", True, 0, "probe")
    assert health.process.endswith(f":{os.getpid()}")
    assert 0 <= health.last_frame_age_s < PATIENCE_S
    assert health.to_json_dict()["last_frame"].endswith("Z")
    supervisor.stop()
    supervisor.raise_failure()
    assert probe.health().state == "not running"
    assert probe.health().reason == "the monitor has ended: stopped"
    assert not probe.health().is_expected


def test_name_in_latin1_is_analyzed(probe: Probe) -> None:
    name = os.fsdecode(b"K\xfchlung_001.png")
    try:
        write_frame(probe.folder / name, 1)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    write_frame(probe.folder / "b.png", 2, seed=1)
    assert probe.monitor().run(once=True) == 2
    assert {frame.file for frame in probe.store.iter_frames()} == {r"K\xfchlung_001.png", "b.png"}
    assert probe.monitor().run(once=True) == 0


def test_separate_accents_are_no_second_file(probe: Probe) -> None:
    path = write_frame(probe.folder / "Ku\u0308hlung.png", 1)
    assert probe.monitor().run(once=True) == 1
    status = path.stat()
    path.rename(probe.folder / "K\u00fchlung.png")
    os.utime(probe.folder / "K\u00fchlung.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    monitor = probe.monitor()
    assert monitor.run(once=True) == 0
    assert monitor.status().n_repeats == 0


def test_time_of_change_after_2262_is_stored(probe: Probe) -> None:
    os.utime(write_frame(probe.folder / "a.png", 1), (10**10, 10**10))
    write_frame(probe.folder / "b.png", 2, seed=1)
    assert probe.monitor().run(once=True) == 2


def test_frame_whose_analysis_fails_is_left_out(probe: Probe) -> None:
    class Fails(BrightnessAnalyzer):
        def analyze(self, image: Any) -> Any:
            if image[0, 8, 0] > 127:  # the second window is bright
                raise RuntimeError("no such operator")
            return super().analyze(image)

    for n in (0, 2, 1):
        write_frame(probe.folder / f"f{n}.png", n, seed=n)
    assert probe.monitor(Fails()).run(once=True) == 2
    (event,) = [event for event in probe.events if event.kind == "unreadable"]
    assert event.detail == {"file": "f2.png", "error": "RuntimeError: no such operator"}
    assert probe.monitor().run(once=True) == 1, "what failed for another reason is tried again"


def test_engine_that_always_raises_is_outage(probe: Probe) -> None:
    class Fails(BrightnessAnalyzer):
        is_broken = True

        def analyze(self, image: Any) -> Any:
            if self.is_broken:
                raise MemoryError("no room for the net")
            return super().analyze(image)

    analyzer = Fails()
    for n in range(4):
        write_frame(probe.folder / f"f{n}.png", n, seed=n)
    supervisor = probe.supervise(analyzer)
    wait_for(lambda: probe.health().state == "unreadable frames")
    assert "MemoryError: no room for the net" in probe.health().reason
    assert not probe.health().is_ok
    analyzer.is_broken = False
    write_frame(probe.folder / "g.png", 4, seed=9)
    wait_for(lambda: probe.health().state == "running")
    supervisor.stop()
    assert probe.outages() == [("unreadable frames", "began"), ("unreadable frames", "ended")]
    assert {"outage began", "outage ended"} < set(probe.actions())


def test_store_that_raises_leaves_frame_out(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = probe.store.record_frame

    def record(result: Any, *arguments: Any) -> Any:
        if result.file == "f1.png":
            raise ValueError("a value that no column takes")
        return keep(result, *arguments)

    monkeypatch.setattr(probe.store, "record_frame", record)
    for n in range(3):
        write_frame(probe.folder / f"f{n}.png", n, seed=n)
    assert probe.monitor().run(once=True) == 2
    assert [event.detail["file"] for event in probe.events if event.kind == "unreadable"] == ["f1.png"]
    assert len(probe.store.batches()[0].chart_state) > 2


def test_killed_thread_is_not_running(probe: Probe) -> None:
    supervisor = probe.supervise()
    wait_for(lambda: probe.health().state == "running")
    thread = next(thread for thread in threading.enumerate() if thread.name == "georgia-monitor")

    def kill() -> bool:
        # Python ignores an exception that reaches a thread within a finaliser: it is sent again, but not to
        # one that dies already, slowly, beside other programs.
        if supervisor._error is not None:
            return supervisor.wait(1)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        return supervisor.wait(1)

    wait_for(kill)
    supervisor.stop()
    assert probe.health().state == "not running"
    assert "SystemExit" in probe.health().reason
    assert probe.health().is_expected
    assert ("not running", "began") in probe.outages()
    assert "monitor failed" in probe.actions()
    with pytest.raises(MonitorFailedError, match="The monitor has failed: SystemExit"):
        supervisor.raise_failure()


@pytest.mark.parametrize("error", [RuntimeError("no describing"), SystemExit()], ids=["fault", "killed"])
def test_failure_of_the_start_is_said(
    probe: Probe, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("georgia.monitor.run.record_start", fail)
    supervisor = probe.supervise(heartbeat_s=60.0)
    assert supervisor.wait(PATIENCE_S)
    assert probe.health().state == "not running"
    assert type(error).__name__ in probe.health().reason
    assert "monitor failed" in probe.actions()
    supervisor.stop()
    monkeypatch.undo()
    again = probe.supervise()  # nothing holds the folder
    wait_for(lambda: probe.health().state == "running")
    again.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_is_killed_twice_is_said(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it is writing the line of the first one into the log."""

    def fail(*_: Any, **__: Any) -> None:
        raise SystemExit

    monkeypatch.setattr("georgia.monitor.run.record_start", fail)
    monkeypatch.setattr("georgia.monitor.supervisor._log.error", fail)
    supervisor = probe.supervise(heartbeat_s=60.0)
    assert supervisor.wait(PATIENCE_S)
    assert "SystemExit" in probe.health().reason
    assert "monitor failed" in probe.actions()
    supervisor.stop()


@pytest.mark.slow
def test_hung_analysis_is_said_and_left_out(probe: Probe, lifted: threading.Event) -> None:
    class Hangs(BrightnessAnalyzer):
        def analyze(self, image: Any) -> Any:
            lifted.wait(PATIENCE_S)
            return super().analyze(image)

    write_frame(probe.folder / "a.png", 1)
    ended: list[int] = []
    supervisor = Supervisor(probe.monitor(Hangs(), **SOON), on_failure=lambda: ended.append(1))
    supervisor.start()
    assert supervisor.wait(PATIENCE_S)
    wait_for(lambda: ended)
    assert supervisor.is_hung
    assert ("hung", "began") in probe.outages()
    assert probe.events[-1].status.state == "not running"
    assert probe.actions()[-1] == "monitor failed"
    assert "a.png" in {file for file, _, _ in probe.store.known_files("probe")}
    with pytest.raises(MonitorFailedError, match="it has worked at 'a.png' for"):
        supervisor.raise_failure()
    supervisor.stop()


def test_hung_decoding_costs_one_frame(
    probe: Probe, lifted: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = watch.decode_image

    def decode(data: bytes, most: int, depth: DepthWatch) -> Any:
        if data.endswith(b"hangs"):
            lifted.wait(PATIENCE_S)
            raise UnreadableImageError("late")
        return keep(data, most, depth)

    monkeypatch.setattr(watch, "decode_image", decode)
    with write_frame(probe.folder / "a.png", 1).open("ab") as stream:
        stream.write(b"hangs")
    monitor = probe.monitor(**SOON)
    with running(monitor):
        wait_for(lambda: monitor.status().n_unreadable == 1)
        write_frame(probe.folder / "b.png", 2, seed=1)
        wait_for(lambda: probe.store.count_frames() == 1)
    (event,) = [event for event in probe.events if event.kind == "unreadable"]
    assert event.detail["file"] == "a.png"
    assert "decoding it took longer" in event.detail["error"]


def test_unreadable_frames_are_outage(probe: Probe) -> None:
    for n in range(3):
        (probe.folder / f"f{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([n]))
    supervisor = probe.supervise()
    wait_for(lambda: probe.health().state == "unreadable frames")
    supervisor.stop()
    assert probe.health().n_unreadable == 3


@pytest.mark.slow
def test_folder_outage_has_beginning_and_end(probe: Probe, tmp_path: Path) -> None:
    supervisor = probe.supervise()
    wait_for(lambda: probe.health().state == "running")
    probe.folder.rename(tmp_path / "away")
    wait_for(lambda: probe.health().state == "folder away")
    (tmp_path / "away").rename(probe.folder)
    wait_for(lambda: probe.health().state == "running")
    supervisor.stop()
    assert probe.outages() == [("folder away", "began"), ("folder away", "ended")]
    (ended,) = probe.store.audit_log(action="outage ended")
    assert ended.detail["seconds"] > 0
    assert "cannot be read" in ended.detail["reason"]


def test_second_monitor_of_folder_is_rejected(probe: Probe) -> None:
    with running(probe.monitor()):
        wait_for(lambda: probe.health().state != HealthState.UNKNOWN)
        with pytest.raises(InputError, match=r"one monitor alone .* got another one, .*:\d+, since 20"):
            probe.monitor().run()
        assert probe.monitor(source="other").run(once=True) == 0


@pytest.mark.slow
def test_killed_monitor_is_found_at_next_start(probe: Probe) -> None:
    write_frame(probe.folder / "a.png", 1)
    code = (
        "import os, sys; from georgia.monitor.store import Store; from georgia.monitor.health import *;"
        "claim_source(Store(sys.argv[1]), 'probe', 'me'); os._exit(9)"
    )
    database = str(probe.store.engine.url.database)
    assert subprocess.run([sys.executable, "-c", code, database], check=False).returncode == 9
    health = probe.health()
    assert health.state == "not running"
    assert "was killed or has crashed" in health.reason
    assert probe.monitor().run(once=True) == 1
    (lost,) = probe.store.audit_log(action="monitor lost")
    assert lost.detail["state"] == "starting"
    assert any("was killed or has crashed" in str(event.detail.get("reason")) for event in probe.events)


def test_silent_monitor_elsewhere_is_not_running(probe: Probe) -> None:
    claim_source(probe.store, "probe", "me")
    with writing(probe.store.engine) as connection:
        connection.execute(update(tables.heartbeats).values(host="other"))
    now = time.time()
    assert read_health(probe.store, now).state == "starting"
    health = read_health(probe.store, now + 11)
    assert (health.state, health.is_alive) == ("not running", False)
    assert replace(health, state=HealthState.RUNNING).is_ok


def test_same_pixels_with_new_metadata_are_frozen_camera(probe: Probe) -> None:
    from PIL import Image, PngImagePlugin

    with Image.open(write_frame(probe.folder / "a.png", 3)) as image:
        image.load()
    supervisor = probe.supervise()
    wait_for(lambda: probe.store.count_frames() == 1)
    for n in range(3):
        text = PngImagePlugin.PngInfo()
        text.add_text("DateTime", str(n))
        image.save(probe.folder / f"b{n}.png", pnginfo=text)
    wait_for(lambda: ("frozen camera", "began") in probe.outages())
    assert probe.store.count_frames() == 1
    assert probe.events[-1].status.state == "frozen camera"
    write_frame(probe.folder / "c.png", 4, seed=1)
    wait_for(lambda: ("frozen camera", "ended") in probe.outages())
    supervisor.stop()
    assert probe.store.count_frames() == 2


def test_once_with_store_away_ends(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise StoreAwayError("The store cannot be used now: database or disk is full.")

    monkeypatch.setattr(run, "_ONCE_PATIENCE_S", 0.2)
    monkeypatch.setattr(probe.store, "record_frame", fail)
    write_frame(probe.folder / "a.png", 1)
    with pytest.raises(InputError, match=r"a store that can be used is needed; got .* disk is full"):
        probe.monitor().run(once=True)


def test_once_with_folder_away_ends(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_ONCE_PATIENCE_S", 0.2)
    monitor = probe.monitor()
    probe.folder.rmdir()
    with pytest.raises(InputError, match="a folder that can be used is needed"):
        monitor.run(once=True)


def test_slow_frames_grant_later_ones_more_time(probe: Probe) -> None:
    grants: list[float] = []

    class Slow(BrightnessAnalyzer):
        def analyze(self, image: Any) -> Any:
            grants.append(monitor._health.pulse.step.grant_s)
            threading.Event().wait(0.05)
            return super().analyze(image)

    for n in range(2):
        write_frame(probe.folder / f"f{n}.png", n, seed=n)
    monitor = probe.monitor(Slow())
    assert monitor.run(once=True) == 2
    assert grants[0] < 0.1
    assert grants[1] >= 0.5
