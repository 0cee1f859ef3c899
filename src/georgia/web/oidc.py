"""Log-in through another service (OpenID Connect): the code flow with PKCE, its token checked by joserfc.

A signature of somebody who has no password here is asked for in the same way, with a log-in that the provider
must do anew. Sources: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7, ``max_age`` and ``auth_time`` in
sections 2 and 3.1.2.1; RFC 7636 (PKCE).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.people.roles import Role
from georgia.web.config import ServeConfig, is_loopback

SECRET = "GEORGIA_OIDC_SECRET"
_TIMEOUT_S = 10.0
# An attempt that was begun waits so long for its browser to come back.
_PATIENCE_S = 600.0
# One that is to end in a signature.
SIGNING_PATIENCE_S = 300.0
# Times in tokens are whole seconds.
_ROUNDING_S = 1.0
_MOST_ATTEMPTS = 1000
_MOST_BYTES = 2**20
_LEEWAY_S = 60
# Signatures with a key of the provider; "none" and those with the client's own secret are not taken.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")


class Outcome(StrEnum):
    """What became of a signature that was asked for at the provider, as the page is told."""

    SIGNED = "signed"
    CANCELLED = "cancelled"
    OTHER_USER = "other-user"
    OTHER_ROLE = "other-role"
    NOT_ANEW = "not-anew"
    NO_TIME = "no-time"
    TOO_LATE = "too-late"
    LOGGED_OUT = "logged-out"
    # An action that was signed, and could not be done.
    FAILED = "failed"
    REJECTED = "rejected"


class OidcError(Exception):
    """Whoever came was not identified; the text says why, and ``outcome`` of which kind that is."""

    def __init__(self, text: str, outcome: Outcome = Outcome.REJECTED) -> None:
        super().__init__(text)
        self.outcome = outcome


@dataclass(frozen=True)
class Identity:
    """Who the provider says that somebody is: issuer and subject, a name, and the role that follows.

    ``auth_at_s`` is when that person proved it there, seconds since 1970, where a log-in was asked for anew.
    """

    subject: str
    name: str
    role: Role
    auth_at_s: float | None = None

    @property
    def provider(self) -> str:
        """Return the provider's address."""
        return self.subject.partition(" ")[0]


@dataclass
class Signing:
    """A signature that waits for its signer to come back: whose session it is of, and how it is carried out.

    ``told`` is what the audit log has of it, ``page`` what the page is told, beside the outcome. ``is_over``:
    it was carried out, or its denial is in the audit log.
    """

    session: str
    who: str
    role: Role
    subject: str
    told: Mapping[str, Any]
    page: Mapping[str, Any]
    carry_out: Callable[[Identity], None]
    is_over: bool = False


@dataclass(frozen=True)
class Attempt:
    """One way to the provider and back; ``signing`` is None where it is a log-in."""

    nonce: str
    verifier: str
    begun_at: float
    signing: Signing | None = None

    @property
    def age_s(self) -> float:
        """Return how long ago it was begun, by a clock that nobody sets, s."""
        return time.monotonic() - self.begun_at


class OidcProvider:
    """One provider, by the settings ``oidc_…``; safe to use from many threads.

    ``probe`` is that of the service, where it has several: the state that a browser brings back names it.

    Raises:
        InputError: a setting is missing or cannot be used.
        MissingDependencyError: joserfc is not installed.
    """

    def __init__(self, config: ServeConfig, probe: str = "") -> None:
        self._mark = f"{probe}." if probe else ""
        self._issuer, self._client = config.oidc_issuer.rstrip("/"), config.oidc_client
        self._redirect, self._claim = config.oidc_redirect, config.oidc_claim
        self._roles = read_roles(config.oidc_roles)
        self._secret = os.environ.get(SECRET, "")
        for name in ("oidc_issuer", "oidc_client", "oidc_redirect"):
            value = getattr(config, name)
            is_address = name == "oidc_client" or _is_safe(value)
            if not value or not is_address:
                needs = "an https:// address is needed" if value or name != "oidc_client" else "it is needed"
                raise InputError(f"Cannot use OpenID Connect: {name}", needs=needs, got=repr(value))
        try:
            import joserfc  # noqa: F401
        except ModuleNotFoundError as error:
            hint = "pip install 'georgia[oidc]'."
            raise MissingDependencyError(
                "Cannot use OpenID Connect", needs="joserfc is needed", got=error, hint=hint
            ) from error
        self._lock = threading.Lock()
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._described: Mapping[str, Any] = {}
        self._keys: Any = None

    def identifies(self, subject: str | None) -> bool:
        """Tell whether a user of the store is one of this provider."""
        return subject is not None and subject.startswith(f"{self._issuer} ")

    def begin(self, signing: Signing | None = None) -> tuple[str, str]:
        """Return the provider's page that a browser is to go to, and the state that it is to bring back.

        With ``signing`` the provider is asked to let the person log in anew, whoever is logged in there.
        """
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        state = self._mark + state
        with self._lock:
            self._attempts[state] = Attempt(nonce, verifier, time.monotonic(), signing)
            while len(self._attempts) > _MOST_ATTEMPTS:
                self._attempts.popitem(last=False)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "scope": "openid profile",
            "client_id": self._client,
            "redirect_uri": self._redirect,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if signing is not None else {}),
        }
        place = self._describe()["authorization_endpoint"]
        return f"{place}{'&' if '?' in place else '?'}{urllib.parse.urlencode(asked)}", state

    def take(self, state: str) -> Attempt:
        """Return the attempt that a browser brought back; it is taken once.

        Raises:
            OidcError: nobody began it, or it took too long.
        """
        with self._lock:
            attempt = self._attempts.pop(state, None)
        if attempt is None or (attempt.signing is None and attempt.age_s > _PATIENCE_S):
            raise OidcError("nobody began this log-in here, or it took too long")
        return attempt

    def drop(self, state: str) -> None:
        """Forget an attempt: a browser that brings it back comes in vain."""
        with self._lock:
            self._attempts.pop(state, None)

    def finish(self, code: str, attempt: Attempt) -> Identity:
        """Return who came back from the provider's page.

        Raises:
            OidcError: the provider's token does not hold; for a signature, it took too long, another person
                came back, or not one who has just logged in.
        """
        signing = attempt.signing
        if signing is not None and attempt.age_s > SIGNING_PATIENCE_S:
            raise OidcError(f"it took more than {SIGNING_PATIENCE_S:g} s", Outcome.TOO_LATE)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "client_id": self._client,
            "code_verifier": attempt.verifier,
        }
        if self._secret:
            form["client_secret"] = self._secret
        found = _ask(self._describe()["token_endpoint"], form)
        elapsed_s = attempt.age_s
        claims = self._decode(str(found.get("id_token", "")), attempt.nonce)
        if signing is None:
            return self._identify(claims)
        if f"{self._issuer} {claims['sub']}" != signing.subject:
            text = f"another person came back than {signing.who!r}: {str(claims['sub'])[:80]!r}"
            raise OidcError(text, Outcome.OTHER_USER)
        return replace(self._identify(claims), auth_at_s=find_fresh_time(claims, elapsed_s))

    def _describe(self) -> Mapping[str, Any]:
        if not self._described:
            found = _ask(f"{self._issuer}/.well-known/openid-configuration")
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if str(found.get("issuer", "")).rstrip("/") != self._issuer:
                raise OidcError("the provider gives itself another name than oidc_issuer")
            if not all(_is_safe(str(found.get(name, ""))) for name in names):
                raise OidcError("the provider's description lacks an address")
            self._described = found
        return self._described

    def _decode(self, token: str, nonce: str) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
        from joserfc.jwt import JWTClaimsRegistry

        issuer = str(self._describe()["issuer"])
        wanted: dict[str, Any] = {name: {"essential": True} for name in ("exp", "sub", "iat")}
        values = {"iss": issuer, "aud": self._client, "nonce": nonce}
        wanted |= {name: {"essential": True, "value": value} for name, value in values.items()}
        # Keys that the provider has replaced since are asked for once more.
        for is_last in (self._keys is None, True):
            try:
                if self._keys is None or is_last:
                    self._keys = KeySet.import_key_set(_ask(self._describe()["jwks_uri"]))  # type: ignore[arg-type]
                claims = jwt.decode(token, self._keys, algorithms=list(_ALGORITHMS)).claims
                break
            except (JoseError, ValueError, KeyError, TypeError) as error:
                if is_last:
                    raise OidcError(f"the token is not signed by the provider: {_name(error)}") from error
        try:
            JWTClaimsRegistry(leeway=_LEEWAY_S, **wanted).validate(claims)
        except JoseError as error:
            raise OidcError(f"the token does not hold: {_name(error)}") from error
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != self._client:
            raise OidcError("the token is another client's")
        return claims

    def _identify(self, claims: Mapping[str, Any]) -> Identity:
        given = claims.get(self._claim, [])
        values = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        # Of several the first of the settings counts.
        role = next((role for value, role in self._roles.items() if value in values), None)
        if role is None:
            raise OidcError(f"the claim {self._claim!r} gives no role")
        name = next((claims[key] for key in ("name", "preferred_username") if claims.get(key)), claims["sub"])
        return Identity(f"{self._issuer} {claims['sub']}", str(name), role)


def find_fresh_time(claims: Mapping[str, Any], elapsed_s: float) -> float:
    """Return when the person of a token proved who they are, seconds since 1970.

    That must have been since the attempt was begun, ``elapsed_s`` ago. It is compared with the time at which
    the token was issued, by the same clock: how far the provider's clock is from ours does not count.

    Raises:
        OidcError: the token does not say when, or it was before.

    >>> find_fresh_time({"iat": 1000, "auth_time": 995}, 30.0)
    995.0
    """
    given, issued = claims.get("auth_time"), claims["iat"]
    if given is None:
        raise OidcError("the token has no auth_time: it does not say when the log-in was", Outcome.NO_TIME)
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise OidcError(f"its auth_time is no time: {given!r:.40}", Outcome.NO_TIME)
    age_s = float(issued) - float(given)
    # NaN, which JSON may hold here, is in no range.
    if not -_ROUNDING_S <= age_s <= elapsed_s + _ROUNDING_S:
        text = f"the provider asked for no new log-in: the last one was {age_s:,.0f} s before its token"
        raise OidcError(text, Outcome.NOT_ANEW)
    return float(given)


def read_roles(text: str) -> dict[str, Role]:
    """Return which value of the claim gives which role: ``VALUE=ROLE,…``.

    >>> read_roles("plant-qa=reviewer, plant-ops=operator")["plant-ops"]
    <Role.OPERATOR: 'operator'>
    """
    pairs = [item.strip().rpartition("=") for item in text.split(",") if item.strip()]
    if not pairs or any(not value or role not in list(Role) for value, _, role in pairs):
        needs = f"VALUE=ROLE,… with the roles {', '.join(Role)} is needed"
        raise InputError("Cannot use OpenID Connect: oidc_roles", needs=needs, got=repr(text))
    return {value: Role(role) for value, _, role in pairs}


def _is_safe(address: str) -> bool:
    parts = urllib.parse.urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _ask(address: str, form: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(address, data, {"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            found = json.loads(response.read(_MOST_BYTES))
    except (OSError, ValueError) as error:
        raise OidcError(f"the provider does not respond as it should: {_name(error)}") from error
    if not isinstance(found, dict):
        raise OidcError("the provider does not respond as it should")
    return found


def _name(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
