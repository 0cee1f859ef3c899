"""An identity provider (OpenID Connect) for tests: discovery, keys, and tokens for codes that it makes up."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.helpers.patience import PATIENCE_S

NOW = "now"


@contextmanager
def providing(host: str = "127.0.0.1") -> Iterator[Provider]:
    """Yield a provider that runs, under a name of this machine."""
    server = Provider(host)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


class Provider(ThreadingHTTPServer):
    """Discovery, keys, and tokens for codes that the test makes up; ``claims`` go into the next one.

    Its page lets everybody in at once; ``asked`` is what the last browser there was sent with. With ``error``
    it sends the browser back with that. A claim ``auth_time`` of ``NOW`` is the time of the token, whose
    claims are in ``told``.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://{host}:{self.server_address[1]}"
        self.asked: dict[str, str] = {}
        self.error = ""
        self.claims: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self.challenge = self.nonce = ""
        self.n_keys = 0
        self.rotate()

    def rotate(self) -> None:
        from joserfc.jwk import RSAKey

        self.n_keys += 1
        self.key = RSAKey.generate_key(2048, {"kid": f"k{self.n_keys}", "use": "sig"})
        self.published = self.key

    def make_token(self) -> str:
        from joserfc import jwt

        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "georgia", "sub": "42", "nonce": self.nonce, "iat": now}
        claims |= {"exp": now + 300, "name": "Olga Meier", "groups": ["plant-ops", "all"]}
        self.told = claims | self.claims
        if self.told.get("auth_time") == NOW:
            self.told["auth_time"] = now
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, self.told, self.key)


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, found: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        issuer = self.server.issuer
        if self.path.endswith("/keys"):
            return self._send({"keys": [self.server.published.as_dict(private=False)]})
        if self.path.startswith("/a?"):
            return self._send_back()
        places = {"authorization_endpoint": "a", "token_endpoint": "token", "jwks_uri": "keys"}
        return self._send({"issuer": issuer, **{key: f"{issuer}/{end}" for key, end in places.items()}})

    def _send_back(self) -> None:
        server, query = self.server, parse_qs(urlsplit(self.path).query)
        server.asked = {name: values[0] for name, values in query.items()}
        server.challenge, server.nonce = server.asked["code_challenge"], server.asked["nonce"]
        outcome = {"error": server.error} if server.error else {"code": "a-code"}
        self.send_response(302)
        found = urlencode({"state": server.asked["state"], **outcome})
        self.send_header("Location", f"{server.asked['redirect_uri']}?{found}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        is_same = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == self.server.challenge
        if not is_same or form["code"] != ["a-code"] or form["client_secret"] != ["a-secret"]:
            return self._send({"error": "invalid_grant"}, 400)
        return self._send({"id_token": self.server.make_token(), "token_type": "Bearer"})
