"""Checks of a qualification: each passes where all is well, and fails where its subject is altered."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from georgia.errors import InputError
from georgia.service.qualify import Outcome, QualifyConfig, installation, machine, model
from georgia.service.qualify.records import Check, Finding, NotRunError, Part, Plan, Qualification


def make_check(outcome: Outcome) -> Check:
    return Check("IQ-01", Part.INSTALLATION, "Georgia", "a version", "none", outcome)


def test_outcome_of_all_is_the_worst() -> None:
    passed, failed, left_out = (make_check(outcome) for outcome in Outcome)
    for checks, wanted in (
        ((passed,), Outcome.PASSED),
        ((passed, left_out), Outcome.NOT_RUN),
        ((failed, left_out, passed), Outcome.FAILED),
    ):
        assert Qualification(checks, {}, "", "", 0.0).outcome == wanted


def test_every_end_of_check_is_an_outcome() -> None:
    def end(error: Exception) -> Any:
        def make() -> Finding:
            raise error

        return Plan("OQ-01", Part.OPERATION, "a", "b", make).run()

    left_out = end(NotRunError("no store is named"))
    assert (left_out.outcome, left_out.reason) == (Outcome.NOT_RUN, "no store is named")
    assert end(InputError("Cannot open postgresql://a:secret@b/c")).found.endswith("a:***@b/c")
    bug = end(RuntimeError("a bug"))
    assert (bug.outcome, bug.found) == (Outcome.FAILED, "RuntimeError: a bug")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of two files with a RECORD of theirs."""
    package, metadata = tmp_path / "georgia", tmp_path / "georgia-0.1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    rows = []
    for name in ("__init__.py", "model.onnx"):
        (package / name).write_bytes(name.encode())
        digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"georgia/{name},sha256={digest},{len(name)}")
    (metadata / "RECORD").write_text("\n".join(rows) + "\n")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: georgia\nVersion: 0.1.0\n")
    found = importlib.metadata.Distribution.at(metadata)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: found)
    return package


def test_files_are_compared_with_record(installed: Path) -> None:
    (installed / "__pycache__").mkdir()
    (installed / "__pycache__" / "a.pyc").write_bytes(b"")
    found = installation.check_files()
    assert found.is_expected
    assert found.found.startswith("2 files as in RECORD")
    (installed / "__init__.py").write_text("print('altered')")
    (installed / "model.onnx").unlink()
    (installed / "more.py").write_text("")
    found = installation.check_files()
    assert not found.is_expected
    for fault in ("__init__.py: altered", "model.onnx: missing", "more.py: not of the wheel"):
        assert f"georgia/{fault}" in found.found


def test_packages_older_than_allowed_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert installation.check_floors().is_expected
    lines = ["numpy>=2.0", "georgia[monitor]; extra == 'web'", "sqlalchemy>=99; extra == 'monitor'"]
    lines += ["none-such>=1; extra == 'web'", "tzdata>=99; sys_platform == 'none' and extra == 'web'"]
    lines += ["keras>=99; extra == 'train'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    found = installation.check_floors()
    assert not found.is_expected
    assert "none-such is missing (≥ 1)" in found.found
    assert "is older than 99" in found.found
    assert "keras" not in found.found
    assert "tzdata" not in found.found
    lock = tmp_path / "lock"
    lock.write_text("numpy==1.0\n")
    assert "(tested: 1.0)" in installation.check_lock(lock).found
    lock.write_text(f"NumPy=={importlib.metadata.version('numpy')}\n")
    assert installation.check_lock(lock).is_expected


def test_altered_predictions_or_images_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also red after the bundled model was trained anew: then call qualify.model.write_predictions."""
    own = model.Model("")
    assert own.check_hashes().is_expected
    assert own.check_classes().is_expected
    assert own.check_engine("onnxruntime").is_expected
    folder = shutil.copytree(model.REFERENCE, tmp_path / "reference")
    shutil.copy(folder / "cex-1.png", folder / "pg-1.png")
    monkeypatch.setattr(model, "REFERENCE", folder)
    found = own.check_engine("onnxruntime")
    assert not found.is_expected
    assert "15 of 16" in found.found
    assert "pg-1.png: CEX" in found.found


def test_port_of_another_program_fails(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        said = b"<html>"

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.said)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        own = machine.Machine(QualifyConfig(port=server.server_port))
        try:
            assert not own.check_port().is_expected
            Other.said = b'{"probe": {"state": "running"}}'
            assert "Georgia responds" in own.check_port().found
        finally:
            server.shutdown()
            thread.join()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # held, and nobody listens
        assert not machine.Machine(QualifyConfig(port=held.getsockname()[1])).check_port().is_expected


def test_store_that_everybody_writes_fails(tmp_path: Path) -> None:
    from georgia.monitor.store import Store

    file = tmp_path / "a.db"
    own = machine.Machine(QualifyConfig(db=str(file), watch=str(tmp_path)))
    with pytest.raises(NotRunError, match="no store"):
        own.check_record()
    store = Store(str(file))
    store.append_event("Ann", "note", {})
    store.close()
    before = file.read_bytes()
    assert own.check_record().is_expected
    assert own.check_store_times().is_expected
    assert own.check_watch().is_expected
    assert own.check_latency().is_expected
    assert file.read_bytes() == before
    file.chmod(0o644)
    assert own.check_store_rights().is_expected
    file.chmod(0o666)
    assert "everybody may write to store" in own.check_store_rights().found


def test_record_of_tomorrow_is_a_wrong_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from georgia.monitor.store import Store

    file = tmp_path / "a.db"
    store = Store(str(file))
    store.append_event("Ann", "note", {})
    store.close()
    monkeypatch.setattr(machine.time, "time", lambda: 1_000.0)
    assert not machine.Machine(QualifyConfig(db=str(file))).check_store_times().is_expected


def test_clock_that_is_set_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_WATCHED_S", 0.0)
    own = machine.Machine(QualifyConfig(time_zone="Europe/Berlin"))
    assert own.check_clock().is_expected
    assert own.check_zone().found.startswith("Europe/Berlin: CE")
    offsets = iter((0.0, 0.02))
    monkeypatch.setattr(machine, "_measure_offset", lambda: next(offsets))
    assert not own.check_clock().is_expected
    with pytest.raises(NotRunError, match="No timedatectl"):
        monkeypatch.setattr(machine.shutil, "which", lambda _: None)
        own.check_synchronised()
