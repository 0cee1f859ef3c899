"""Cells of exports as programs write them: read with their true time and number, or asked about."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from georgia.cli import main
from georgia.config import build_config
from georgia.errors import InputError
from georgia.process.export import ExportFile, iter_chunks, summarize_export
from georgia.process.reading import Reading
from georgia.process.settings import ProcessConfig

BERLIN, UTC_SET = {"time_zone": "Europe/Berlin"}, {"time_zone": "UTC"}


def write(folder: Path, *rows: str) -> Path:
    path = folder / "export.csv"
    path.write_text("\n".join([*rows, ""]), encoding="utf-8")
    os.utime(path, (path.stat().st_mtime - 3600,) * 2)
    return path


def read(path: Path, config: dict[str, Any]) -> tuple[list[str], dict[str, tuple[str, list[Any]]]]:
    """Return the times (UTC), and of each variable its unit and what stands in its cells."""
    times, columns = [], {}
    for chunk in iter_chunks(ExportFile(path, build_config(ProcessConfig, config))):
        assert chunk.position.reading is not None
        times += [datetime.fromtimestamp(at, UTC).strftime("%d %H:%M:%S") for at in chunk.rows.times]
        for item in chunk.position.reading.variables:
            cells = [quality if value is None else value for value, quality in chunk.rows.values[item.name]]
            columns[item.name] = (item.unit, cells)
    return times, columns


# The rows of a file, its settings, and the times in UTC (day, time of day) that they are of.
TIMES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("Zeit;T|24.03.2026 23:59:00;1,5|24.03.2026 24:00:00;2,5", UTC_SET, ["24 23:59:00", "25 00:00:00"]),
    ("Time,T|2026-03-24T23:00Z,1.5|2026-03-24T24:00Z,2.5", {}, ["24 23:00:00", "25 00:00:00"]),
    ("Tag;Uhr;T|24.03.2026;23:59;1,5|24.03.2026;24:00;2,5", UTC_SET, ["24 23:59:00", "25 00:00:00"]),
    (
        "Zeit;T|23:59:00;1|24:00:00;2|00:01:00;3",
        {**UTC_SET, "time_format": "clock", "start": "2026-03-24"},
        ["24 23:59:00", "25 00:00:00", "25 00:01:00"],
    ),
    (
        "Zeit;T|24.03.2026 23:00;1|24.03.2026 24:00;2",
        {**UTC_SET, "time": "Zeit", "time_format": "%d.%m.%Y %H:%M"},
        ["24 23:00:00", "25 00:00:00"],
    ),
    ("Time,T|2026-03-25T10:00:00+02,1|2026-03-25 10:01 UTC+2,2", {}, ["25 08:00:00", "25 08:01:00"]),
    ("Time,T|2026-03-25 10:00 \u221205:00,1|2026-03-25 10:01 GMT-05:00,2", {},
     ["25 15:00:00", "25 15:01:00"]),
    ("Time,T|2026-03-25T10:00+01:00[Europe/Berlin],1|2026-03-25T10:01+01:00[Europe/Berlin],2", {},
     ["25 09:00:00", "25 09:01:00"]),
    ("Zeit (UTC+2);T|25.07.2026 02:00;1|25.07.2026 02:01;2", {}, ["25 00:00:00", "25 00:01:00"]),
    ("Zeit [MEZ];T|25.07.2026 02:00;1|25.07.2026 02:01;2", {}, ["25 01:00:00", "25 01:01:00"]),
    ("Tag;Zeit;T|25.03.2026 00:00:00;10:00;1|25.03.2026 00:00:00;10:01;2", UTC_SET,
     ["25 10:00:00", "25 10:01:00"]),
    ("Tag;Zeit;T|25.03.2026;30.12.1899 10:00;1|25.03.2026;30.12.1899 10:01;2", UTC_SET,
     ["25 10:00:00", "25 10:01:00"]),
    ("Date,Time,T|46082,0.5,1|46082,0.50069444,2", UTC_SET, ["01 12:00:00", "01 12:01:00"]),
    ("Zeit;T|24.03.2026 22:00;1|24.03.2026 25:00;2|24.03.2026 23:00;3", UTC_SET,
     ["24 22:00:00", "24 23:00:00"]),
    ("Zeit;T|24.03.2026 22:00;1|24.03.2026 23:00;3|Mittelwert;2", UTC_SET, ["24 22:00:00", "24 23:00:00"]),
    # 24:00 beside the new date: which midnight is meant cannot be told, and the row is left out.
    ("Zeit;T|24.03.2026 23:59;1|25.03.2026 24:00;2|25.03.2026 00:01;3", UTC_SET,
     ["24 23:59:00", "25 00:01:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "config", "expected"), TIMES)
def test_odd_times_are_of_their_true_moment(
    tmp_path: Path, content: str, config: dict[str, Any], expected: list[str]
) -> None:
    assert read(write(tmp_path, *content.split("|")), config)[0] == expected


# The header and the cells of a column, and what is read: its name, unit, and values or the texts of gaps.
CELLS: list[tuple[str, str, tuple[str, str, list[Any]]]] = [
    ("x", "5,2 %|5,3%|5,4 %", ("x", "%", [5.2, 5.3, 5.4])),
    ("x", "12,5 °C|12,6 degC|-0,5 °C", ("x", "°C", [12.5, 12.6, -0.5])),
    ("p [bar]", "1,2 bar|1,3|Bad", ("p", "bar", [1.2, 1.3, "Bad"])),
    ("p", "1,013 bar|---|1,014 bar", ("p", "bar", [1.013, "---", 1.014])),
    ("x", "0,5|<0,1|> 50", ("x", "", [0.5, "<0,1", "> 50"])),
    ("x", "<0,1|< 0,1|---", ("x", "", ["<0,1", "< 0,1", "---"])),
    ("x", "0,4 %|<0,1 %|≥ 5 %", ("x", "%", [0.4, "<0,1 %", "≥ 5 %"])),
    ("x", "#N/A|OFF|1,5", ("x", "", ["#N/A", "OFF", 1.5])),
    ("n [rpm]", "1.200|950|1.300", ("n", "rpm", [1200.0, 950.0, 1300.0])),
]


@pytest.mark.parametrize(("header", "cells", "expected"), CELLS)
def test_cells_keep_unit_and_limit(
    tmp_path: Path, header: str, cells: str, expected: tuple[str, str, list[Any]]
) -> None:
    rows = [f"25.03.2026 10:{k:02};{20 + k},5;{cell}" for k, cell in enumerate(cells.split("|"))]
    columns = read(write(tmp_path, f"Zeit;T;{header}", *rows), UTC_SET)[1]
    assert columns[expected[0]] == expected[1:]


# What cannot be told: the header and the cells of a column, and what the one line says.
ASKED = [
    (
        "x",
        "1,2 bar|950 mbar",
        r"of one unit are needed; got '1,2 bar' in row 2 and '950 mbar' in row 3",
    ),
    ("p [bar]", "1,2|1,3 mbar", r"unit of its header, bar, is needed; got '1,3 mbar' in row 3"),
    ("x", "5,2 %|5,3", r"got '5,2 %' in row 2 and '5,3' in row 3. If all are in %, say units=x=%"),
    ("x", "1.013 bar|1.014 bar", r"1\.013 or 1013 is meant .*'1\.013' in row 2"),
]


@pytest.mark.parametrize(("header", "cells", "rule"), ASKED)
def test_ambiguous_column_leads_to_a_question(tmp_path: Path, header: str, cells: str, rule: str) -> None:
    rows = [f"25.03.2026 10:{k:02};{20 + k},5;{cell}" for k, cell in enumerate(cells.split("|"))]
    path = write(tmp_path, f"Zeit;T;{header}", *rows)
    with pytest.raises(InputError, match=rule):
        summarize_export(path, build_config(ProcessConfig, UTC_SET))
    # The other columns can be read all the same.
    assert read(path, {**UTC_SET, "columns": ["T"]})[1]["T"] == ("", [20.5, 21.5])


def test_cell_of_another_unit_is_a_gap_later_on(tmp_path: Path) -> None:
    path = write(tmp_path, "Zeit;x", "25.03.2026 10:00;5,2 %", "25.03.2026 10:01;5,3 %")
    file = ExportFile(path, build_config(ProcessConfig, UTC_SET))
    chunk = file.read()
    assert chunk is not None
    file.position = chunk.position
    with path.open("a", encoding="utf-8") as stream:
        stream.write("25.03.2026 10:02;0,05\n25.03.2026 10:03;5,4 ppm\n25.03.2026 10:04;5,5 %\nkaputt;1 %\n")
    later = file.read()
    assert later is not None
    values = [quality if value is None else value for value, quality in later.rows.values["x"]]
    assert values == ["0,05 without unit", "5,4 ppm", 5.5]
    # Rows are counted from the beginning of the file, not of what was new in it.
    assert later.rows.faults == [(7, "kaputt; 1 %")]


def test_clock_of_12_hours_leads_to_a_question(tmp_path: Path) -> None:
    path = write(tmp_path, "Time,T", *(f"03/25/2026 {hour:02}:00:00,1.5" for hour in (11, 12, 1, 2)))
    with pytest.raises(InputError, match=r"which half of the day .*'03/25/2026 01:00:00' below"):
        summarize_export(path, build_config(ProcessConfig, UTC_SET))


def test_zone_of_header_apart_from_settings_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "Zeit (MEZ);T", "25.07.2026 02:00;1,5", "25.07.2026 02:01;2,5")
    shown = summarize_export(path, build_config(ProcessConfig, BERLIN)).to_json_dict()
    assert shown["first_time"].startswith("2026-07-25T00:00")
    assert "UTC+01:00, the settings Europe/Berlin, which is 1 h apart" in shown["notes"][0]
    assert not summarize_export(path, build_config(ProcessConfig, {})).to_json_dict()["notes"]


def test_time_that_cannot_be_read_is_shown_with_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["24.03.2026 22:00;1,5;5 foo", "24.03.2026 25:00;2,5;6 foo", "24.03.2026 23:00;3,5;7 foo"]
    path = write(tmp_path, "Zeit;T;x", *rows)
    assert main(["process", str(path), "--set", "time_zone=UTC"]) == 3
    told = " ".join("".join(capsys.readouterr()).split())
    assert "row 3 is left out: its time in the column 'Zeit' cannot be read as day, month, year" in told
    assert "the column 'x' is not read: '5 foo' in row 2 is no number. If 'foo' is its unit" in told
    assert read(path, {**UTC_SET, "units": ["x=foo"]})[1]["x"] == ("foo", [5.0, 7.0])


def test_units_below_names_are_none_of_the_names(tmp_path: Path) -> None:
    rows = ["25.03.2026 10:00;20,5;1,5", "25.03.2026 10:01;20,6;1,6"]
    path = write(tmp_path, "Zeit;T;x", "TT.MM.JJJJ hh:mm;°C;furlong", *rows)
    assert read(path, UTC_SET)[1] == {"T": ("°C", [20.5, 20.6]), "x": ("furlong", [1.5, 1.6])}


def test_reading_of_earlier_version_is_understood(tmp_path: Path) -> None:
    path = write(tmp_path, "Zeit;T", "25.03.2026 10:00;20,5", "25.03.2026 10:01;20,6")
    reading = summarize_export(path, build_config(ProcessConfig, UTC_SET)).reading
    plain = reading.to_json_dict()
    for name in ("header_zone", "notes"):
        del plain[name]
    del plain["variables"][0]["is_unit_in_cells"]
    assert Reading.from_json(plain) == reading
