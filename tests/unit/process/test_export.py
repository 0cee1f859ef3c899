"""Exports of reactors in many dialects: what is found, what is asked about, and the true values."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from georgia.cli import main
from georgia.config import build_config
from georgia.errors import InputError
from georgia.process.export import ExportFile, iter_chunks, summarize_export
from georgia.process.settings import ProcessConfig

# The truth of every file: 2026-03-25 08:00 UTC on, one row a minute, T_r from 20.0 and n from 1200.
START = datetime(2026, 3, 25, 8, tzinfo=UTC)
N = 40
BERLIN = ZoneInfo("Europe/Berlin")


def moments(zone: Any = UTC) -> list[datetime]:
    return [(START + timedelta(minutes=k)).astimezone(zone) for k in range(N)]


def temperature(k: int) -> float:
    return 20 + k / 4


def number(value: float, decimal: str = ".", digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace(".", decimal)


def table(header: Sequence[str], times: Sequence[str], sep: str, decimal: str = ".", end: str = "\n") -> str:
    """Return an export of a time, T_r and n."""
    rows = [sep.join((at, number(temperature(k), decimal), str(1200 + k))) for k, at in enumerate(times)]
    return end.join([*header, *rows, ""])


@dataclass
class Dialect:
    """One file: its content, the settings that it needs, and what is found in it."""

    name: str
    content: bytes
    config: dict[str, Any] = field(default_factory=dict)
    unit: str = "°C"
    found: dict[str, Any] = field(default_factory=dict)


BERLIN_SET, UTC_SET = {"time_zone": "Europe/Berlin"}, {"time_zone": "UTC"}
US = ZoneInfo("America/New_York")
HEAD = "Zeit;T_r [°C];n [U/min]"


def stamped(form: str, zone: Any = UTC, header: str = "Zeit;T_r [°C];n", sep: str = ";") -> bytes:
    """Return an export whose times have a form of ``strftime``."""
    times = [format(moment, form) for moment in moments(zone)]
    return table(header.split("\n"), times, sep, "," if sep == ";" else ".").encode()


def numbered(times: Sequence[float | str], name: str, sep: str = ",") -> bytes:
    """Return an export whose times are numbers."""
    return table([sep.join((name, "T_r [°C]", "n"))], list(map(str, times)), sep).encode()


def find_encodings(text: str) -> list[Dialect]:
    return [
        Dialect("German, UTF-8", text.encode(), BERLIN_SET, found={"delimiter": ";", "decimal": ","}),
        Dialect("mark of UTF-8", text.encode("utf-8-sig"), BERLIN_SET),
        Dialect("UTF-16", text.encode("utf-16"), BERLIN_SET, found={"encoding": "utf-16-le with mark"}),
        Dialect("UTF-16 without mark", text.encode("utf-16-le"), BERLIN_SET),
        Dialect("UTF-16 big", b"\xfe\xff" + text.encode("utf-16-be"), BERLIN_SET),
        Dialect("Latin-1", text.encode("latin-1"), BERLIN_SET, found={"encoding": "windows-1252"}),
        Dialect("CRLF", text.replace("\n", "\r\n").encode(), BERLIN_SET),
        Dialect("CR alone", text.replace("\n", "\r").encode(), BERLIN_SET),
        Dialect("no end of the last line", text.rstrip("\n").encode(), BERLIN_SET),
        Dialect("separator at the end", text.replace("\n", ";\n").encode(), BERLIN_SET),
        Dialect("sep= line", ("sep=;\n" + text).encode(), BERLIN_SET, found={"header_rows": 2}),
        Dialect("zone by distance", text.encode(), {"time_zone": "UTC+01:00"}),
    ]


def find_headers() -> list[Dialect]:
    german, two = "%d.%m.%Y %H:%M:%S", {"header_rows": 2}
    preamble = f"Reaktor;EasyMax 402\nCharge;B-117\nExport;25.03.2026 12:00:00\n\n{HEAD}"
    bare = table([], [format(m, german) for m in moments(BERLIN)], ";", ",").encode()
    return [
        Dialect("preamble", stamped(german, BERLIN, preamble), BERLIN_SET, found={"header_rows": 5}),
        Dialect("row of units", stamped(german, BERLIN, "Zeit;T_r;n\n;°C;U/min"), BERLIN_SET, found=two),
        Dialect("units in brackets", stamped(german, BERLIN, "Zeit;T_r;n\n[-];[°C];[rpm]"), BERLIN_SET),
        Dialect("tabs", stamped(german, BERLIN, "Zeit\tT_r / °C\tn / min-1", "\t"), BERLIN_SET),
        Dialect("no header", bare, {**BERLIN_SET, "units": ["column 2=°C"]}),
        Dialect("UTC in the header", stamped("%Y-%m-%d %H:%M", header="Time (UTC);T_r [deg C];n")),
    ]


def find_calendars() -> list[Dialect]:
    us, us_set = "%m/%d/%Y %I:%M:%S %p", {"time_zone": "America/New_York"}
    order = {"time_format": "month, day, year", "decimal": "."}
    pattern = {"time": "Zeit", "time_format": "%H.%M.%S am %d.%m.%Y", **UTC_SET}
    apart = {"time_column": "Date + Time"}
    return [
        Dialect("American", stamped(us, US, "Time,Tr (degC),n (rpm)", ","), us_set, found=order),
        Dialect("American, quoted", stamped(f'"{us}"', US, '"Time","Tr (degC)","n"', ","), us_set),
        Dialect("ISO with zone", stamped("%Y-%m-%dT%H:%M:%S%z", BERLIN)),
        Dialect("zulu with fraction", stamped("%Y-%m-%dT%H:%M:%S.250Z"), found={"shift": 0.25}),
        Dialect("zone of a cell", stamped("%d.%m.%Y %H:%M:%S MEZ", BERLIN)),
        Dialect("apart", stamped("%d.%m.%Y;%H:%M:%S", BERLIN, "Date;Time;T;n"), BERLIN_SET, "", apart),
        Dialect("names of months", stamped("%d-%b-%Y %H:%M:%S"), UTC_SET),
        Dialect("German names of months", stamped("%d. März %Y %H:%M"), UTC_SET),
        Dialect("compact", stamped("%Y%m%d_%H%M%S"), UTC_SET),
        Dialect("two digits of the year", stamped("%d.%m.%y %H:%M"), UTC_SET),
        Dialect("pattern given", stamped("%H.%M.%S am %d.%m.%Y"), pattern),
    ]


def find_numbers() -> list[Dialect]:
    seconds = [m.timestamp() for m in moments()]
    days = [(m - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1) for m in moments()]
    start = {"start": "2026-03-25T08:00Z"}
    durations = [f"{k // 60:02}:{k % 60:02}:00" for k in range(N)]
    local = {"start": "2026-03-25T09:00", **BERLIN_SET}
    return [
        Dialect("seconds since 1970", numbered(seconds, "time"), found={"time_format": "s since 1970"}),
        Dialect("ms", numbered([int(1000 * s) for s in seconds], "t"), found={"time_format": "ms since"}),
        Dialect("Excel", numbered(days, "Date"), UTC_SET, found={"time_format": "Excel's serial days"}),
        Dialect("min", numbered(range(N), "Elapsed [min]"), start, found={"time_format": "elapsed min"}),
        Dialect("s", numbered([60.0 * k for k in range(N)], "t [s]", "\t"), local),
        Dialect("duration", numbered(durations, "Time"), {**start, "time_format": "elapsed"}),
        Dialect(
            "time of day", stamped("%H:%M:%S"), {"start": "2026-03-25", "time_format": "clock", **UTC_SET}
        ),
    ]


def make_dialects() -> list[Dialect]:
    german = stamped("%d.%m.%Y %H:%M:%S", BERLIN, HEAD).decode()
    return [*find_encodings(german), *find_headers(), *find_calendars(), *find_numbers()]


def read_all(path: Path, config: ProcessConfig) -> dict[str, dict[float, float | None]]:
    found: dict[str, dict[float, float | None]] = {}
    for chunk in iter_chunks(ExportFile(path, config)):
        for name, values in chunk.rows.values.items():
            pairs = zip(chunk.rows.times, values, strict=True)
            found.setdefault(name, {}).update({at: value for at, (value, _) in pairs})
    return found


def write_old(path: Path, content: bytes) -> Path:
    """Write a file that nobody has written to for an hour."""
    path.write_bytes(content)
    os.utime(path, (path.stat().st_mtime - 3600,) * 2)
    return path


def test_dialects_give_the_true_values(tmp_path: Path) -> None:
    faults = []
    for number_, dialect in enumerate(make_dialects()):
        path = write_old(tmp_path / f"{number_}.csv", dialect.content)
        try:
            config = build_config(ProcessConfig, dialect.config)
            summary = summarize_export(path, config)
            values = read_all(path, config)
        except InputError as error:
            faults.append(f"{dialect.name}: {error}")
            continue
        shift = dialect.found.pop("shift", 0.0)
        expected = {m.timestamp() + shift: temperature(k) for k, m in enumerate(moments())}
        first, second = list(values)[:2] if len(values) > 1 else ("", "")
        if values.get(first) != expected:
            faults.append(f"{dialect.name}: {first} is {list(values.get(first, {}).items())[:2]}")
        if [*values.get(second, {}).values()] != [1200.0 + k for k in range(N)]:
            faults.append(f"{dialect.name}: {second}")
        shown = summary.to_json_dict()
        if shown["columns"][0]["unit"] != dialect.unit:
            faults.append(f"{dialect.name}: unit {shown['columns'][0]['unit']!r} of {first}")
        other = {
            name: shown[name] for name, value in dialect.found.items() if str(value) not in str(shown[name])
        }
        if other or (shown["step_s"], shown["n_rows"], shown["n_faults"]) != (60.0, N, 0):
            faults.append(f"{dialect.name}: {other} {shown['step_s']} {shown['n_rows']} {shown['n_faults']}")
    assert not faults, "\n".join(faults)


# What may mean two things, or cannot be read: the file, the settings, and what the one line says.
_ORDERS = (
    r"03 April 2026 or 04 March 2026; got '03/04/2026 10:00'\. Say time_format=day-first or .*month-first"
)
_TWO_TIMES = "Time,UTC time,T\n2026-03-01 10:00,2026-03-01 09:00,1\n2026-03-01 10:01,2026-03-01 09:01,1\n"
_GERMAN = "Zeit;T\n01.02.2026 10:00;1,5\n"
ASKED: list[tuple[str, dict[str, Any], str]] = [
    ("Time,T\n03/04/2026 10:00,20.5\n03/04/2026 10:01,20.6\n", {}, _ORDERS),
    ("t [min];T\n0;1,5\n1;2,5\n", {}, "when they began must be said"),
    ("Time,T\n10:00:00,20.5\n10:01:00,20.6\n", {}, "elapsed or those of the clock"),
    ("Time,T\n0,20.5\n1,20.6\n", {}, "the unit of elapsed times"),
    ("Zeit;rpm\n01.02.2026 10:00;1.200\n01.02.2026 10:01;1.250\n", {}, r"thousands; got '1\.200'"),
    ("Zeit;a;b\n01.02.2026 10:00;1,20;1.5\n01.02.2026 10:01;1,2;1.5\n", {}, "one decimal sign is needed"),
    (_TWO_TIMES, {}, "which column is the time must be said"),
    ("name;value\nabc;def\n", {}, "rows of a time and numbers"),
    ("a;b\n1,5;2\n2,5;3\n", {}, "a column of times is needed"),
    ("", {}, "got nothing"),
    ("Zeit;T\n25.10.2026 02:30;1,5\n", BERLIN_SET, "which of two hours is meant"),
    ("Zeit;T\n29.03.2026 02:30;1,5\n", BERLIN_SET, "change to summer time leaves out"),
    ("Zeit;T\n01.01.0001 00:00;1,5\n01.01.0001 00:01;1,5\n", BERLIN_SET, "2 of 2 rows without"),
    (_GERMAN, {"columns": ["T_j"]}, "a column of the file is needed"),
    (_GERMAN, {"event_column": "Phase"}, "a column of the file is needed"),
]


def test_ambiguous_files_lead_to_one_question(tmp_path: Path) -> None:
    for at, (content, config, rule) in enumerate(ASKED):
        path = write_old(tmp_path / f"{at}.csv", content.encode())
        with pytest.raises(InputError, match=rule) as caught:
            summarize_export(path, build_config(ProcessConfig, config))
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        summarize_export(tmp_path / "none.csv", ProcessConfig())
    with pytest.raises(InputError, match="Is it a spreadsheet"):
        summarize_export(write_old(tmp_path / "b.csv", b"PK\x03\x04\0\0\0\0\x01\0abc"), ProcessConfig())


def test_rows_tell_which_date_and_hour_are_meant(tmp_path: Path) -> None:
    us = "Time,T\n03/04/2026 23:58,1.5\n03/04/2026 23:59,1.5\n03/05/2026 00:00,1.5\n03/05/2026 00:01,1.5\n"
    shown = summarize_export(write_old(tmp_path / "a.csv", us.encode()), ProcessConfig(time_zone="UTC"))
    assert shown.reading.time_format.order == "mdy"
    # The night that has 02:00 to 03:00 twice, a row each ten minutes of true time.
    truth = [datetime(2026, 10, 24, 23, 30, tzinfo=UTC) + timedelta(minutes=10 * k) for k in range(20)]
    rows = [f"{m.astimezone(BERLIN):%d.%m.%Y %H:%M};{k}" for k, m in enumerate(truth)]
    path = write_old(tmp_path / "b.csv", "\n".join(["Zeit;T", *rows, ""]).encode())
    config = ProcessConfig(time_zone="Europe/Berlin")
    assert list(read_all(path, config)["T"]) == [m.timestamp() for m in truth]
    # From the second pass on, and up to the first: the rows beside it tell.
    for part, name in ((rows[9:], "late"), (rows[:8], "early")):
        path = write_old(tmp_path / f"{name}.csv", "\n".join(["Zeit;T", *part, ""]).encode())
        times = list(read_all(path, config)["T"])
        assert times == [m.timestamp() for m in (truth[9:] if name == "late" else truth[:8])]
    chosen = ProcessConfig(time_zone="Europe/Berlin", repeated_hour="second")  # type: ignore[arg-type]
    path = write_old(tmp_path / "c.csv", b"Zeit;T\n25.10.2026 02:30;1,5\n")
    assert list(read_all(path, chosen)["T"]) == [datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()]


def test_texts_in_numbers_become_counted_gaps(tmp_path: Path) -> None:
    cells = ["20,5", "Bad", "---", "", "21,5", "nan", "I/O Timeout", "22,5"]
    rows = [f"01.02.2026 10:0{k}:00;{cell};1,5;Heizen" for k, cell in enumerate(cells)]
    content = "\n".join(["Zeit;T_r [°C];p [bar];Phase", *rows, "gestört", "01.02.2026 10:08:00", ""])
    path = write_old(tmp_path / "g.csv", content.encode())
    config = ProcessConfig(time_zone="UTC", event_column="Phase")
    summary = summarize_export(path, config)
    column = summary.to_json_dict()["columns"][0]
    assert column["gaps"] == {"empty": 2, "Bad": 1, "---": 1, "nan": 1, "I/O Timeout": 1}
    assert (column["n_values"], column["low"], column["high"]) == (3, 20.5, 22.5)
    assert (summary.n_faults, summary.faults, summary.n_events) == (1, [(10, "gestört")], 1)


# What programs, disks and people put into such files.
_ODD = (b'"', b";", b",", b"\n", b"\r", b"\0", b"\xff", b"1e999", b"31.02.2026 25:61:61", b"9" * 400, b"\x0b")


@pytest.mark.slow
def test_damaged_exports_are_read_or_rejected_in_one_line(tmp_path: Path) -> None:
    rng, dialects, lines = random.Random(3), make_dialects(), list[str]()
    for _ in range(300):
        dialect = rng.choice(dialects)
        content = bytearray(dialect.content)
        for _ in range(rng.choice((1, 2, 10))):
            at = rng.randrange(len(content) + 1)
            if rng.random() < 0.5:
                content[at:at] = rng.choice(_ODD)
            else:
                del content[at : at + rng.choice((1, 30, 500))]
        path = write_old(tmp_path / "odd.csv", bytes(content))
        try:
            summarize_export(path, build_config(ProcessConfig, dialect.config)).to_json_dict()
        except InputError as error:
            lines.append(str(error))
    assert lines
    assert not [line for line in lines if "\n" in line]


def test_columns_of_one_name_and_time_going_back_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.csv"
    rows = ["Zeit;T;T", "13.02.2026 10:00;1,5;2,5", "13.02.2026 10:05;1,6;2,6", "13.02.2026 09:00;1,7;2,7"]
    path.write_text("\n".join([*rows, ""]), encoding="utf-8")
    assert main(["process", str(path), "--set", "time_zone=UTC"]) == 0
    told = capsys.readouterr().out
    assert "1 row is earlier than the one above" in told
    assert "T\t–\t3\t1.5\t1.7" in told
    assert "T (2)\t–\t3\t2.5\t2.7" in told
