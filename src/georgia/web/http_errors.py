"""One JSON shape for every error: ``{"error": {"code", "message", "fields"}}``; a page where people look."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from georgia.errors import GeorgiaError, InputError
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.pending import ConflictError
from georgia.web.error_page import make_error_page, wants_page

_log = logging.getLogger(__name__)


class RejectedRequest(HTTPException):
    """A request that we reject: HTTP status, a message for people, and headers if any."""


def error_response(
    status: int,
    message: str,
    fields: Sequence[dict[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    scope: Scope | None = None,
) -> Response:
    """Return an error in the one shape; its ``code`` is the status in words, such as "not_found".

    Whose browser went to the address of ``scope`` sees a page.
    """
    # A file's name that is no UTF-8 may stand in a message.
    message = message.encode("utf-8", "backslashreplace").decode()
    if scope is not None and wants_page(scope):
        return make_error_page(scope, status, message, headers)
    code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    body = {"error": {"code": code, "message": message, "fields": list(fields)}}
    return JSONResponse(body, status, headers)


def document_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of error statuses: JSON of one shape, whatever a route returns otherwise."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    return {
        status: {"content": content, "description": HTTPStatus(status).phrase}
        for status in (400, 401, 403, 408, 413, 421, 422, 429, 500, 503, *statuses)
    }


def add_error_handlers(app: FastAPI) -> None:
    """Let every route report errors in the one shape; what is our own bug is logged, not shown."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
            for item in error.errors()
        ]
        what = "; ".join(f"{item['where']}: {item['message']}" for item in fields[:3])
        message = f"The request does not fit the schema: {what}"
        return error_response(422, message, fields, scope=request.scope)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        message = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND and not isinstance(error, RejectedRequest):
            see = "" if wants_page(request.scope) else " See /openapi.json."
            message = f"There is nothing at {request.url.path!r}.{see}"
        return error_response(error.status_code, message, headers=error.headers, scope=request.scope)

    @app.exception_handler(StoreAwayError)
    async def away(request: Request, error: StoreAwayError) -> Response:
        return error_response(503, str(error), headers={"Retry-After": "5"}, scope=request.scope)

    @app.exception_handler(GeorgiaError)
    async def known(request: Request, error: GeorgiaError) -> Response:
        status = 409 if isinstance(error, ConflictError) else 400 if isinstance(error, InputError) else 500
        return error_response(status, str(error), scope=request.scope)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(500, "The service failed here; its log says why.", scope=request.scope)
