"""Who asks, while a request is dealt with: a logged-in user, a client with a token, or nobody known."""

from __future__ import annotations

import unicodedata
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from georgia.monitor.people.roles import Role
from georgia.monitor.people.sessions import Session
from georgia.web.http_errors import RejectedRequest


@dataclass(frozen=True)
class Person:
    """A user with a session, or a client with a token, whose ``session`` is None."""

    name: str
    role: Role
    session: Session | None = None

    @property
    def is_client(self) -> bool:
        """Tell whether it is a program."""
        return self.session is None


class OtherNameError(RejectedRequest):
    """Somebody who is logged in gave another name than the own one."""

    def __init__(self, person: Person, given: str) -> None:
        message = f"You are logged in as {person.name!r}: nothing is written under another name."
        super().__init__(403, message)
        self.person, self.given = person, given


# None: nobody logs in to this store, and names are as they are typed.
CURRENT: ContextVar[Person | None] = ContextVar("georgia_person", default=None)


def take_own_name(value: Any) -> Any:
    """Return the name to be written: that of whoever is logged in, or what was typed where nobody logs in.

    A client says for whom it acts, and stands beside that name.

    Raises:
        OtherNameError: 403, another name was typed.
    """
    person = CURRENT.get()
    if person is None or not isinstance(value, str):
        return value
    text = unicodedata.normalize("NFC", value).strip()
    if text in ("", person.name):
        return person.name
    if person.is_client:
        # At its end, where nothing that a client sends can stand.
        return f"{text[:50]} (client {person.name})" if text.isprintable() else value
    raise OtherNameError(person, text)
