"""Put the service together: security middleware, routes, error responses, the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import georgia
from georgia.monitor.people.roles import Right
from georgia.web.access import Access, make_authorisation
from georgia.web.current import OtherNameError
from georgia.web.event_stream import EventStream
from georgia.web.http_errors import add_error_handlers, error_response
from georgia.web.metrics_exporter import MetricsExporter
from georgia.web.routes_commissioning import make_commissioning_router
from georgia.web.routes_compare import make_compare_router
from georgia.web.routes_limits import make_limits_router
from georgia.web.routes_model import make_model_router
from georgia.web.routes_moments import make_moments_router
from georgia.web.routes_oidc import make_oidc_router
from georgia.web.routes_people import make_people_router
from georgia.web.routes_probe import make_probe_router
from georgia.web.routes_process import make_process_router
from georgia.web.routes_report import make_report_router
from georgia.web.routes_spotcheck import make_spotcheck_router
from georgia.web.schemas import ErrorResponse
from georgia.web.security import SecurityMiddleware
from georgia.web.service import Service

STATIC = Path(__file__).parent / "static"
DESCRIPTION = (
    "Live impurity fraction of a crystallization probe, its alarms and audit log, and predictions for single "
    "images. Requests that change something need 'Authorization: Bearer TOKEN'. Every error has the "
    "shape of ErrorResponse."
)


def create_app(service: Service, exporter: MetricsExporter | None = None) -> SecurityMiddleware:
    """Return the ASGI application of one service, behind its security middleware."""
    stream, exporter = EventStream(service), exporter or MetricsExporter(service)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await stream.start()
        yield
        await stream.stop()
        service.close()

    # Swagger's own page loads scripts from elsewhere, so there is none; the schema is at /openapi.json.
    app = FastAPI(
        title="Georgia",
        version=georgia.__version__,
        description=DESCRIPTION,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(make_authorisation(service.access))],
    )
    add_error_handlers(app)
    app.include_router(make_probe_router(service, stream))
    app.include_router(make_limits_router(service))
    app.include_router(make_spotcheck_router(service))
    app.include_router(make_process_router(service))
    app.include_router(make_moments_router(service))
    app.include_router(make_compare_router(service))
    app.include_router(make_report_router(service))
    app.include_router(make_commissioning_router(service))
    app.include_router(make_model_router(service, exporter))
    app.include_router(make_people_router(service))
    app.include_router(make_oidc_router(service))
    record_other_names(app, service.access)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    app.openapi = lambda: describe_app(app)  # type: ignore[method-assign]
    return SecurityMiddleware(app, service.config, service.access)


def record_other_names(app: FastAPI, access: Access) -> None:
    """Write into the audit log who wanted to write something under another name."""

    @app.exception_handler(OtherNameError)
    def record(request: Request, error: OtherNameError) -> Response:
        what = f"{request.method} {request.url.path}"
        access.note_denied(error.person, what, Right.OPERATE, name=error.given[:120])
        return error_response(403, str(error.detail))


def describe_app(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI schema of an application of ours, with the one shape of its errors."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = schema.setdefault("components", {})
        errors = ErrorResponse.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update({**errors.pop("$defs"), "ErrorResponse": errors})
        app.openapi_schema = schema
    return app.openapi_schema
