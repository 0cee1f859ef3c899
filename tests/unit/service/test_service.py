"""Units say what was typed, hide secrets, and touch nobody else's; a service manager hears a living loop."""

from __future__ import annotations

import shlex
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.helpers.patience import PATIENCE_S

from georgia.errors import InputError
from georgia.monitor.notify import ProbesNotifier, ServiceNotifier
from georgia.monitor.records import EventKind
from georgia.service import ServiceConfig, install_service, read_status, remove_service, render_unit
from georgia.service.unit import MARK, UnitPlace, check_command, quote_word

PLACE = UnitPlace(Path("/opt/python"), Path("/srv/my 100% probe"), Path("/etc/georgia.env"), is_user=False)


def read_lines(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def test_unit_runs_what_was_typed() -> None:
    command = ["serve", "runs/first", "--watch", 'a "b" 5 % of $HOME\\', "--db", "b.db"]
    lines = read_lines(render_unit(ServiceConfig(account="op", watchdog_s=90), command, PLACE))
    line = lines["ExecStart"].replace("%%", "%").replace("$$", "$")
    assert shlex.split(line) == ["/opt/python", "-m", "georgia", *command]
    assert lines["WorkingDirectory"] == "/srv/my 100%% probe"
    assert (lines["Type"], lines["User"], lines["WatchdogSec"]) == ("notify", "op", "90")
    assert lines["RestartPreventExitStatus"] == "2"


def test_page_without_monitor_has_no_watchdog() -> None:
    place = UnitPlace(Path("p"), Path("f"), Path("s"), is_user=True, is_watching=False)
    lines = read_lines(render_unit(ServiceConfig(account="op"), ["serve"], place))
    assert "WatchdogSec" not in lines
    assert "User" not in lines
    assert lines["WantedBy"] == "default.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path) -> None:
    folder = tmp_path / "my 100% probe"
    folder.mkdir()
    place = UnitPlace(Path(sys.executable), folder, folder / "a.env", is_user=False)
    unit = tmp_path / "georgia-test.service"
    unit.write_text(render_unit(ServiceConfig(account="root"), ["monitor", "--watch", "a b%"], place))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert "georgia-test" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "got none"),
        (["predict", "x"], "serve or monitor; got 'predict'"),
        (["monitor", "--once"], "run on until it is stopped; got --once"),
        (["serve", "--token", "abc"], "the token must not stand"),
        (["serve", "--token=abc"], "the token must not stand"),
        (["serve", "--set", "token=abc"], "the token must not stand"),
        (["serve", "--db", "postgresql://me:pa55@h/x"], r"password.*me:\*\*\*@h"),
    ],
)
def test_command_that_is_no_service_is_rejected(command: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_command(command)
    assert "abc" not in str(caught.value)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "../x", "ä", "-x"])
def test_name_that_is_no_unit_is_rejected(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        ServiceConfig(name=name)


@pytest.fixture
def config(tmp_path: Path) -> ServiceConfig:
    import getpass

    return ServiceConfig(account=getpass.getuser(), folder=str(tmp_path / "units"))


def test_installed_service_keeps_its_secrets(config: ServiceConfig) -> None:
    unit, hidden, is_told = install_service(config, ["serve", "--watch", "probe"])
    token = hidden.read_text()
    assert not is_told
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o600
    assert len(read_lines(token)["GEORGIA_TOKEN"]) >= 32
    assert token.split("=")[1] not in unit.read_text()
    install_service(config, ["serve", "--watch", "other"])
    assert hidden.read_text() == token
    assert "other" in unit.read_text()
    assert read_status(config).is_installed
    assert read_status(config).state == "unknown"
    assert remove_service(config) == [unit, hidden]
    assert read_status(config).state == "not installed"
    with pytest.raises(InputError, match="must be installed"):
        remove_service(config)


def test_unit_of_somebody_else_is_left_alone(config: ServiceConfig) -> None:
    unit = Path(config.folder) / "georgia.service"
    unit.parent.mkdir()
    unit.write_text("[Unit]\n")
    for change in (lambda: install_service(config, ["serve"]), lambda: remove_service(config)):
        with pytest.raises(InputError, match="another one"):
            change()
    assert unit.read_text() == "[Unit]\n"
    assert MARK not in unit.read_text()
    assert [path.name for path in unit.parent.iterdir()] == ["georgia.service"]


def test_quoted_text_comes_back_from_a_shell() -> None:
    for word in ("plain", "a b", 'say "x"', "tab\\t", "ü", ""):
        assert shlex.split(quote_word(word)) == [word]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(PATIENCE_S)
        yield receiver


def make_event(kind: EventKind = EventKind.HEARTBEAT, state: str = "in control") -> Any:
    return SimpleNamespace(kind=kind, status=SimpleNamespace(state=state, reason=""))


def test_rounds_of_the_loop_are_signs_of_life(manager: socket.socket) -> None:
    at = [0.0]
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4000000"}
    notifier = ServiceNotifier(environ, now=lambda: at[0])
    notifier(make_event())
    assert manager.recv(999) == b"READY=1\nSTATUS=in control\nWATCHDOG=1"
    manager.settimeout(0)
    at[0] = 1.9  # half of what is allowed is not over
    notifier(make_event())
    notifier(make_event(EventKind.FAULT, "no frames"))  # no round of the loop
    with pytest.raises(BlockingIOError):
        manager.recv(999)
    at[0] = 2.0
    notifier(make_event(state="no frames"))
    assert manager.recv(999) == b"STATUS=no frames\nWATCHDOG=1"
    notifier.close()
    assert manager.recv(999) == b"STOPPING=1"


def test_sign_of_life_needs_every_loop_that_is_not_dead(manager: socket.socket) -> None:
    at = [0.0]
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000000"}
    probes = ProbesNotifier(("a", "b"), ServiceNotifier(environ, now=lambda: at[0]))
    one, other = probes.for_probe("a"), probes.for_probe("b")
    manager.settimeout(0)
    one(make_event())
    with pytest.raises(BlockingIOError):  # not ready before the other
        manager.recv(999)
    other(make_event(state="no frames"))
    assert manager.recv(999) == b"READY=1\nSTATUS=a: in control; b: no frames\nWATCHDOG=1"
    for at[0] in (2.0, 4.0, 6.0):  # the other one hangs
        one(make_event())
    with pytest.raises(BlockingIOError):
        manager.recv(999)
    probes.say_dead("b", "its store is\naway")
    assert b"b: not running: its store is away\nWATCHDOG=1" in manager.recv(999)
    at[0] = 8.0
    one(make_event())
    assert manager.recv(999) == b"WATCHDOG=1"


def test_watchdog_of_another_process_is_not_fed(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}
    ServiceNotifier(environ)(make_event())
    assert manager.recv(999) == b"READY=1\nSTATUS=in control"


def test_manager_that_is_gone_stops_no_loop(tmp_path: Path) -> None:
    ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "none")})(make_event())
    assert not ServiceNotifier({}).is_wanted
