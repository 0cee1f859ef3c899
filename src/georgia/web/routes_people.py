"""Routes of people: logging in and out, one's password, users, signatures on batches."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from georgia.errors import InputError
from georgia.monitor.connect import reading
from georgia.monitor.people.roles import MEANINGS, RIGHTS, Meaning, Right
from georgia.monitor.people.sessions import (
    LogIn,
    begin_session,
    count_failures,
    end_session,
    log_in,
)
from georgia.monitor.people.signatures import (
    Signature,
    count_later,
    find_decision,
    list_signatures,
    sign_batch,
)
from georgia.monitor.people.users import User, change_password, end_lockout, find_row, list_users
from georgia.monitor.seals import Change
from georgia.web import schemas_people as schemas
from georgia.web.current import CURRENT, Person
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import BatchId
from georgia.web.service import Service
from georgia.web.signing import WithPeople, confirm_person

_DEVICE_S = 90 * 86_400
UserId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The user's number.")]
NOT_LOGGED_IN = (
    "The name or the password is wrong, or log-in is locked after too many attempts. Then wait {minutes:g} "
    "minutes, or ask the administrator for a reset."
)


def make_login_router(service: WithPeople) -> APIRouter:
    """Return the routes by which people log in and out and replace their passwords."""
    router = APIRouter(prefix="/api", responses=document_errors())
    _add_session(router, service)
    _add_password(router, service)
    return router


def make_people_router(service: Service) -> APIRouter:
    """Return the routes; they need no monitor in this process, only the store."""
    router = make_login_router(service)
    _add_users(router, service)
    _add_signatures(router, service)
    return router


def _add_session(router: APIRouter, service: WithPeople) -> None:
    access, store = service.access, service.store

    @router.get("/session", response_model=schemas.SessionState, tags=["people"])
    def session(request: Request) -> Any:
        """Whether people log in here, and who is logged in."""
        person = access.find_person(request.headers) if access.is_on() else None
        return _describe(service, person)

    @router.post(
        "/session",
        response_model=schemas.SessionState,
        tags=["people"],
        responses=document_errors(401, 403, 409),
    )
    def begin(body: schemas.LogInRequest, request: Request, response: Response) -> Any:
        """Log in. The browser gets a cookie that scripts cannot read."""
        if not access.is_on():
            raise RejectedRequest(409, "Nobody logs in here: this store has no user. See: georgia users add.")
        visitor = access.find_visitor(request)
        found = log_in(store, body.name, body.password, visitor, access.rules, access.find_steady_s())
        return _welcome(service, found, request, response)

    @router.post(
        "/session/end", response_model=schemas.Ended, tags=["people"], responses=document_errors(403)
    )
    def end(request: Request, response: Response) -> Any:
        """Log out."""
        person = access.find_person(request.headers) if access.is_on() else None
        if person is not None and person.session is not None:
            session = person.session
            store.write(lambda change: end_session(change, session, "logged out"))
        access.forget(request.headers)
        response.delete_cookie(access.cookie)
        return {"ended": person is not None}

    @router.post("/session/use", response_model=schemas.SessionState, tags=["people"])
    def use() -> Any:
        """Say that somebody is there: the session does not end for want of use."""
        return _describe(service, CURRENT.get())


def _add_password(router: APIRouter, service: WithPeople) -> None:
    access, store = service.access, service.store

    @router.post(
        "/session/password",
        response_model=schemas.SessionState,
        tags=["people"],
        responses=document_errors(401, 403, 409),
    )
    def choose_password(body: schemas.NewPassword, request: Request, response: Response) -> Any:
        """Choose another password. The user's other sessions end."""
        person, row = confirm_person(service, request, body.password)
        visitor = access.find_visitor(request)
        if body.new == body.password:
            raise RejectedRequest(422, "The new password is the old one.")

        def write(change: Change) -> LogIn:
            change_password(change, person.user, row["password_hash"], body.new)
            fresh = find_row(change.connection, person.user.name)
            return begin_session(change, fresh or row, visitor)

        try:
            found = store.write(write)
        except InputError as error:
            raise RejectedRequest(422, str(error)) from error
        access.forget(request.headers)
        return _welcome(service, found, request, response)


def _welcome(service: WithPeople, found: LogIn, request: Request, response: Response) -> dict[str, Any]:
    """Return who has logged in, and give the browser its cookies."""
    access = service.access
    if found.session is None:
        message = NOT_LOGGED_IN.format(minutes=access.rules.lockout_min)
        raise RejectedRequest(401, message, {"WWW-Authenticate": "Bearer"})
    set_cookies(service, found, request, response)
    user = found.session.user
    return _describe(service, Person(user.name, user.role, found.session))


def set_cookies(service: WithPeople, found: LogIn, request: Request, response: Response) -> None:
    """Give the browser the secrets of a session that has begun."""
    access = service.access
    # A browser says itself by which scheme it asks, whatever proxies stand between.
    is_secure = "https" in (request.url.scheme, request.headers.get("origin", "").partition(":")[0])
    kept: dict[str, Any] = {"httponly": True, "secure": is_secure, "samesite": "strict", "path": "/"}
    response.set_cookie(access.cookie, found.secret, **kept)
    response.set_cookie(access.device_cookie, found.device, max_age=_DEVICE_S, **kept)


def _describe(service: WithPeople, person: Person | None) -> dict[str, Any]:
    access = service.access
    session = person.session if person is not None else None
    user, anew = session.user if session is not None else None, service.anew
    return {
        "people": access.is_on(),
        "signed": anew.find_signed(session) if anew is not None and session is not None else None,
        "user": person.name if person else None,
        "role": person.role if person else None,
        "rights": sorted(RIGHTS[person.role]) if person else [],
        "meanings": [each for each in Meaning if user is not None and _may_sign(service, user, each)],
        "signed_actions": list(service.config.sign),
        "reauthenticates": user is not None and user.subject is not None,
        "needs_password": user.is_temporary if user is not None else False,
        "idle_s": access.rules.session_idle_min * 60,
        "longest_s": access.rules.session_longest_h * 3600,
        "login_link": "login/oidc" if access.is_on() and service.config.oidc_issuer else None,
    }


def _may_sign(service: WithPeople, user: User, meaning: Meaning) -> bool:
    """Tell whether a user may give a signature: there must be something by which to prove who it is anew."""
    can_prove = user.subject is None or bool(service.config.oidc_issuer)
    return meaning in MEANINGS[user.role] and can_prove


def _add_users(router: APIRouter, service: Service) -> None:
    access, store = service.access, service.store

    @router.get("/users", response_model=schemas.Users, tags=["people"])
    def users() -> Any:
        """All users, and how many failed log-ins count against each."""
        now_s = access.find_steady_s()
        with reading(store.engine) as connection:
            found = list_users(connection)
            counts = {user.id: count_failures(connection, user, access.rules, now_s) for user in found}
        return {"users": [{**user.to_json_dict(), "n_failures": counts[user.id]} for user in found]}

    @router.post(
        "/users/{user_id}/unlock",
        response_model=schemas.Users,
        tags=["people"],
        responses=document_errors(404, 409),
    )
    def unlock(user_id: UserId) -> Any:
        """Forget a user's failed log-ins, so that the user may try again."""
        person = CURRENT.get()
        if person is None:
            raise RejectedRequest(409, "Nobody logs in here: this store has no user.")
        with reading(store.engine) as connection:
            user = next((user for user in list_users(connection) if user.id == user_id), None)
        if user is None:
            raise RejectedRequest(404, f"There is no user {user_id}.")
        store.write(lambda change: end_lockout(change, user, person.name))
        return users()


def _add_signatures(router: APIRouter, service: Service) -> None:
    own, store = "/batches/{batch_id}/signatures", service.store

    @router.get(own, response_model=schemas.Signatures, tags=["people"], responses=document_errors(404))
    def signatures(batch_id: BatchId) -> Any:
        """The electronic signatures on a batch, and the one that releases or rejects it."""
        batch = service.find("batch", batch_id)
        with reading(store.engine) as connection:
            found = list_signatures(connection, batch_id)
            later = {each.id: count_later(connection, each) for each in found}

        def show(signature: Signature | None) -> dict[str, Any] | None:
            return None if signature is None else {**signature.to_json_dict(), "n_later": later[signature.id]}

        shown = [show(each) for each in found]
        return {"signatures": shown, "decision": show(find_decision(found)), "batch": batch.to_json_dict()}

    @router.post(
        own,
        response_model=schemas.Signatures,
        status_code=201,
        tags=["people"],
        responses=document_errors(404, 409),
    )
    def sign(batch_id: BatchId, body: schemas.SignatureIn, request: Request) -> Any:
        """Sign a batch. The password is asked for once more; the signature names the end of the record."""
        service.find("batch", batch_id)
        person = CURRENT.get()
        user = person.session.user if person is not None and person.session is not None else None
        if person is not None and (user is None or body.meaning not in MEANINGS[user.role]):
            what = f"POST {request.url.path}"
            service.access.note_denied(person, what, Right.SIGN, meaning=str(body.meaning))
            message = f"The role {person.role} signs no {body.meaning}. The attempt was recorded."
            raise RejectedRequest(403, message)
        if user is not None and user.subject is not None:
            message = "You have no password here: sign by a new log-in, POST …/signatures/reauthenticate."
            raise RejectedRequest(409, message)
        session, _ = confirm_person(service, request, body.password)
        try:
            store.write(lambda change: sign_batch(change, batch_id, session.user, body.meaning, body.note))
        except InputError as error:
            raise RejectedRequest(409, str(error)) from error
        return signatures(batch_id)
