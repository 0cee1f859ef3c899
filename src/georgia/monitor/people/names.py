"""Names of users and clients: which are allowed, and which look alike."""

from __future__ import annotations

import unicodedata

from georgia.errors import InputError

LONGEST_NAME = 60
# Marks inside a name; it begins and ends with a letter, a digit or a full stop at its end.
_MARKS = frozenset(" .,'’-_@")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK")
# Letters of other alphabets, and digits, that most fonts draw like Latin letters.
# Source: Unicode Technical Standard 39, confusables, the letters of these two alphabets.
_LOOKS_LIKE = str.maketrans(
    "авсдеёгніјкмопрѕтухԁԛԝαβγεικνορτυχ01",
    "abcdeerhijkmonpstyxdqwabyeiknoptuxol",
)
# Whoever does what nobody did, in the audit log.
_RESERVED = ("georgia", "nobody", "client")


def check_name(name: str, what: str = "the user") -> str:
    """Return a name as it is kept: in Unicode's composed form (NFC), without spaces around it.

    Raises:
        InputError: it is empty, too long, holds other characters than letters, digits and a few marks, mixes
            alphabets, or is one of the record's own.
    """
    found = unicodedata.normalize("NFC", name).strip()
    needs = _find_fault(found)
    if needs:
        raise InputError(f"Cannot add {what}", needs=needs, got=repr(name[:80]))
    return found


def _find_fault(name: str) -> str:
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"a name of 1 to {LONGEST_NAME} characters is needed"
    if not name[0].isalnum() or not (name[-1].isalnum() or name[-1] == "."):
        return "a name that begins and ends with a letter or a digit is needed"
    if not all(char in _MARKS or unicodedata.category(char)[0] in "LM" or char.isdigit() for char in name):
        return "letters, digits, spaces and . , ' - _ @ are needed"
    scripts = {
        script for char in name for script in _SCRIPTS if unicodedata.name(char, "").startswith(script)
    }
    if len(scripts) > 1:
        return "letters of one alphabet are needed"
    if not make_key(name) or make_key(name) in map(make_key, _RESERVED):
        return "a name that the record does not use itself is needed"
    return ""


def make_key(name: str) -> str:
    r"""Return what a name looks like: names with one key could be taken for each other.

    Case, accents' form, width, spaces and marks do not count, nor letters of other alphabets with the same
    shape.

    >>> make_key("A. Miller") == make_key("a miller") == make_key("\uff21.MILLER")
    True
    >>> make_key("\u0410nna") == make_key("Anna")
    True
    """
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_LOOKS_LIKE)
    return "".join(char for char in plain if char.isalnum() or unicodedata.category(char)[0] == "M")
