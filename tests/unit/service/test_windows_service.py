"""The settings of a service on Windows, on any system: nothing here was run on Windows."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from georgia.cli import main
from georgia.errors import InputError
from georgia.service import ServiceConfig, windows


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(windows, "is_windows", lambda: True)
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    return tmp_path / "georgia" / "georgia" / "georgia.xml"


def test_wrapper_holds_command_as_typed() -> None:
    args = ["serve", "--watch", r"D:\probe & <1>", "--set", 'batch=a "b"', "--set", "time_pattern=%Y%m%d"]
    root = ET.fromstring(
        windows.render_wrapper(ServiceConfig(restart_s=7), args, Path("C:/georgia"), "secret")
    )
    found = {child.tag: child.text for child in root}
    assert found["executable"] == sys.executable
    assert found["arguments"] == (
        r'-m georgia serve --watch "D:\probe & <1>" --set "batch=a \"b\"" --set time_pattern=%Y%m%d'
    )
    assert {child.get("name"): child.get("value") for child in root.iter("env")}["GEORGIA_TOKEN"] == "secret"
    assert [child.get("delay") for child in root.iter("onfailure")] == ["7 sec", "60 sec"]
    log = root.find("log")
    assert log is not None
    assert log.get("mode") == "roll-by-size"
    assert int(log.findtext("sizeThreshold") or 0) * int(log.findtext("keepFiles") or 0) < 100_000


def test_wrapper_rejects_secrets_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "x")
    for args, needs in (
        (["serve", "--token", "abc"], "the token must not stand"),
        (["train", "data"], "a command is needed that runs on"),
        (["serve", "--db", "%place%/a.db"], "WinSW would replace it"),
    ):
        with pytest.raises(InputError, match=needs):
            windows.render_wrapper(ServiceConfig(), args, Path("C:/georgia"))


def test_command_writes_wrapper_and_says_the_rest(
    on_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install = ["service", "install", "--json", "--", "serve", "--watch", "probe"]
    assert main(install) == 0
    result = json.loads(capsys.readouterr().out)
    assert Path(result["unit"]) == on_windows
    assert not result["started"]
    assert [line.split('"')[-1].strip() for line in result["commands"]][2:] == ["install", "start"]
    text = on_windows.read_text()
    assert main(install) == 0
    assert on_windows.read_text() == text, "its token stays"
    assert main(["service", "status"]) == 3
    assert main(["service", "remove"]) == 0
    assert not on_windows.exists()
    assert main(["service", "remove"]) == 2
    on_windows.write_text("<service/>")
    assert main(install) == 2
    assert on_windows.read_text() == "<service/>"


@pytest.mark.parametrize(
    ("code", "said", "state"),
    [
        (0, "TYPE : 10 WIN32_OWN\n  ZUSTAND : 4  RUNNING\n   (STOPPABLE)", "active"),
        (0, "  STATE : 1  STOPPED\n   (NOT)", "stopped"),
        (0, "", "unknown"),
    ],
)
def test_state_is_read_in_any_language(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, said: str, state: str
) -> None:
    program = tmp_path / "sc"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{said}\nE\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert windows.read_state(ServiceConfig()) == state
