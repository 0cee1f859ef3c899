"""The folder: whole files once, whatever happens to them; and when their frames were taken."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.monitor import write_frame

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.frametime import FrameClock, compile_pattern, time_in_exif, time_in_name
from georgia.monitor.settings import ChartName, MonitorConfig
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
def test_time_in_name(file: str, pattern: str, expected: str) -> None:
    moment = datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert time_in_name(file, pattern, "UTC") == pytest.approx(moment.timestamp(), abs=1e-6)


def test_zone_shifts_time_in_name() -> None:
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
def test_pattern_without_time_is_rejected(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_pattern(pattern)


def test_exif_time_falls_back_to_file_time(tmp_path: Path) -> None:
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


def test_settings_report_all_faults_at_once() -> None:
    wrong = {"poll_interval_s": 0, "webhook": "ftp://x", "mean": 0.1, "overlap": 1, "time_zone": "Mars/Base"}
    with pytest.raises(InputError) as caught:
        build_config(MonitorConfig, wrong)
    for message in (
        "poll_interval_s must be from 0.05 to 3600; got 0",
        "webhook must be http://… or https://…; got 'ftp://x'",
        "mean and sigma: both or none must be given",
        "overlap must be from 0 to 0.9; got 1",
        "Cannot use time_zone",
    ):
        assert message in str(caught.value)
    with pytest.raises(InputError, match="time_pattern: a pattern such as"):
        MonitorConfig(time_from="name")


def test_settings_are_one_flat_table() -> None:
    with pytest.warns(FutureWarning, match="'look_s' is now called 'poll_interval_s'"):
        config = build_config(
            MonitorConfig, {"look_s": "0.5", "chart": "p", "limit": "0.1", "min_judged": "2"}
        )
    assert (config.poll_interval_s, config.charts.chart, config.tiles.min_judged) == (0.5, ChartName.P, 2)
    stored = config.to_json_dict()
    assert (stored["chart"], stored["limit"], stored["min_judged"]) == ("p", 0.1, 2)
    assert "tiles" not in stored
    with pytest.raises(InputError, match="'chart' must be one of ewma, cusum, p; got 'ewna'"):
        build_config(MonitorConfig, {"chart": "ewna"})


def test_password_in_address_is_not_stored() -> None:
    config = MonitorConfig(db="postgresql://me:secret@host/db")
    assert "secret" not in str(config.to_json_dict())
