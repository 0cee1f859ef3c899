"""Wheel and sdist: built, complete, equal, and used from an empty folder where no checkout is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.helpers.patience import PATIENCE_S

from georgia.monitor.queries import StoreReader
from georgia.monitor.verify import verify_store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "georgia"
SMALL = ("--set", "height_px=240", "--set", "width_px=280")
# What no distribution may hold.
STRAY = ("__pycache__", ".pyc", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv")


def run_python(*args: str | Path, python: str | Path = sys.executable, **options: object) -> str:
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    environ.pop("PYTHONPATH", None)
    options.setdefault("timeout", PATIENCE_S)
    done = subprocess.run(
        [str(python), *map(str, args)], capture_output=True, text=True, env=environ, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def list_wheel(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel and what they hold; RECORD, which lists them, aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The wheel of the checkout, the sdist, and the wheel of what the sdist holds."""
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the distributions")
    folder = tmp_path_factory.mktemp("dist")
    # Caches of Python come along: they must not reach the wheel. Somebody may edit the checkout meanwhile.
    aside = shutil.ignore_patterns(".venv", ".git", ".hypothesis", "*_cache")
    checkout = shutil.copytree(ROOT, folder / "checkout", ignore=aside, symlinks=True)
    (checkout / "src" / "georgia" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "src" / "georgia" / "__pycache__" / "stray.pyc").write_bytes(b"left here")
    run_python("-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=checkout)
    (sdist,) = folder.glob("*.tar.gz")
    pip = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w")
    wheels = []
    for name, source in (("of-checkout", checkout), ("of-sdist", sdist)):
        run_python(*pip, folder / name, source, cwd=folder)
        wheels += list((folder / name).glob("*.whl"))
    return wheels[0], sdist, wheels[1]


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a fresh virtual environment with the wheel, which sees the packages that run the tests.

    A file of paths adds their folder without the files of paths in it, and so without the checkout.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    target = Path(
        run_python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", python=python).strip()
    )
    (target / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    run_python(
        *("-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", "--ignore-installed"),
        built[0],
    )
    return python


@pytest.fixture
def georgia(installed: Path, tmp_path: Path) -> Callable[..., str]:
    empty = tmp_path / "empty"
    empty.mkdir()
    return lambda *args: run_python("-m", "georgia", *args, python=installed, cwd=empty)


def test_wheel_holds_every_file_of_package(built: tuple[Path, Path, Path]) -> None:
    files = list_wheel(built[0])
    names = set(files)
    tracked = subprocess.run(
        ["git", "ls-files", "src/georgia"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("needs the checkout's own list of files")
    wanted = {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    assert wanted <= names
    others = {name for name in names - wanted if ".dist-info/" not in name}
    assert not [name for name in names if any(stray in name for stray in STRAY)]
    assert files["georgia/requirements.lock"] == (ROOT / "requirements.lock").read_bytes()
    made = others - {"georgia/requirements.lock"}
    assert not [name for name in made if not (ROOT / "src" / name).is_file()], "made from nothing"
    assert {name.partition("/")[0] for name in others} <= {"georgia"}
    for needed in ("bundled/model.onnx", "bundled/reference.npz", "web/static/index.html", "py.typed"):
        assert f"georgia/{needed}" in names, needed
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def test_sdist_makes_the_same_wheel(built: tuple[Path, Path, Path]) -> None:
    wheel, sdist, again = built
    assert list_wheel(wheel) == list_wheel(again)
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert not [name for name in names if any(stray in name for stray in STRAY)]
    for needed in ("pyproject.toml", "LICENSE", "README.md", "requirements.lock", "docs/index.md"):
        assert [name for name in names if name.endswith(f"/{needed}")], needed


def test_installed_program_is_not_the_checkout(installed: Path, georgia: Callable[..., str]) -> None:
    found = run_python("-c", "import georgia; print(georgia.__file__)", python=installed, cwd="/").strip()
    assert Path(found).is_relative_to(installed.parents[1])
    assert not Path(found).is_relative_to(ROOT)
    assert georgia("--version").startswith("georgia 0.")


def test_installed_program_predicts_and_monitors(georgia: Callable[..., str], tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    georgia("simulate", "--out", frames, "--frames", "3", "--every", "0", *SMALL)
    assert len(json.loads(georgia("predict", frames, "--json"))["predictions"]) == 3
    store = tmp_path / "m.db"
    lines = georgia(
        "monitor", "--watch", frames, "--db", store, "--once", "--set", "grace_s=0", "--json"
    ).splitlines()
    assert len([line for line in lines if '"frame_id"' in line or '"file"' in line]) >= 3
    assert json.loads(georgia("verify", store, "--json"))["whole"]
    assert "ExecStart=" in georgia("service", "install", "--print", "--account", "root", "--", "serve")


@pytest.fixture
def service(installed: Path, tmp_path: Path) -> Iterator[str]:
    command = [
        str(installed),
        "-m",
        "georgia",
        "serve",
        "--port",
        "0",
        "--db",
        str(tmp_path / "s.db"),
        "--json",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            text = ""
            for line in process.stdout:
                text += line
                if line == "}\n":
                    break
            yield json.loads(text)["url"]
        finally:
            process.kill()


def test_installed_service_gives_page_and_health(service: str) -> None:
    base = service.rstrip("/")
    for path, held in (("/", b"<html"), ("/api/health", b'"probe"'), ("/static/app.css", b"{")):
        with urllib.request.urlopen(base + path, timeout=PATIENCE_S) as response:
            assert response.status == 200
            assert held in response.read(), path


class Manager:
    """What systemd does of a unit: starts its command, hears what it says, and starts it anew."""

    def __init__(self, unit: str, folder: Path) -> None:
        self._folder, self.process = folder, None
        lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
        assert (lines["Type"], lines["Restart"], lines["KillSignal"]) == ("notify", "on-failure", "SIGTERM")
        self._command = shlex.split(lines["ExecStart"])
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(str(folder / "notify"))

    def start(self) -> None:
        """Start the command, and wait until it says that it is ready."""
        own = {"NOTIFY_SOCKET": str(self._folder / "notify"), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
        self.process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env={**os.environ, **own, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.hear("READY=1")

    def hear(self, word: str, within_s: float = PATIENCE_S) -> bool:
        """Tell whether the service says something, by the end of a silence of so long."""
        self._heard.settimeout(within_s)
        try:
            while word not in self._heard.recv(4096).decode():
                pass
        except TimeoutError:
            return False
        return True

    def forget(self) -> None:
        """Pass over what was said until now."""
        self._heard.setblocking(False)
        with suppress(BlockingIOError):
            while self._heard.recv(4096):
                pass

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        self._heard.close()


# As short as a loop with a round a second allows under load; systemd's is a minute.
WATCHDOG_S = 4.0


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets that are files")
def test_installed_service_is_killed_hung_and_started_anew(
    georgia: Callable[..., str], installed: Path, tmp_path: Path
) -> None:
    probe, db = tmp_path / "probe", tmp_path / "m.db"
    georgia("simulate", "--out", tmp_path / "made", "--frames", "3", "--every", "0", *SMALL)
    frames = sorted((tmp_path / "made").glob("*.png"))
    probe.mkdir()
    options = (
        "--watch",
        probe,
        "--db",
        db,
        "--port",
        "0",
        "--set",
        "grace_s=0",
        "--set",
        "poll_interval_s=0.2",
    )
    unit = georgia("service", "install", "--print", "--account", "root", "--", "serve", *options)
    manager = Manager(unit, tmp_path)

    def wait_for_frames(n: int) -> None:
        """Wait for as many frames in the record, while the loop tells that it lives."""
        with closing(StoreReader.open(str(db))) as store:
            while store.count_frames() < n:
                assert manager.hear("WATCHDOG=1"), "the real loop feeds the watchdog"

    try:
        manager.start()
        shutil.copy(frames[0], probe)
        wait_for_frames(1)
        # Killed by the kernel or a person: nothing is said, and the next start goes on.
        manager.kill()
        shutil.copy(frames[1], probe)
        manager.forget()
        manager.start()
        wait_for_frames(2)
        # The whole process hangs: no sign of life comes, by which systemd kills it.
        manager.process.send_signal(signal.SIGSTOP)
        manager.forget()
        assert not manager.hear("WATCHDOG=1", WATCHDOG_S)
        manager.kill()
        shutil.copy(frames[2], probe)
        manager.start()
        wait_for_frames(3)
        manager.process.terminate()
        assert manager.hear("STOPPING=1")
        assert manager.process.wait(PATIENCE_S) == 0
    finally:
        manager.close()
    with closing(StoreReader.open(str(db))) as store:
        assert verify_store(store).is_whole
        told = [event.action for event in store.audit_log(limit=100)]
        assert [frame.file for frame in store.frames()] == [frame.name for frame in reversed(frames)]
    assert told.count("monitor lost") == 2, told
    assert told[0] == "service stopped"


def test_installed_program_qualifies_until_a_file_is_altered(installed: Path, tmp_path: Path) -> None:
    """Last: it alters a file of the installation, and puts it back."""
    package = run_python(
        "-c", "import georgia.bundled as b; print(*b.__path__)", python=installed, cwd="/"
    ).strip()
    command = [str(installed), "-m", "georgia", "qualify", "--no-drills", "--set", "port=0", "--json"]
    card = Path(package) / "MODEL_CARD.md"
    whole = card.read_bytes()
    for content, outcome in ((whole, "passed"), (whole + b" ", "failed")):
        card.write_bytes(content)
        try:
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
        finally:
            card.write_bytes(whole)
        checks = {check["title"]: check for check in json.loads(done.stdout)["checks"]}
        # The lock comes with the wheel: versions are compared where no checkout is.
        versions = checks["Packages: tested versions"]
        assert versions["outcome"] in ("passed", "failed"), versions
        assert re.search(r"packages are those of requirements\.lock|\(tested: ", versions["found"])
        found = checks["Files of the package"]
        assert found["outcome"] == outcome, found
        assert done.returncode == (3 if outcome == "passed" else 4), done.stderr
        for page in tmp_path.glob("qualification-*"):
            page.unlink()
    assert found["found"] == "georgia/bundled/MODEL_CARD.md: altered"
