"""``georgia service``: a monitor or page that starts with the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, SetOption, make_config, read_settings
from georgia.config import parse_assignments
from georgia.service import ServiceAction, ServiceConfig, ServiceStatus

_NOT_RUNNING = 3


def run(
    context: typer.Context,
    action: Annotated[ServiceAction, typer.Argument(help="install, status, or remove.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(help="With install, after --: the command that the service runs.", metavar="COMMAND…"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the service.  [georgia]")] = None,
    account: Annotated[str | None, typer.Option(help="The user it runs as; needed for root.")] = None,
    is_printed: Annotated[bool, typer.Option("--print", help="Print the unit; write nothing.")] = False,
    is_started: Annotated[
        bool, typer.Option("--start/--no-start", help="Whether to enable and start it at once.")
    ] = True,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run a monitor or its page as a service of the system (systemd).

    \b
    Examples:
      georgia service install -- serve runs/first --watch /mnt/probe --db batch.db
      sudo georgia service install --account georgia --name probe1 -- monitor runs/first --watch /mnt/probe
      georgia service status
      georgia service remove
    Relative names mean what they mean in this folder. Settings for --set: docs/service.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.service import find_place, install_service, read_status, remove_service, render_unit
    from georgia.service.windows import is_windows

    settings = make_config(ServiceConfig, config, "service", {"name": name, "account": account}, changes)
    args = command or []
    if is_windows():
        return _run_on_windows(context, action, args, settings, is_printed, as_json)
    if action == ServiceAction.STATUS:
        return _show_status(read_status(settings), as_json)
    if action == ServiceAction.REMOVE:
        removed = [str(path) for path in remove_service(settings)]
        if as_json:
            console.show_json({"removed": removed})
        else:
            console.show_line("removed: " + ", ".join(removed) + ". Store and frames are where they were.")
        return console.DONE
    is_watching = _check_options(context, args)
    if is_printed:
        console.show_line(render_unit(settings, args, find_place(settings, is_watching)).rstrip())
        return console.DONE
    unit, secrets, is_told = install_service(settings, args, is_watching, is_started)
    if as_json:
        console.show_json({"unit": str(unit), "secrets": str(secrets), "started": is_told})
        return console.DONE
    console.show_line(f"unit: {unit}")
    if args[0] == "serve":
        console.show_line(f"token: in {secrets}")
    console.show_line(
        f"started; see: georgia service status --name {settings.name}"
        if is_told
        else f"not started; do: systemctl daemon-reload; systemctl enable --now {settings.name}"
    )
    return console.DONE


def _run_on_windows(
    context: typer.Context,
    action: ServiceAction,
    args: list[str],
    settings: ServiceConfig,
    is_printed: bool,
    as_json: bool,
) -> int:
    """Write or remove the settings of a wrapper, and say what an administrator runs then."""
    from georgia.service import windows

    if action == ServiceAction.STATUS:
        path = windows.find_wrapper(settings)
        state = windows.read_state(settings) if path.exists() else "not installed"
        return _show_status(ServiceStatus(settings.name, path, path.exists(), state), as_json)
    if action == ServiceAction.INSTALL:
        _check_options(context, args)
        if is_printed:
            console.show_line(windows.render_wrapper(settings, args, Path.cwd()).rstrip())
            return console.DONE
        path, commands = windows.install_wrapper(settings, args)
        result: dict[str, object] = {"unit": str(path), "secrets": str(path), "started": False}
    else:
        removed, commands = windows.remove_wrapper(settings)
        result = {"removed": [str(path) for path in removed]}
    if as_json:
        console.show_json({**result, "commands": commands})
        return console.DONE
    for name, value in result.items():
        console.show_line(f"{name}: {value}")
    if commands:
        console.show_line("not done; as an administrator:")
    for line in commands:
        console.show_line(line)
    return console.DONE


def _check_options(context: typer.Context, args: list[str]) -> bool:
    """Reject options that the command would reject at every start; return whether it watches a folder.

    Raises:
        TyperException: see above.
    """
    from georgia.service.unit import check_command

    check_command(args)
    command = context.find_root().command.commands[args[0]]  # type: ignore[attr-defined]
    given = command.make_context(args[0], list(args[1:])).params
    folders = (
        given["watch"],
        parse_assignments(given["changes"] or ()).get("watch"),
        read_settings(given["config"], "monitor", is_required=False).get("watch"),
    )
    return args[0] == "monitor" or any(folders)


def _show_status(status: ServiceStatus, as_json: bool) -> int:
    if as_json:
        console.show_json(status.to_json_dict())
    elif not status.is_installed:
        console.show_line(f"{status.name}: not installed (no {status.unit})")
    else:
        console.show_line(
            f"{status.name}: {status.state} {f'({status.detail})' if status.detail else ''}".rstrip()
        )
        for label, value in (
            ("monitor", status.says),
            ("starts with the machine", status.enabled),
            ("started anew", f"{status.restarts} times" if status.restarts else ""),
            ("ended by", status.result if status.result not in ("", "success") else ""),
            ("unit", str(status.unit)),
        ):
            if value:
                console.show_line(f"{label}: {value}")
        if status.state == "unknown":
            console.show_note("systemd does not manage this machine now, so nobody knows whether it runs.")
    return console.DONE if status.is_running else _NOT_RUNNING
