"""Routes of the limits: which hold and whose they are, their changes, and their confirmation."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from georgia.monitor.limits_in_force import read_limits
from georgia.monitor.people.roles import SignedAction
from georgia.web import schemas
from georgia.web.http_errors import document_errors
from georgia.web.routing import BatchId, asking_token
from georgia.web.schemas_people import ActionWaits
from georgia.web.service import Service
from georgia.web.signing import do_signed


def make_limits_router(service: Service) -> APIRouter:
    """Return the routes; for changes the monitor must run in this process."""
    router = APIRouter(prefix="/api", responses=document_errors())
    change: dict[str, Any] = {
        **asking_token(service.config),
        "response_model": schemas.Accepted | ActionWaits,
        "status_code": 202,
        "responses": document_errors(401, 403, 409),
    }

    @router.get(
        "/batches/{batch_id}/limits",
        response_model=schemas.LimitsInForce,
        tags=["batches"],
        responses=document_errors(404),
    )
    def limits(batch_id: BatchId) -> Any:
        """The limits that hold in a batch, who set them and when, and what a start took over."""
        found = read_limits(service.store, service.find("batch", batch_id))
        return {**found, "may_change": service.monitor is not None}

    @router.post("/limits", **change)
    def change_limits(body: schemas.LimitsIn, request: Request) -> Any:
        """Change limits of the charts from the next frame on; they hold over a restart."""
        values = body.model_dump(exclude={"who", "reason", "expected", "password"})
        changes = {name: value for name, value in values.items() if value is not None}
        service.require_monitor()

        def do() -> dict[str, Any]:
            service.require_monitor().change_limits(body.who, changes, body.reason, body.expected)
            return {}

        return do_signed(service, request, SignedAction.LIMITS, body, service.find_running(), do)

    @router.post("/limits/confirm", **change)
    def confirm_limits(body: schemas.Acknowledgement, request: Request) -> Any:
        """Confirm limits that were learned at a mean that is not plausible: state "limits unconfirmed"."""
        service.require_monitor()

        def do() -> dict[str, Any]:
            service.require_monitor().confirm_limits(body.who, body.note)
            return {}

        return do_signed(service, request, SignedAction.LIMITS, body, service.find_running(), do)

    @router.post("/commissioning/override", **change)
    def override_commissioning(body: schemas.Override, request: Request) -> Any:
        """Go on with frames that are unlike the training images: state "unlike training"."""
        service.require_monitor()

        def do() -> dict[str, Any]:
            service.require_monitor().override_commissioning(body.who, body.reason)
            return {}

        return do_signed(service, request, SignedAction.OVERRIDE, body, service.find_running(), do)

    return router
