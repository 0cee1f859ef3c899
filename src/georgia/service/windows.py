"""A service on Windows: the settings of WinSW, a wrapper that runs any program as a service.

Source: WinSW's own page of its XML file, https://github.com/winsw/winsw/blob/v2.12.0/doc/xmlConfigFile.md
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from georgia.errors import InputError
from georgia.files import write_text
from georgia.service.settings import ServiceConfig
from georgia.service.unit import MARK, check_command

# 8 files of 10 MB: what a service prints never fills the disk.
_LOG_KB, _LOG_FILES = 10_240, 8
_VARIABLE = re.compile(r"%([^%]+)%")


def is_windows() -> bool:
    """Return whether services are those of Windows."""
    return sys.platform == "win32"


def find_wrapper(config: ServiceConfig) -> Path:
    """Return the wrapper's XML file: ``NAME.xml``, beside which ``NAME.exe`` is to lie."""
    data = Path(os.environ.get("PROGRAMDATA") or r"C:\ProgramData") / "georgia" / config.name
    folder = Path(config.folder).expanduser().absolute() if config.folder else data
    return folder / f"{config.name}.xml"


def render_wrapper(config: ServiceConfig, command: Sequence[str], folder: Path, token: str = "") -> str:
    """Return the XML that has WinSW run ``georgia COMMAND`` in a folder.

    WinSW stops it as Ctrl-C does, and waits; starts it anew after every end that nobody asked for, a wrong
    option's too, after ``restart_s`` and then once a minute; and rolls what it prints.

    Raises:
        InputError: the command cannot be a service, or a word of it would be taken for a variable.
    """
    check_command(command)
    for word in (*command, str(folder)):
        taken = [name for name in _VARIABLE.findall(word) if name.upper() in map(str.upper, os.environ)]
        if taken:
            raise InputError(
                "Cannot install this as a service",
                needs="no word may hold a variable's name between percent signs: WinSW would replace it",
                got=repr(word),
                hint="Put the setting into a file for --config.",
            )
    arguments = subprocess.list2cmdline(["-m", "georgia", *command])
    variables = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **({"GEORGIA_TOKEN": token} if token else {})}
    lines = [
        f"<!-- {MARK.removeprefix('# ')} -->",
        "<service>",
        f"  <id>{escape(config.name)}</id>",
        f"  <name>Georgia ({escape(config.name)})</name>",
        "  <description>Monitor of in-situ crystallization images</description>",
        f"  <executable>{escape(sys.executable)}</executable>",
        f"  <arguments>{escape(arguments)}</arguments>",
        f"  <workingdirectory>{escape(str(folder))}</workingdirectory>",
        *(f"  <env name={quoteattr(name)} value={quoteattr(text)}/>" for name, text in variables.items()),
        "  <startmode>Automatic</startmode>",
        "  <delayedAutoStart>true</delayedAutoStart>",
        "  <stoptimeout>60 sec</stoptimeout>",
        f'  <onfailure action="restart" delay="{config.restart_s:g} sec"/>',
        '  <onfailure action="restart" delay="60 sec"/>',
        "  <resetfailure>1 hour</resetfailure>",
        '  <log mode="roll-by-size">',
        f"    <sizeThreshold>{_LOG_KB}</sizeThreshold>",
        f"    <keepFiles>{_LOG_FILES}</keepFiles>",
        "  </log>",
        "</service>",
        "",
    ]
    return "\n".join(lines)


def install_wrapper(config: ServiceConfig, command: Sequence[str]) -> tuple[Path, list[str]]:
    """Write the XML; return it and the commands that an administrator runs then. Nothing is started.

    An XML file of the same name is replaced if it was written here; its token stays.

    Raises:
        InputError: the command cannot be a service, or the file is somebody else's.
        OSError: the folder cannot be written.
    """
    path = find_wrapper(config)
    before = _read_own(path)
    kept = re.search(r'<env name="GEORGIA_TOKEN" value="([^"]+)"/>', before)
    token = (kept[1] if kept else secrets.token_urlsafe(32)) if command and command[0] == "serve" else ""
    text = render_wrapper(config, command, Path.cwd(), token)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    program = path.with_suffix(".exe")
    account = [f'  user: services.msc, "Log On": {config.account}'] if config.account else []
    return path, [
        # The file holds the token: only who runs the service and administrators may read it.
        f'icacls "{path.parent}" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F',
        f'copy WinSW-x64.exe "{program}"',
        f'"{program}" install',
        *account,
        f'"{program}" start',
    ]


def remove_wrapper(config: ServiceConfig) -> tuple[list[Path], list[str]]:
    """Remove the XML of a service that Windows no longer knows; return it, or the commands to run first.

    Raises:
        InputError: there is none, or it was not written here.
    """
    path = find_wrapper(config)
    if not path.exists():
        raise InputError("Cannot remove the service", needs="it must be installed", got=f"no {str(path)!r}")
    _read_own(path)
    if read_state(config) not in ("not installed", "unknown"):
        program = path.with_suffix(".exe")
        return [], [f'"{program}" stop', f'"{program}" uninstall']
    path.unlink()
    return [path], []


def read_state(config: ServiceConfig) -> str:
    """Return what Windows says of a service: running, stopped, …, or "not installed"; "unknown" elsewhere."""
    program = shutil.which("sc.exe") or shutil.which("sc")
    if program is None:
        return "unknown"
    done = subprocess.run([program, "query", config.name], capture_output=True, timeout=30, check=False)
    # Source: ERROR_SERVICE_DOES_NOT_EXIST. Words are in the system's language, numbers are not.
    if done.returncode == 1060:
        return "not installed"
    states = {"1": "stopped", "2": "starting", "3": "stopping", "4": "active"}
    found = re.search(rb":\s*(\d)\s+[A-Z_]+\s*\r?\n\s*\(", done.stdout)
    return states.get(found[1].decode(), "unknown") if found else "unknown"


def _read_own(path: Path) -> str:
    """Return the text of an XML file that was written here; "" if there is none."""
    if not path.exists():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    if MARK.removeprefix("# ") not in text.partition("\n")[0]:
        raise InputError(
            f"Cannot use {str(path)!r}",
            needs="a file that georgia service install wrote",
            got="another one",
            hint="Choose another --name.",
        )
    return text
