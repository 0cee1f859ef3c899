"""Names of files as the record can hold them: whatever the file system's encoding and form of accents."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from georgia.errors import UnreadableImageError

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def to_text(name: str) -> str:
    r"""Return a file's name as text of Unicode's composed form (NFC).

    Bytes that are no UTF-8 (an instrument's Latin-1 on a network folder) become ``\xfc``. A name that one
    system lists with composed and another with separate accents is one name.

    >>> to_text("K\udcfchlung.png"), to_text("Ku\u0308hlung.png") == "K\u00fchlung.png"
    ('K\\xfchlung.png', True)
    """
    if _SURROGATE.search(name):
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name)


def to_printable(text: str) -> str:
    """Return a text on one line, whatever bytes or line breaks a name in it holds."""
    text = _SURROGATE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", text)
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def find_file(folder: Path, text: str) -> Path:
    """Return the path of the file whose name became ``text``; without one, the path of that very text."""
    candidates = [text, unicodedata.normalize("NFD", text)]
    if _ESCAPE.search(text):
        candidates.append(os.fsdecode(_to_bytes(text)))
    for candidate in candidates:
        try:
            if os.path.lexists(folder / candidate):
                return folder / candidate
        except ValueError:  # a null character
            break
    return folder / text


def read_recorded_file(folder: Path, text: str, sha256: str) -> bytes:
    """Return the content of the file that the record calls ``text``, as it was analysed and nothing else.

    Raises:
        UnreadableImageError: the file is gone, lies elsewhere, or holds something else now; one clause.
    """
    path = find_file(folder, text)
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnreadableImageError("its file lies outside of the frames' folder")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableImageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UnreadableImageError(f"its file is gone ({reason})") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableImageError("its file holds another image now")
    return data


def _to_bytes(text: str) -> bytes:
    parts, last = [], 0
    for match in _ESCAPE.finditer(text):
        parts += [text[last : match.start()].encode(), bytes([int(match[1], 16)])]
        last = match.end()
    return b"".join([*parts, text[last:].encode()])
