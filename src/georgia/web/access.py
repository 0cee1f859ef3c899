"""Who may call which route: one table, asked before every route, and what a route sees of who asks.

As long as the store has no user, nothing is asked here, and changes need the service's token alone.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from georgia.monitor.connect import StoreAwayError, reading
from georgia.monitor.people.failure_age import SteadyClock, take_over_failures
from georgia.monitor.people.roles import Right, may, name_roles
from georgia.monitor.people.sessions import (
    LoginRules,
    Visitor,
    end_session,
    find_session,
    use_session,
)
from georgia.monitor.people.tokens import find_token
from georgia.monitor.people.users import has_users
from georgia.monitor.records import AuditAction
from georgia.monitor.store import Store
from georgia.web.addresses import ADDRESS_UNKNOWN, group_address
from georgia.web.current import CURRENT, Person
from georgia.web.http_errors import RejectedRequest

_BATCH = "/api/batches/{batch_id}"
# Every route, by method and path. One that stands nowhere here is closed to everybody once people log in.
ROUTES: Mapping[tuple[str, str], Right] = {
    ("GET", "/"): Right.OPEN,
    ("GET", "/login/oidc"): Right.OPEN,
    ("GET", "/login/oidc/callback"): Right.OPEN,
    ("GET", "/api/health"): Right.OPEN,
    ("GET", "/api/session"): Right.OPEN,
    ("POST", "/api/session"): Right.OPEN,
    ("POST", "/api/session/end"): Right.OPEN,
    ("POST", "/api/session/use"): Right.SELF,
    ("POST", "/api/session/password"): Right.SELF,
    ("POST", "/api/session/reauthentication/cancel"): Right.SELF,
    **dict.fromkeys(
        (
            *(("GET", path) for path in ("/metrics", "/commissioning", "/model/report", "/model/card")),
            *(
                ("GET", f"/api/{name}")
                for name in ("status", "frames", "alarms", "trail", "batches", "events")
            ),
            *(("GET", f"/api/{name}") for name in ("spotchecks", "commissioning", "model")),
            *(("GET", f"/api/compare{end}") for end in ("", "/export")),
            *(("GET", f"/api/frames/{{frame_id}}{end}") for end in ("", "/map", "/picture")),
            *(("GET", f"{_BATCH}{end}") for end in ("", "/series", "/export", "/limits", "/report")),
            *(
                ("GET", f"{_BATCH}{end}")
                for end in ("/process", "/process/export", "/signatures", "/moments", "/moments/export")
            ),
            *(("GET", f"{_BATCH}/spotcheck{end}") for end in ("", "/export", "/report")),
            ("GET", f"{_BATCH}/spotcheck/windows/{{position}}"),
            ("POST", "/api/predict"),
        ),
        Right.READ,
    ),
    **dict.fromkeys(
        (
            *(("POST", f"/api/alarms/{{alarm_id}}/{name}") for name in ("acknowledge", "shelve", "close")),
            *(("POST", f"/api/{name}") for name in ("batches", "commissioning", "commissioning/cancel")),
            *(("POST", f"{_BATCH}/spotcheck{end}") for end in ("", "/names", "/withdrawals")),
            *(("POST", f"{_BATCH}/process/{name}") for name in ("events", "laboratory")),
            ("POST", f"{_BATCH}/moments"),
            ("POST", "/api/process/entries/{entry_id}/withdraw"),
        ),
        Right.OPERATE,
    ),
    **dict.fromkeys(
        (("POST", f"/api/{name}") for name in ("limits", "limits/confirm", "commissioning/override")),
        Right.DECIDE,
    ),
    ("POST", f"{_BATCH}/signatures"): Right.SIGN,
    ("POST", f"{_BATCH}/signatures/reauthenticate"): Right.SIGN,
    ("GET", "/api/users"): Right.PEOPLE,
    ("POST", "/api/users/{user_id}/unlock"): Right.PEOPLE,
}
_OF_SESSION = ("", "/end", "/use", "/password", "/reauthentication/cancel")
# The routes of the labelling page, where a store says who its people are: whoever operates names, and a model
# is put in use by whoever may promote one.
LABEL_ROUTES: Mapping[tuple[str, str], Right] = {
    **{route: ROUTES[route] for route in ROUTES if route[1] == "/" or route[1].startswith("/login/")},
    ("GET", "/api/session"): Right.OPEN,
    **{("POST", f"/api/session{end}"): ROUTES["POST", f"/api/session{end}"] for end in _OF_SESSION},
    **dict.fromkeys(
        (
            ("GET", f"/api/label{end}")
            for end in ("", "/history", "/image", "/surroundings", "/training", "/training/report")
        ),
        Right.READ,
    ),
    **dict.fromkeys(
        (
            ("POST", f"/api/label/{name}")
            for name in ("tray", "skip", "leave", "name", "undo", "training", "training/stop")
        ),
        Right.OPERATE,
    ),
    **dict.fromkeys((("POST", f"/api/label/training/{name}") for name in ("use", "back")), Right.PROMOTE),
}
# Whether people log in is asked again after so long, as long as they do not.
_ASK_AGAIN_S = 1.0
_MOST_KNOWN = 1000
# One who tries the same again and again is told in the audit log once in this time.
_TELL_EVERY_S = 10.0


class Access:
    """Who asks, by what a request carries; safe to use from many threads."""

    def __init__(
        self,
        store: Store,
        rules: LoginRules,
        now: Callable[[], float] = time.time,
        routes: Mapping[tuple[str, str], Right] | None = None,
    ) -> None:
        self._store, self.rules, self._now = store, rules, now
        self._routes = routes
        self._is_on, self._asked_at = False, -1e9
        # By what failed log-ins are counted; whether those of a clock that was set back were taken over.
        self._steady: Callable[[], float] = SteadyClock(now)
        self._took_over = False
        # A cookie is sent to all ports of a host: each service of one machine has a name of its own for it.
        name = hashlib.sha256(str(store.engine.url).encode()).hexdigest()[:8]
        self.cookie, self.device_cookie = f"georgia_session_{name}", f"georgia_browser_{name}"
        # Who was known last by which secret; when that began and was used, by a clock that nobody sets.
        self._known: OrderedDict[str, tuple[Person, float, float]] = OrderedDict()
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def now_s(self) -> float:
        """Return seconds since 1970."""
        return self._now()

    def find_steady_s(self) -> float:
        """Return seconds since 1970 by a clock that nobody sets while the service runs, for failed log-ins.

        Raises:
            StoreAwayError: the store cannot be reached, and was not since the service began.
        """
        at_s = self._steady()
        if not self._took_over:
            self._store.write(lambda change: take_over_failures(change, at_s))
            self._took_over = True
        return at_s

    def is_on(self) -> bool:
        """Tell whether people log in to this store; once they do, they do for good."""
        at = time.monotonic()
        if not self._is_on and at - self._asked_at > _ASK_AGAIN_S:
            # While the store is away nothing can be changed, and what holds is what held before.
            with suppress(StoreAwayError), reading(self._store.engine) as connection:
                self._is_on = has_users(connection)
            self._asked_at = at
        return self._is_on

    def is_known(self, headers: Headers) -> bool:
        """Tell whether a request carries what was found to be good lately; nothing is asked of the store."""
        secret, _ = self.find_secret(headers)
        return bool(secret) and _digest(secret) in self._known

    def find_secret(self, headers: Headers) -> tuple[str, bool]:
        """Return a token or a session's secret, and whether it came by itself, in a cookie."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and given.strip():
            return given.strip(), False
        return read_cookie(headers, self.cookie), True

    def find_visitor(self, request: Request) -> Visitor:
        """Return who tries to log in."""
        address = request.client.host if request.client else ADDRESS_UNKNOWN
        headers = request.headers
        device, session = read_cookie(headers, self.device_cookie), read_cookie(headers, self.cookie)
        return Visitor(group_address(address), device, session)

    def find_person(self, headers: Headers, is_active: bool = False) -> Person | None:
        """Return who asks, None if nobody is known; ``is_active``: it shows that somebody is there.

        While the store is away, whoever was known before is known to read.

        Raises:
            StoreAwayError: the store cannot be reached, and it is not known who asks.
        """
        secret, is_cookie = self.find_secret(headers)
        if not secret:
            return None
        key = _digest(secret)
        try:
            person = self._read_person(secret, is_cookie)
        except StoreAwayError:
            known = None if is_active else self._known.get(key)
            if known is None or self._has_ended(known, is_cookie):
                raise
            return known[0]
        with self._lock:
            at = time.monotonic()
            _, begun, used = self._known.get(key, (person, at, at))
            is_old = person is not None and self._has_ended((person, begun, used), is_cookie)
            if person is None or is_old:
                self._known.pop(key, None)
            else:
                self._known[key] = (person, begun, at if is_active else used)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        session = person.session if person is not None else None
        if is_old and session is not None:  # the machine's clock was set back
            self._store.write(lambda change: end_session(change, session, "too old"))
        elif is_active and session is not None:
            use_session(self._store, session, self.now_s)
        return None if is_old else person

    def _read_person(self, secret: str, is_cookie: bool) -> Person | None:
        with reading(self._store.engine) as connection:
            if not is_cookie:
                token = find_token(connection, secret, self.now_s)
                return Person(token.name, token.role) if token is not None else None
            session = find_session(connection, secret, self.rules, self.now_s)
        return Person(session.user.name, session.user.role, session) if session is not None else None

    def _has_ended(self, known: tuple[Person, float, float], is_cookie: bool) -> bool:
        """Tell whether a session is too old by a clock that nobody sets."""
        _, begun, used = known
        at = time.monotonic()
        return is_cookie and (
            at - begun > self.rules.session_longest_h * 3600 or at - used > self.rules.session_idle_min * 60
        )

    async def while_known(self, headers: Headers, events: AsyncIterator[str]) -> AsyncIterator[str]:
        """Yield events as long as whoever asked for them is known; then "session", and nothing more."""
        asked_at = time.monotonic()
        async for text in events:
            if time.monotonic() - asked_at > _ASK_AGAIN_S:
                asked_at = time.monotonic()
                if not await run_in_threadpool(self._may_read, headers):
                    yield "event: session\ndata: {}\n\n"
                    return
            yield text

    def _may_read(self, headers: Headers) -> bool:
        try:
            return not self.is_on() or self.find_person(headers) is not None
        except StoreAwayError:
            return False

    def forget(self, headers: Headers) -> None:
        """Forget who sent a request: the session has ended."""
        with self._lock:
            self._known.pop(_digest(self.find_secret(headers)[0]), None)

    def authorise(self, request: Request) -> Person | None:
        """Return who asks for a route, None where nobody logs in or it is open.

        Raises:
            RejectedRequest: 401, nobody is logged in; 403, the role is not enough, which is recorded.
        """
        method, path = request.method, getattr(request.scope.get("route"), "path", "")
        right = (ROUTES if self._routes is None else self._routes).get((method, path))
        if right == Right.OPEN or not self.is_on():
            return None
        if right is None:
            raise RejectedRequest(403, f"{method} {path} is in no row of the table of rights.")
        is_change = method != "GET"
        secret, is_cookie = self.find_secret(request.headers)
        person = self.find_person(request.headers, is_active=is_change)
        if person is None:
            raise _not_known(secret, is_cookie)
        if is_change and is_cookie:
            _check_same_site(request.headers)
        needs_password = person.session is not None and person.session.user.is_temporary
        if needs_password and path not in ("/api/session/password", "/api/session/use"):
            raise RejectedRequest(403, "Your password is a one-time password: choose your own first.")
        if not may(person.role, right) or (right == Right.SELF and person.is_client):
            self.note_denied(person, f"{method} {request.url.path}", right)
            roles = name_roles(right)
            message = f"This needs the role {roles}; you are {person.role}. The attempt was recorded."
            raise RejectedRequest(403, message)
        return person

    def note_denied(self, person: Person, what: str, right: Right, **detail: Any) -> None:
        """Write into the audit log what somebody tried without the right to."""
        key, at = (person.name, what), time.monotonic()
        with self._lock:
            is_repeated = at - self._told.get(key, -1e9) < _TELL_EVERY_S
            if not is_repeated:
                self._told[key] = at
            while len(self._told) > _MOST_KNOWN:
                self._told.popitem(last=False)
        if not is_repeated:
            told = {"what": what[:200], "needs": str(right), "role": str(person.role), **detail}
            self._store.append_event(person.name, AuditAction.ACCESS_DENIED, told)


def make_authorisation(access: Access) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """Return the dependency of all routes: it rejects who may not, and notes who asks."""

    async def authorise(request: Request) -> None:
        # Set here and not in a thread: what checks the body and calls the route sees it.
        CURRENT.set(await run_in_threadpool(access.authorise, request))

    return authorise


def read_cookie(headers: Headers, name: str) -> str:
    """Return a cookie of ours, "" without."""
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
    return ""


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _not_known(secret: str, is_cookie: bool) -> RejectedRequest:
    if not secret:
        message = "Log in first."
    elif is_cookie:
        message = "Your session has ended: log in again."
    else:
        message = (
            "People log in to this service: its own token is not taken any more, and no client's token that "
            "holds was given."
        )
    return RejectedRequest(401, message, {"WWW-Authenticate": "Bearer"})


def _check_same_site(headers: Headers) -> None:
    """Reject a change whose cookie came along with a request that no page of ours sent.

    An origin that is given was compared with the host before. Source: OWASP CSRF prevention, verifying the
    origin with standard headers.
    """
    if headers.get("origin") is None and headers.get("sec-fetch-site") != "same-origin":
        message = "A change by a logged-in user must come from a page of this service. Programs use a token."
        raise RejectedRequest(403, message)
