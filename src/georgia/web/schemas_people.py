"""What the routes of people take and give, as the OpenAPI schema shows it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from georgia.monitor.people.passwords import LONGEST
from georgia.monitor.people.roles import Meaning, Method, Role, SignedAction
from georgia.web.schemas import Note, Open

# Before it is normalized, which may make it shorter.
_Password = Annotated[str, Field(max_length=4 * LONGEST)]


class LogInRequest(BaseModel):
    """Who logs in."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=200)]
    password: _Password


class NewPassword(BaseModel):
    """One's password, and the one that takes its place."""

    model_config = ConfigDict(extra="forbid")
    password: _Password
    new: _Password


class SessionState(BaseModel):
    """Whether people log in here, who is logged in, and what that person may do."""

    people: bool = Field(description="False: nobody logs in, and changes need the service's token.")
    user: str | None
    role: Role | None
    rights: list[str]
    meanings: list[Meaning] = Field(description="Of the signatures that the role may give.")
    needs_password: bool = Field(description="The password is a one-time one: another is to be chosen first.")
    idle_s: float = Field(description="A session ends after so long without a sign of its user.")
    longest_s: float
    reauthenticates: bool = Field(
        False, description="A signature asks for a new log-in at the identity provider, not for a password."
    )
    signed_actions: list[SignedAction] = Field([], description="Actions that are signed, and then done.")
    login_link: str | None = Field(None, description="Where another service identifies people.")
    signed: dict[str, Any] | None = Field(
        None, description="What was signed last in this session by a new log-in: its action, or its batch."
    )


class ProbePerson(BaseModel):
    """Who is logged in at one of several probes."""

    user: str
    role: Role
    needs_password: bool = Field(description="The password is a one-time one: to be replaced at that probe.")


class ProbesSession(BaseModel):
    """Who is logged in at each probe of a service; null: nobody, or nobody logs in there."""

    people: bool = Field(description="People log in at one probe or more.")
    probes: dict[str, ProbePerson | None]


class Ended(BaseModel):
    """A session that has ended."""

    ended: bool


class UserOut(Open):
    """A user."""

    id: int
    name: str
    role: Role
    is_enabled: bool
    n_failures: int = Field(description="Failed log-ins that count now.")


class Users(BaseModel):
    """All users."""

    users: list[UserOut]


class SignatureIn(BaseModel):
    """A signature: what it means, and the password once more."""

    model_config = ConfigDict(extra="forbid")
    meaning: Meaning
    password: _Password
    note: Note = ""


class ReauthenticationIn(BaseModel):
    """A signature of a user who logs in through another service."""

    model_config = ConfigDict(extra="forbid")
    meaning: Meaning
    note: Note = ""


class Reauthentication(BaseModel):
    """Where the browser is to go for a signature."""

    place: str = Field(description="The provider's page.")
    within_s: float = Field(description="The browser must be back within that time, s.")


class ActionWaits(Reauthentication):
    """An action that is done once its user has logged in anew at the identity provider."""

    what: str = Field(description="What is to be done, in words.")
    content: dict[str, Any] = Field(description="What it is of, and what was asked for.")


class SignatureOut(Open):
    """A signature on a batch."""

    id: int
    batch_id: int
    who: str
    role: Role
    meaning: Meaning
    note: str
    signed_at: str
    method: Method = Field(description="How the signer proved who they are, for this signature.")
    head: str = Field(description="The end of the whole record when it was given.")
    n_later: int = Field(description="Entries of the audit log on the batch that came after it.")


class Signatures(BaseModel):
    """Signatures of a batch, in order; ``decision`` is the release or rejection that counts, if any."""

    signatures: list[SignatureOut]
    decision: SignatureOut | None
    batch: dict[str, Any]
