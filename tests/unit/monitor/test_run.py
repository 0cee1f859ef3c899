"""The loop: every frame once, whatever goes away meanwhile; listeners hear of it."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import BrightJudge, write_frame

from georgia.errors import InputError
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.events import MonitorEvent
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.monitor.write_queue import CAPACITY, WriteQueue

PATIENCE_S = 20.0


class Bed:
    """A folder, a store, and what the monitor said."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "probe"
        self.folder.mkdir()
        self.store = Store(str(root / "store.db"))
        self.events: list[MonitorEvent] = []

    def monitor(self, judge: BrightJudge | None = None, **changes: Any) -> Monitor:
        values = {"look_s": 0.05, "min_judged": 1, "baseline_frames": 5, "grace_s": 0.2, "source": "probe"}
        config = MonitorConfig(watch=self.folder, **{**values, **changes})
        return Monitor(judge or BrightJudge(), config, self.store, [self.events.append], "tester")  # type: ignore[arg-type]

    def files(self) -> list[str]:
        return sorted(frame.file for frame in self.store.iter_frames())

    def kinds(self, kind: str) -> list[MonitorEvent]:
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(tmp_path)
    yield bed
    bed.store.close()


@contextmanager
def running(monitor: Monitor) -> Iterator[Monitor]:
    stop = threading.Event()
    thread = threading.Thread(target=monitor.run, args=(stop,))
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def wait_for(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_a_folder_is_judged_in_order_and_once(bed: Bed) -> None:
    for n in range(8):
        write_frame(bed.folder / f"f{n}.png", n % 3, seed=n)
    (bed.folder / "garbage.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    monitor = bed.monitor(batch="B1")
    assert monitor.run(once=True) == 8
    assert [event.frame.ordinal for event in bed.kinds("frame") if event.frame] == list(range(1, 9))
    assert [frame.fraction for frame in bed.store.iter_frames()] == [n % 3 / 16 for n in range(8)]
    assert [event.detail["file"] for event in bed.kinds("unreadable")] == ["garbage.png"]
    assert bed.store.batches()[0].ended_at_s is not None
    judge = BrightJudge()
    assert bed.monitor(judge, batch="B2").run(once=True) == 0
    assert judge.n_judged == 0
    assert verify_store(bed.store).is_whole


def test_copies_and_new_names_of_a_frame_do_not_count(bed: Bed) -> None:
    first = write_frame(bed.folder / "a.png", 1)
    bed.monitor(batch="B").run(once=True)
    first.rename(bed.folder / "renamed.png")
    shutil.copy(bed.folder / "renamed.png", bed.folder / "copy.png")
    monitor = bed.monitor(batch="B")
    assert monitor.run(once=True) == 0
    assert monitor.status().n_repeats == 2
    assert bed.files() == ["a.png"]


def test_the_same_image_again_and_again_is_a_blind_camera(bed: Bed) -> None:
    data = write_frame(bed.folder / "a.png", 1).read_bytes()
    monitor = bed.monitor(no_frames_s=0.1)
    with running(monitor):
        wait_for(lambda: bed.kinds("frame"))
        for n in range(3):
            (bed.folder / f"b{n}.png").write_bytes(data)
        wait_for(lambda: monitor.status().state == "camera blind")


def test_silence_is_said_and_a_new_frame_ends_it(bed: Bed) -> None:
    monitor = bed.monitor(no_frames_s=0.1)
    with running(monitor):
        wait_for(lambda: monitor.status().state == "no frames")
        write_frame(bed.folder / "a.png", 1)
        wait_for(lambda: any(event.status.state == "warming up" for event in bed.kinds("frame")))


def test_an_alarm_is_raised_cleared_and_kept(bed: Bed) -> None:
    for n in range(34):
        write_frame(bed.folder / f"f{n:02d}.png", 10 if 8 <= n < 12 else n % 2, seed=n)
    bed.monitor(raise_after=2, clear_after=2).run(once=True)
    changes = [event.detail["change"] for event in bed.kinds("alarm")]
    assert changes == ["raised", "cleared"]
    states = [frame.state for frame in bed.store.iter_frames()]
    assert states[:4] == ["warming up"] * 4
    assert "alarm" in states[8:20]
    assert states[-1] == "in control"
    (alarm,) = bed.store.alarms()
    assert alarm.cleared_at_s is not None
    assert "EWMA" in alarm.reason
    assert [entry.action for entry in bed.store.trail(action="limits set")] == ["limits set"]


def test_a_restart_goes_on_as_if_there_had_been_none(bed: Bed, tmp_path: Path) -> None:
    for n in range(14):
        write_frame(bed.folder / f"f{n:02d}.png", 12 if n > 10 else n % 3, seed=n)
    bed.monitor().run(once=True)
    whole = [(frame.file, frame.chart, frame.state) for frame in bed.store.iter_frames()]
    other = Store(str(tmp_path / "other.db"))
    seen: list[Any] = []
    folder = tmp_path / "slow"
    folder.mkdir()
    for n in range(14):
        shutil.copy2(bed.folder / f"f{n:02d}.png", folder)
        if n % 3 == 2 or n == 13:
            config = replace(bed.monitor().config, watch=folder, batch="same")
            monitor = Monitor(BrightJudge(), config, other)  # type: ignore[arg-type]
            monitor.start()
            wait_for(lambda: monitor.step(0.05) is None and other.count_frames() == n + 1)  # noqa: B023
            monitor._finish("stopped", ends_batch=False)
    seen = [(frame.file, frame.chart, frame.state) for frame in other.iter_frames()]
    assert seen == whole
    assert len(other.batches()) == 1
    other.close()


def test_a_store_that_is_away_costs_no_frame(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    is_away = threading.Event()
    keep = bed.store.record_frame

    def record(*arguments: Any) -> Any:
        if is_away.is_set():
            raise StoreAwayError("The store cannot be used now: it is unplugged.")
        return keep(*arguments)

    monkeypatch.setattr(bed.store, "record_frame", record)
    monitor = bed.monitor()
    with running(monitor):
        is_away.set()
        for n in range(4):
            write_frame(bed.folder / f"f{n}.png", n, seed=n)
        wait_for(lambda: monitor.status().n_unwritten == 4)
        wait_for(lambda: "unplugged" in monitor.status().fault)
        for n in range(4):
            (bed.folder / f"f{n}.png").unlink()
        is_away.clear()
        wait_for(lambda: bed.store.count_frames() == 4)
        wait_for(lambda: not monitor.status().fault)
    assert [event.status.fault for event in bed.kinds("fault")][-1] == ""


def test_a_share_that_is_away_is_said_and_costs_no_frame(bed: Bed, tmp_path: Path) -> None:
    write_frame(bed.folder / "a.png", 1)
    monitor = bed.monitor()
    with running(monitor):
        wait_for(lambda: bed.store.count_frames() == 1)
        bed.folder.rename(tmp_path / "away")
        wait_for(lambda: "cannot be read" in monitor.status().fault)
        write_frame(tmp_path / "away" / "b.png", 2)
        (tmp_path / "away").rename(bed.folder)
        wait_for(lambda: bed.store.count_frames() == 2 and not monitor.status().fault)
    assert bed.files() == ["a.png", "b.png"]


def test_who_started_changed_and_stopped_stands_in_the_trail(bed: Bed) -> None:
    write_frame(bed.folder / "a.png", 1)
    bed.monitor(limit=0.2).run(once=True)
    bed.monitor(BrightJudge(model_sha256="c" * 64), limit=0.3).run(once=True)
    actions = [entry.action for entry in bed.store.trail()][::-1]
    first = ["batch began", "monitor started", "monitor stopped", "batch ended"]
    second = ["batch began", "monitor started", "settings changed", "model swapped", *first[2:]]
    assert actions == first + second
    changed = bed.store.trail(action="settings changed")[0]
    assert changed.detail["changes"] == {"limit": [0.2, 0.3]}
    assert changed.who == "tester"


def test_limits_batches_and_models_change_between_two_frames(bed: Bed) -> None:
    monitor = bed.monitor(batch="B1")
    with running(monitor):
        wait_for(lambda: monitor.status().is_running)
        with pytest.raises(InputError, match="'watch' is no setting"):
            monitor.change_limits("Ann", {"watch": "/etc"})
        monitor.change_limits("Ann", {"limit": 0.1})
        write_frame(bed.folder / "a.png", 4)
        wait_for(lambda: bed.store.count_frames() == 1)
        monitor.next_batch("Ann", "B2", "Bob")
        monitor.swap_model("Ann", BrightJudge(model_sha256="d" * 64))  # type: ignore[arg-type]
        wait_for(lambda: len(bed.store.trail(action="model swapped")) == 1)
        write_frame(bed.folder / "b.png", 4, seed=1)
        wait_for(lambda: bed.store.count_frames() == 2)
    second, first = bed.store.frames()
    assert first.chart.over == pytest.approx(2.5)
    assert second.model_sha256 == "d" * 64
    assert [batch.name for batch in bed.store.batches()] == ["B2", "B1"]
    assert bed.store.document(first.settings_id)["limit"] == 0.1
    assert bed.store.trail(action="limits changed")[0].detail["changes"] == {"limit": [None, 0.1]}


def test_a_listener_that_fails_is_left_out_and_costs_nothing(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def fail(event: MonitorEvent) -> None:
        calls.append(event)
        raise RuntimeError("page is gone")

    write_frame(bed.folder / "a.png", 1)
    monitor = bed.monitor()
    monitor.add_listener(fail)
    assert monitor.run(once=True) == 1
    assert len(calls) == 1
    assert "a listener of the monitor failed" in caplog.text


def test_events_have_a_plain_form(bed: Bed) -> None:
    import json

    write_frame(bed.folder / "a.png", 1)
    bed.monitor().run(once=True)
    for event in bed.events:
        plain = json.loads(json.dumps(event.to_json_dict()))
        assert plain["kind"] == event.kind
    assert bed.kinds("heartbeat")[-1].status.beat > 0


def test_outbox_keeps_the_order_and_waits_longer_each_time() -> None:
    now, is_away, written, tries = [0.0], [True], [], [0]

    def write(number: int) -> int:
        tries[0] += 1
        if is_away[0]:
            raise StoreAwayError("away")
        return number

    box = WriteQueue(lambda: now[0])
    for number in range(3):
        box.put(lambda number=number: write(number), written.append)
    assert not box.flush()
    moments = []
    while len(moments) < 8:
        now[0] += 0.25
        before = tries[0]
        box.flush()
        if tries[0] > before:
            moments.append(now[0])
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    is_away[0] = False
    assert box.flush(at_once=True)
    assert written == [0, 1, 2]
    for _ in range(CAPACITY):
        box.put(lambda: 0)
    assert box.is_full
