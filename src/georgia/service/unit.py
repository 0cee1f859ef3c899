"""The text of a systemd unit, and which commands may be one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.errors import InputError, mask_credentials
from georgia.service.settings import ServiceConfig

# The first line of every unit that was written here; any other file is somebody else's.
MARK = "# Written by: georgia service install"
# Commands that go on until they are stopped.
COMMANDS = ("serve", "monitor")
_ENDING = ("--once", "--commission", "--help", "-h")
_SAFE = re.compile(r"[A-Za-z0-9_@:,./+=-]+")


@dataclass(frozen=True)
class UnitPlace:
    """Where a service runs from: its program, working folder, and a file of secret settings.

    ``is_watching``: the command watches a folder, so its loop gives signs of life.
    """

    program: Path
    folder: Path
    secrets: Path
    is_user: bool
    is_watching: bool = True


def check_command(command: Sequence[str]) -> None:
    """Reject what is no command that runs on, and secrets, which everybody could read in a unit.

    Raises:
        InputError: see above.
    """
    what = "Cannot install this as a service"
    if not command or command[0] not in COMMANDS:
        raise InputError(
            what,
            needs="after -- a command is needed that runs on: " + " or ".join(COMMANDS),
            got=repr(command[0]) if command else "none",
            hint="Example: georgia service install -- serve runs/first --watch probe --db batch.db.",
        )
    for word in command:
        if word in _ENDING:
            raise InputError(what, needs="the command must run on until it is stopped", got=word)
        if word.partition("=")[0] == "--token" or word.startswith(("token=", "--set=token=")):
            raise InputError(
                what,
                needs="the token must not stand where every account can read it",
                got="--token",
                hint="Leave it out: the file of secrets beside the unit gets one.",
            )
        if mask_credentials(word) != word:
            raise InputError(
                what,
                needs="a password must not stand where every account can read it",
                got=repr(mask_credentials(word)),
                hint="Leave it out of the address, and put PGPASSWORD=… into the file of secrets.",
            )


def quote_word(word: str) -> str:
    r"""Return a word as a unit's command line has it, so that systemd changes nothing in it.

    >>> print(quote_word("plain"), quote_word('50 % "of" $x'))
    plain "50 %% \"of\" $$x"
    """
    if _SAFE.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("%", "%%").replace("$", "$$") + '"'


def _quote_path(path: Path) -> str:
    """Return a path as a setting of a unit has it: spaces stand for themselves, percent signs do not."""
    return str(path).replace("%", "%%")


def render_unit(config: ServiceConfig, command: Sequence[str], place: UnitPlace) -> str:
    """Return the text of the unit that runs ``georgia COMMAND``.

    systemd is told by the program itself when it is ready and, after every round of the monitor's loop, that
    it lives. A wrong option (exit code 2) would be wrong again, so it is not started anew after one.
    """
    args = [str(place.program), "-m", "georgia", *command]
    lines = [
        MARK,
        "[Unit]",
        f"Description=Georgia ({config.name})",
        "After=network-online.target remote-fs.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        "ExecStart=" + " ".join(map(quote_word, args)),
        f"WorkingDirectory={_quote_path(place.folder)}",
        f"EnvironmentFile=-{_quote_path(place.secrets)}",
        "Environment=PYTHONUNBUFFERED=1",
        *([f"User={config.account}"] if config.account and not place.is_user else []),
        "Restart=on-failure",
        f"RestartSec={config.restart_s:g}",
        "RestartPreventExitStatus=2",
        *([f"WatchdogSec={config.watchdog_s:g}"] if place.is_watching and config.watchdog_s else []),
        "TimeoutStartSec=300",
        "TimeoutStopSec=60",
        "KillSignal=SIGTERM",
        "NoNewPrivileges=yes",
        *(() if place.is_user else ("PrivateTmp=no", "ProtectSystem=full", "ProtectKernelTunables=yes")),
        "",
        "[Install]",
        f"WantedBy={'default.target' if place.is_user else 'multi-user.target'}",
        "",
    ]
    return "\n".join(lines)
