"""Units of systemd: where they lie, and what the system's manager is told."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from georgia.errors import InputError
from georgia.files import write_text
from georgia.service.settings import ServiceConfig
from georgia.service.unit import MARK, UnitPlace, check_command, render_unit

_TIMEOUT_S = 120.0


def find_unit(config: ServiceConfig) -> Path:
    """Return the path of a service's unit: the system's for root, else the user's own.

    Raises:
        InputError: this system has no systemd.
    """
    if config.folder:
        return Path(config.folder).expanduser().resolve() / f"{config.name}.service"
    if sys.platform != "linux":
        raise InputError(
            "Cannot use the system's services",
            needs="systemd is needed",
            got=sys.platform,
            hint="docs/service.md shows what stands for it on Windows.",
        )
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    return (Path("/etc/systemd/system") if _is_root() else own) / f"{config.name}.service"


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def install_service(
    config: ServiceConfig, command: Sequence[str], is_watching: bool = True, is_started: bool = True
) -> tuple[Path, Path, bool]:
    """Write the unit and the file of secrets; enable and start the service where systemd runs.

    An existing unit of the same name is replaced if it was written here; its secrets stay.

    Returns:
        The unit's path, the path of the secrets, and whether systemd was told.

    Raises:
        InputError: the command cannot be a service, the account is none, or the unit is somebody else's.
        OSError: the unit's folder cannot be written.
    """
    check_command(command)
    path = find_unit(config)
    config = _with_account(config)
    _check_own(path)
    place = find_place(config, is_watching)
    path.parent.mkdir(parents=True, exist_ok=True)
    if command[0] == "serve" and not place.secrets.exists():
        _write_secrets(place.secrets, config.account)
    write_text(path, render_unit(config, command, place))
    if not is_started or not has_manager(config):
        return path, place.secrets, False
    run_manager("daemon-reload")
    run_manager("enable", path.name)
    run_manager("restart", path.name)
    return path, place.secrets, True


def find_place(config: ServiceConfig, is_watching: bool = True) -> UnitPlace:
    """Return where a service would run from: this Python, this folder."""
    hidden = find_unit(config).with_suffix(".env")
    return UnitPlace(Path(sys.executable), Path.cwd(), hidden, not _is_root(), is_watching)


def remove_service(config: ServiceConfig) -> list[Path]:
    """Stop a service and remove its unit and secrets; store and frames stay. Return what was removed.

    Raises:
        InputError: there is no such service, or it was not written here.
    """
    path = find_unit(config)
    if not path.exists():
        raise InputError("Cannot remove the service", needs="it must be installed", got=f"no {str(path)!r}")
    _check_own(path)
    if has_manager(config):
        run_manager("disable", "--now", path.name)
    removed = [file for file in (path, path.with_suffix(".env")) if file.exists()]
    for file in removed:
        file.unlink()
    if has_manager(config):
        run_manager("daemon-reload")
    return removed


def _with_account(config: ServiceConfig) -> ServiceConfig:
    """Return the settings with the account that the service runs as.

    Raises:
        InputError: the account is none, or root would run it without having been named.
    """
    if sys.platform != "linux":  # a unit for another machine, whose accounts are not known here
        return config
    import pwd

    if not _is_root():
        own = pwd.getpwuid(os.geteuid()).pw_name
        if config.account not in ("", own):
            raise InputError(
                "Cannot install the service",
                needs="another account needs the system's manager",
                got=f"account {config.account}",
                hint="Run it as root: sudo georgia service install …",
            )
        return replace(config, account=own)
    account = config.account or os.environ.get("SUDO_USER", "")
    if not account or (account == "root" and not config.account):
        raise InputError(
            "Cannot install the service",
            needs="--account must say who runs it, best nobody else than a user of its own",
            got="root",
            hint="useradd --system georgia, then --account georgia.",
        )
    try:
        pwd.getpwnam(account)
    except KeyError:
        raise InputError(
            "Cannot install the service", needs="the account must exist", got=repr(account)
        ) from None
    return replace(config, account=account)


def _check_own(path: Path) -> None:
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        raise InputError(
            f"Cannot use {str(path)!r}",
            needs="a unit that georgia service install wrote",
            got="another one",
            hint="Choose another --name.",
        )


def _write_secrets(path: Path, account: str) -> None:
    """Write a new token into a file that only root and the account can read."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f"# Settings that nobody else may read.\nGEORGIA_TOKEN={secrets.token_urlsafe(32)}\n")
    if _is_root() and account:
        shutil.chown(temporary, user=account)
    temporary.replace(path)


def has_manager(config: ServiceConfig) -> bool:
    """Tell whether systemd manages these units now; in a container it often does not."""
    return (
        not config.folder and shutil.which("systemctl") is not None and Path("/run/systemd/system").is_dir()
    )


def run_manager(*args: str) -> str:
    """Return what ``systemctl`` prints.

    Raises:
        InputError: it fails; its own args are in the message.
    """
    user = [] if _is_root() else ["--user"]
    command = ["systemctl", *user, "--no-pager", *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError("Cannot ask systemd", needs="systemctl must work", got=error) from error
    if done.returncode and args[0] != "show":
        got = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise InputError(f"Cannot {args[0]} the service", needs="systemd must allow it", got=got)
    return done.stdout
