"""The page that somebody sees who goes to an address that ends in an error: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from fastapi.responses import HTMLResponse
from starlette.datastructures import Headers
from starlette.types import Scope

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title} – Georgia</title>
  <link rel="icon" href="{home}static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="{home}static/app.css">
  <link rel="stylesheet" href="{home}static/people.css">
</head>
<body>
  <header><h1>Georgia</h1></header>
  <main class="error">
    <section class="card wide">
      <h2>{title}</h2>
      <p>{message}</p>
      <p>{hint}</p>
      <p><a href="{home}">{link}</a></p>
      <p class="muted small">HTTP {status}</p>
    </section>
  </main>
</body>
</html>
"""
_LOG_IN = (
    "Go to the page and begin the log-in there once more. If it fails again, tell the administrator: the "
    "audit log has the reason."
)
# By status: a title, and what to do.
_TEXTS: Mapping[int, tuple[str, str]] = {
    400: ("This cannot be done", "The line above says what is needed."),
    401: ("Log in first", "Go to the page, log in there, and open this address again."),
    403: ("You may not see this", "Somebody with another role can; the administrator gives roles."),
    404: ("There is nothing here", "Check the address, or begin at the page."),
    405: ("This is no page", "Programs use this address; begin at the page."),
    409: ("This cannot be done now", "Look at the page, and ask again there."),
    421: (
        "The service is not known by this name",
        "Use the address that it printed at its start, or have the administrator name this one.",
    ),
    422: ("This address is not complete", "Check the address, or begin at the page."),
    429: ("Too many requests", "Wait for a moment, and load it again."),
    500: ("The service failed here", "Tell whoever runs the service: its log says why."),
    503: (
        "This is not possible at the moment",
        "Load it again in a few seconds; what is away comes back by itself.",
    ),
}
_LOGIN_PATH = "/login/"


def wants_page(scope: Scope) -> bool:
    """Tell whether somebody's browser goes to an address, and no program or page asks for it."""
    headers = Headers(scope=scope)
    mode = headers.get("sec-fetch-mode")
    if scope["method"] != "GET" or mode not in (None, "navigate"):
        return False
    return "text/html" in headers.get("accept", "").lower()


def make_error_page(
    scope: Scope, status: int, message: str, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """Return an error as a page, which needs no script."""
    title, hint = _TEXTS.get(status, (HTTPStatus(status).phrase, "Begin at the page."))
    path = (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].decode("latin-1")
    if path.startswith(_LOGIN_PATH) and status in (401, 503):
        title, hint = "You are not logged in", _LOG_IN
    shown = {"title": title, "hint": hint, "message": message, "link": "To the page"}
    home = "../" * (path.count("/") - 1) or "./"
    text = _PAGE.format(home=home, status=status, **{name: escape(value) for name, value in shown.items()})
    return HTMLResponse(text, status, headers)
