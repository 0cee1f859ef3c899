"""Put the service together: guard, routes, faults, the page."""

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
from georgia.web.http_errors import add_error_handlers
from georgia.web.live import LiveFeed
from georgia.web.metrics_exporter import MetricsExporter
from georgia.web.routes_model import make_model_router
from georgia.web.routes_probe import make_probe_router
from georgia.web.schemas import ErrorAnswer
from georgia.web.security import SecurityMiddleware
from georgia.web.service import Service

STATIC = Path(__file__).parent / "static"
ABOUT = (
    "Live impurity fraction of a crystallization probe, its alarms and record, and answers for single "
    "images. Requests that change something need 'Authorization: Bearer TOKEN'. Every error has the "
    "shape of ErrorAnswer."
)


def create_app(service: Service) -> SecurityMiddleware:
    """Return the ASGI application of one service, behind its guard."""
    feed, gauges = LiveFeed(service), MetricsExporter(service)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await feed.start()
        yield
        await feed.stop()

    # Swagger's own page loads scripts from elsewhere, so there is none; the schema is at /openapi.json.
    app = FastAPI(
        title="Georgia",
        version=georgia.__version__,
        description=ABOUT,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    add_error_handlers(app)
    app.include_router(make_probe_router(service, feed))
    app.include_router(make_model_router(service, gauges))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return SecurityMiddleware(app, service.config)


def _describe(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
        components = schema.setdefault("components", {})
        errors = ErrorAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update({**errors.pop("$defs"), "ErrorAnswer": errors})
        scheme = {"type": "http", "scheme": "bearer", "description": "Printed when the service starts."}
        components["securitySchemes"] = {"token": scheme}
        app.openapi_schema = schema
    return app.openapi_schema
