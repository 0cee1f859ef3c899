"""Routes of the probe: status, frames, batches, alarms, audit log, live events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from georgia.monitor.frames import csv_pages
from georgia.monitor.result import FrameResult
from georgia.web import schemas
from georgia.web.addresses import ADDRESS_UNKNOWN, group_address
from georgia.web.event_stream import EventStream
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.security import require_token
from georgia.web.service import Service

FrameId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The frame's number.")]
BatchId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The batch's number.")]
AlarmId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The alarm's number.")]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only what has a lower number.")]
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}
TABLE: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/x-ndjson")}}
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


def make_probe_router(service: Service, stream: EventStream) -> APIRouter:
    """Return all routes that read or change what the monitor writes."""
    router = APIRouter(prefix="/api", responses=document_errors())
    _add_reading(router, service)
    _add_record(router, service)
    _add_batches(router, service)
    _add_changes(router, service)
    _add_events(router, stream)
    return router


def _add_reading(router: APIRouter, service: Service) -> None:
    store = service.store

    @router.get("/status", response_model=schemas.Status, tags=["probe"])
    def status() -> Any:
        """The state of the probe now."""
        return service.describe_status()

    @router.get("/frames", response_model=schemas.Frames, tags=["frames"])
    def frames(
        batch: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Before = None,
    ) -> Any:
        """Frames, newest first."""
        found = store.frames(batch, limit, before)
        more = found[-1].frame_id if len(found) == limit else None
        return {"frames": [frame.to_json_dict() for frame in found], "next_before": more}

    @router.get(
        "/frames/{frame_id}", response_model=schemas.Frame, tags=["frames"], responses=document_errors(404)
    )
    def frame(frame_id: FrameId) -> Any:
        """One frame."""
        return service.find("frame", frame_id).to_json_dict()

    @router.get(
        "/frames/{frame_id}/map",
        response_model=schemas.FrameMap,
        tags=["frames"],
        responses=document_errors(404),
    )
    def frame_map(frame_id: FrameId) -> Any:
        """The windows of one frame and what each shows."""
        found = store.frame_map(frame_id)
        if found is None:
            raise RejectedRequest(404, f"Frame {frame_id} has no map, or it was removed with age.")
        return found.to_json_dict()

    @router.get(
        "/frames/{frame_id}/picture",
        name="frame_picture",
        response_class=Response,
        tags=["frames"],
        responses={**document_errors(404), **JPEG},
    )
    async def frame_image(frame_id: FrameId) -> Response:
        """The frame itself, as a JPEG for the page."""
        data = await service.run_apart(service.frame_image, frame_id)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _add_record(router: APIRouter, service: Service) -> None:
    store = service.store

    @router.get("/alarms", response_model=schemas.Alarms, tags=["alarms"])
    def alarms(
        batch: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        open: bool = False,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Any:
        """Alarms, newest first; ``open``: only those that are active or not acknowledged."""
        return {"alarms": [alarm.to_json_dict() for alarm in store.alarms(batch, open, limit)]}

    @router.get("/trail", name="trail", response_model=schemas.AuditLog, tags=["record"])
    def audit_log(limit: Annotated[int, Query(ge=1, le=500)] = 100, before: Before = None) -> Any:
        """Who did what, newest first. ``georgia verify`` proves that it is whole."""
        return {"entries": [event.to_json_dict() for event in store.audit_log(limit, before)]}


def _add_batches(router: APIRouter, service: Service) -> None:
    store = service.store

    @router.get("/batches", response_model=schemas.Batches, tags=["batches"])
    def batches(limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Any:
        """Batches, newest first."""
        return {"batches": [batch.to_json_dict() for batch in store.batches(limit)]}

    @router.get(
        "/batches/{batch_id}", response_model=schemas.Batch, tags=["batches"], responses=document_errors(404)
    )
    def batch(batch_id: BatchId) -> Any:
        """One batch."""
        return service.find("batch", batch_id).to_json_dict()

    @router.get(
        "/batches/{batch_id}/series",
        response_model=schemas.Series,
        tags=["batches"],
        responses=document_errors(404),
    )
    def series(
        batch_id: BatchId,
        points: Annotated[int, Query(ge=2, le=20000)] = 1000,
        after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    ) -> Any:
        """The batch over time, subsampled to at most ``points``; ``after``: only later ordinals."""
        service.find("batch", batch_id)
        return store.series(batch_id, points, after).to_json_dict()

    @router.get(
        "/batches/{batch_id}/export",
        response_class=StreamingResponse,
        tags=["batches"],
        responses={**document_errors(404), **TABLE},
    )
    def export(batch_id: BatchId, format: Literal["csv", "jsonl"] = "csv") -> StreamingResponse:
        """All frames of a batch as a table, oldest first."""
        service.find("batch", batch_id)
        name = f"georgia-batch-{batch_id}.{format}"
        kind = "text/csv; charset=utf-8" if format == "csv" else "application/x-ndjson"
        write = csv_pages if format == "csv" else _json_lines
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(write(store.iter_frames(batch_id)), media_type=kind, headers=headers)


def _add_changes(router: APIRouter, service: Service) -> None:
    may_change: dict[str, Any] = {
        "dependencies": [Depends(require_token(service.config))],
        "tags": ["changes"],
    }

    @router.post(
        "/alarms/{alarm_id}/acknowledge",
        response_model=schemas.Alarm,
        responses=document_errors(401, 403, 404),
        **may_change,
    )
    def acknowledge(alarm_id: AlarmId, body: schemas.Acknowledgement) -> Any:
        """Acknowledge an alarm; the first acknowledgement stays."""
        service.find("alarm", alarm_id)
        write = service.monitor.acknowledge if service.monitor else service.store.acknowledge_alarm
        return write(alarm_id, body.who, body.note).to_json_dict()

    @router.post(
        "/batches",
        response_model=schemas.Accepted,
        status_code=202,
        responses=document_errors(401, 403, 409),
        **may_change,
    )
    def begin_batch(body: schemas.NewBatch) -> Any:
        """End the running batch and begin another."""
        service.require_monitor().next_batch(body.who, body.name, body.operator, body.note)
        return {}

    @router.post(
        "/limits",
        response_model=schemas.Accepted,
        status_code=202,
        responses=document_errors(401, 403, 409),
        **may_change,
    )
    def change_limits(body: schemas.LimitsIn) -> Any:
        """Change limits of the charts from the next frame on."""
        changes = {
            name: value for name, value in body.model_dump(exclude={"who"}).items() if value is not None
        }
        service.require_monitor().change_limits(body.who, changes)
        return {}


def _add_events(router: APIRouter, stream: EventStream) -> None:
    @router.get(
        "/events", response_class=StreamingResponse, tags=["probe"], responses={**document_errors(), **EVENTS}
    )
    async def events(
        request: Request,
        last_event_id: Annotated[str | None, Header(max_length=20, pattern=r"^\d{1,18}$")] = None,
    ) -> StreamingResponse:
        """Server-sent events: "status", and "frame" for each new frame; its id is the frame's number."""
        end = stream.take_place(group_address(request.client.host if request.client else ADDRESS_UNKNOWN))
        since = int(last_event_id) if last_event_id else None
        headers = {"X-Accel-Buffering": "no"}
        return _Events(end, stream.listen(since), media_type="text/event-stream", headers=headers)


class _Events(StreamingResponse):
    """A stream that gives its place back however it ends, also before its first event."""

    def __init__(self, end: Callable[[], None], *content: Any, **arguments: Any) -> None:
        super().__init__(*content, **arguments)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


def _json_lines(frames: Iterator[FrameResult]) -> Iterator[str]:
    for frame in frames:
        yield json.dumps(frame.to_json_dict(), ensure_ascii=False) + "\n"
