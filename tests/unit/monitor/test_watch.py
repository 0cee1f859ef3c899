"""The folder: whole files once, whatever happens to them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.helpers.monitor import write_frame

from georgia.monitor.watch import RECHECK_POLLS, FolderWatch


def names(watch: FolderWatch) -> list[str]:
    return [key.file for key in watch.poll().ready]


def test_file_is_ready_after_two_equal_polls(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    write_frame(tmp_path / "a.png", 1)
    assert watch.poll().n_waiting == 1
    assert names(watch) == ["a.png"]


def test_growing_file_is_not_ready(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    data = write_frame(tmp_path / "whole.png", 1).read_bytes()
    (tmp_path / "whole.png").unlink()
    for size in (0, 40, 80, len(data)):
        (tmp_path / "a.png").write_bytes(data[:size])
        assert names(watch) == []
    assert names(watch) == ["a.png"]


def test_incomplete_file_waits_grace_period(tmp_path: Path) -> None:
    now = [0.0]
    watch = FolderWatch(tmp_path, grace_s=10.0, now=lambda: now[0])
    data = write_frame(tmp_path / "a.png", 1).read_bytes()
    (tmp_path / "a.png").write_bytes(data[:60])
    watch.poll()
    (key,) = watch.poll().ready
    assert watch.read(key).is_late
    now[0] = 9.0
    assert watch.read(key).is_late
    now[0] = 10.0
    given_up = watch.read(key)
    assert not given_up.is_late
    assert given_up.image is None
    assert given_up.error
    watch.settle(key)
    assert names(watch) == []
    (tmp_path / "a.png").write_bytes(data)
    ready = [watch.poll().ready for _ in range(RECHECK_POLLS + 2)]
    (key,) = [found[0] for found in ready if found][:1]
    assert watch.read(key).image is not None


def test_known_file_is_ready_only_if_changed(tmp_path: Path) -> None:
    status = write_frame(tmp_path / "a.png", 1).stat()
    watch = FolderWatch(tmp_path, [("a.png", status.st_size, status.st_mtime_ns)])
    assert [names(watch) for _ in range(3)] == [[], [], []]
    write_frame(tmp_path / "a.png", 2)
    os.utime(tmp_path / "a.png", ns=(0, status.st_mtime_ns + 10**9))
    assert any(names(watch) for _ in range(RECHECK_POLLS + 2))


def test_files_are_sorted_by_time_and_name(tmp_path: Path) -> None:
    for name, second in (("b (10).png", 5), ("b (2).png", 5), ("z.png", 1), ("deep/er/c.TIF", 3)):
        path = write_frame(tmp_path / name, 1)
        os.utime(path, (second, second))
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    watch = FolderWatch(tmp_path)
    watch.poll()
    assert names(watch) == ["z.png", "deep/er/c.TIF", "b (2).png", "b (10).png"]


def test_file_changed_while_read_is_late(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.png", 1)
    write_frame(tmp_path / "b.png", 2)
    watch = FolderWatch(tmp_path)
    watch.poll()
    first, second = watch.poll().ready
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    with (tmp_path / "b.png").open("ab") as stream:
        stream.write(b"more")
    assert watch.read(first).is_late
    assert watch.read(second).is_late
    assert names(watch) == []
    assert {"b.png", "c.png"} >= set(names(watch)) >= {"c.png"}


def test_missing_folder_is_reported_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "probe"
    write_frame(folder / "a.png", 1)
    watch = FolderWatch(folder)
    watch.poll()
    folder.rename(tmp_path / "away")
    found = watch.poll()
    assert "cannot be read" in found.error
    assert found.ready == ()
    (tmp_path / "away").rename(folder)
    assert names(watch) == ["a.png"]
    shutil.rmtree(folder)
    folder.mkdir()
    assert watch.poll().error == ""
