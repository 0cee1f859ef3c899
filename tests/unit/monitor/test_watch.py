"""The folder: whole files once, whatever happens to them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.monitor import write_frame

from georgia.monitor.result import FileKey
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


def take(watch: FolderWatch, key: FileKey) -> bool:
    """Read and settle a file; tell whether it was a frame."""
    frame = watch.read(key)
    if not frame.is_late:
        watch.settle(key)
    return frame.image is not None and not frame.is_late


def replace_file(path: Path, n_pg: int, seed: int) -> None:
    temporary = write_frame(path.with_name(".new.png"), n_pg, seed)
    temporary.rename(path)


def test_name_moved_over_is_read_each_time(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    latest = tmp_path / "latest.png"
    replace_file(latest, 1, 0)
    watch.poll()
    assert [take(watch, key) for key in watch.poll().ready] == [True]
    replace_file(latest, 2, 1)
    watch.poll()
    n_read = sum(take(watch, key) for key in watch.peek())
    for seed in range(2, 12):
        replace_file(latest, seed % 16, seed)
        n_read += sum(take(watch, key) for key in watch.peek())
    assert n_read == 11
    assert (watch.n_missed, watch.missing) == (0, "")


def test_name_moved_over_too_fast_is_missed(tmp_path: Path) -> None:
    now = [0.0]
    watch = FolderWatch(tmp_path, now=lambda: now[0])
    latest = tmp_path / "latest.png"
    for seed in range(4):
        replace_file(latest, seed, seed)
        watch.poll()
    for seed in range(4, 8):
        replace_file(latest, seed, seed)
        watch.peek()
    assert watch.n_missed >= 6
    assert "'latest.png' changes faster than it can be read" in watch.missing
    assert [take(watch, key) for key in watch.peek()] == [True]
    now[0] = 11.0
    assert watch.missing == ""


def test_name_written_in_place_must_rest(tmp_path: Path) -> None:
    now = [0.0]
    watch = FolderWatch(tmp_path, now=lambda: now[0])
    latest = write_frame(tmp_path / "latest.png", 1)
    watch.poll()
    assert [take(watch, key) for key in watch.poll().ready] == [True]
    for second in range(1, 9):
        now[0] += 1
        write_frame(latest, 2, seed=second)
        os.utime(latest, ns=(0, second * 10**9))
        assert watch.poll().ready == ()
    assert "changes faster" in watch.missing
    (key,) = watch.peek()
    assert take(watch, key)
    now[0] += 11
    assert watch.missing == ""


def write_in_place(path: Path, n_pg: int, second: int) -> None:
    """Write a BMP over itself, with a time of its own: all are of one size."""
    write_frame(path, n_pg, seed=second)
    os.utime(path, ns=(0, second * 10**9))


def test_frames_at_rest_in_place_are_counted_once_each_where_unread(tmp_path: Path) -> None:
    now = [0.0]
    watch, latest = FolderWatch(tmp_path, now=lambda: now[0]), tmp_path / "latest.bmp"
    write_in_place(latest, 1, 1)
    watch.poll()
    assert [take(watch, key) for key in watch.poll().ready] == [True]
    write_in_place(latest, 2, 2)
    watch.poll()
    for second in range(3, 13):  # the reader has no place for them: they are looked at and not read
        for _ in range(3):
            now[0] += 0.1
            assert len(watch.peek()) <= 1
        write_in_place(latest, 2, second)
    now[0] += 0.1
    watch.peek()
    assert watch.n_missed == 10
    now[0] += 0.1
    assert [take(watch, key) for key in watch.peek()] == [True]
    write_in_place(latest, 3, 20)
    now[0] += 0.1
    watch.peek()
    assert watch.n_missed == 10, "the last one was read"


def test_frame_written_in_pieces_in_place_is_not_missed(tmp_path: Path) -> None:
    now = [0.0]
    watch, latest = FolderWatch(tmp_path, now=lambda: now[0]), tmp_path / "latest.bmp"
    pixels = np.random.default_rng(1).integers(1, 255, (120, 120), np.uint8)
    Image.fromarray(pixels).save(latest)
    data = latest.read_bytes()
    watch.poll()
    assert [take(watch, key) for key in watch.poll().ready] == [True]
    latest.write_bytes(data)
    os.utime(latest, ns=(0, 10**9))
    watch.poll()
    # Allocated at full size, and the start filled; each step is there for a while.
    pieces = (bytes(len(data)), data[:4000] + bytes(len(data) - 4000), data)
    for second, piece in enumerate(pieces, 2):
        if second == 2:
            watch.settle(FileKey("latest.bmp", len(data), 10**9))
        latest.write_bytes(piece)
        os.utime(latest, ns=(0, second * 10**9))
        for _ in range(4):
            now[0] += 0.1
            watch.peek()
    assert watch.n_missed == 0
    # And one that grows by appending.
    watch.settle(FileKey("latest.bmp", len(data), 4 * 10**9))
    latest.write_bytes(data[:4000])
    for at in range(4000, len(data), 3000):
        with latest.open("ab") as stream:
            stream.write(data[at : at + 3000])
        for _ in range(3):
            now[0] += 0.1
            watch.peek()
    assert watch.n_missed == 0


def test_allocated_file_waits_to_be_filled(tmp_path: Path) -> None:
    now = [0.0]
    watch = FolderWatch(tmp_path, now=lambda: now[0])
    pixels = np.random.default_rng(1).integers(0, 255, (200, 200), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.bmp")
    data = (tmp_path / "whole.bmp").read_bytes()
    (tmp_path / "whole.bmp").unlink()
    path = tmp_path / "a.bmp"
    path.write_bytes(data[:2000] + bytes(len(data) - 2000))
    watch.poll()
    (key,) = watch.poll().ready
    late = watch.read(key)
    assert late.is_late
    assert "not filled yet" in late.error
    now[0] = 11.0
    assert watch.read(key).image is not None, "a frame that ends in black is taken in the end"
    path.write_bytes(data)
    os.utime(path, ns=(0, 10**9))
    watch.poll()
    (key,) = watch.poll().ready
    assert not watch.read(key).is_late


def test_system_and_temporary_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("lost+found", "System Volume Information", "#recycle", "$RECYCLE.BIN", ".snapshot"):
        write_frame(tmp_path / name / "old.png", 1)
    for name in ("~$a.png", "a.part.png", "a.tmp.png", ".a.png", "._a.png"):
        write_frame(tmp_path / name, 1)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    watch = FolderWatch(tmp_path)
    assert watch.poll().n_files == 0


def test_closed_folder_below_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frame(tmp_path / "today" / "a.png", 1)
    write_frame(tmp_path / "b.png", 2)
    keep = os.scandir

    def scan(path: Path) -> object:
        if Path(path).name == "today":
            raise PermissionError(13, "Permission denied")
        return keep(path)

    monkeypatch.setattr(os, "scandir", scan)
    poll = FolderWatch(tmp_path).poll()
    assert (poll.closed, poll.error, poll.n_files) == ({"today/": "the folder cannot be read"}, "", 1)


def test_link_to_another_folder_is_named(tmp_path: Path) -> None:
    """It is not followed, which nobody would know; one that leads to what is read anyway needs no word."""
    folder, elsewhere = tmp_path / "probe", tmp_path / "disk"
    for place in (folder / "day", elsewhere):
        write_frame(place / "a.png", len(place.name))
    links = {"day 2": elsewhere, "now": folder / "day", "b.png": elsewhere / "a.png", "gone": tmp_path / "x"}
    links |= {"up": tmp_path, "itself": folder, "circle": folder / "circle", "c.png": elsewhere}
    for name, place in links.items():
        (folder / name).symlink_to(place)
    watch = FolderWatch(folder)
    for _ in range(2):
        poll = watch.poll()
        assert {*poll.closed} == {"day 2/", "up/", "c.png/"}
        assert all("watch the place that it leads to" in reason for reason in poll.closed.values())
        assert (poll.error, poll.n_files) == ("", 2)
    assert {key.file for key in poll.ready} == {"day/a.png", "b.png"}


def test_closed_file_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    watch = FolderWatch(tmp_path, grace_s=2.0, now=lambda: now[0])
    write_frame(tmp_path / "a.png", 1)
    watch.poll()
    (key,) = watch.poll().ready

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    assert watch.read(key).is_late
    now[0] = 3.0
    found = watch.read(key)
    assert not found.is_late
    assert found.error == "it cannot be opened (Permission denied)"


def test_folder_not_mounted_any_more_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = FolderWatch(tmp_path)
    assert watch.poll().error == "", "a folder that was empty from the beginning"
    write_frame(tmp_path / "a.png", 1)
    assert watch.poll().error == ""
    devices, real = [99], Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((*found[:2], devices[0], *found[3:])) if path == tmp_path else found

    (tmp_path / "a.png").unlink()
    assert watch.poll().error == "", "emptied on the same disk"
    monkeypatch.setattr(Path, "stat", stat)
    assert "is its network folder mounted?" in watch.poll().error
    write_frame(tmp_path / "b.png", 1)
    assert watch.poll().error == "", "moved to another disk with its frames"


def test_name_moved_over_within_one_tick_is_read(tmp_path: Path) -> None:
    watch, latest = FolderWatch(tmp_path), tmp_path / "latest.bmp"
    n_read = 0
    for seed in range(6):
        write_frame(tmp_path / ".new.bmp", 2, seed).rename(latest)
        os.utime(latest, ns=(0, 10**9))
        watch.poll()
        keys = watch.poll().ready
        n_read += [take(watch, key) for key in keys] == [True]
    assert (n_read, watch.n_missed) == (6, 0), "all are of one size and time"


def test_inodes_that_change_by_themselves_are_no_frames(tmp_path: Path) -> None:
    watch, latest = FolderWatch(tmp_path), tmp_path / "latest.png"
    data = write_frame(latest, 2).read_bytes()
    os.utime(latest, ns=(0, 10**9))
    watch.poll()
    assert [take(watch, key) for key in watch.poll().ready] == [True]
    n_late = 0
    for _ in range(6):
        (tmp_path / ".new.png").write_bytes(data)
        os.utime(tmp_path / ".new.png", ns=(0, 10**9))
        (tmp_path / ".new.png").rename(latest)
        found = [watch.read(key) for _ in range(2) for key in watch.poll().ready]
        assert all(frame.is_late for frame in found)
        n_late += len(found)
    assert (n_late, watch.n_missed) == (1, 0)
    write_frame(tmp_path / ".new.png", 3).rename(latest)
    watch.poll()
    assert [take(watch, key) for key in watch.poll().ready] == [True]


def test_name_written_in_place_in_one_size_is_read(tmp_path: Path) -> None:
    now = [0.0]
    watch, latest = FolderWatch(tmp_path, now=lambda: now[0]), tmp_path / "latest.bmp"
    for second in range(1, 9):
        now[0] += 1
        write_frame(latest, 2, seed=second)
        os.utime(latest, ns=(0, second * 10**9))
        assert watch.poll().ready == ()
    assert "'latest.bmp' changes faster" in watch.missing
    assert watch.n_missed == 1
    n_read = 0
    for second in range(9, 14):
        write_frame(latest, 2, seed=second)
        os.utime(latest, ns=(0, second * 10**9))
        found = [take(watch, key) for _ in range(2) for key in watch.peek()]
        n_read += found == [True]
    assert n_read == 5, "between two polls it is at rest"
