"""Routes of the probe: status, frames, batches, alarms, audit log, live events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime
from starlette.types import Receive, Scope, Send

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.frames import csv_pages, json_lines, json_pages, parquet_pages, read_checked
from georgia.monitor.people.roles import SignedAction
from georgia.monitor.records import Alarm, AuditAction, FrameFilter
from georgia.monitor.result import State
from georgia.web import schemas
from georgia.web.addresses import ADDRESS_UNKNOWN, group_address
from georgia.web.event_stream import EventStream
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import JPEG, TABLE, TYPES, BatchId, asking_token
from georgia.web.service import Service
from georgia.web.signing import WAITS, do_signed

FrameId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The frame's number.")]
AlarmId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The alarm's number.")]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only what has a lower number.")]
Since = Annotated[AwareDatetime | None, Query(description="Taken at this time or later; with a zone.")]
Until = Annotated[AwareDatetime | None, Query(description="Taken before this time; with a zone.")]
States = Annotated[Sequence[State], Query(description="The probe was in one of these states after it.")]
# What writes each form of an exported table.
_PAGES: dict[str, Callable[..., Any]] = {
    "csv": csv_pages,
    "jsonl": json_lines,
    "json": json_pages,
    "parquet": parquet_pages,
}
# Without a schema: tools take one for that of each event, and others for that of the whole stream.
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def make_probe_router(service: Service, stream: EventStream) -> APIRouter:
    """Return all routes that read or change what the monitor writes."""
    router = APIRouter(prefix="/api", responses=document_errors())
    _add_reading(router, service)
    _add_record(router, service)
    _add_batches(router, service)
    _add_changes(router, service)
    _add_events(router, service, stream)
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
        since: Since = None,
        until: Until = None,
        state: States = (),
    ) -> Any:
        """Frames, newest first; of those that were taken in a time, or in certain states."""
        found = store.frames(batch, limit, before, wanted=_wanted(since, until, state))
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
        """Alarms with their batches, newest first.

        ``open``: of batches that run, only those that are active or not acknowledged, and are neither shelved
        now nor closed.
        """
        return {"alarms": [alarm.to_json_dict() for alarm in store.alarms(batch, open, limit)]}

    @router.get("/trail", name="trail", response_model=schemas.AuditLog, tags=["record"])
    def audit_log(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        before: Before = None,
        action: Annotated[Sequence[AuditAction], Query(description="Only such events.")] = (),
        batch: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    ) -> Any:
        """Who did what, newest first. ``georgia verify`` proves that it is whole."""
        found = store.audit_log(limit, before, tuple(map(str, action)), batch)
        return {"entries": [event.to_json_dict() for event in found]}


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
        """One batch; ``checked``: what people found of it, null where no window was named."""
        found = service.find("batch", batch_id)
        return {**found.to_json_dict(), "checked": service.describe_checked(found)}

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
        responses={**document_errors(404, 501), **TABLE},
    )
    def export(
        batch_id: BatchId,
        format: Literal["csv", "jsonl", "json", "parquet"] = "csv",
        since: Since = None,
        until: Until = None,
        state: States = (),
    ) -> StreamingResponse:
        """All frames of a batch as a table, oldest first, or those of a time or in certain states."""
        service.find("batch", batch_id)
        frames = store.iter_frames(batch_id, _wanted(since, until, state))
        name = f"georgia-batch-{batch_id}.{format}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        try:
            pages = _PAGES[format](frames, read_checked(store, batch_id))
        except MissingDependencyError as error:
            raise RejectedRequest(501, str(error)) from error
        return StreamingResponse(pages, media_type=TYPES[format], headers=headers)


def _add_changes(router: APIRouter, service: Service) -> None:
    may_change = asking_token(service.config)

    @router.post(
        "/alarms/{alarm_id}/acknowledge",
        response_model=schemas.Alarm,
        responses={**document_errors(401, 403, 404, 409), **WAITS},
        **may_change,
    )
    def acknowledge(alarm_id: AlarmId, body: schemas.Acknowledgement, request: Request) -> Any:
        """Acknowledge an alarm; the first acknowledgement stays."""
        alarm = service.find("alarm", alarm_id)
        write = service.monitor.acknowledge if service.monitor else service.store.acknowledge_alarm
        asked = service, request, SignedAction.ACKNOWLEDGE, body, alarm.batch_id
        return do_signed(*asked, lambda: write(alarm_id, body.who, body.note).to_json_dict())

    @router.post(
        "/alarms/{alarm_id}/shelve",
        response_model=schemas.Alarm,
        responses={**document_errors(401, 403, 404, 409), **WAITS},
        **may_change,
    )
    def shelve(alarm_id: AlarmId, body: schemas.Shelving, request: Request) -> Any:
        """Put an alarm aside for some minutes; it comes back by itself."""
        change, batch_id = (service.monitor or service.store).shelve_alarm, _batch_of(service, alarm_id)
        values = alarm_id, body.who, body.minutes, body.reason
        return do_signed(
            service, request, SignedAction.SHELVE, body, batch_id, lambda: _changing_alarm(change, *values)
        )

    @router.post(
        "/alarms/{alarm_id}/close",
        response_model=schemas.Alarm,
        responses={**document_errors(401, 403, 404, 409), **WAITS},
        **may_change,
    )
    def close(alarm_id: AlarmId, body: schemas.Closing, request: Request) -> Any:
        """Close an alarm whose cause is over."""
        change, batch_id = (service.monitor or service.store).close_alarm, _batch_of(service, alarm_id)
        values = alarm_id, body.who, body.reason
        return do_signed(
            service, request, SignedAction.CLOSE, body, batch_id, lambda: _changing_alarm(change, *values)
        )

    @router.post(
        "/batches",
        response_model=schemas.Accepted,
        status_code=202,
        responses=document_errors(401, 403, 409),
        **may_change,
    )
    def begin_batch(body: schemas.NewBatch) -> Any:
        """End the running batch and begin another; a conflict if ``expected`` does not run any more."""
        service.require_monitor().next_batch(body.who, body.name, body.operator, body.note, body.expected)
        return {}


def _wanted(since: datetime | None, until: datetime | None, states: Sequence[State]) -> FrameFilter:
    try:
        first, last = (None if at is None else at.timestamp() for at in (since, until))
    except (OverflowError, ValueError) as error:
        raise RejectedRequest(422, "since and until: a time that calendars know is needed.") from error
    return FrameFilter(None, first, last, tuple(map(str, states)))


def _batch_of(service: Service, alarm_id: int) -> int:
    return int(service.find("alarm", alarm_id).batch_id)


def _changing_alarm(change: Callable[..., Alarm], alarm_id: int, *values: Any) -> Any:
    """Return the changed alarm; one that is closed, or active where it must not be, is a conflict."""
    try:
        return change(alarm_id, *values).to_json_dict()
    except InputError as error:
        raise RejectedRequest(409, str(error)) from error


def _add_events(router: APIRouter, service: Service, stream: EventStream) -> None:
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
        events = service.access.while_known(request.headers, stream.listen(since))
        return _Events(end, events, media_type="text/event-stream", headers=headers)


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
