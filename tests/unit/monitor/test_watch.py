"""The folder: whole files once, whatever happens to them; and when their frames were taken."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.monitor import write_frame

from georgia.errors import InputError
from georgia.monitor.frametime import FrameClock, compile_pattern, time_in_exif, time_in_name
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.watch import RECHECK_LOOKS, FolderWatch


def names(watch: FolderWatch) -> list[str]:
    return [key.file for key in watch.look().ready]


def test_a_file_is_ready_once_it_is_the_same_at_two_looks(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    write_frame(tmp_path / "a.png", 1)
    assert watch.look().n_waiting == 1
    assert names(watch) == ["a.png"]


def test_a_file_that_grows_is_not_ready(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    data = write_frame(tmp_path / "whole.png", 1).read_bytes()
    (tmp_path / "whole.png").unlink()
    for size in (0, 40, 80, len(data)):
        (tmp_path / "a.png").write_bytes(data[:size])
        assert names(watch) == []
    assert names(watch) == ["a.png"]


def test_a_file_that_stops_half_way_waits_out_its_grace(tmp_path: Path) -> None:
    now = [0.0]
    watch = FolderWatch(tmp_path, grace_s=10.0, now=lambda: now[0])
    data = write_frame(tmp_path / "a.png", 1).read_bytes()
    (tmp_path / "a.png").write_bytes(data[:60])
    watch.look()
    (key,) = watch.look().ready
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
    ready = [watch.look().ready for _ in range(RECHECK_LOOKS + 2)]
    (key,) = [found[0] for found in ready if found][:1]
    assert watch.read(key).image is not None


def test_a_file_that_was_seen_is_not_ready_again_unless_it_changes(tmp_path: Path) -> None:
    status = write_frame(tmp_path / "a.png", 1).stat()
    watch = FolderWatch(tmp_path, [("a.png", status.st_size, status.st_mtime_ns)])
    assert [names(watch) for _ in range(3)] == [[], [], []]
    write_frame(tmp_path / "a.png", 2)
    os.utime(tmp_path / "a.png", ns=(0, status.st_mtime_ns + 10**9))
    assert any(names(watch) for _ in range(RECHECK_LOOKS + 2))


def test_files_come_in_the_order_of_their_times_then_of_their_names(tmp_path: Path) -> None:
    for name, second in (("b (10).png", 5), ("b (2).png", 5), ("z.png", 1), ("deep/er/c.TIF", 3)):
        path = write_frame(tmp_path / name, 1)
        os.utime(path, (second, second))
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    watch = FolderWatch(tmp_path)
    watch.look()
    assert names(watch) == ["z.png", "deep/er/c.TIF", "b (2).png", "b (10).png"]


def test_what_goes_away_or_changes_under_the_reader_is_late(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.png", 1)
    write_frame(tmp_path / "b.png", 2)
    watch = FolderWatch(tmp_path)
    watch.look()
    first, second = watch.look().ready
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    with (tmp_path / "b.png").open("ab") as stream:
        stream.write(b"more")
    assert watch.read(first).is_late
    assert watch.read(second).is_late
    assert names(watch) == []
    assert {"b.png", "c.png"} >= set(names(watch)) >= {"c.png"}


def test_a_share_that_goes_away_is_named_and_nothing_is_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    write_frame(folder / "a.png", 1)
    watch = FolderWatch(folder)
    watch.look()
    folder.rename(tmp_path / "away")
    look = watch.look()
    assert "cannot be read" in look.error
    assert look.ready == ()
    (tmp_path / "away").rename(folder)
    assert names(watch) == ["a.png"]
    shutil.rmtree(folder)
    folder.mkdir()
    assert watch.look().error == ""


@pytest.mark.parametrize(
    ("file", "pattern", "expected"),
    [
        ("probe_20260131_120000.png", "%Y%m%d_%H%M%S", "2026-01-31T12:00:00"),
        ("20260131120000123.tif", "%Y%m%d%H%M%S%f", "2026-01-31T12:00:00.123"),
        ("2026-01-31/12.00.05.jpg", "%Y-%m-%d/%H.%M.%S", "2026-01-31T12:00:05"),
        ("31Jan26 0905pm.png", "%d%b%y %I%M%p", "2026-01-31T21:05:00"),
        ("r7_t1769860800.5_x.png", "t%s", "2026-01-31T12:00:00.5"),
        ("20260131T140000+0200.png", "%Y%m%dT%H%M%S%z", "2026-01-31T12:00:00"),
        ("a99999999_20260131.png", "%Y%m%d", "2026-01-31T00:00:00"),
        ("shot-d031-y2026.png", r"d(?P<j>\d+)-y(?P<Y>\d{4})", "2026-01-31T00:00:00"),
    ],
)
def test_time_in_a_name(file: str, pattern: str, expected: str) -> None:
    moment = datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert time_in_name(file, pattern, "UTC") == pytest.approx(moment.timestamp(), abs=1e-6)


def test_zones_shift_the_time_in_a_name() -> None:
    utc = time_in_name("20260731_120000", "%Y%m%d_%H%M%S", "UTC")
    berlin = time_in_name("20260731_120000", "%Y%m%d_%H%M%S", "Europe/Berlin")
    assert utc is not None
    assert berlin == utc - 7200


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%Q", "its directives are"),
        ("%H%M", "must give year, month and day"),
        ("%Y%m%d%Y", "each part of the time once"),
        (r"(?P<Y>\d{4}", "regular expression"),
    ],
)
def test_patterns_that_give_no_time_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_pattern(pattern)


def test_time_in_exif_and_what_stands_in_for_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    inner[36867], inner[37521], inner[36881] = "2026:01:31 14:00:00", "25", "+02:00"
    path = tmp_path / "a.jpg"
    Image.new("L", (8, 8)).save(path, exif=exif)
    moment = datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC).timestamp()
    clock = FrameClock("exif", zone="UTC")
    assert clock.read("a.jpg", 5_000_000_000, path.read_bytes()) == (moment, "exif")
    bare = write_frame(tmp_path / "b.png", 0).read_bytes()
    assert time_in_exif(bare) is None
    assert time_in_exif(b"no image") is None
    assert clock.read("b.png", 5_000_000_000, bare) == (5.0, "file")
    assert FrameClock("name", "%Y%m%d", "UTC").read("x.png", 5_000_000_000) == (5.0, "file")


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(
        InputError, match=r"look_s: 0\.05 to 3600.*webhook: http.*mean and sigma: both or none"
    ):
        MonitorConfig(look_s=0, webhook="ftp://x", mean=0.1)
    with pytest.raises(InputError, match="time_pattern: a pattern such as"):
        MonitorConfig(time_from="name")
    with pytest.raises(InputError, match="Cannot use time_zone"):
        MonitorConfig(time_zone="Mars/Base")


def test_a_password_in_the_address_is_not_kept() -> None:
    config = MonitorConfig(db="postgresql://me:secret@host/db")
    assert "secret" not in str(config.to_json_dict())
