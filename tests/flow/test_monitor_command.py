"""``georgia simulate``, ``georgia monitor`` and ``georgia verify`` together, with the bundled model."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.patience import PATIENCE_S

from georgia.cli import main

SMALL = ["--set", "height_px=240", "--set", "width_px=280"]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six small frames, the last two half PG."""
    folder = tmp_path_factory.mktemp("probe")
    arguments = ["simulate", "--out", str(folder), "--frames", "6", "--every", "0", "--rise", "0.4", *SMALL]
    assert main([*arguments, "--set", "clean_frames=4", "--set", "top=0.8"]) == 0
    return folder


def watch(
    capsys: pytest.CaptureFixture[str], probe: Path, db: Path, *more: str
) -> tuple[int, list[Any], str]:
    options = [
        "--db",
        str(db),
        "--set",
        "poll_interval_s=0.05",
        "--set",
        "tile_px=120",
        "--set",
        "min_judged=2",
    ]
    code = main(["monitor", "--watch", str(probe), "--once", "--json", *options, *more])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


@pytest.mark.slow
def test_closed_stdout_does_not_stop_record(probe: Path, tmp_path: Path) -> None:
    options = ["--once", "--json", "--db", str(tmp_path / "m.db"), "--set", "poll_interval_s=0.05"]
    command = [sys.executable, "-m", "georgia", "monitor", "--watch", str(probe), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        assert json.loads(process.stdout.readline())["file"] == "frame-00001.png"
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in err
    assert err.count("nobody reads") == 1
    assert main(["verify", str(tmp_path / "m.db")]) == 0


@pytest.mark.slow
def test_folder_is_analyzed_once_and_verified(
    probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "batch.db"
    code, lines, err = watch(capsys, probe, db, "--batch", "B-1", "--operator", "Ann")
    assert code == 0, err
    assert [line["file"] for line in lines] == [f"frame-{n:05d}.png" for n in range(1, 7)]
    assert {line["state"] for line in lines} == {"warming up"}
    assert all(0 <= line["low"] <= line["fraction"] <= line["high"] <= 1 for line in lines)
    assert lines[-1]["fraction"] > lines[0]["fraction"]
    assert sum(item["n"] for item in lines[0]["classes"].values()) == lines[0]["n_judged"]
    code, again, _ = watch(capsys, probe, db, "--batch", "B-2")
    assert (code, again) == (0, [])

    assert main(["verify", str(db), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["whole"]
    assert found["n_frames"] == 6
    connection = sqlite3.connect(db)
    connection.execute("UPDATE trail SET who = 'nobody' WHERE seq = 2")
    connection.commit()
    connection.close()
    assert main(["verify", str(db), "--expect", found["head"]]) == 4
    assert "not whole" in capsys.readouterr().err


def test_once_without_folder_fails_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = watch(capsys, tmp_path / "nowhere", tmp_path / "m.db")
    assert (code, lines) == (2, [])
    assert "with --once it must be a folder that is there" in err
    assert not (tmp_path / "m.db").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "a folder is needed; got no --watch"),
        (["--watch", "x", "--set", "chart=ewna"], "'chart' must be one of ewma, cusum, p"),
        (
            ["--watch", "x", "--set", "overlap=1", "--set", "limit=0"],
            "overlap must be from 0 to 0.9; got 1.0 · limit must be above 0 and at most 1; got 0.0",
        ),
        (["--watch", "x", "--set", "impurity=XX"], "Unknown class"),
    ],
)
def test_wrong_settings_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", "--db", str(tmp_path / "a.db"), *options]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("georgia: ")
    assert message in err


@pytest.mark.slow
def test_limits_are_taken_from_named_batch(
    probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, charts = tmp_path / "m.db", ("--set", "baseline_frames=5", "--set", "plausible_mean=0.9")
    code, lines, _ = watch(capsys, probe, db, "--batch", "B1", *charts)
    assert (code, len(lines)) == (0, 6)
    code, _, err = watch(capsys, probe, db, "--batch", "B2", "--limits-from", "B", *charts)
    assert code == 2
    assert "Cannot take limits from batch 'B'" in err
    assert "Did you mean 'B1'?" in err
    code, _, _ = watch(capsys, probe, db, "--batch", "B2", "--limits-from", "B1", *charts)
    assert code == 0
    with sqlite3.connect(db) as connection:
        rows = connection.execute(
            "SELECT detail FROM trail WHERE action = 'limits set' ORDER BY seq"
        ).fetchall()
    learned, taken = (json.loads(detail) for (detail,) in rows)
    assert (taken["mean"], taken["from_batch"]) == (learned["mean"], 1)
    assert main(["verify", str(db)]) == 0
