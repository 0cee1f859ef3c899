"""Routes of another service that identifies people: to its page and back, to log in or to sign a batch."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from georgia.errors import InputError
from georgia.monitor.connect import reading
from georgia.monitor.people.roles import MEANINGS, Method, Right
from georgia.monitor.people.sessions import (
    LogIn,
    Visitor,
    begin_session,
    find_session_by_id,
)
from georgia.monitor.people.signatures import Proof, check_signable, hash_batch, sign_batch
from georgia.monitor.people.users import add_user, find_by_subject, set_role, user_of
from georgia.monitor.records import AuditAction
from georgia.monitor.seals import Change
from georgia.web import schemas_people as schemas
from georgia.web.access import read_cookie
from georgia.web.current import CURRENT
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.oidc import SIGNING_PATIENCE_S, Identity, OidcError, OidcProvider
from georgia.web.reauthentication import Reauthentication, check_signer, printable, require_anew
from georgia.web.routes_people import set_cookies
from georgia.web.routing import BatchId
from georgia.web.service import Service
from georgia.web.signing import STATE_COOKIE, WithPeople, keep_state


class WithProvider(WithPeople, Protocol):
    """What people of an identity provider log in to: a service, or the labelling page with its people."""

    anew: Reauthentication | None
    ends: list[Callable[[], None]]

    @property
    def probe(self) -> str:
        """The name of the service's probe, "" where it has one."""


def make_oidc_router(service: Service) -> APIRouter:
    """Return the routes; without the settings ``oidc_…`` there is nothing at them."""
    router = APIRouter(responses=document_errors(404))
    require = _add_provider(router, service)
    _add_signing(router, service, require)
    return router


def make_oidc_login_router(service: WithProvider) -> APIRouter:
    """Return the routes without the signatures on batches."""
    router = APIRouter(responses=document_errors(404))
    _add_provider(router, service)
    return router


def _add_provider(router: APIRouter, service: WithProvider) -> Callable[[], OidcProvider]:
    """Add log-in and what is given up; return what gives the provider, if the settings name one."""
    access = service.access
    provider = OidcProvider(service.config, service.probe) if service.config.oidc_issuer else None
    if provider is not None:
        service.anew = Reauthentication(provider, service.store)
        service.ends.append(service.anew.close)

    def require() -> OidcProvider:
        if provider is None or not access.is_on():
            raise RejectedRequest(404, "People do not log in here through another service.")
        return provider

    _add_login(router, service, require)
    _add_cancel(router, service, require)
    return require


def _add_login(router: APIRouter, service: WithProvider, require: Callable[[], OidcProvider]) -> None:
    there: dict[str, Any] = {"response_class": RedirectResponse, "status_code": 303, "tags": ["people"]}
    access, store = service.access, service.store
    # From …/login/oidc/callback, which is one for all probes of a service.
    home = f"../../probes/{service.probe}/" if service.probe else "../../"

    @router.get("/login/oidc", name="begin_oidc", **there)
    def begin(request: Request) -> RedirectResponse:
        """Send the browser to the provider."""
        try:
            place, state = require().begin()
        except OidcError as error:
            raise RejectedRequest(503, f"Cannot log in: {error}.") from error
        response = RedirectResponse(place, 303)
        keep_state(service, response, state, 600)
        return response

    @router.get("/login/oidc/callback", name="finish_oidc", **there)
    def finish(
        request: Request,
        state: Annotated[str, Query(max_length=200)] = "",
        code: Annotated[str, Query(max_length=4000)] = "",
        error: Annotated[str, Query(max_length=200)] = "",
    ) -> RedirectResponse:
        """Take the browser back, and log in whom the provider names, or sign what the user wanted to sign."""
        chosen, visitor = require(), access.find_visitor(request)
        if not state or read_cookie(request.headers, STATE_COOKIE) != state:
            raise RejectedRequest(401, "Cannot log in: this browser did not begin this log-in.")
        try:
            attempt = chosen.take(state)
            if attempt.signing is not None:
                outcome = require_anew(service.anew).finish(attempt, attempt.signing, (code, error), visitor)
                query = urllib.parse.urlencode({"outcome": outcome, **attempt.signing.page})
                response = RedirectResponse(f"{home}#{query}", 303)
                response.delete_cookie(STATE_COOKIE)
                return response
            if not code:
                raise OidcError(f"the provider let nobody in: {printable(error)}")
            identity = chosen.finish(code, attempt)
            found = store.write(lambda change: _log_in(change, identity, visitor))
        except (OidcError, InputError) as fault:
            detail = {"address": visitor.address, "reason": f"OpenID Connect: {fault}"[:300]}
            store.append_event("georgia", AuditAction.LOGIN_FAILED, detail)
            raise RejectedRequest(401, f"Cannot log in: {str(fault).rstrip('.')}.") from fault
        response = RedirectResponse(home, 303)
        response.delete_cookie(STATE_COOKIE)
        set_cookies(service, found, request, response)
        return response


def _log_in(change: Change, identity: Identity, visitor: Visitor) -> LogIn:
    """Begin a session of whom the provider names; who comes first is added, with the role of the claim."""
    row: Any = find_by_subject(change.connection, identity.subject)
    if row is None:
        who = identity.subject.partition(" ")[0]
        add_user(change, identity.name, identity.role, "", who, identity.subject)
    elif row["disabled_at_s"] is None:
        set_role(change, row["name"], identity.role, identity.subject.partition(" ")[0])
    row = find_by_subject(change.connection, identity.subject)
    if row is None or row["disabled_at_s"] is not None:
        raise OidcError(f"{user_of(row).name} is disabled" if row else "there is no such user")
    return begin_session(change, row, visitor)


# Signatures of people without a password here


def _add_signing(router: APIRouter, service: Service, require: Callable[[], OidcProvider]) -> None:
    access, store = service.access, service.store

    @router.post(
        "/api/batches/{batch_id}/signatures/reauthenticate",
        response_model=schemas.Reauthentication,
        tags=["people"],
        responses=document_errors(404, 409),
    )
    def reauthenticate(
        batch_id: BatchId, body: schemas.ReauthenticationIn, request: Request, response: Response
    ) -> Any:
        """Begin a signature of a user who logs in through another service: it asks for a new log-in there.

        The browser goes to ``place`` and comes back signed or not; ``outcome`` in the page's address says
        which.
        """
        service.find("batch", batch_id)
        person = CURRENT.get()
        if person is None or person.session is None:
            raise RejectedRequest(409, "Only a user who is logged in signs.")
        session = person.session
        user = session.user
        if body.meaning not in MEANINGS[user.role]:
            access.note_denied(person, f"POST {request.url.path}", Right.SIGN, meaning=str(body.meaning))
            message = f"The role {person.role} signs no {body.meaning}. The attempt was recorded."
            raise RejectedRequest(403, message)
        require()
        try:
            with reading(store.engine) as connection:
                check_signable(connection, batch_id, user.role, body.meaning, body.note)
                content = hash_batch(connection, batch_id)
        except InputError as error:
            raise RejectedRequest(409, str(error)) from error

        def sign(change: Change, identity: Identity) -> None:
            now = find_session_by_id(change.connection, session.id, access.rules, access.now_s)
            signer = check_signer(now, identity, user.role)
            detail = {"provider": identity.provider, "auth_time": identity.auth_at_s}
            proof = Proof(Method.PROVIDER, detail, content)
            sign_batch(change, batch_id, signer, body.meaning, body.note, proof)

        told, page = {"batch": batch_id, "meaning": str(body.meaning)}, {"batch": batch_id}
        place, state = service.require_anew().begin(
            session, told, page, lambda identity: store.write(lambda change: sign(change, identity))
        )
        keep_state(service, response, state, SIGNING_PATIENCE_S)
        return {"place": place, "within_s": SIGNING_PATIENCE_S}


def _add_cancel(router: APIRouter, service: WithProvider, require: Callable[[], OidcProvider]) -> None:
    @router.post(
        "/api/session/reauthentication/cancel",
        name="cancel_reauthentication",
        response_model=schemas.Ended,
        tags=["people"],
        responses=document_errors(404),
    )
    def cancel() -> Any:
        """Give up what waits for a new log-in at the provider: it is not done, and recorded as denied."""
        require()
        person = CURRENT.get()
        session = person.session if person is not None else None
        is_ended = session is not None and require_anew(service.anew).cancel(session, "cancelled on the page")
        return {"ended": is_ended}
