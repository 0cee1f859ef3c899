"""The fault drill: what health, state, audit log and exit code say of each fault, and after how many seconds.

Real processes, real signals. ``pytest -s`` prints the table of docs/monitor.md.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from tests.helpers.patience import PATIENCE_S

from georgia.cli import main
from georgia.monitor.file_names import to_text
from georgia.monitor.health import read_health
from georgia.monitor.run import Monitor
from georgia.monitor.settings import HealthConfig
from georgia.monitor.store import Store
from georgia.synthetic import render_frame
from georgia.synthetic.scenes import SceneKind, foul, render_scene

pytestmark = pytest.mark.slow
SIZE_PX = (240, 280)
SETTINGS = (
    *("poll_interval_s=0.1", "no_frames_s=6", "grace_s=0.3", "folder_away_after_s=1", "tile_px=120"),
    *("min_judged=2", "silent_after_s=3", "fouled_after=2"),
)


def command(verb: str, folder: Path, *more: str) -> list[str]:
    changes = [part for setting in SETTINGS for part in ("--set", setting)]
    start = [sys.executable, "-m", "georgia", verb, "--watch", str(folder)]
    return [*start, "--db", str(folder.parent / "m.db"), *changes, *more]


def read_url(process: subprocess.Popen[str]) -> str:
    """Return the address that a service prints as JSON once it can be reached."""
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    text = "".join(itertools.takewhile(lambda line: line != "}\n", lines))
    return str(json.loads(text + "}")["url"]).rstrip("/")


@dataclass
class Drill:
    """A running service with its monitor, and the rows of the table."""

    root: Path
    process: subprocess.Popen[str]
    url: str
    rows: list[str] = field(default_factory=list)
    n_frames: int = 0
    n_damaged: int = 0

    @property
    def folder(self) -> Path:
        return self.root / "probe"

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def put(self, image: Any, name: str = "", **text: str) -> str:
        """Write a frame as an instrument does; return its name."""
        self.n_frames += 1
        head = PngImagePlugin.PngInfo()
        for key, value in text.items():
            head.add_text(key, value)
        temporary = self.folder / ".new.png"
        Image.fromarray(image[:, :, 0]).save(temporary, pnginfo=head)
        name = name or f"f{self.n_frames:04}.png"
        temporary.rename(self.folder / name)
        return name

    def put_damaged(self, n: int) -> None:
        for _ in range(n):
            self.n_damaged += 1
            (self.folder / f"bad{self.n_damaged}.png").write_bytes(
                b"\x89PNG\r\n\x1a\n" + bytes([self.n_damaged])
            )

    def wait_for_damaged(self) -> None:
        """Wait until all damaged files are given up: one that is given up later is the newest again."""
        end = time.monotonic() + PATIENCE_S
        while self.get("/api/health")[1]["probe"]["n_unreadable"] < self.n_damaged:
            assert time.monotonic() < end, self.describe()
            time.sleep(0.1)

    def wait_for_frame(self, name: str) -> str:
        """Wait until a frame is in the record, whatever the probe's state is by then; return its state."""
        end = time.monotonic() + PATIENCE_S
        while True:
            frames = self.get("/api/frames")[1]["frames"]
            found = [str(frame["state"]) for frame in frames if frame["file"] == name]
            if found:
                return found[0]
            assert time.monotonic() < end, (name, self.describe())
            time.sleep(0.1)  # a poll of another process, which tells nobody

    def frame(self) -> Any:
        return render_frame(self.n_frames, SIZE_PX, 0.05, 0.5).image

    def actions(self) -> list[str]:
        entries = self.get("/api/trail?limit=30")[1]["entries"]
        return [f"{entry['action']}: {entry['detail'].get('outage', '')}".rstrip(": ") for entry in entries]

    def describe(self) -> dict[str, Any]:
        """Return what tells why a state did not come: the log, the counts and the newest frames."""
        probe = self.get("/api/health")[1]["probe"]
        frames = self.get("/api/frames")[1]["frames"]
        return {
            "actions": self.actions()[:8],
            "counts": {name: probe[name] for name in ("n_waiting", "n_unreadable", "n_missed", "backlog")},
            "frames": [(frame["file"], frame["state"], frame["status"]) for frame in frames[:5]],
        }

    def say(self) -> tuple[str, str, int]:
        """Return what status and health say now: state, health, HTTP code."""
        state, (code, health) = self.get("/api/status")[1]["state"], self.get("/api/health")
        return state, health["probe"]["state"], code

    def expect(self, fault: str, state: str, health: str, code: int, action: str = "") -> None:
        """Wait until status, health and audit log say so, and note the seconds.

        Only for what lasts until something else is done: a slow machine looks seldom.
        """
        started = time.monotonic()
        while self.say() != (state, health, code) or (action and action not in self.actions()):
            assert time.monotonic() - started < PATIENCE_S, (fault, self.say(), self.describe())
            time.sleep(0.1)  # a poll of another process, which tells nobody
        self._note(fault, state, health, code, action, started)

    def show(self, fault: str, state: str, draw: Callable[[], Any], action: str = "", name: str = "") -> None:
        """Write frames that put the probe into a state, until status, health and audit log say so.

        The state lasts until "no frames": where that was quicker than we looked, another frame is written.
        """
        end = time.monotonic() + PATIENCE_S
        while True:
            started = time.monotonic()
            written = self.put(draw(), name)
            assert self.wait_for_frame(to_text(written)) == state, (fault, self.describe())
            said = self.say()
            while said == (state, "running", 200) and action and action not in self.actions():
                assert time.monotonic() < end, (fault, said, self.describe())
                time.sleep(0.1)
            if said == (state, "running", 200):
                break
            assert time.monotonic() < end, (fault, said, self.describe())
            name = ""
        self._note(fault, state, "running", 200, action, started)

    def _note(self, fault: str, state: str, health: str, code: int, action: str, started: float) -> None:
        seconds = time.monotonic() - started
        self.rows.append(f"| {fault} | {state} | {health} | {code} | {action or '–'} | {seconds:.1f} s |")
        print(self.rows[-1], flush=True)


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    root = tmp_path_factory.mktemp("drill")
    (root / "probe").mkdir()
    process = subprocess.Popen(
        command("serve", root / "probe", "--port", "0", "--json"), stdout=subprocess.PIPE, text=True
    )
    drill = Drill(root, process, read_url(process))
    yield drill
    with process:
        process.kill()
    print("\n" + "\n".join(drill.rows))


def test_faults_of_folder_and_camera_are_said(drill: Drill) -> None:
    drill.show("a frame comes", "warming up", drill.frame)
    name = os.fsdecode(b"K\xfchlung_001.png")
    drill.show("a name that is no UTF-8", "warming up", drill.frame, name=name)
    assert drill.wait_for_frame(r"K\xfchlung_001.png") == "warming up"
    drill.show("clear solution", "clear", lambda: render_scene(drill.n_frames, SceneKind.CLEAR, SIZE_PX))
    drill.show("light off", "dark", lambda: render_scene(drill.n_frames, SceneKind.DARK, SIZE_PX))
    for _ in range(4):
        drill.wait_for_frame(drill.put(foul(drill.frame())))
    drill.show("fouled window", "fouled", lambda: foul(drill.frame()))
    image = drill.frame()
    for n in range(4):
        drill.put(image, Date=str(n))
    drill.expect("frozen camera", "frozen camera", "running", 200, "outage began: frozen camera")
    drill.put_damaged(3)
    drill.wait_for_damaged()
    drill.show("a new image", "warming up", drill.frame, "outage ended: frozen camera")


def test_faults_of_files_and_folder_are_outages(drill: Drill) -> None:
    drill.put_damaged(4)
    action = "outage began: unreadable frames"
    drill.expect("every file is damaged", "unreadable frames", "unreadable frames", 503, action)
    drill.wait_for_damaged()
    drill.show("a sound file", "warming up", drill.frame, "outage ended: unreadable frames")
    drill.folder.rename(drill.root / "away")
    drill.expect("the folder is away", "folder away", "folder away", 503, "outage began: folder away")
    (drill.root / "away").rename(drill.folder)
    drill.show("the folder is back", "warming up", drill.frame, "outage ended: folder away")
    drill.expect("no frame for 6 s", "no frames", "no frames", 200, "outage began: no frames")


def test_second_monitor_ends_with_2(drill: Drill) -> None:
    done = subprocess.run(
        command("monitor", drill.folder), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2
    assert "one monitor alone may watch a folder into a store" in done.stderr
    assert "Traceback" not in done.stderr


def test_killed_service_is_found_by_others_and_at_start(drill: Drill) -> None:
    store = Store(str(drill.root / "m.db"))
    drill.process.kill()
    drill.process.wait(PATIENCE_S)
    started = time.monotonic()
    health = read_health(store, time.time())
    assert (health.state, health.is_ok) == ("not running", False)
    seconds = time.monotonic() - started
    drill.rows.append(
        f"| kill -9, seen by another process | not running | not running | 503 | – | {seconds:.1f} s |"
    )
    done = subprocess.run(command("monitor", drill.folder, "--once"), capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0
    assert len(store.audit_log(action="monitor lost")) == 1
    drill.rows.append("| the next start after it | – | running | 200 | monitor lost | at the start |")
    store.close()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start monitors of a folder with one frame; end them."""
    folder, processes = tmp_path / "probe", []
    folder.mkdir()
    Image.fromarray(render_frame(1, SIZE_PX, 0.05, 0.5).image[:, :, 0]).save(folder / "a.png")

    def start(*more: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command("monitor", folder, *more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for_health(store: Store, state: str) -> None:
    end = time.monotonic() + PATIENCE_S
    config = HealthConfig(silent_after_s=3)
    while read_health(store, time.time(), config=config).state != state:
        assert time.monotonic() < end, read_health(store, time.time(), config=config)
        time.sleep(0.1)  # a poll of another process, which tells nobody


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_signal_ends_monitor(monitor: Any, tmp_path: Path, number: int, code: int) -> None:
    process = monitor()
    process.stdout.readline()
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == code
    store = Store(str(tmp_path / "m.db"))
    assert store.audit_log()[0].action == "monitor stopped"
    assert not read_health(store, time.time()).is_expected
    store.close()


def test_stopped_process_is_said_and_goes_on(monitor: Any, tmp_path: Path) -> None:
    process = monitor()
    process.stdout.readline()
    store = Store(str(tmp_path / "m.db"))
    wait_for_health(store, "running")
    process.send_signal(signal.SIGSTOP)
    wait_for_health(store, "hung")
    assert (
        "hangs or was stopped"
        in read_health(store, time.time(), config=HealthConfig(silent_after_s=1)).reason
    )
    process.send_signal(signal.SIGCONT)
    wait_for_health(store, "running")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    store.close()


def test_sigterm_of_service_is_written(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    run = command("serve", tmp_path / "probe", "--port", "0", "--json")
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        read_url(process)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    store = Store(str(tmp_path / "m.db"))
    actions = [entry.action for entry in store.audit_log()]
    assert actions[:2] == ["service stopped", "monitor stopped"]
    store.close()


@pytest.mark.parametrize("verb", ["monitor", "serve"])
def test_closed_terminal_is_a_stop(tmp_path: Path, verb: str) -> None:
    (tmp_path / "probe").mkdir()
    terminal, side = os.openpty()
    more = ("--port", "0") if verb == "serve" else ()
    process = subprocess.Popen(
        command(verb, tmp_path / "probe", *more),
        **dict.fromkeys(("stdin", "stdout", "stderr"), side),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(side)
    said = b""
    while b"Ctrl-C stops" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(PATIENCE_S) in (0, 1)
    store = Store(str(tmp_path / "m.db"))
    assert "monitor stopped" in [entry.action for entry in store.audit_log()]
    assert not read_health(store, time.time()).is_expected
    store.close()


def test_once_with_damaged_file_ends_with_3(monitor: Any, tmp_path: Path) -> None:
    (tmp_path / "probe" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    process = monitor("--once")
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert "left out 'b.png'" in err


def test_once_on_full_disk_ends_with_2(monitor: Any, tmp_path: Path) -> None:
    for n in range(30):
        Image.fromarray(render_frame(100 + n, SIZE_PX, 0.05, 0.5).image[:, :, 0]).save(
            tmp_path / "probe" / f"d{n}.png"
        )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    process = monitor("--once", preexec_fn=limit)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, err
    assert "store" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_service_of_dead_monitor_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(Monitor, "step", fail)
    (tmp_path / "probe").mkdir()
    run = command("serve", tmp_path / "probe", "--port", "0", "--set", "exit_after_s=0.5")
    assert main(run[3:]) == 1
    assert "The monitor has failed: RuntimeError: a fault of the program" in capsys.readouterr().err
    store = Store(str(tmp_path / "m.db"))
    assert {"monitor failed", "service stopped"} <= {entry.action for entry in store.audit_log()}
    store.close()
