"""``labels.csv``: the names that are classes as a catalog that every command reads; the others beside it.

A thread of its own writes both, whole or not at all, a moment after a name was given: the journal is on disk
already, so a kill in between loses nothing, and the next start writes them again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from georgia.errors import InputError
from georgia.files import DAMAGE, read_table, write_text
from georgia.label.journal import Names
from georgia.label.records import ChoiceReason, Item, Label
from georgia.records import format_window
from georgia.text import format_csv, read_rows

Named = Sequence[tuple[Item, Label]]
BOX_COLUMNS = ("path", "x", "y", "width", "height")
LABEL_COLUMNS = ("group", "who", "when", "order", "reason", "probability")
# Names given within so many seconds are written together.
_GATHER_S = 0.2


def find_apart_file(out: Path) -> Path:
    """Return the table of the items that are of no class.

    >>> find_apart_file(Path("run/labels.csv")).name
    'labels-apart.csv'
    """
    return out.with_name(f"{out.stem}-apart{out.suffix}")


def tell_path(file: Path, folder: Path) -> str:
    """Return how a table in ``folder`` names a file: relative to it, or whole where all differs.

    A folder that is reached by a link counts by the place where it really is, as the system has it.
    """
    target, here = Path(os.path.abspath(file)), Path(os.path.abspath(folder))  # noqa: PTH100 - links stay
    if target.is_relative_to(here):
        return target.relative_to(here).as_posix()
    real = Path(os.path.realpath(target.parent), target.name)
    place = Path(os.path.realpath(here))
    if real.parts[:2] != place.parts[:2]:
        return real.as_posix()
    return Path(os.path.relpath(real, place)).as_posix()


def format_labels(named: Named, folder: Path, column: str = "class") -> str:
    """Return the rows of items as CSV; ``column`` is where their names stand."""
    rows: list[Sequence[object]] = [(*BOX_COLUMNS, column, *LABEL_COLUMNS)]
    for item, label in named:
        reason = label.reason if label.path == item.path else ChoiceReason.DUPLICATE
        probability = "" if label.probability is None else f"{label.probability:.6g}"
        box = item.box or ("", "", "", "")
        values = (item.group, label.who, label.at, label.order or "", str(reason), probability)
        rows.append((tell_path(item.file, folder), *box, label.name, *values))
    return format_csv(rows)


def write_labels(out: Path, named: Named) -> int:
    """Write ``labels.csv`` and the table of what is of no class; return how many labels were left out.

    Those are of files that are not there now: a catalog that names them would be read by no command.
    """
    is_there: dict[Path, bool] = {}
    for item, _ in named:
        if item.file not in is_there:
            is_there[item.file] = item.file.is_file()
    present = [(item, label) for item, label in named if is_there[item.file]]
    apart = find_apart_file(out)
    others = [entry for entry in present if not entry[1].is_class]
    if others or apart.exists():
        write_text(apart, format_labels(others, out.parent, "name"))
    write_text(out, format_labels([entry for entry in present if entry[1].is_class], out.parent))
    return len(named) - len(present)


def check_own_table(out: Path, names: Names) -> None:
    """Reject to write over a table into which somebody else wrote names.

    Files count by their names, so that the table or the images may have moved.

    Raises:
        InputError: it holds a name that its journal never held for that image, or is no such table.
    """
    if not out.exists():
        return
    given = {(_key(path), label.name) for label in names.every for path in (label.path, *label.duplicates)}
    try:
        rows = read_rows(read_table(out))
        found = [(_key(format_window(row["path"], _read_box(row))), row["class"]) for row in rows]
    except DAMAGE as error:
        raise _reject_table(out, f"a table without the columns of ours ({error})") from error
    foreign = [entry for entry in found if entry not in given]
    if foreign:
        raise _reject_table(out, f"{foreign[0][1]!r} for {foreign[0][0]!r}, which is not in the journal")


def _reject_table(out: Path, got: str) -> InputError:
    return InputError(
        f"Cannot go on with {str(out)!r}",
        needs="it must be as it was written; names are not given in it by hand",
        got=got,
        hint="Move it away, and take its names with --import; the journal writes it again.",
    )


def _read_box(row: dict[str, str]) -> tuple[int, int, int, int] | None:
    cells = [row[name] for name in BOX_COLUMNS[1:]]
    return (int(cells[0]), int(cells[1]), int(cells[2]), int(cells[3])) if any(cells) else None


def _key(path: str) -> str:
    return path.rpartition("/")[2]


class LabelsWriter:
    """Writes the tables from a thread; ``fault`` is why the last try failed, "" where it did not.

    ``read`` gives what is to be written; it is called from the thread.
    """

    def __init__(self, out: Path, read: Callable[[], Named]) -> None:
        self.fault, self.n_gone = "", 0
        self._out, self._read = out, read
        self._wake, self._end = threading.Event(), threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="georgia-labels", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the tables written soon."""
        self._wake.set()

    def write(self) -> None:
        """Write them now.

        Raises:
            UnwritableFileError: they cannot be; they stay as they were.
        """
        with self._writing:
            self.n_gone = write_labels(self._out, self._read())
            self.fault = ""

    def close(self) -> None:
        """End the thread; what waits is written.

        Raises:
            UnwritableFileError: it cannot be; the journal holds it.
        """
        self._end.set()
        self._wake.set()
        self._thread.join()
        self.write()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            # Only here: were it cleared elsewhere, the end could be missed.
            self._wake.clear()
            if self._end.wait(_GATHER_S):
                return
            try:
                self.write()
            except (InputError, OSError) as error:
                # The journal has the names; the next one tries again.
                self.fault = str(error)
