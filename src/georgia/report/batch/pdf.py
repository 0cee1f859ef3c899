"""A page printed to PDF by an installed Chromium, which is asked for and never needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from georgia.errors import InputError, MissingDependencyError
from georgia.files import atomic_path

# Names of Chromium and of browsers made from it, as systems install them.
_PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "microsoft-edge-stable", "msedge"),
)
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_WINDOWS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")
_PATIENCE_S = 120.0
_SWITCHES = (
    *("--headless", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--disable-extensions"),
    *("--disable-background-networking", "--no-pdf-header-footer"),
)


def find_chromium(given: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Return the program of an installed Chromium, Chrome or Edge; ``given`` is its name or path.

    Raises:
        MissingDependencyError: there is none.
    """
    known = os.environ if environment is None else environment
    for candidate in (given,) if given else tuple(_candidates(known)):
        found = shutil.which(candidate, path=known.get("PATH"))
        if found:
            return found
    raise MissingDependencyError(
        "Cannot print to PDF",
        needs="Chromium, Chrome or Edge is needed",
        got=repr(given) if given else "none of them",
        hint="Print the HTML page from any browser, or install one, such as Debian's chromium.",
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[str]:
    yield from _PROGRAMS
    yield from _PLACES
    for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        if environment.get(name):
            yield from (str(Path(environment[name]) / place) for place in _WINDOWS)


def print_pdf(page: Path, target: Path, program: str) -> None:
    """Print a page, a local HTML file that loads nothing, to PDF; whole or not at all.

    Raises:
        InputError: the browser fails, or takes longer than two minutes; one line says what it said.
        OSError: the folder cannot be written to.
    """
    # A sandbox needs a user of its own, which root in a container has not; the page holds no script.
    as_root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(prefix="georgia-print-") as folder, atomic_path(target) as temporary:
        output = Path(folder) / "page.pdf"
        profile = f"--user-data-dir={folder}/profile"
        command = [
            program,
            *_SWITCHES,
            *as_root,
            profile,
            f"--print-to-pdf={output}",
            page.absolute().as_uri(),
        ]
        said = _run(command)
        data = output.read_bytes() if output.is_file() else b""
        if not data.startswith(b"%PDF-"):
            raise InputError(
                f"Cannot print {str(page)!r} to PDF",
                needs=f"a browser that prints is needed, and {program!r} did not",
                got=said or "no word of why",
                hint="The HTML page is there: print it from any browser.",
            )
        temporary.write_bytes(data)


def _run(command: list[str]) -> str:
    """Run a program to its end; return the line that tells most of what it said, or that it took too long."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=os.name != "nt"
    )
    try:
        _, said = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"nothing within {_PATIENCE_S:g} s"
    finally:
        if process.poll() is None:
            _kill(process)
    lines = [line.strip()[:200] for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    # Without a sandbox the browser ends with a long trace, and its last line says nothing of it.
    return next((line for line in lines if "sandbox" in line), lines[-1] if lines else "")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a browser with the processes that it started."""
    if os.name == "nt":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
