"""Signatures and signed actions of people who have no password here: they wait for a new log-in elsewhere.

One waits for each session, for a few minutes. It is carried out once, when its own signer comes back from the
provider having just logged in there, and in every other case it is denied, which the audit log has.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from georgia.errors import GeorgiaError, InputError
from georgia.monitor.people.sessions import Session, Visitor
from georgia.monitor.people.users import User
from georgia.monitor.records import AuditAction
from georgia.monitor.store import Store
from georgia.web.http_errors import RejectedRequest
from georgia.web.oidc import (
    SIGNING_PATIENCE_S,
    Attempt,
    Identity,
    OidcError,
    OidcProvider,
    Outcome,
    Signing,
)

_log = logging.getLogger(__name__)
# The audit log has an attempt that nobody brought back so much later: who comes back late is told so.
_GRACE_S = 2.0
_MOST_REMEMBERED = 1000


class Reauthentication:
    """What waits for its signer; safe to use from many threads.

    Args:
        provider: where people log in anew.
        store: its audit log has what was denied.
    """

    def __init__(self, provider: OidcProvider, store: Store) -> None:
        self._provider, self._store = provider, store
        self._lock = threading.Lock()
        # By session: the state that the browser is to bring back, what waits, and what ends the waiting.
        self._waiting: dict[str, tuple[str, Signing, threading.Timer]] = {}
        # By session: what was signed last. An address that says so, which anybody can write, is no proof.
        self._signed: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def begin(
        self,
        session: Session,
        told: Mapping[str, Any],
        page: Mapping[str, Any],
        carry_out: Callable[[Identity], None],
    ) -> tuple[str, str]:
        """Return the provider's page, and the state that the browser is to bring back.

        What the same session wanted to sign before, and has not, is denied.

        Raises:
            RejectedRequest: 409, the user is none of the provider's; 503, the provider does not respond.
        """
        user = session.user
        self._check_user(user)
        signing = Signing(session.id, user.name, user.role, user.subject or "", told, page, carry_out)
        try:
            place, state = self._provider.begin(signing)
        except OidcError as error:
            raise RejectedRequest(503, f"Cannot sign: {error}.") from error
        self.cancel(session, "something else was begun")
        timer = threading.Timer(SIGNING_PATIENCE_S + _GRACE_S, self._expire, (signing,))
        timer.daemon = True
        with self._lock:
            self._waiting[session.id] = state, signing, timer
        timer.start()
        return place, state

    def cancel(self, session: Session, reason: str) -> bool:
        """Deny what waits for a session; return whether anything did."""
        with self._lock:
            state, signing, timer = self._waiting.pop(session.id, ("", None, None))
        if signing is None or timer is None:
            return False
        timer.cancel()
        self._provider.drop(state)
        self._deny(signing, OidcError(reason, Outcome.CANCELLED))
        return True

    def finish(self, attempt: Attempt, signing: Signing, given: tuple[str, str], visitor: Visitor) -> Outcome:
        """Carry out what waits, or write into the audit log why not; return what became of it.

        ``given`` are the code and the error that the browser brought back.
        """
        self._forget(signing)
        code, error = given
        try:
            if error or not code:
                raise OidcError(f"cancelled at the provider: {printable(error)}", Outcome.CANCELLED)
            signing.carry_out(self._provider.finish(code, attempt))
        except (OidcError, InputError) as fault:
            outcome = fault.outcome if isinstance(fault, OidcError) else Outcome.REJECTED
            if outcome != Outcome.FAILED:  # that was signed, and the audit log has why it was not done
                self._deny(signing, fault, visitor.address)
            return outcome
        signing.is_over = True
        with self._lock:
            self._signed[signing.session] = dict(signing.page)
            while len(self._signed) > _MOST_REMEMBERED:
                self._signed.popitem(last=False)
        return Outcome.SIGNED

    def find_signed(self, session: Session) -> Mapping[str, Any] | None:
        """Return what was signed last in a session by a new log-in, as the page is told; None for nothing."""
        with self._lock:
            return self._signed.get(session.id)

    def close(self) -> None:
        """Wait for nobody any more: the service ends."""
        with self._lock:
            timers = [timer for _, _, timer in self._waiting.values()]
            self._waiting.clear()
        for timer in timers:
            timer.cancel()

    def _check_user(self, user: User) -> None:
        if user.subject is None:
            raise RejectedRequest(409, "You have a password here: sign with it.")
        if not self._provider.identifies(user.subject):
            message = "Another provider than that of the settings identified you: log in again."
            raise RejectedRequest(409, message)

    def _expire(self, signing: Signing) -> None:
        self._forget(signing)
        self._deny(signing, OidcError(f"nobody came back within {SIGNING_PATIENCE_S:g} s", Outcome.TOO_LATE))

    def _forget(self, signing: Signing) -> None:
        with self._lock:
            waiting = self._waiting.get(signing.session)
            if waiting is not None and waiting[1] is signing:
                del self._waiting[signing.session]
                waiting[2].cancel()

    def _deny(self, signing: Signing, fault: Exception, address: str = "") -> None:
        """Write into the audit log that nothing was signed, once."""
        with self._lock:
            is_told, signing.is_over = signing.is_over, True
        if is_told:
            return
        reason = {"address": address, "reason": f"OpenID Connect: {fault}"[:300]}
        detail = {**reason, **signing.told, "session": signing.session[:12]}
        try:
            self._store.append_event(signing.who, AuditAction.SIGNATURE_DENIED, detail)
        except GeorgiaError as error:
            _log.warning("the audit log could not be written: %s", error)


def require_anew(anew: Reauthentication | None) -> Reauthentication:
    """Return what waits for a new log-in at the identity provider.

    Raises:
        RejectedRequest: 409, the settings name no provider.
    """
    if anew is None:
        raise RejectedRequest(409, "The settings of this service name no identity provider any more.")
    return anew


def check_signer(session: Session | None, identity: Identity, role: str) -> User:
    """Return the user of a session whose signer has come back, as it is now.

    Raises:
        OidcError: the session has ended, or provider and store give another role than when it was begun.
    """
    if session is None or session.user.subject != identity.subject:
        raise OidcError("the session in which it was begun has ended", Outcome.LOGGED_OUT)
    user = session.user
    if identity.role != user.role or user.role != role:
        text = f"the provider gives {user.name!r} another role now than the session has"
        raise OidcError(f"{text}: {identity.role}, {user.role}", Outcome.OTHER_ROLE)
    return user


def printable(text: str) -> str:
    """Return what the provider gave as a reason, fit for a line.

    >>> printable("access_denied"), printable("")
    ("'access_denied'", 'without a reason')
    """
    return repr(text[:60]) if text else "without a reason"
