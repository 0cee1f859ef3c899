"""Put the commands together, and turn every way to end into one line and one exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import georgia
from georgia.cli import (
    audit,
    cluster,
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

INTERRUPTED = 130  # Source: 128 + SIGINT, as shells report it.
BROKEN_PIPE = 141  # Source: 128 + SIGPIPE.
# What the operating system refuses is the user's to repair, as long as it names a place.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EROFS)

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for module in (
    demo,
    fetch,
    audit,
    split,
    train,
    evaluate,
    study,
    predict,
    explain,
    cluster,
    monitor,
    serve,
    simulate,
    frames,
    verify,
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
    """Run one command; return its exit code: 0 done, 1 our bug, 2 input, 3 in part, 4 a gate said no."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names need not be printable
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(
            args=None if arguments is None else list(arguments), prog_name="georgia", standalone_mode=False
        )
        sys.stdout.flush()
    except SystemExit:
        # How typer ends when the reader of a pipe has gone (`| head`), and only then.
        return BROKEN_PIPE
    except Exception as error:
        return _report(error)
    if code == INTERRUPTED:
        _complain("stopped by the keyboard; what was finished is kept.")
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    if isinstance(error, GeorgiaError):
        _complain(str(error))
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "georgia"
        _complain(f"{error.format_message().rstrip('.')}. See: {command} --help")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # Keep Python from complaining about it on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    if isinstance(error, OSError) and error.errno in _REFUSALS and error.filename:
        _complain(f"Cannot use {str(error.filename)!r}: the system says {error.strerror!r}.")
        return 2
    traceback.print_exc()
    return 1


def _complain(message: str) -> None:
    print("georgia: " + " ".join(message.split()), file=sys.stderr)
