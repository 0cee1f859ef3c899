"""Numbers with their nouns, many faults in one line, and rows as CSV."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TypeVar

T = TypeVar("T")
# How a cell begins that a spreadsheet takes for a formula, also in full width, or defused before.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
# More faults than these are counted, not listed.
_N_FAULTS_SHOWN = 5


def count_noun(number: int, noun: str) -> str:
    """Return a count with its noun, singular or plural.

    >>> count_noun(1, "error"), count_noun(1200, "image"), count_noun(2, "batch"), count_noun(2, "epoch")
    ('1 error', '1,200 images', '2 batches', '2 epochs')
    """
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x", "sh", "tch", "rch")) else "s"
    return f"{number:,} {noun}{ending}"


def describe_names(names: Iterable[str]) -> str:
    """Return the first names in quotes, with the number of the others.

    >>> describe_names("abcdefg")
    "'a', 'b', 'c', 'd', 'e' and 2 more"
    """
    every = list(names)
    shown = ", ".join(map(repr, every[:_N_FAULTS_SHOWN]))
    n_more = len(every) - _N_FAULTS_SHOWN
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def make_printable(name: str) -> str:
    r"""Return a file name with escapes for what cannot be shown: bytes that are no UTF-8, line breaks.

    >>> make_printable("a\nb\udcb5.png")
    'a\\nb\\udcb5.png'
    """
    if name.isprintable():
        return name
    # Control signs, separators of lines and paragraphs, surrogates; joiners of emoji stay.
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in ("Cc", "Zl", "Zp", "Cs")
        else sign
        for sign in name
    )


def defuse_cell(value: T) -> T | str:
    """Return a cell of a CSV file as a text that no spreadsheet takes for a formula; numbers stay.

    Source: OWASP, CSV Injection. ``restore_cell`` undoes it.

    >>> defuse_cell("=1+1.png"), defuse_cell("-0.5"), defuse_cell("CEX/a.png"), defuse_cell(-2)
    ("'=1+1.png", '-0.5', 'CEX/a.png', -2)
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def restore_cell(text: str) -> str:
    """Return what ``defuse_cell`` was given.

    >>> restore_cell("'=1+1.png"), restore_cell("'quoted'")
    ('=1+1.png', "'quoted'")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def escape_bytes(text: str) -> str:
    r"""Return a text that is valid UTF-8: bytes of a file name that are none become ``\udcb5``.

    >>> restore_bytes(escape_bytes("\udcb5m.png")) == "\udcb5m.png"
    True
    """
    return text.encode("utf-8", "backslashreplace").decode()


def restore_bytes(text: str) -> str:
    """Return what ``escape_bytes`` was given."""
    return _BYTE.sub(lambda found: chr(int(found[1], 16)), text)


def is_utf8(text: str) -> bool:
    r"""Return whether UTF-8 can hold a text: it has no half of a surrogate pair, as in some file names.

    >>> is_utf8("µm.png"), is_utf8("\udcb5m.png")
    (True, False)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_rows(table: str) -> list[dict[str, str]]:
    r"""Return the rows of a CSV text that ``format_csv`` wrote, by the names in its first row.

    >>> read_rows(format_csv([("path", "n"), ("=a", 1)]))
    [{'path': '=a', 'n': '1'}]
    """
    rows = csv.DictReader(io.StringIO(table, newline=""))
    return [
        {name: restore_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in rows
    ]


def format_csv(rows: Iterable[Sequence[object]]) -> str:
    r"""Return rows as CSV with line breaks between them; a cell may hold any sign, line breaks too.

    Cells that a spreadsheet would take for formulas are defused; ``read_rows`` undoes it.

    >>> format_csv([("path", "n"), ("a, b", 1)])
    'path,n\n"a, b",1\n'
    """
    stream = io.StringIO()
    writer = RowWriter(stream)
    for row in rows:
        writer.write_row(row)
    return stream.getvalue()


def format_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    r"""Return rows by column as CSV, the columns' names first; see ``round_cell`` for numbers.

    >>> format_table(("n", "mean"), [{"mean": 0.1234567, "n": 3}])
    'n,mean\n3,0.123457\n'
    """
    return format_csv([columns, *([round_cell(row[name]) for name in columns] for row in rows)])


def round_cell(value: T) -> T | str:
    """Return a cell of a table: a float with six digits, anything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else value


class RowWriter:
    """Writes rows of CSV that every reader takes apart as they were, whatever stands in a cell."""

    def __init__(self, stream: IO[str]) -> None:
        self._plain = csv.writer(stream, lineterminator="\n")
        # Before Python 3.13 a lone carriage return stays without quotes, and ends the row for a reader.
        self._quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write_row(self, row: Iterable[object]) -> None:
        """Write one row; cells that a spreadsheet would take for formulas are defused."""
        cells = [defuse_cell(cell) for cell in row]
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (self._quoted if has_return else self._plain).writerow(cells)


def describe_many(faults: Sequence[str]) -> str:
    """Return the first faults in one line, with the number of the others.

    >>> describe_many(["a", "b"])
    'a · b'
    """
    shown = " · ".join(faults[:_N_FAULTS_SHOWN])
    n_more = len(faults) - _N_FAULTS_SHOWN
    return f"{shown} · and {n_more} more" if n_more > 0 else shown
