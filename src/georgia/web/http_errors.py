"""One JSON shape for everything that goes wrong: ``{"error": {"code", "message", "fields"}}``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from georgia.errors import GeorgiaError, InputError
from georgia.monitor.connect import StoreAwayError

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """An answer that says no, with its HTTP status."""

    def __init__(self, status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def error_body(status: int, message: str, fields: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """Return the one shape of an error; ``code`` is the status in words, such as "not_found"."""
    code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    return {"error": {"code": code, "message": message, "fields": list(fields)}}


def answer_error(
    status: int, message: str, fields: Sequence[dict[str, str]] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an error as a response."""
    return JSONResponse(error_body(status, message, fields), status, headers)


def document_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of error statuses: JSON of one shape, whatever a route answers otherwise."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    return {
        status: {"content": content, "description": HTTPStatus(status).phrase}
        for status in (400, 408, 413, 421, 422, 429, 500, 503, *statuses)
    }


def add_error_handlers(app: FastAPI) -> None:
    """Let every route answer faults in the one shape; what is our own fault is logged, not shown."""

    @app.exception_handler(Refusal)
    async def refuse(_: Request, error: Refusal) -> JSONResponse:
        return answer_error(error.status, error.message, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
            for item in error.errors()
        ]
        what = "; ".join(f"{item['where']}: {item['message']}" for item in fields[:3])
        return answer_error(422, f"The request does not fit the schema: {what}", fields)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            message = f"There is nothing at {request.url.path!r}. See /openapi.json."
        headers = dict(error.headers) if error.headers else None
        return answer_error(error.status_code, message, headers=headers)

    @app.exception_handler(StoreAwayError)
    async def away(_: Request, error: StoreAwayError) -> JSONResponse:
        return answer_error(503, str(error), headers={"Retry-After": "5"})

    @app.exception_handler(GeorgiaError)
    async def known(_: Request, error: GeorgiaError) -> JSONResponse:
        return answer_error(400 if isinstance(error, InputError) else 500, str(error))

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer_error(500, "The service failed here; its log says why.")
