"""Routes of process data: variables over time, events, laboratory results, frames with their values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor.process_record import Entry, EntryKind, withdraw_entry, write_entry
from georgia.process.join import PAGES, join_frames
from georgia.process.queries import read_batch_process
from georgia.web import schemas_process as schemas
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import TABLE, TYPES, BatchId, asking_token, read_moment
from georgia.web.service import Service

_OWN = "/batches/{batch_id}/process"
EntryId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The number of an event or a result.")]
Variables = Annotated[
    Sequence[Annotated[int, Query(ge=0, le=2**63 - 1)]],
    Query(max_length=50, description="Numbers of the variables that are wanted over time; none: all."),
]


def make_process_router(service: Service) -> APIRouter:
    """Return the routes; they need no monitor in this process, only the store."""
    router = APIRouter(prefix="/api", responses=document_errors())
    _add_reading(router, service)
    _add_writing(router, service)
    return router


def _add_reading(router: APIRouter, service: Service) -> None:
    store = service.store

    @router.get(_OWN, response_model=schemas.BatchProcess, tags=["process"], responses=document_errors(404))
    def process(
        batch_id: BatchId,
        points: Annotated[int, Query(ge=2, le=20000)] = 1000,
        variable: Variables = (),
    ) -> Any:
        """The process data of a batch: variables with their newest values, over time, events and results."""
        service.find("batch", batch_id)
        wanted = list(variable) if variable else None
        return read_batch_process(store, batch_id, points, wanted, has_counts=False).to_json_dict()

    @router.get(
        f"{_OWN}/export",
        name="export_process",
        response_class=StreamingResponse,
        tags=["process"],
        responses={**document_errors(404, 501), **TABLE},
    )
    def export(
        batch_id: BatchId,
        format: Literal["csv", "jsonl", "json", "parquet"] = "csv",
        max_age_s: Annotated[
            float, Query(ge=0, le=1e9, allow_inf_nan=False, description="0: three usual steps.")
        ] = 0.0,
    ) -> StreamingResponse:
        """All frames of a batch, each with the last value of each variable at or before it.

        A value older than ``max_age_s`` is left out; the age of each stands beside it.
        """
        service.find("batch", batch_id)
        columns, rows = join_frames(store, batch_id, max_age_s)
        name = f"georgia-batch-{batch_id}-process.{format}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        try:
            pages = PAGES[format](columns, rows)
        except MissingDependencyError as error:
            raise RejectedRequest(501, str(error)) from error
        return StreamingResponse(pages, media_type=TYPES[format], headers=headers)


def _add_writing(router: APIRouter, service: Service) -> None:
    change: dict[str, Any] = {
        **asking_token(service.config, "process"),
        "response_model": schemas.WrittenEntry,
        "responses": document_errors(401, 403, 404, 409),
    }

    @router.post(f"{_OWN}/events", **change)
    def write_event(batch_id: BatchId, body: schemas.NewEvent) -> Any:
        """Write an event of a batch: dosing, seeding, sampling."""
        batch = service.find("batch", batch_id)
        entry = Entry(EntryKind.EVENT, _read_time(body.time), body.name, body.who, note=body.note)
        return _write(service, entry, batch.id)

    @router.post(f"{_OWN}/laboratory", **change)
    def write_result(batch_id: BatchId, body: schemas.NewResult) -> Any:
        """Write a laboratory result of a batch."""
        batch = service.find("batch", batch_id)
        at_s = _read_time(body.time)
        amount = (body.value, body.unit, body.sd)
        entry = Entry(EntryKind.LABORATORY, at_s, body.name, body.who, *amount, body.note)
        return _write(service, entry, batch.id)

    @router.post("/process/entries/{entry_id}/withdraw", **change)
    def withdraw(entry_id: EntryId, body: schemas.Withdrawal) -> Any:
        """Withdraw an event or a result that is wrong; the record keeps it."""
        try:
            service.store.write(lambda change: withdraw_entry(change, entry_id, body.who, body.reason))
        except InputError as error:
            raise RejectedRequest(409, str(error)) from error
        return {"entry": entry_id}


def _write(service: Service, entry: Entry, batch_id: int) -> dict[str, int]:
    owned = replace(entry, batch_id=batch_id)
    try:
        return {"entry": service.store.write(lambda change: write_entry(change, owned))}
    except InputError as error:
        raise RejectedRequest(409, str(error)) from error


def _read_time(moment: datetime | None) -> float:
    return time.time() if moment is None else read_moment(moment)
