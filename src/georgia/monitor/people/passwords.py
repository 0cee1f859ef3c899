"""Passwords: which are allowed, and their hashes (Argon2id)."""

from __future__ import annotations

import secrets
import threading
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.people.names import make_key

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# Source: NIST SP 800-63B-4, section 3.1.1: length and no rules of composition; 15 where nothing else is asked
# for, doi 10.6028/NIST.SP.800-63b-4. A signature asks for it once more.
SHORTEST, LONGEST = 15, 1024
_FEWEST_CHARACTERS = 5
# A one-time password of so many letters, 5 bits each.
_ONE_TIME_LENGTH = 20
# Without those that are taken for each other. Source: Crockford's base 32.
_LETTERS = "abcdefghjkmnpqrstvwxyz0123456789"
# Memory in KiB, passes and lanes. Source: RFC 9106, section 4, second recommended option.
MEMORY_KIB, PASSES, LANES = 65_536, 3, 4
# Each takes 64 MiB: whoever guesses shall not use up the memory of a machine.
_HASHING = threading.BoundedSemaphore(2)


@cache
def _hasher(memory_kib: int, passes: int, lanes: int) -> PasswordHasher:
    try:
        from argon2 import PasswordHasher
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Cannot use passwords",
            needs="argon2-cffi is needed",
            got=error,
            hint="pip install 'georgia[web]'.",
        ) from error
    return PasswordHasher(passes, memory_kib, lanes)


def _open() -> PasswordHasher:
    return _hasher(MEMORY_KIB, PASSES, LANES)


@cache
def _dummy(memory_kib: int, passes: int, lanes: int) -> str:
    return _hasher(memory_kib, passes, lanes).hash(secrets.token_hex(16))


def normalize(password: str) -> str:
    """Return a password in Unicode's composed form (NFC), so that any keyboard gives the same.

    Source: RFC 8265, section 4.2 (OpaqueString).
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


def check_password(password: str, user: str) -> str:
    """Return a new password as it is hashed.

    Raises:
        InputError: it is too short or too long, holds few different characters or the user's name, or cannot
            be typed. The password is never in the message.
    """
    found, needs = normalize(password), ""
    if not SHORTEST <= len(found) <= LONGEST:
        needs, got = f"{SHORTEST} to {LONGEST:,} characters are needed", f"{len(found):,}"
    elif any(unicodedata.category(char) in ("Cc", "Cs", "Cn") for char in found):
        needs, got = "characters that can be typed are needed", "others"
    elif len(set(found)) < _FEWEST_CHARACTERS:
        needs, got = f"{_FEWEST_CHARACTERS} different characters are needed", f"{len(set(found))}"
    elif len(make_key(user)) > 3 and make_key(user) in make_key(found):
        needs, got = "one without the user's name is needed", "one that holds it"
    if needs:
        raise InputError("Cannot use that password", needs=needs, got=got)
    return found


def make_password() -> str:
    """Return a one-time password of 100 random bits, in groups of five letters."""
    text = "".join(secrets.choice(_LETTERS) for _ in range(_ONE_TIME_LENGTH))
    return "-".join(text[at : at + 5] for at in range(0, _ONE_TIME_LENGTH, 5))


def hash_password(password: str) -> str:
    """Return the hash of a password that was checked."""
    hasher = _open()
    with _HASHING:
        return hasher.hash(normalize(password))


def is_password(password: str, hashed: str) -> bool:
    """Tell whether a password is that of a hash; "" is nobody's. It takes as long whatever the hash is."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    hasher, dummy = _open(), _dummy(MEMORY_KIB, PASSES, LANES)
    found = normalize(password)
    is_usable = bool(hashed) and len(found) <= LONGEST
    with _HASHING:
        try:
            hasher.verify(hashed if is_usable else dummy, found[:LONGEST].encode("utf-8", "replace"))
        except (Argon2Error, InvalidHashError):
            return False
    return is_usable
