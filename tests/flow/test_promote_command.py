"""``georgia promote``: a better model takes the place, a worse one does not, and back is one command."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.helpers.models import write_model
from tests.helpers.monitor import wait_for
from tests.helpers.patience import PATIENCE_S

from georgia.cli.app import main
from georgia.model.load import load_bundle
from georgia.synthetic import render_crop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("CEX", "PG"):
        (folder / name).mkdir()
        for seed in range(24):
            Image.fromarray(render_crop(name, 900_000 + seed).image).save(folder / name / f"{seed}.png")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    good = write_model(tmp_path / "good", "good")
    return good, write_model(tmp_path / "bad", "bad", is_inverted=True)


def ask(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any], str]:
    code = main(["promote", *map(str, arguments), "--json"])
    done = capsys.readouterr()
    return code, json.loads(done.out) if done.out else {}, done.err


def test_better_model_passes_and_back_is_one_command(
    models: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = models
    code, found, error = ask(capsys, good, bad, "--data", data, "--who", "A. Miller")
    assert (code, found["decision"]) == (0, "promoted"), error
    assert found["figures"]["n_groups"] == 48
    assert found["promotion"]["who"] == "A. Miller"
    assert load_bundle(bad).name == "good"
    code, found, _ = ask(capsys, "--back", bad, "--who", "B. Jones", "--reason", "a try")
    assert (code, found["decision"]) == (0, "back")
    assert load_bundle(bad).name == "bad"


def test_worse_model_is_rejected_unless_overridden(
    models: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = models
    before = (good / "bundle.json").read_bytes()
    code, found, _ = ask(capsys, bad, good, "--data", data)
    assert (code, found["decision"], found["figures"]["verdict"]) == (4, "refused", "worse")
    assert (good / "bundle.json").read_bytes() == before
    overriding = ("--override", "--who", "A. Miller", "--reason", "for a test")
    code, found, _ = ask(capsys, bad, good, "--data", data, *overriding)
    assert (code, found["decision"]) == (0, "overridden")
    assert found["promotion"]["figures"]["verdict"] == "worse"
    assert load_bundle(good).metadata["promotion"]["reason"] == "for a test"
    assert main(["promote", "--back", str(good)]) == 0
    assert "back: good takes the place of bad again." in capsys.readouterr().out


def test_monitor_takes_a_promoted_model_at_its_next_start(
    models: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, in_use = models
    watched, store = tmp_path / "probe", tmp_path / "m.db"
    frames, small = tmp_path / "frames", ("--set", "height_px=240", "--set", "width_px=280")
    assert main(["simulate", "--out", str(frames), "--frames", "3", "--every", "0", *small]) == 0
    watched.mkdir()
    files = sorted(frames.glob("*.png"))

    def watch(number: int) -> list[Any]:
        """Analyse one more frame with what is in use."""
        shutil.copy(files[number], watched)
        settings = ("--set", "poll_interval_s=0.05", "--set", "tile_px=120")
        arguments = ["monitor", in_use, "--watch", watched, "--db", store, "--once", "--json", *settings]
        capsys.readouterr()
        assert main(list(map(str, arguments))) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    (before,) = watch(0)
    old, new = load_bundle(in_use).sha256, load_bundle(good).sha256
    code, _, error = ask(capsys, good, in_use, "--data", data, "--who", "A. Miller")
    assert code == 0, error
    (after,) = watch(1)
    assert main(["promote", "--back", str(in_use), "--who", "B. Jones"]) == 0
    watch(2)
    with closing(sqlite3.connect(store)) as connection:
        used = connection.execute("SELECT model_sha256 FROM frames ORDER BY id").fetchall()
        swaps = connection.execute("SELECT detail FROM trail WHERE action = 'model swapped' ORDER BY seq")
        first, second = (json.loads(detail) for (detail,) in swaps.fetchall())
    assert [sha256 for (sha256,) in used] == [old, new, old]
    assert (first["from"], first["to"], first["promotion"]["who"]) == (old, new, "A. Miller")
    assert first["promotion"]["figures"]["evidence"] == "held out"
    assert (second["to"], second["promotion"]["decision"]) == (old, "back")
    # The one names all crystals the other way about.
    counts = [{name: found["n"] for name, found in line["classes"].items()} for line in (before, after)]
    assert counts[0] != counts[1]
    assert main(["verify", str(store)]) == 0


def test_running_monitor_takes_a_promoted_model(
    models: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, in_use = models
    watched, store, frames = tmp_path / "probe", tmp_path / "m.db", tmp_path / "frames"
    small = ("--set", "height_px=240", "--set", "width_px=280")
    assert main(["simulate", "--out", str(frames), "--frames", "3", "--every", "0", *small]) == 0
    watched.mkdir()
    files = sorted(frames.glob("*.png"))
    settings = ("--set", "poll_interval_s=0.05", "--set", "tile_px=120", "--json")
    arguments = ["monitor", in_use, "--watch", watched, "--db", store, *settings]
    command = [sys.executable, "-m", "georgia", *map(str, arguments)]
    capsys.readouterr()
    old, new = load_bundle(in_use).sha256, load_bundle(good).sha256

    def count(query: str) -> int:
        with closing(sqlite3.connect(store)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {query}").fetchone()[0])

    swapped = "trail WHERE action = 'model swapped'"
    with (tmp_path / "out").open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            shutil.copy(files[0], watched)
            wait_for(lambda: store.exists() and (tmp_path / "out").read_bytes().count(b'"frame_time"') == 1)
            code, _, error = ask(capsys, good, in_use, "--data", data, "--who", "A. Miller", "--db", store)
            assert code == 0, error
            wait_for(lambda: count(swapped) == 1)
            shutil.copy(files[1], watched)
            wait_for(lambda: count("frames") == 2)
            assert main(["promote", "--back", str(in_use), "--who", "B. Jones"]) == 0
            wait_for(lambda: count(swapped) == 2)
            shutil.copy(files[2], watched)
            wait_for(lambda: count("frames") == 3)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
    with closing(sqlite3.connect(store)) as connection:
        used = connection.execute("SELECT model_sha256 FROM frames ORDER BY id").fetchall()
    assert [sha256 for (sha256,) in used] == [old, new, old]
    assert "analyses from now on; promoted by A. Miller" in (tmp_path / "out").read_text()
    assert main(["verify", str(store)]) == 0


def test_request_that_is_not_whole_is_one_line(
    models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = models
    for arguments, text in (
        (
            (good, bad),
            "labelled images that neither model learned from are needed; got no --data, and no out",
        ),
        ((good,), "that of the one in use are needed"),
        ((good, bad, "--override", "--reason", "x"), "the name of who decides it is needed"),
        ((good, bad, "--override", "--who", "A"), "a reason to override the gate"),
        (("--back", good, bad), "the folder of the model in use is needed"),
        (("--back", good), "the model in use is the first one"),
        ((good, good, "--override", "--who", "A", "--reason", "x"), "another one; got the same file"),
    ):
        code, _, error = ask(capsys, *arguments)
        assert code == 2
        assert text in error
    assert load_bundle(bad).name == "bad"


def test_promotion_needs_the_right_role(
    models: tuple[Path, Path], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.helpers import people

    from georgia.monitor.people.roles import Role
    from georgia.monitor.people.users import add_user
    from georgia.monitor.store import Store

    people.hash_quickly(monkeypatch)
    db = str(tmp_path / "m.db")
    store = Store(db)
    people.add_people(store)
    new, current = models
    asked = (new, current, "--override", "--reason", "probe", "--db", db)
    for who, password, fault in (
        ("", people.PASSWORD, "name of who decides"),
        ("Reviewer One", "wrong", "the password of 'Reviewer One' is needed"),
        ("Operator One", people.PASSWORD, "the role reviewer"),
        ("Administrator One", people.PASSWORD, "the role reviewer"),
    ):
        monkeypatch.setenv("GEORGIA_PASSWORD", password)
        code, _, error = ask(capsys, *asked, *(("--who", who) if who else ()))
        assert (code, fault in error) == (2, True), error
    assert store.audit_log(limit=1)[0].action == "access denied"
    # Of a user of an identity provider no password is asked for, and none is counted as wrong.
    subject = "https://login.example 42"
    store.write(lambda change: add_user(change, "Olga Meier", Role.REVIEWER, "", "tests", subject))
    code, _, error = ask(capsys, *asked, "--who", "olga meier")
    assert (code, len(error.strip().splitlines())) == (2, 1), error
    assert "whom https://login.example identifies" in error
    assert "georgia label --set people=STORE" in error
    assert store.audit_log(limit=1)[0].action == "user added"
    code, _, error = ask(capsys, *asked, "--who", "reviewer one")
    assert code == 0, error
    event = store.audit_log(limit=1)[0]
    assert (event.who, event.action, event.detail["reason"]) == ("Reviewer One", "model promoted", "probe")
    signed = {"role": "reviewer", "meaning": "promotion of a model", "method": "password"}
    assert signed.items() <= event.detail.items()
    store.close()
