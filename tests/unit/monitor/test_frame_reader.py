"""Reading ahead of the net."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.monitor import wait_for, write_frame

from georgia.monitor.frame_reader import FrameReader
from georgia.monitor.watch import FolderWatch


def test_frames_that_come_while_net_is_behind_are_counted(tmp_path: Path) -> None:
    """Nothing is polled while frames wait for the net: those that come in the meantime wait too."""
    for number in range(4):
        write_frame(tmp_path / f"{number}.png", number)
    reader = FrameReader(FolderWatch(tmp_path), 0.05)
    reader.start()
    try:
        wait_for(lambda: reader.n_waiting == 4)
        for number in range(4, 30):
            write_frame(tmp_path / f"{number:02d}.png", number)
        wait_for(lambda: reader.n_waiting >= 29)  # one may be in hand
        taken = [reader.take(5.0) for _ in range(30)]
        assert None not in taken
        wait_for(lambda: reader.n_waiting == 0)
    finally:
        reader.stop()
