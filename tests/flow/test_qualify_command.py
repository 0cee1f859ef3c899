"""``georgia qualify`` from settings to page, JSON and exit code; the drills on real processes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.patience import PATIENCE_S

from georgia.model.load import load_bundled_model
from georgia.monitor.store import Store

pytest.importorskip("sqlalchemy")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file of a service, its store and folder; the program is called from there."""
    store = Store(str(tmp_path / "plant.db"))
    store.append_event("Ann", "note", {})
    store.close()
    (tmp_path / "plant.db").chmod(0o600)
    (tmp_path / "probe").mkdir()
    text = '[monitor]\nwatch = "probe"\ndb = "plant.db"\ntime_zone = "UTC"\n[serve]\nport = 0\n'
    (tmp_path / "plant.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_title(result: Any) -> dict[str, Any]:
    return {check["title"]: check for check in result["checks"]}


@pytest.mark.slow
def test_page_and_json_say_the_same(georgia: Any, site: Path) -> None:
    before = {path.name: path.read_bytes() for path in site.iterdir() if path.is_file()}
    args = ("qualify", "--config", "plant.toml", "--no-drills", "--out", "iq.html")
    code, result, _ = georgia(*args)
    checks = by_title(result)
    assert (code, result["outcome"]) == (3, "not run"), [
        c for c in result["checks"] if c["outcome"] == "failed"
    ]
    assert "drills = false" in checks["Fault drills"]["reason"]
    assert "Port 0" in checks["Port of the service"]["reason"]
    for title in ("Store: record", "Store: rights", "Probe's folder", "Clock: against the store"):
        assert checks[title]["outcome"] == "passed", checks[title]
    assert checks["Time zone"]["found"].startswith("UTC")
    page = (site / "iq.html").read_bytes()
    assert result["sha256"] == hashlib.sha256(page).hexdigest()
    written = json.loads((site / "iq.json").read_text())
    assert written == {name: result[name] for name in written}
    for check in result["checks"]:
        assert f">{check['number']}<".encode() in page
    for word in (b"Signatures", b"Approved / not approved for use"):
        assert word in page
    for absent in (b"<script", b"src=", b"href=", b"url("):
        assert absent not in page
    assert {name: (site / name).read_bytes() for name in before} == before
    code, _, err = georgia(*args)
    assert (code, "not overwritten" in err, (site / "iq.html").read_bytes() == page) == (2, True, True)


def test_altered_model_fails_with_4(georgia: Any, site: Path) -> None:
    folder = shutil.copytree(load_bundled_model().model_path.parent, site / "model")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1000] ^= 1
    (folder / "model.onnx").write_bytes(data)
    code, result, err = georgia("qualify", "model", "--no-drills", "--out", "a.html")
    assert code == 4
    assert by_title(result)["Model: hashes"]["outcome"] == "failed"
    assert "IQ-06" in err
    assert b"Failed." in (site / "a.html").read_bytes()


def test_wrong_names_are_2(georgia: Any, site: Path) -> None:
    for args, said in (
        (("--out", "a.pdf"), "ends in .html"),
        (("--set", "drils=no"), "drills"),
        (("--config", "none.toml"), "none.toml"),
    ):
        code, _, err = georgia("qualify", "--no-drills", *args)
        assert (code, said in err) == (2, True), err
    assert not list(site.glob("qualification-*"))


@pytest.mark.slow
def test_drills_pass_and_leave_nothing(georgia: Any, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("georgia.service.qualify.scratch.PATIENCE_S", PATIENCE_S)
    (site / "scratch").mkdir()
    _, result, _ = georgia("qualify", "--set", "scratch=scratch", "--out", "oq.html")
    drills = [check for check in result["checks"] if check["title"].startswith("Drill: ")]
    assert len(drills) == 8
    assert [check for check in drills if check["outcome"] != "passed"] == []
    assert list((site / "scratch").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which ends a child with its parent")
def test_killed_check_leaves_no_monitor(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from georgia.service.qualify.scratch import ScratchProbe\n"
        "probe = ScratchProbe(pathlib.Path(sys.argv[1]) / 'scratch'); probe.start()\n"
        "print(probe.process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            stat = Path("/proc") / process.stdout.readline().strip() / "stat"
            assert is_alive(stat)
        finally:
            process.kill()
    end = time.monotonic() + PATIENCE_S
    while is_alive(stat):
        assert time.monotonic() < end
        time.sleep(0.05)  # a poll of another process


def is_alive(stat: Path) -> bool:
    """Tell whether a process runs; one that only waits to be noted as ended does not."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
