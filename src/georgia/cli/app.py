"""Put the commands together, and turn every outcome into one line and one exit code."""

from __future__ import annotations

import errno
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

import georgia
from georgia.cli import (
    audit,
    backup,
    cluster,
    console,
    demo,
    evaluate,
    explain,
    fetch,
    frames,
    label,
    moments,
    monitor,
    predict,
    process,
    promote,
    qualify,
    report,
    serve,
    service,
    simulate,
    split,
    spotcheck,
    study,
    train,
    users,
    verify,
)
from georgia.cli.command import Command
from georgia.cli.packages import name_missing
from georgia.errors import GeorgiaError, mask_credentials
from georgia.files import is_full_disk
from georgia.text import escape_bytes

_PACKAGE = Path(georgia.__file__).parent
BROKEN_PIPE = 141  # Source: 128 + SIGPIPE.
# Errors of the operating system that the user can repair, as long as they name a file.
_USER_ERRORS = (
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for module in (
    *(demo, fetch, audit, split, train, evaluate, study, predict, explain, cluster),
    *(monitor, process, moments, serve, service, users, simulate, frames, verify, backup, report, spotcheck),
    *(label, promote, qualify),
):
    app.command(name=module.__name__.rpartition(".")[2], cls=Command)(module.run)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Turn labelled crystal images into a classifier, and use it.

    \b
    The way of the data:  fetch → audit → split → train → evaluate → predict
    Start with:           georgia demo
    Help for a command:   georgia train --help
    """  # noqa: D301 - \b keeps the lines apart in the help
    if version:
        print(f"georgia {georgia.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 our bug, 2 input, 3 in part, 4 quality gate failed."""
    with console.usable_streams():
        try:
            with _notices_on_one_line():
                code = app(
                    args=None if arguments is None else list(arguments),
                    prog_name="georgia",
                    standalone_mode=False,
                )
            sys.stdout.flush()
        except SystemExit as error:
            return _end_of_library(error)
        except Exception as error:
            return _report(error, sys.argv[1:] if arguments is None else arguments)
        if code == console.INTERRUPTED:
            console.show_note("stopped by the keyboard; what was finished is kept.")
        return code if isinstance(code, int) else 0


def _end_of_library(error: SystemExit) -> int:
    """Return the exit code where a library ends the program: typer if the reader of a pipe has gone."""
    if isinstance(error.__context__, BrokenPipeError):
        return BROKEN_PIPE
    console.show_note(f"stopped by a library, which says: {error.code!r}.")
    return 1


@contextmanager
def _notices_on_one_line() -> Iterator[None]:
    """Show what the package warns of, such as an old name, as one line on stderr without its place."""
    with warnings.catch_warnings():
        show_otherwise = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> None:
            if issubclass(category, (FutureWarning, UserWarning)) and Path(filename).is_relative_to(_PACKAGE):
                console.show_note(str(message))
            else:
                show_otherwise(message, category, filename, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _report(error: Exception, args: Sequence[str]) -> int:
    if isinstance(error, GeorgiaError):
        console.show_note(str(error))
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "georgia"
        console.show_note(f"{error.format_message().rstrip('.')}. See: {command} --help")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        console.drop_stream(sys.stdout)
        return BROKEN_PIPE
    line = _name_user_error(error, args)
    if line:
        console.show_note(line)
        return 2
    sys.stderr.write(mask_credentials("".join(traceback.format_exception(error))))
    return 1


def _name_user_error(error: Exception, args: Sequence[str]) -> str:
    """Return one line for a failure of machine or ``args``, which the user can repair; "" if it is a bug."""
    if isinstance(error, UnicodeEncodeError) and any(error.object in text for text in args):
        return f"Cannot use '{escape_bytes(error.object)}': a text in UTF-8 is needed; got other bytes."
    missing = name_missing(error) if isinstance(error, ImportError) else None
    if missing is not None:
        return str(missing)
    if isinstance(error, MemoryError):
        return f"Not enough memory: {str(error) or 'no more is free'}. Use smaller settings, or fewer images."
    if error is console.find_stdout_fault():
        return f"Cannot print the result: the system says {getattr(error, 'strerror', error)!r} of stdout."
    name = getattr(error, "filename", None)
    if is_full_disk(error):
        where = f" {str(name)!r}" if name else ""
        return f"Cannot write{where}: the disk is full. Free some and run the same command again."
    if isinstance(error, OSError) and error.errno in _USER_ERRORS and name:
        return f"Cannot use {str(name)!r}: the system says {error.strerror!r}."
    return ""
