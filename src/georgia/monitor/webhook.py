"""Alarms and outages as JSON to a web address."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from georgia.monitor.anchors import sign
from georgia.monitor.sender import FIRST_WAIT_S, NotTakenError, OnFault, Receipts, Sender, ignore_fault

if TYPE_CHECKING:
    from georgia.monitor.store import Store

# With a key, this header holds "sha256=" and the HMAC-SHA256 (hex) of the body.
SIGNATURE_HEADER = "X-Georgia-Signature"
_TIMEOUT_S = 10.0


class Webhook(Sender):
    """Posts each message, one after the other, until the receiver responds with 2xx.

    A redirect is not followed: it would turn the message into a request without a body.
    """

    def __init__(
        self,
        address: str,
        store: Store,
        first_wait_s: float = FIRST_WAIT_S,
        key: bytes = b"",
        link: str = "",
        receipts: Receipts | None = None,
        on_fault: OnFault = ignore_fault,
        probe: str = "",
    ) -> None:
        super().__init__("webhook", store, link, receipts, first_wait_s, on_fault, probe)
        self.address, self._key = address, key
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.start()

    def hand_on(self, messages: Sequence[dict[str, Any]]) -> int:
        """Post the first message.

        Raises:
            NotTakenError: the receiver did not respond with 2xx.
        """
        body = json.dumps(messages[0]).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "georgia"}
        if self._key:
            headers[SIGNATURE_HEADER] = f"sha256={sign(body, self._key)}"
        request = urllib.request.Request(self.address, body, headers)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S):
                return 1
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotTakenError(_describe_failure(error)) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes every redirect the failure that it is for a message with a body."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


def _describe_failure(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        target = error.headers.get("Location", "") if error.headers else ""
        if 300 <= error.code < 400:
            to = f" to {target!r}" if target else ""
            return f"the receiver redirects{to} ({error.code}); name the final address in webhook"
        return f"the receiver responded with {error.code} {error.reason}"
    return str(error) or type(error).__name__
