"""``georgia qualify``: is the installation what was shipped, and does it do here what it must?"""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.options import (
    ConfigOption,
    JsonOption,
    ProbeModelArgument,
    SetOption,
    given,
    read_settings,
)
from georgia.config import build_config, parse_assignments
from georgia.errors import GateError, InputError
from georgia.text import make_printable

if TYPE_CHECKING:
    from georgia.service.qualify import Qualification

# What the sections of the service's own settings say of it.
_OF_SERVICE = {"monitor": ("db", "watch", "time_zone"), "serve": ("db", "host", "port")}


def run(
    model: ProbeModelArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The page, a new .html; JSON beside it.  [qualification-MACHINE-TIME.html]"
        ),
    ] = None,
    db: Annotated[str | None, typer.Option("--db", help="The service's store; it is only read.")] = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="The folder that the probe writes to.")
    ] = None,
    drills: Annotated[
        bool | None, typer.Option("--drills/--no-drills", help="Make faults on a scratch store.  [yes]")
    ] = None,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check this installation and what it does: a page with expected and found, to sign. Exit 4: one failed.

    \b
    Examples:
      georgia qualify
      georgia qualify runs/first --config plant.toml --out iq-oq.html
      georgia qualify --db batch.db --watch /mnt/probe --set lock=requirements.lock
    Sections [monitor] and [serve] of --config say what the service uses. It is only read; faults are made on
    a scratch store, in about a minute. Exit 3: some checks could not be made. Settings: docs/qualify.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.service.qualify import Outcome, QualifyConfig, qualify

    typed = {"model": model, "db": db, "watch": watch, "drills": drills}
    settings = build_config(
        QualifyConfig,
        _read_service(config),
        read_settings(config, "qualify", is_required=False),
        parse_assignments(changes or ()),
        {name: str(value) if isinstance(value, Path) else value for name, value in given(typed).items()},
        where="the settings of 'qualify'",
    )
    page = _name_page(out)
    with console.ConsoleProgress() as progress:
        result = qualify(settings, progress)
    sha256 = _write(page, result)
    _show(result, page, sha256, as_json)
    if result.outcome == Outcome.FAILED:
        failed = [check.number for check in result.checks if check.outcome == Outcome.FAILED]
        raise GateError(f"The qualification failed: {', '.join(failed)}. See {str(page)!r}.")
    return console.DONE if result.outcome == Outcome.PASSED else console.DONE_IN_PART


def _read_service(file: Path | None) -> dict[str, Any]:
    """Return what the service's own sections say of store, folder, address and time zone."""
    found: dict[str, Any] = {}
    for section, names in _OF_SERVICE.items():
        values = read_settings(file, section, is_required=False)
        found |= {name: values[name] for name in names if name in values}
    return found


def _name_page(out: Path | None) -> Path:
    """Return a page that does not exist yet, nor its JSON.

    Raises:
        InputError: it exists, or cannot be made there.
    """
    from georgia.files import check_target

    if out is None:
        machine = "".join(sign if sign.isalnum() else "-" for sign in socket.gethostname())[:40] or "machine"
        out = Path(f"qualification-{machine}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(
            f"Cannot write {str(out)!r}",
            needs="a name that ends in .html is needed",
            got=out.suffix or "none",
        )
    for path in (out, out.with_suffix(".json")):
        check_target(path)
        if path.exists():
            raise InputError(
                f"Cannot write {str(path)!r}",
                needs="a new file is needed: a page that may be signed is not overwritten",
                got="one that exists",
            )
    return out


def _write(page: Path, result: Qualification) -> str:
    """Write the page and the JSON beside it; return the page's sha256."""
    from georgia.files import write_json, write_text
    from georgia.report.qualification_page import render_qualification

    html = render_qualification(result.to_json_dict())
    write_json(page.with_suffix(".json"), result.to_json_dict())
    write_text(page, html)
    return hashlib.sha256(page.read_bytes()).hexdigest()


def _show(result: Qualification, page: Path, sha256: str, as_json: bool) -> None:
    if as_json:
        console.show_json({**result.to_json_dict(), "page": str(page), "sha256": sha256})
        return
    for check in result.checks:
        said = check.found if not check.reason else f"{check.found} {check.reason}".removeprefix("– ")
        console.show_line(f"{check.number} {check.outcome}: {check.title}: {make_printable(said)}")
    console.show_line(f"page: {page}; JSON beside it")
    console.show_line(f"sha256: {sha256}")
