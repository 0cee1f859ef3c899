"""What waits for a store that is away, and a file that was swapped while it was open."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.monitor.connect import CAPACITY, StoreAwayError, WriteQueue
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store


def test_write_queue_keeps_order_and_backs_off() -> None:
    now, is_away, written, tries = [0.0], [True], [], [0]

    def write(number: int) -> int:
        tries[0] += 1
        if is_away[0]:
            raise StoreAwayError("away")
        return number

    waiting = WriteQueue(lambda: now[0])
    for number in range(3):
        waiting.put(lambda number=number: write(number), written.append)
    assert not waiting.flush()
    moments = []
    while len(moments) < 8:
        now[0] += 0.25
        before = tries[0]
        waiting.flush()
        if tries[0] > before:
            moments.append(now[0])
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    is_away[0] = False
    assert waiting.flush(at_once=True)
    assert written == [0, 1, 2]
    for _ in range(CAPACITY):
        waiting.put(lambda: 0)
    assert waiting.is_full


@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "replaced"])
def test_store_file_that_is_swapped_is_away(tmp_path: Path, is_replaced: bool) -> None:
    file = tmp_path / "a.db"
    store = Store(str(file))
    store.append_event("Ann", "note", {})
    kept = file.rename(tmp_path / "kept.db")
    if is_replaced:
        Store(str(tmp_path / "b.db")).close()
        (tmp_path / "b.db").rename(file)
    what = "was replaced by another file" if is_replaced else "was removed"
    with pytest.raises(StoreAwayError, match=f"a.db' {what} while it was open"):
        store.append_event("Ann", "note", {})
    with pytest.raises(StoreAwayError, match=what):
        store.batches()
    kept.replace(file)
    store.append_event("Ann", "note", {"n": 2})
    assert len(store.audit_log(action="note")) == 2
    store.close()


def test_monitor_of_swapped_store_loses_no_frame(tmp_path: Path) -> None:
    folder, file = tmp_path / "probe", tmp_path / "a.db"
    store = Store(str(file))
    config = MonitorConfig(watch=folder, poll_interval_s=0.05, db=str(file))
    monitor = Monitor(BrightnessAnalyzer(), config, store)
    with running(monitor):
        write_frame(folder / "f0.png", 1)
        wait_for(lambda: monitor.status().n_frames == 1)
        file.rename(tmp_path / "kept.db")
        write_frame(folder / "f1.png", 2, seed=1)
        wait_for(lambda: monitor.status().state == "store away")
        assert "was removed while it was open" in monitor.health().reason
        assert not monitor.health().is_ok
        (tmp_path / "kept.db").rename(file)
        wait_for(lambda: monitor.status().n_frames == 2)
    assert [frame.file for frame in store.iter_frames()] == ["f0.png", "f1.png"]
    store.close()
