"""The loop: every frame once, whatever goes away meanwhile; listeners hear of it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.pending import ConflictError
from georgia.monitor.records import MonitorEvent
from georgia.monitor.run import Monitor
from georgia.monitor.settings import ChartConfig, MonitorConfig
from georgia.monitor.smoothed import Pool
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store


class Probe:
    """A folder, a store, and what the monitor said."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "probe"
        self.folder.mkdir()
        self.store = Store(str(root / "store.db"))
        self.events: list[MonitorEvent] = []

    def monitor(self, analyzer: BrightnessAnalyzer | None = None, **changes: Any) -> Monitor:
        values = {
            "poll_interval_s": 0.05,
            "min_judged": 1,
            "baseline_frames": 5,
            "grace_s": 0.2,
            "source": "probe",
        }
        config = build_config(MonitorConfig, {"watch": self.folder}, values, changes)
        analyzer = analyzer or BrightnessAnalyzer()
        return Monitor(analyzer, config, self.store, [self.events.append], "tester")  # type: ignore[arg-type]

    def files(self) -> list[str]:
        return sorted(frame.file for frame in self.store.iter_frames())

    def kinds(self, kind: str) -> list[MonitorEvent]:
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    probe = Probe(tmp_path)
    yield probe
    probe.store.close()


def test_folder_is_analyzed_once_in_order(probe: Probe) -> None:
    for n in range(8):
        write_frame(probe.folder / f"f{n}.png", n % 3, seed=n)
    (probe.folder / "garbage.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    monitor = probe.monitor(batch="B1")
    assert monitor.run(once=True) == 8
    assert [event.frame.ordinal for event in probe.kinds("frame") if event.frame] == list(range(1, 9))
    assert [frame.fraction for frame in probe.store.iter_frames()] == [n % 3 / 16 for n in range(8)]
    assert [event.detail["file"] for event in probe.kinds("unreadable")] == ["garbage.png"]
    assert probe.store.batches()[0].ended_at_s is not None
    analyzer = BrightnessAnalyzer()
    assert probe.monitor(analyzer, batch="B2").run(once=True) == 0
    assert analyzer.n_analyzed == 0
    assert verify_store(probe.store).is_whole


def test_renamed_or_duplicate_frame_is_repeat(probe: Probe) -> None:
    first = write_frame(probe.folder / "a.png", 1)
    probe.monitor(batch="B").run(once=True)
    first.rename(probe.folder / "renamed.png")
    shutil.copy(probe.folder / "renamed.png", probe.folder / "copy.png")
    monitor = probe.monitor(batch="B")
    assert monitor.run(once=True) == 0
    assert monitor.status().n_repeats == 2
    assert probe.files() == ["a.png"]


def test_repeated_image_is_frozen_camera(probe: Probe) -> None:
    data = write_frame(probe.folder / "a.png", 1).read_bytes()
    monitor = probe.monitor(no_frames_s=0.1)
    with running(monitor):
        wait_for(lambda: probe.kinds("frame"))
        for n in range(3):
            (probe.folder / f"b{n}.png").write_bytes(data)
        wait_for(lambda: monitor.status().state == "frozen camera")


def test_new_frame_ends_silence(probe: Probe) -> None:
    monitor = probe.monitor(no_frames_s=0.1)
    with running(monitor):
        wait_for(lambda: monitor.status().state == "no frames")
        write_frame(probe.folder / "a.png", 1)
        wait_for(lambda: any(event.status.state == "warming up" for event in probe.kinds("frame")))


def test_alarm_is_raised_and_cleared(probe: Probe) -> None:
    for n in range(34):
        write_frame(probe.folder / f"f{n:02d}.png", 10 if 8 <= n < 12 else n % 2, seed=n)
    probe.monitor(raise_after=2, clear_after=2).run(once=True)
    changes = [event.detail["change"] for event in probe.kinds("alarm")]
    assert changes == ["raised", "cleared"]
    states = [frame.state for frame in probe.store.iter_frames()]
    assert states[:4] == ["warming up"] * 4
    assert "alarm" in states[8:20]
    assert states[-1] == "in control"
    (alarm,) = probe.store.alarms()
    assert alarm.cleared_at_s is not None
    assert "EWMA" in alarm.reason
    assert alarm.chart == "ewma"
    (raised,) = probe.store.audit_log(action="alarm raised")
    assert (raised.detail["chart"], raised.detail["value"]) == ("ewma", alarm.value)
    assert [entry.action for entry in probe.store.audit_log(action="limits set")] == ["limits set"]


@pytest.mark.slow
def test_restart_continues_charts_exactly(probe: Probe, tmp_path: Path) -> None:
    for n in range(14):
        write_frame(probe.folder / f"f{n:02d}.png", 12 if n > 10 else n % 3, seed=n)
    probe.monitor().run(once=True)
    whole = [(frame.file, frame.chart, frame.state) for frame in probe.store.iter_frames()]
    other = Store(str(tmp_path / "other.db"))
    folder = tmp_path / "slow"
    folder.mkdir()
    for n in range(14):
        shutil.copy2(probe.folder / f"f{n:02d}.png", folder)
        if n % 3 == 2 or n == 13:
            config = replace(probe.monitor().config, watch=folder, batch="same")
            monitor = Monitor(BrightnessAnalyzer(), config, other)  # type: ignore[arg-type]
            monitor.start()
            wait_for(lambda: monitor.step(0.05) is None and other.count_frames() == n + 1)  # noqa: B023
            monitor._finish("stopped", ends_batch=False)
    resumed = [(frame.file, frame.chart, frame.state) for frame in other.iter_frames()]
    assert resumed == whole
    assert len(other.batches()) == 1
    # The smoothed fraction's interval can be computed again from what each frame's record holds.
    pool, weight = Pool(), ChartConfig().ewma_lambda
    for frame in other.iter_frames():
        pool = pool.add(frame.fraction or 0.0, frame.n_effective, weight)
        again = pool.find_interval(frame.chart.ewma or 0.0, weight)
        assert (frame.chart.ewma_low, frame.chart.ewma_high) == again
    other.close()


def test_store_outage_loses_no_frame(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    is_away = threading.Event()
    keep = probe.store.record_frame

    def record(*arguments: Any) -> Any:
        if is_away.is_set():
            raise StoreAwayError("The store cannot be used now: it is unplugged.")
        return keep(*arguments)

    monkeypatch.setattr(probe.store, "record_frame", record)
    monitor = probe.monitor()
    with running(monitor):
        is_away.set()
        for n in range(4):
            write_frame(probe.folder / f"f{n}.png", n, seed=n)
        wait_for(lambda: monitor.status().n_unwritten == 4)
        wait_for(lambda: "unplugged" in monitor.status().fault)
        for n in range(4):
            (probe.folder / f"f{n}.png").unlink()
        is_away.clear()
        wait_for(lambda: probe.store.count_frames() == 4)
        wait_for(lambda: not monitor.status().fault)
    assert [event.status.fault for event in probe.kinds("fault")][-1] == ""


def test_store_away_at_start_is_an_outage(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StoreAwayError("The store cannot be used now: attempt to write a readonly database.")

    write_frame(probe.folder / "a.png", 1)
    monitor = probe.monitor()
    with monkeypatch.context() as away:
        for name in ("save_document", "begin_batch", "append_event"):
            away.setattr(probe.store, name, fail)
        with running(monitor):
            wait_for(lambda: monitor.status().state == "store away")
            assert not monitor.health().is_ok
            assert "readonly" in monitor.health().reason
            away.undo()
            wait_for(lambda: probe.store.count_frames() == 1)
            wait_for(lambda: monitor.health().is_ok)
    outages = [(event.detail["outage"], event.detail["change"]) for event in probe.kinds("outage")]
    assert outages == [("store away", "began"), ("store away", "ended")]
    written = [event.action for event in probe.store.audit_log() if event.action.startswith("outage")]
    assert written == ["outage ended", "outage began"]


def test_folder_outage_loses_no_frame(probe: Probe, tmp_path: Path) -> None:
    write_frame(probe.folder / "a.png", 1)
    monitor = probe.monitor()
    with running(monitor):
        wait_for(lambda: probe.store.count_frames() == 1)
        probe.folder.rename(tmp_path / "away")
        wait_for(lambda: "cannot be read" in monitor.status().fault)
        write_frame(tmp_path / "away" / "b.png", 2)
        (tmp_path / "away").rename(probe.folder)
        wait_for(lambda: probe.store.count_frames() == 2 and not monitor.status().fault)
    assert probe.files() == ["a.png", "b.png"]


def test_audit_log_holds_starts_and_changes(probe: Probe) -> None:
    write_frame(probe.folder / "a.png", 1)
    probe.monitor(limit=0.2).run(once=True)
    probe.monitor(BrightnessAnalyzer(model_sha256="c" * 64), limit=0.3).run(once=True)
    actions = [entry.action for entry in probe.store.audit_log()][::-1]
    first = ["batch began", "monitor started", "monitor stopped", "batch ended"]
    second = ["batch began", "settings changed", "model swapped", *first[1:]]
    assert actions == first + second
    changed = probe.store.audit_log(action="settings changed")[0]
    assert changed.detail["changes"] == {"limit": [0.2, 0.3]}
    assert changed.who == "tester"


def test_changes_apply_between_frames(probe: Probe) -> None:
    monitor = probe.monitor(batch="B1")
    with running(monitor):
        wait_for(lambda: monitor.status().is_running)
        with pytest.raises(InputError, match="'watch' is no setting"):
            monitor.change_limits("Ann", {"watch": "/etc"})
        monitor.change_limits("Ann", {"limit": 0.1})
        write_frame(probe.folder / "a.png", 4)
        wait_for(lambda: probe.store.count_frames() == 1)
        monitor.next_batch("Ann", "B2", "Bob")
        monitor.swap_model("Ann", BrightnessAnalyzer(model_sha256="d" * 64))  # type: ignore[arg-type]
        wait_for(lambda: len(probe.store.audit_log(action="model swapped")) == 1)
        write_frame(probe.folder / "b.png", 4, seed=1)
        wait_for(lambda: probe.store.count_frames() == 2)
    second, first = probe.store.frames()
    assert first.chart.over == pytest.approx(2.5)
    assert second.model_sha256 == "d" * 64
    assert [batch.name for batch in probe.store.batches()] == ["B2", "B1"]
    assert probe.store.document(first.settings_id)["limit"] == 0.1
    assert probe.store.audit_log(action="limits changed")[0].detail["changes"] == {"limit": [None, 0.1]}


def test_limits_changed_by_two_while_store_is_away(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StoreAwayError("away")

    monitor = probe.monitor(limit=0.2)
    with running(monitor):
        wait_for(lambda: monitor.status().is_running)
        for name in ("record_limits", "audit_log"):
            monkeypatch.setattr(probe.store, name, fail)
        monitor.change_limits("ann", {"limit": 0.3}, "colder", expected={"limit": 0.2})
        wait_for(lambda: monitor.config.charts.limit == 0.3)
        with pytest.raises(ConflictError, match="somebody has set meanwhile"):
            monitor.change_limits("bob", {"limit": 0.1}, "warmer", expected={"limit": 0.2})
        monkeypatch.undo()
        wait_for(lambda: probe.store.audit_log(action="limits changed"))
    (event,) = probe.store.audit_log(action="limits changed")
    assert (event.who, event.detail["changes"]) == ("ann", {"limit": [0.2, 0.3]})


def test_failing_listener_is_removed(probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def fail(event: MonitorEvent) -> None:
        calls.append(event)
        raise RuntimeError("page is gone")

    write_frame(probe.folder / "a.png", 1)
    monitor = probe.monitor()
    monitor.add_listener(fail)
    assert monitor.run(once=True) == 1
    assert len(calls) == 1
    assert "a listener of the monitor failed" in caplog.text


def test_events_serialise_to_json(probe: Probe) -> None:
    write_frame(probe.folder / "a.png", 1)
    probe.monitor().run(once=True)
    for event in probe.events:
        plain = json.loads(json.dumps(event.to_json_dict()))
        assert plain["kind"] == event.kind
    assert probe.kinds("heartbeat")[-1].status.beat > 0


def test_batch_that_begins_bad_is_not_in_control(probe: Probe) -> None:
    for n in range(8):
        write_frame(probe.folder / f"f{n}.png", 4, seed=n)
    monitor = probe.monitor(batch="B")
    with running(monitor):
        wait_for(lambda: probe.store.count_frames() == 8)
        assert monitor.status().state == "limits unconfirmed"
        with pytest.raises(InputError, match="the name of a person is needed"):
            monitor.confirm_limits(" ")
        monitor.confirm_limits("Ann", "seeded batch")
        wait_for(lambda: monitor.status().state == "in control")
        write_frame(probe.folder / "g.png", 4, seed=99)
        wait_for(lambda: probe.store.count_frames() == 9)
    (learned,) = probe.store.audit_log(action="limits set")
    assert learned.detail["reason"] == "limits learned at 25.0%; up to 5.0% is plausible"
    (confirmed,) = probe.store.audit_log(action="limits confirmed")
    assert (confirmed.who, confirmed.detail["note"]) == ("Ann", "seeded batch")
    states = [frame.state for frame in probe.store.iter_frames()]
    assert states == ["warming up"] * 4 + ["limits unconfirmed"] * 4 + ["in control"]


def test_confirmation_survives_restart(probe: Probe) -> None:
    for n in range(6):
        write_frame(probe.folder / f"f{n}.png", 4, seed=n)
    monitor = probe.monitor(batch="B")
    with running(monitor):
        wait_for(lambda: probe.store.count_frames() == 6)
    monitor = probe.monitor(batch="B")
    monitor.confirm_limits("Ann")
    with running(monitor):
        wait_for(lambda: monitor.status().state == "in control")


def test_plausible_mean_follows_limit() -> None:
    assert ChartConfig().most_plausible == 0.05
    assert ChartConfig(limit=0.3).most_plausible == 0.15
    assert ChartConfig(limit=0.3, plausible_mean=0.2).most_plausible == 0.2
