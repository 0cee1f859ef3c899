"""Put the service together: security middleware, routes, error responses, the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import georgia
from georgia.web.event_stream import EventStream
from georgia.web.http_errors import add_error_handlers
from georgia.web.metrics_exporter import MetricsExporter
from georgia.web.routes_model import make_model_router
from georgia.web.routes_probe import make_probe_router
from georgia.web.schemas import ErrorResponse
from georgia.web.security import SecurityMiddleware
from georgia.web.service import Service

STATIC = Path(__file__).parent / "static"
DESCRIPTION = (
    "Live impurity fraction of a crystallization probe, its alarms and audit log, and predictions for single "
    "images. Requests that change something need 'Authorization: Bearer TOKEN'. Every error has the "
    "shape of ErrorResponse."
)


def create_app(service: Service) -> SecurityMiddleware:
    """Return the ASGI application of one service, behind its security middleware."""
    stream, exporter = EventStream(service), MetricsExporter(service)

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
    )
    add_error_handlers(app)
    app.include_router(make_probe_router(service, stream))
    app.include_router(make_model_router(service, exporter))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return SecurityMiddleware(app, service.config)


def _describe(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        components = schema.setdefault("components", {})
        errors = ErrorResponse.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update({**errors.pop("$defs"), "ErrorResponse": errors})
        app.openapi_schema = schema
    return app.openapi_schema
