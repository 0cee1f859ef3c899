"""When a frame was taken: from its name, from Exif, or from its file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.monitor import write_frame

from georgia.errors import InputError
from georgia.monitor.frametime import FrameClock, TimeFrom, compile_pattern, time_in_exif, time_in_name


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
    clock = FrameClock(TimeFrom.EXIF, zone="UTC")
    assert clock.read("a.jpg", 5_000_000_000, path.read_bytes()) == (moment, "exif")
    bare = write_frame(tmp_path / "b.png", 0).read_bytes()
    assert time_in_exif(bare) is None
    assert time_in_exif(b"no image") is None
    assert clock.read("b.png", 5_000_000_000, bare) == (5.0, "file")
    assert FrameClock(TimeFrom.NAME, "%Y%m%d", "UTC").read("x.png", 5_000_000_000) == (5.0, "file")
