"""One JSON shape for every error: ``{"error": {"code", "message", "fields"}}``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from georgia.errors import GeorgiaError, InputError
from georgia.monitor.connect import StoreAwayError

_log = logging.getLogger(__name__)


class RejectedRequest(HTTPException):
    """A request that we reject: HTTP status, a message for people, and headers if any."""


def error_response(
    status: int,
    message: str,
    fields: Sequence[dict[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error in the one shape; its ``code`` is the status in words, such as "not_found"."""
    code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    body = {"error": {"code": code, "message": message, "fields": list(fields)}}
    return JSONResponse(body, status, headers)


def document_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of error statuses: JSON of one shape, whatever a route returns otherwise."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    return {
        status: {"content": content, "description": HTTPStatus(status).phrase}
        for status in (400, 408, 413, 421, 422, 429, 500, 503, *statuses)
    }


def add_error_handlers(app: FastAPI) -> None:
    """Let every route report errors in the one shape; what is our own bug is logged, not shown."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
            for item in error.errors()
        ]
        what = "; ".join(f"{item['where']}: {item['message']}" for item in fields[:3])
        return error_response(422, f"The request does not fit the schema: {what}", fields)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND and not isinstance(error, RejectedRequest):
            message = f"There is nothing at {request.url.path!r}. See /openapi.json."
        return error_response(error.status_code, message, headers=error.headers)

    @app.exception_handler(StoreAwayError)
    async def away(_: Request, error: StoreAwayError) -> JSONResponse:
        return error_response(503, str(error), headers={"Retry-After": "5"})

    @app.exception_handler(GeorgiaError)
    async def known(_: Request, error: GeorgiaError) -> JSONResponse:
        return error_response(400 if isinstance(error, InputError) else 500, str(error))

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(500, "The service failed here; its log says why.")
