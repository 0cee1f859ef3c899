"""What the user sees: progress and notes on stderr, tables or one JSON object on stdout."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

from georgia.cli.packages import TRAINING, check_packages
from georgia.errors import MissingDependencyError, mask_credentials

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from georgia.records import Failure

DONE, DONE_IN_PART, GATE_FAILED = 0, 3, 4
INTERRUPTED = 130  # Source: 128 + SIGINT, as shells report it.
SHOWN_FAILURES = 20


class ConsoleProgress:
    """Progress on stderr: a bar on a terminal; one line for each finished stage that printed none itself."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._count = 0
        self._note = ""
        self._has_printed = False
        self._started = 0.0

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(is_complete=kind is None)

    def start(self, stage: str, total: int | None) -> None:
        """Begin a stage; the one before is finished."""
        self._finish()
        self._stage, self._count, self._note, self._has_printed = stage, 0, "", False
        self._started = time.perf_counter()
        if self._console.is_terminal:
            self._bar = _new_bar(self._console)
            self._task = self._bar.add_task(stage, total=total, note="")
            self._bar.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar; ``note`` stays beside it until the next one."""
        self._count += count
        self._note = note or self._note
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, note=self._note)

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        self._has_printed = True
        self._console.print(line)

    def _finish(self, is_complete: bool = True) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
        if self._stage and is_complete and not self._has_printed:
            count = f": {self._count:,}" if self._count else ""
            note = f", {self._note}" if self._note else ""
            self._console.print(f"{self._stage}{count} in {time.perf_counter() - self._started:.1f} s{note}")
        self._stage = ""


def _new_bar(console: Console) -> RichProgress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True)


@contextmanager
def usable_streams() -> Iterator[None]:
    """Make stdout and stderr safe to print to while the block runs, even if they are closed.

    Python has None for a closed one, and ``print`` to a stderr of None goes to stdout. A closed descriptor
    is given to the next file that is opened, into which native libraries would then print.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    kept = sys.stdout, sys.stderr
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        for stream in kept:
            if hasattr(stream, "reconfigure"):  # file names need not be printable
                stream.reconfigure(errors="backslashreplace")
        sys.stdout = cast("TextIO", _Stream(kept[0] or nowhere, is_needed=True))
        sys.stderr = cast("TextIO", _Stream(kept[1] or nowhere, is_needed=False))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept


class _Stream:
    """A stream that may be unwritable: stderr is no reason to stop, what was wrong with stdout is kept."""

    def __init__(self, stream: TextIO, is_needed: bool) -> None:
        self._stream, self._is_needed = stream, is_needed
        self.fault: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        drop_stream(self._stream)
        self.fault = error
        if self._is_needed:
            raise error


def find_stdout_fault() -> OSError | None:
    """Return why what was printed could not be written, if it could not."""
    return getattr(sys.stdout, "fault", None)


def show_json(value: Any) -> None:
    """Print one JSON object; results give their own JSON, numbers that JSON does not know become null."""
    print(json.dumps(_plain(value), indent=2))


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json_dict"):
        value = value.to_json_dict()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def show_line(line: str) -> None:
    """Print one line of the result on stdout."""
    print(line)


def show_live_line(line: str) -> bool:
    """Print one line on stdout at once, through a pipe too; return whether somebody still reads it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        drop_stream(sys.stdout)
        return False
    return True


def drop_stream(stream: TextIO) -> None:
    """Let what follows on a stream, and Python's own last flush, go nowhere: it cannot be written to."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def show_note(line: str) -> None:
    """Print one line about the result, or an error, on stderr."""
    print("georgia: " + mask_credentials(" ".join(line.split())), file=sys.stderr)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], more: str = "") -> None:
    """Print a table: cut to the height of a terminal, whole and tab-separated elsewhere.

    ``more`` says where to find the rest; it is shown if rows are left out.
    """
    with open_table(columns, more) as add_row:
        for row in rows:
            add_row(row)


@contextmanager
def open_table(columns: Sequence[str], more: str = "") -> Iterator[Callable[[Sequence[str]], None]]:
    """Print a table as ``show_table`` does, of rows that come one by one; only those shown are kept."""
    if not sys.stdout.isatty():
        print("\t".join(columns))
        yield lambda row: print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    room = max(10, console.size.height - 8)
    table = Table(box=None, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="left" if position == 0 else "right")
    n_left_out = 0

    def add_row(row: Sequence[str]) -> None:
        nonlocal n_left_out
        if table.row_count < room:
            table.add_row(*row)
        else:
            n_left_out += 1

    yield add_row
    console.print(table)
    if n_left_out:
        console.print(f"… and {n_left_out:,} more. {more}".rstrip())


def end_with(failures: Sequence[Failure], n_failures: int | None = None) -> int:
    """Name the files that were left out, on stderr; return the exit code: 0, or 3 if there are any.

    ``n_failures`` is their number where ``failures`` are only the first ones.
    """
    total = len(failures) if n_failures is None else n_failures
    for failure in failures[:SHOWN_FAILURES]:
        show_note(f"left out {str(failure.path)!r}: {failure.error}")
    if total > SHOWN_FAILURES:
        show_note(f"… and {total - SHOWN_FAILURES:,} more files were left out.")
    return DONE_IN_PART if failures else DONE


def load_keras(for_training: bool = True) -> None:
    """Import Keras without TensorFlow's start-up lines; an error still shows them.

    Its native part writes them before any setting is read, so the file descriptor itself is redirected
    during the import.
    """
    if for_training:
        check_packages("Cannot train", TRAINING)
    else:
        check_packages("Cannot open a Keras file", ("keras", "tensorflow", "h5py"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("absl").setLevel(logging.ERROR)
    with _native_stderr_held():
        try:
            import keras  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "Cannot train", needs="Keras is needed", got=error, hint="pip install 'georgia[train]'."
            ) from error


@contextmanager
def _native_stderr_held() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
