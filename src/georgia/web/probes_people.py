"""One log-in for all probes of a service: a session at each whose store has that user, with the role there.

Each probe's store keeps users, roles, sessions and log of its own; nothing is shared but name and password.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response

from georgia.monitor.connect import reading
from georgia.monitor.people.passwords import is_password
from georgia.monitor.people.sessions import Denial, LogIn, end_session, log_in, note_failure
from georgia.monitor.people.users import find_row
from georgia.web import schemas_people as schemas
from georgia.web.current import Person
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.probe_site import ProbeSite
from georgia.web.routes_people import NOT_LOGGED_IN, set_cookies
from georgia.web.service import Service

_log = logging.getLogger(__name__)
# How long others wait for one probe's record.
_PATIENCE_S = 5.0
T = TypeVar("T")
# A probe where nobody logs in, and one that has no such user.
_OPEN, _UNKNOWN = LogIn(), LogIn(denial=Denial.UNKNOWN)


def add_login(app: FastAPI, sites: Mapping[str, ProbeSite]) -> None:
    """Add the routes; each asks all probes at the same time, and waits for none that hangs."""
    asker = _Asker(sites)

    @app.get(
        "/api/session", response_model=schemas.ProbesSession, tags=["people"], responses=document_errors()
    )
    def session(request: Request) -> Any:
        """Where people log in, and who is logged in at each probe."""
        return asker.describe(request)

    @app.post(
        "/api/session",
        response_model=schemas.ProbesSession,
        tags=["people"],
        responses=document_errors(409),
    )
    def begin(body: schemas.LogInRequest, request: Request, response: Response) -> Any:
        """Log in at every probe whose store has the user with that password."""
        found = asker.ask(lambda service: _begin(service, body, request))
        asked = {name: each for name, each in found.items() if each is not _OPEN}
        if not asked:
            raise RejectedRequest(409, "Nobody logs in here: no store has a user, or none responds.")
        if all(each is _UNKNOWN for each in asked.values()):
            asker.ask(lambda service: _note_unknown(service, request), list(asked)[:1])
        welcome = {name: each for name, each in asked.items() if each.session is not None}
        if not welcome:
            minutes = next(iter(sites.values()))._config.lockout_min
            message = NOT_LOGGED_IN.format(minutes=minutes)
            raise RejectedRequest(401, message, {"WWW-Authenticate": "Bearer"})
        for name, each in welcome.items():
            service = sites[name].service
            if service is not None:
                set_cookies(service, each, request, response)
        shown = {name: _show(each) for name, each in asked.items()}
        return {"people": True, "probes": {name: shown.get(name) for name in sites}}

    @app.post("/api/session/end", response_model=schemas.Ended, tags=["people"], responses=document_errors())
    def end(request: Request, response: Response) -> Any:
        """Log out of all probes."""
        ended = asker.ask(lambda service: _end(service, request))
        for site in sites.values():
            if site.service is not None:
                response.delete_cookie(site.service.access.cookie)
        return {"ended": any(ended.values())}


class _Asker:
    """Asks the stores of all probes, each in threads of its own."""

    def __init__(self, sites: Mapping[str, ProbeSite]) -> None:
        self._sites = sites
        self._threads = {name: ThreadPoolExecutor(2, f"georgia-people-{name}") for name in sites}

    def ask(self, work: Callable[[Service], T], names: list[str] | None = None) -> dict[str, T]:
        """Return what is found at each probe whose record responds in time."""
        asked: dict[str, Future[T]] = {}
        for name in names if names is not None else self._sites:
            service = self._sites[name].service
            if service is not None:
                asked[name] = self._threads[name].submit(work, service)
        found = {}
        for name, future in asked.items():
            try:
                found[name] = future.result(_PATIENCE_S)
            except Exception as error:
                _log.debug("people could not be asked for at %r: %s", name, error)
        return found

    def describe(self, request: Request) -> dict[str, Any]:
        """Return who is logged in at each probe; None: nobody, or nobody logs in there."""
        is_on = self.ask(lambda service: service.access.is_on())
        names = [name for name, each in is_on.items() if each]
        people = self.ask(lambda service: service.access.find_person(request.headers), names)
        shown = {name: _show_person(person) for name, person in people.items()}
        return {"people": bool(names), "probes": {name: shown.get(name) for name in self._sites}}


def _begin(service: Service, body: schemas.LogInRequest, request: Request) -> LogIn:
    """Log in at one probe; a name that its store does not have is no failed attempt there."""
    access = service.access
    if not access.is_on():
        return _OPEN
    with reading(service.store.engine) as connection:
        is_there = find_row(connection, body.name) is not None
    if not is_there:
        is_password(body.password, "")  # it takes as long as where there is one
        return _UNKNOWN
    visitor = access.find_visitor(request)
    return log_in(service.store, body.name, body.password, visitor, access.rules, access.find_steady_s())


def _note_unknown(service: Service, request: Request) -> None:
    """Count a name that no store has, at one probe, so that guesses lock out the address."""
    access = service.access
    address, now_s = access.find_visitor(request).address, access.find_steady_s()
    service.store.write(
        lambda change: note_failure(change, None, address, address, Denial.UNKNOWN, access.rules, now_s)
    )


def _end(service: Service, request: Request) -> bool:
    access = service.access
    person = access.find_person(request.headers) if access.is_on() else None
    session = person.session if person is not None else None
    access.forget(request.headers)
    if session is None:
        return False
    service.store.write(lambda change: end_session(change, session, "logged out"))
    return True


def _show(found: LogIn) -> dict[str, Any] | None:
    session = found.session
    return None if session is None else _show_person(Person(session.user.name, session.user.role, session))


def _show_person(person: Person | None) -> dict[str, Any] | None:
    if person is None:
        return None
    is_temporary = person.session is not None and person.session.user.is_temporary
    return {"user": person.name, "role": person.role, "needs_password": is_temporary}
