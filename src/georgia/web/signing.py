"""Who a person is, proved anew before what is signed: by the password, or by a new log-in at the provider."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from georgia.monitor.connect import reading
from georgia.monitor.people.roles import ACTION_MEANINGS, Method, Right, SignedAction
from georgia.monitor.people.sessions import Session, confirm_password, find_session_by_id
from georgia.monitor.people.users import User
from georgia.monitor.records import AuditAction
from georgia.monitor.store import Store
from georgia.web.access import Access
from georgia.web.config import ServeConfig
from georgia.web.current import CURRENT
from georgia.web.http_errors import RejectedRequest
from georgia.web.oidc import SIGNING_PATIENCE_S, Identity, OidcError, Outcome
from georgia.web.reauthentication import Reauthentication, check_signer, require_anew
from georgia.web.schemas import Signable
from georgia.web.schemas_people import ActionWaits

if TYPE_CHECKING:
    from georgia.web.service import Service

_log = logging.getLogger(__name__)

# The browser that began something is the one that may bring it back from the provider.
STATE_COOKIE = "georgia_oidc"
# What a route responds to a person without a password here.
WAITS: dict[int | str, dict[str, Any]] = {
    202: {
        "model": ActionWaits,
        "description": "It is done once the user has logged in anew at the identity provider.",
    }
}


class WithPeople(Protocol):
    """What people log in to: a service with its store, or the labelling page with somebody else's."""

    @property
    def access(self) -> Access:
        """Who may do what."""

    @property
    def store(self) -> Store:
        """Where users and sessions are kept."""

    @property
    def config(self) -> ServeConfig:
        """The settings."""

    @property
    def anew(self) -> Reauthentication | None:
        """What waits for a new log-in at an identity provider; None without one."""


def confirm_person(service: WithPeople, request: Request, password: str) -> tuple[Session, Mapping[Any, Any]]:
    """Return the session of who asks, and the user's row, once the password was given anew.

    Raises:
        RejectedRequest: 409, nobody logs in; 403, it is the wrong one, which is recorded.
    """
    access, person = service.access, CURRENT.get()
    if person is None or person.session is None:
        raise RejectedRequest(409, "Nobody logs in here: this store has no user. See: georgia users add.")
    visitor = access.find_visitor(request)
    now_s = access.find_steady_s()
    row = confirm_password(service.store, person.session, password, visitor, access.rules, now_s)
    if row is None:
        raise RejectedRequest(403, "The password is wrong; nothing was done. The attempt was recorded.")
    return person.session, row


@dataclass(frozen=True)
class _Deed:
    """An action that is to be signed: what it is, what was asked for, of which batch, and how it is done."""

    action: SignedAction
    what: str
    content: Mapping[str, Any]
    batch_id: int | None
    do: Callable[[], Any]

    def sign(self, store: Store, user: User, session: str, method: Method, proof: Mapping[str, Any]) -> Any:
        """Write the signature, then do it and return what that returns; if it fails, write that too.

        The entry comes first, so that a stop at any moment leaves no action without it.
        """
        told = {
            **{"meaning": ACTION_MEANINGS[self.action], "what": self.what, "role": str(user.role)},
            **{"method": str(method), **proof, "session": session[:12], "content": dict(self.content)},
        }
        signed = store.append_event(user.name, AuditAction.ACTION_SIGNED, told, self.batch_id)
        try:
            return self.do()
        except Exception as error:
            reason = str(getattr(error, "detail", error))[:300]
            detail = {"signature": signed.seq, "what": self.what, "reason": reason}
            store.append_event(user.name, AuditAction.SIGNED_ACTION_FAILED, detail, self.batch_id)
            raise


def do_signed(
    service: Service,
    request: Request,
    action: SignedAction,
    body: Signable,
    batch_id: int | None,
    do: Callable[[], Any],
) -> Any:
    """Do an action and return what it returns; where the setting ``sign`` names it, have it signed before.

    For a user of an identity provider the response is where to log in anew: it is done after that.

    Raises:
        RejectedRequest: 403, the password is wrong or missing, or a program asks, which is recorded; 409,
            nobody logs in, or another service identifies the user.
    """
    if action not in service.config.sign:
        return do()
    session = _find_signer(service, request, action)
    content = body.model_dump(exclude={"who", "password"}, exclude_none=True, mode="json")
    deed = _Deed(action, f"{request.method} {request.url.path}", content, batch_id, do)
    if session.user.subject is not None:
        return _wait_for_login(service, session, deed, _name_subject(service, request, batch_id))
    if not body.password:
        raise RejectedRequest(403, f"Here your password is needed once more to {_TOLD[action]}.")
    proved, _ = confirm_person(service, request, body.password)
    return deed.sign(service.store, proved.user, proved.id, Method.PASSWORD, {})


def do_anew(
    service: WithPeople, request: Request, action: SignedAction, body: BaseModel, do: Callable[[], Any]
) -> Any:
    """Do an action and return what it returns; of a user of an identity provider, after a new log-in there.

    Whoever has a password here gave it at the log-in.

    Raises:
        RejectedRequest: 409, the settings do not name the provider of this user.
    """
    person = CURRENT.get()
    session = person.session if person is not None else None
    if session is None or session.user.subject is None:
        return do()
    content = body.model_dump(exclude={"who"}, exclude_defaults=True, mode="json")
    deed = _Deed(action, f"{request.method} {request.url.path}", content, None, do)
    return _wait_for_login(service, session, deed, {})


def _find_signer(service: Service, request: Request, action: SignedAction) -> Session:
    person = CURRENT.get()
    if person is None:
        message = (
            f"Here a signature is needed to {_TOLD[action]}, and this store has no user who could give one. "
            "See: georgia users add."
        )
        raise RejectedRequest(409, message)
    if person.session is None:
        what = f"{request.method} {request.url.path}"
        service.access.note_denied(person, what, Right.SIGN, action=str(action))
        message = f"Here a signature is needed to {_TOLD[action]}, and a program signs nothing."
        raise RejectedRequest(403, message)
    return person.session


def _name_subject(service: Service, request: Request, batch_id: int | None) -> dict[str, Any]:
    """Return which alarm and which batch an action is of, as its signer is shown."""
    alarm_id = request.path_params.get("alarm_id")
    alarm = {} if alarm_id is None else {"alarm": service.store.alarm(int(alarm_id)).reason}
    return alarm if batch_id is None else {**alarm, "batch": service.store.batch(batch_id).name}


def _wait_for_login(
    service: WithPeople, session: Session, deed: _Deed, subject: Mapping[str, Any]
) -> JSONResponse:
    """Keep an action until its user has logged in anew at the provider; return where that is done.

    ``subject`` is what the action is of, as its signer is shown.
    """
    access, store = service.access, service.store

    def carry_out(identity: Identity) -> None:
        with reading(store.engine) as connection:
            now = find_session_by_id(connection, session.id, access.rules, access.now_s)
        user = check_signer(now, identity, session.user.role)
        proof = {"provider": identity.provider, "auth_time": identity.auth_at_s}
        try:
            deed.sign(store, user, session.id, Method.PROVIDER, proof)
        except Exception as error:  # the record has it; the page is told
            _log.info("a signed action failed", exc_info=error)
            raise OidcError(str(getattr(error, "detail", error)), Outcome.FAILED) from error

    told = {"what": deed.what, "action": str(deed.action), "content": dict(deed.content)}
    page = {"action": str(deed.action)}
    place, state = require_anew(service.anew).begin(session, told, page, carry_out)
    shown = {"what": _TOLD[deed.action], "content": {**subject, **deed.content}}
    waits = {"place": place, "within_s": SIGNING_PATIENCE_S, **shown}
    response = JSONResponse(waits, 202)
    keep_state(service, response, state, SIGNING_PATIENCE_S)
    return response


def keep_state(service: WithPeople, response: Response, state: str, for_s: float) -> None:
    """Give the browser what it is to bring back from the provider."""
    # It comes back from another site: the cookie must come along with that one request.
    is_secure = service.config.oidc_redirect.startswith("https:")
    kept: dict[str, Any] = {"httponly": True, "secure": is_secure, "samesite": "lax"}
    response.set_cookie(STATE_COOKIE, state, max_age=int(for_s), **kept)


_TOLD: Mapping[SignedAction, str] = {
    SignedAction.ACKNOWLEDGE: "acknowledge an alarm",
    SignedAction.SHELVE: "shelve an alarm",
    SignedAction.CLOSE: "close an alarm",
    SignedAction.LIMITS: "change or confirm limits",
    SignedAction.OVERRIDE: "go on against a commissioning",
    SignedAction.PROMOTE: "put a model in use",
}
