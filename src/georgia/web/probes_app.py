"""The service of several probes: an overview, and each probe's pages and routes below ``/probes/NAME/``.

A probe's application is the one that it would have alone. It is called as behind a proxy that takes the path
off, so that all its addresses hold, and behind its own security middleware.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import georgia
from georgia.web import schemas
from georgia.web.app import STATIC, describe_app
from georgia.web.config import ServeConfig
from georgia.web.http_errors import RejectedRequest, add_error_handlers, document_errors
from georgia.web.probe_site import ProbeSite, describe_sites
from georgia.web.probes_metrics import ProbesMetrics
from georgia.web.probes_people import add_login
from georgia.web.routing import TEXT
from georgia.web.security import SecurityMiddleware

DESCRIPTION = (
    "All probes of one service: a tile, health and metrics of each. Below /probes/NAME/ each probe has the "
    "whole REST service of one probe, with its schema at /probes/NAME/openapi.json."
)
_BELOW = re.compile(r"/probes/([^/]+)(/.*)")
# A browser comes back from the identity provider to one address for all probes; the state names the probe.
_CALLBACK, _STATE_OF = "/login/oidc/callback", re.compile(rb"(?:.*&)?state=([A-Za-z0-9_-]{1,40})\.[^&]*")


class ProbesApp:
    """The ASGI application of several probes."""

    def __init__(self, sites: Mapping[str, ProbeSite], config: ServeConfig) -> None:
        self.sites = sites
        self._metrics = ProbesMetrics(sites)
        self._own: ASGIApp = SecurityMiddleware(make_overview(sites, self._metrics), config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to its probe, or respond to it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] == "http" and scope["path"] == _CALLBACK:
            await self._find_callback(scope)(scope, receive, send)
            return
        found = _BELOW.fullmatch(scope["path"]) if scope["type"] == "http" else None
        site = self.sites.get(found[1]) if found else None
        if found is None or site is None or site.app is None:
            await self._own(scope, receive, send)
            return
        raw = b"/" + scope.get("raw_path", b"").split(b"/", 3)[-1]
        await site.app({**scope, "path": found[2], "raw_path": raw, "root_path": ""}, receive, send)

    def _find_callback(self, scope: Scope) -> ASGIApp:
        """Return the application of the probe that sent a browser to the identity provider."""
        found = _STATE_OF.match(scope.get("query_string", b""))
        site = self.sites.get(found[1].decode()) if found else None
        return self._own if site is None or site.app is None else site.app

    def close(self) -> None:
        """End what would otherwise be waited for."""
        for site in self.sites.values():
            site.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        tasks = [asyncio.create_task(site.live()) for site in self.sites.values()]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._metrics.close()
        await send({"type": "lifespan.shutdown.complete"})


def make_overview(sites: Mapping[str, ProbeSite], metrics: ProbesMetrics) -> FastAPI:
    """Return what responds for all probes together, and for one whose store is not open."""
    app = FastAPI(
        title="Georgia, several probes",
        version=georgia.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    add_error_handlers(app)
    _add_together(app, sites, metrics)
    add_login(app, sites)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "probes.html", media_type="text/html")

    @app.get("/probes/{name}", include_in_schema=False)
    def add_slash(name: str) -> RedirectResponse:
        if name not in sites:
            raise _unknown(name, sites)
        return RedirectResponse(f"{name}/")

    @app.api_route("/probes/{name}/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    def away(name: str, rest: str) -> None:
        if name not in sites:
            raise _unknown(name, sites)
        reason = sites[name].health().reason or "its store is being opened"
        message = f"The probe {name!r} cannot be shown yet: {reason}"
        raise RejectedRequest(503, message, {"Retry-After": "5"})

    app.openapi = lambda: describe_app(app)  # type: ignore[method-assign]
    return app


def _add_together(app: FastAPI, sites: Mapping[str, ProbeSite], metrics: ProbesMetrics) -> None:
    @app.get("/api/probes", response_model=schemas.Probes, tags=["probes"], responses=document_errors())
    def probes(request: Request) -> Any:
        """A tile of each probe: state, fraction, alarm, age of the last frame, backlog.

        Where people log in to a probe, its tile is "log in" for all others.
        """
        return describe_sites(sites, request.headers)

    @app.get(
        "/api/health",
        response_model=schemas.ProbesHealth,
        tags=["service"],
        responses={503: {"model": schemas.ProbesHealth}},
    )
    def health(response: Response) -> Any:
        """Whether the service and all probes can do their work; 503 where one cannot, with its reason."""
        found = {name: site.describe_health() for name, site in sites.items()}
        if any(site.is_dead(found[name]) for name, site in sites.items()):
            response.status_code = 503
        reasons = {name: _find_reason(each) for name, each in found.items()}
        is_well = all(each["status"] == "ok" for each in found.values())
        return {
            "status": "ok" if is_well else "degraded",
            "reason": "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason),
            "version": georgia.__version__,
            "probes": found,
        }

    @app.get("/metrics", response_class=Response, tags=["service"], responses={**document_errors(), **TEXT})
    def read_metrics(request: Request) -> Response:
        """Metrics for Prometheus, each with the label ``probe``.

        Of a probe that who asks may not read there is only its health.
        """
        return Response(metrics.text(request.headers), media_type="text/plain; version=0.0.4; charset=utf-8")


def _find_reason(found: Mapping[str, Any]) -> str:
    """Return why a probe's health is not well, "" where it is."""
    if found["status"] == "ok":
        return ""
    probe = found["probe"]
    return probe["reason"] or (f"store: {found['store']}" if found["store"] != "ok" else probe["state"])


def _unknown(name: str, sites: Mapping[str, ProbeSite]) -> RejectedRequest:
    return RejectedRequest(404, f"There is no probe {name[:60]!r}; there are {', '.join(sites)}.")
