"""The text of an export: its encoding is found by marks and bytes, and only whole lines are taken."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from georgia.errors import InputError

# The encodings that begin with a mark; the longest marks first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What Windows programs write in western Europe and America; it holds all that Latin-1 shows.
_WESTERN = "windows-1252"
_PROBE_BYTES = 1 << 16


@dataclass(frozen=True)
class Encoding:
    """An encoding by its Python name, and the length of the mark at the file's beginning, bytes."""

    name: str
    n_mark: int = 0

    @property
    def newline(self) -> bytes:
        """Return the bytes of a line's end."""
        return "\n".encode(self.name)

    def describe(self) -> str:
        """Return the encoding as it is shown."""
        return f"{self.name}{' with mark' if self.n_mark else ''}"


def find_encoding(data: bytes, given: str = "auto") -> Encoding:
    """Return the encoding of a file by its first bytes; ``given`` is what the user says.

    >>> find_encoding("Zeit;T_r [°C]".encode("utf-16")).name, find_encoding("°C".encode("latin-1")).name
    ('utf-16-le', 'windows-1252')

    Raises:
        InputError: the bytes are no text.
    """
    mark = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), None)
    if given != "auto":
        name = codecs.lookup(given).name
        name = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(name, name)
        return Encoding(name, len(mark[0]) if mark and mark[1] == name else 0)
    if mark is not None:
        return Encoding(mark[1], len(mark[0]))
    head = data[:_PROBE_BYTES]
    if b"\0" in head:
        return _find_utf16(head)
    # A letter may be cut at the end of what was read.
    try:
        codecs.getincrementaldecoder("utf-8")().decode(
            head, final=len(head) == len(data) and head[-1:] == b"\n"
        )
    except UnicodeDecodeError:
        return Encoding(_WESTERN)
    return Encoding("utf-8")


def _find_utf16(head: bytes) -> Encoding:
    """Return UTF-16 without a mark, which latin texts show by a zero in every second byte."""
    pairs = max(1, len(head) // 2)
    even, odd = head[0::2].count(0) / pairs, head[1::2].count(0) / pairs
    if max(even, odd) > 0.5 and min(even, odd) < 0.05:
        return Encoding("utf-16-le" if odd > even else "utf-16-be")
    raise InputError(
        "the content", needs="a text is needed", got="bytes", hint="Is it a spreadsheet? Save it as CSV."
    )


def find_last_line_end(data: bytes, encoding: Encoding) -> int:
    """Return the number of bytes up to the end of the last whole line, 0 where there is none.

    Old programs end a line with a carriage return alone; such a file has no line feed at all.
    """
    for sign in ("\n", "\r"):
        end, width = sign.encode(encoding.name), len(encoding.newline)
        at = data.rfind(end)
        while at >= 0 and at % width:
            at = data.rfind(end, 0, at)
        if at >= 0:
            return at + width
    return 0


def decode_lines(data: bytes, encoding: Encoding) -> str:
    """Return the text of whole lines; one that is no UTF-8 after all is read as Windows-1252.

    Raises:
        InputError: it is no text of that encoding.
    """
    try:
        return data.decode(encoding.name)
    except UnicodeDecodeError as error:
        if encoding.name == "utf-8":
            return data.decode(_WESTERN, errors="replace")
        if encoding.name == _WESTERN:
            return data.decode(_WESTERN, errors="replace")
        raise InputError(
            "the content", needs=f"a text in {encoding.name} is needed", got=error.reason
        ) from error
