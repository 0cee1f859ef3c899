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
    cluster,
    console,
    demo,
    evaluate,
    explain,
    fetch,
    frames,
    monitor,
    predict,
    serve,
    simulate,
    split,
    study,
    train,
    verify,
)
from georgia.errors import GeorgiaError

_PACKAGE = Path(georgia.__file__).parent
INTERRUPTED = 130  # Source: 128 + SIGINT, as shells report it.
BROKEN_PIPE = 141  # Source: 128 + SIGPIPE.
# Errors of the operating system that the user can repair, as long as they name a file.
_USER_ERRORS = (
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOSPC,
    errno.EROFS,
)

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for module in (
    *(demo, fetch, audit, split, train, evaluate, study, predict, explain, cluster),
    *(monitor, serve, simulate, frames, verify),
):
    app.command(name=module.__name__.rpartition(".")[2])(module.run)


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
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names need not be printable
            stream.reconfigure(errors="backslashreplace")
    try:
        with _notices_on_one_line():
            code = app(
                args=None if arguments is None else list(arguments),
                prog_name="georgia",
                standalone_mode=False,
            )
        sys.stdout.flush()
    except SystemExit:
        # How typer ends when the reader of a pipe has gone (`| head`), and only then.
        return BROKEN_PIPE
    except Exception as error:
        return _report(error)
    if code == INTERRUPTED:
        console.show_note("stopped by the keyboard; what was finished is kept.")
    return code if isinstance(code, int) else 0


@contextmanager
def _notices_on_one_line() -> Iterator[None]:
    """Show a setting's old name as one line on stderr, without the place in the code that read it."""
    with warnings.catch_warnings():
        show_otherwise = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> None:
            if issubclass(category, FutureWarning) and Path(filename).is_relative_to(_PACKAGE):
                console.show_note(str(message))
            else:
                show_otherwise(message, category, filename, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _report(error: Exception) -> int:
    if isinstance(error, GeorgiaError):
        console.show_note(str(error))
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "georgia"
        console.show_note(f"{error.format_message().rstrip('.')}. See: {command} --help")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        console.drop_stdout()
        return BROKEN_PIPE
    if isinstance(error, OSError) and error.errno in _USER_ERRORS and error.filename:
        console.show_note(f"Cannot use {str(error.filename)!r}: the system says {error.strerror!r}.")
        return 2
    traceback.print_exc()
    return 1
