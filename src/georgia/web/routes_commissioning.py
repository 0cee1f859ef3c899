"""Routes of the commissioning: compare the next frames with the training images, the verdict, its page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from georgia.errors import InputError
from georgia.monitor.commission import Commissioning
from georgia.monitor.commissioned import is_held, read_verdict
from georgia.report.commissioning_page import render_commissioning
from georgia.web import schemas
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import HTML, asking_token
from georgia.web.security import REPORT_POLICY
from georgia.web.service import Service


def make_commissioning_router(service: Service) -> APIRouter:
    """Return the routes; to begin a comparison the monitor must run in this process."""
    router = APIRouter(responses=document_errors())
    change: dict[str, Any] = {
        **asking_token(service.config),
        "response_model": schemas.Accepted,
        "status_code": 202,
        "responses": document_errors(401, 403, 409),
    }

    @router.get("/api/commissioning", response_model=schemas.Commissioning, tags=["probe"])
    def commissioning() -> Any:
        """How far a comparison is that somebody began, and the newest verdict on this probe and model."""
        verdict, monitor = _find_verdict(service), service.monitor
        running = monitor.commissioning if monitor else None
        return {
            "running": running.to_json_dict() if running else None,
            "verdict": verdict,
            "is_held": is_held(verdict),
            "may_change": monitor is not None,
        }

    @router.post("/api/commissioning", **change)
    def commission(body: schemas.NewCommissioning) -> Any:
        """Compare the next frames with the images that the model was validated on."""
        try:
            service.require_monitor().commission(body.who, body.frames)
        except InputError as error:
            raise RejectedRequest(409, str(error)) from error
        return {}

    @router.post("/api/commissioning/cancel", **change)
    def cancel() -> Any:
        """End a comparison that was begun, without a verdict."""
        service.require_monitor().cancel_commissioning()
        return {}

    _add_page(router, service)
    return router


def _add_page(router: APIRouter, service: Service) -> None:
    @router.get(
        "/commissioning",
        response_class=HTMLResponse,
        tags=["probe"],
        responses={**document_errors(404), **HTML},
    )
    def page() -> HTMLResponse:
        """The page of the newest verdict: each measure, its limit, and what to do."""
        verdict = _find_verdict(service)
        if verdict is None:
            raise RejectedRequest(404, "Nobody has commissioned this probe with this model.")
        head = {
            "source": verdict["source"],
            "model": service.bundle.name,
            "model_sha256": verdict["model_sha256"],
            "compared_at": verdict["at"],
            "compared_by": verdict["who"],
        }
        if verdict["override"]:
            by = verdict["override"]
            head["overridden"] = f"by {by['who']} at {by['at']}: {by['reason']}"
        text = render_commissioning(Commissioning.from_entry(verdict), head)
        return HTMLResponse(text, headers={"Content-Security-Policy": REPORT_POLICY})


def _find_verdict(service: Service) -> dict[str, Any] | None:
    source = service.monitor.source if service.monitor else service.find_health().source
    return read_verdict(service.store, source, service.describe_model()["sha256"])
