"""``georgia process`` from an export to a table of frames, and ``[process]`` beside a monitor."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import make_result

from georgia.cli import main
from georgia.monitor.store import Store


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, Any, str]:
    code = main(["process", *map(str, args)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if "--json" in args and out else out, err


def export(path: Path, start_s: float, n: int = 60) -> Path:
    """Write an export of Germany with a row a second, the eighth without a value."""
    rows = []
    for k in range(n):
        at = datetime.fromtimestamp(start_s + k, UTC)
        value = "Bad" if k == 7 else f"{60 - k / 4:.2f}".replace(".", ",")
        rows.append(f"{at:%d.%m.%Y %H:%M:%S};{value};{'Kühlen' if k < 30 else 'Halten'}")
    path.write_text("\n".join(["Zeit;T_r [°C];Phase", *rows, ""]), encoding="latin-1")
    return path


@pytest.fixture
def batch(tmp_path: Path) -> tuple[Path, Path, float]:
    """Return a store with a batch of 30 frames, one a second, and the export of a reactor of that time."""
    start_s = float(int(time.time()) - 120)
    store = Store(str(tmp_path / "m.db"), clock=lambda: start_s)
    number = store.begin_batch("probe", "B-1", "Ann", "PG", "Ann").id
    for k in range(1, 31):
        store.record_frame(make_result(k, number, frame_time_s=start_s + k + 0.5), "probe", "{}")
    store.close()
    return tmp_path / "m.db", export(tmp_path / "reaktor.csv", start_s), start_s


def test_export_is_shown_before_it_is_used(
    batch: tuple[Path, Path, float], capsys: pytest.CaptureFixture[str]
) -> None:
    _, file, _ = batch
    code, found, err = run(capsys, file, "--set", "time_zone=UTC", "--json")
    assert (code, found["encoding"], found["decimal"], found["time_zone"]) == (0, "windows-1252", ",", "UTC")
    assert found["columns"][0]["gaps"] == {"Bad": 1}
    assert "nothing was read" not in json.dumps(found)
    code, text, err = run(capsys, file)
    assert code == 0
    assert "column 'Zeit': day, month, year, this machine's" in text
    assert "nothing was read into a store" in err
    file.write_text("Time,T\n03/04/2026 10:00,1.5\n", encoding="utf-8")
    code, _, err = run(capsys, file)
    assert (code, err.count("\n")) == (2, 1)
    assert "03 April 2026 or 04 March 2026" in err


def test_values_events_and_results_join_the_frames(
    batch: tuple[Path, Path, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, file, start_s = batch
    at = datetime.fromtimestamp(start_s + 10, UTC).isoformat()
    config = tmp_path / "s.toml"
    config.write_text(
        f'[process]\ntime_zone = "UTC"\n[process.reactor]\nfile = "{file}"\nevent_column = "Phase"\n'
    )
    code, done, err = run(capsys, file, "--db", db, "--config", config, "--json")
    assert code == 0, err
    assert (done["imported"]["n_values"], done["imported"]["n_entries"], done["batches"]) == (
        59,
        2,
        ["batch 'B-1'"],
    )
    assert run(capsys, "--db", db, "--event", "seeding", "--at", at, "--who", "Ann")[0] == 0
    code, entry, _ = run(capsys, "--db", db, "--result", "PG [%]=12.5", "--at", at, "--who", "Bob", "--json")
    assert (code, entry["value"], entry["unit"], entry["who"]) == (0, 12.5, "%", "Bob")
    code, found, _ = run(capsys, "--db", db, "--json")
    assert [item["name"] for item in found["events"]] == ["Kühlen", "seeding", "Halten"]
    assert [item["title"] for item in found["series"]] == ["T_r [°C]"]
    assert run(capsys, "--db", db, "--withdraw", entry["entry"], "--note", "wrong batch")[0] == 0
    assert not run(capsys, "--db", db, "--json")[1]["laboratory"]
    for suffix in ("csv", "jsonl", "parquet"):
        assert run(capsys, "--db", db, "--batch", "B-1", "--out", tmp_path / f"j.{suffix}")[0] == 0
    with (tmp_path / "j.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # The frame of k + 0.5 s has the value of k s; where that is a gap, the one before.
    assert [float(row["T_r [°C]"]) for row in rows[5:8]] == [58.5, 58.5, 58.0]
    assert [float(row["T_r [°C] age_s"]) for row in rows[5:8]] == [0.5, 1.5, 0.5]
    code, _, _ = run(capsys, "--db", db, "--out", tmp_path / "k.csv", "--set", "max_age_s=0.9")
    with (tmp_path / "k.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["T_r [°C]"] for row in csv.DictReader(stream)][5:8] == ["58.5", "", "58"]
    assert main(["verify", str(db)]) == 0


def test_wrong_arguments_are_one_line(
    batch: tuple[Path, Path, float], capsys: pytest.CaptureFixture[str]
) -> None:
    db, _, _ = batch
    for args, rule in (
        ((), "a file or a store is needed"),
        (("--db", db, "--result", "PG"), "NAME=VALUE"),
        (("--db", db, "--event", "x", "--at", "noon"), "a time such as"),
        (("--db", db, "--withdraw", "9", "--note", "x"), "one of the store that stands"),
        (("--db", db, "--batch", "B-9", "--event", "x"), "Cannot find the batch"),
        (("--db", db, "--out", "x.xlsx"), "csv"),
        (("nothing.csv",), "No such file"),
    ):
        code, _, err = run(capsys, *args)
        assert (code, err.count("\n")) == (2, 1), err
        assert rule in err


@pytest.mark.slow
def test_monitor_follows_files_of_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from georgia.synthetic import render_frame

    (tmp_path / "probe").mkdir()
    for seed in (1, 2):
        Image.fromarray(render_frame(seed, (240, 280)).image).save(tmp_path / "probe" / f"{seed}.png")
    file = export(tmp_path / "r.csv", time.time() - 5, 600)
    config = tmp_path / "s.toml"
    places = f'[process]\ntime_zone = "UTC"\n[process.reactor]\nfile = "{file}"\n'
    away = f'[process.away]\nfile = "{tmp_path / "none.csv"}"\n'
    rest = f'[monitor]\nwatch = "{tmp_path / "probe"}"\ndb = "{tmp_path / "m.db"}"\ntile_px = 120\n'
    config.write_text(places + away + rest, encoding="utf-8")
    assert main(["monitor", "--once", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "process data: " in err
    assert "none.csv' is away: No such file" in err
    code, found, _ = run(capsys, "--db", tmp_path / "m.db", "--json")
    assert (code, found["series"][0]["source"]) == (0, "reactor")
    assert found["series"][0]["n_values"] >= 1
    assert main(["verify", str(tmp_path / "m.db")]) == 0


def test_calibration_says_when_it_cannot_say(
    batch: tuple[Path, Path, float], capsys: pytest.CaptureFixture[str]
) -> None:
    db, _, start_s = batch
    at = datetime.fromtimestamp(start_s + 10, UTC).isoformat()
    assert run(capsys, "--db", db, "--calibrate", "HPLC")[0] == 2
    assert run(capsys, "--db", db, "--result", "HPLC [%]=20", "--at", at)[0] == 0
    code, text, _ = run(capsys, "--db", db, "--calibrate", "HPLC")
    assert (code, text.splitlines()[0]) == (
        0,
        "HPLC: cannot say: 5 laboratory results beside frames are needed; there are 1.",
    )
    assert run(capsys, "--db", db, "--calibrate", "HPLC", "--json")[1]["can_predict"] is False


@pytest.mark.parametrize("option", ["--event", "--who"])
def test_text_that_is_no_utf8_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """A terminal or a script of another encoding gives bytes that no database takes."""
    values = {"--event": "seeding", "--who": "Ann", "--db": str(tmp_path / "m.db"), option: "K\udcfchl"}
    code, _, err = run(capsys, *(word for pair in values.items() for word in pair))
    assert code == 2
    assert err == "georgia: Cannot use 'K\\udcfchl': a text in UTF-8 is needed; got other bytes.\n"
