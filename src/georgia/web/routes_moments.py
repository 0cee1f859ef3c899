"""Routes of detected moments: what the frames suggest, and what people say of it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from georgia.errors import InputError
from georgia.monitor.records import Batch
from georgia.process.moments.decisions import MomentAction, NewDecision
from georgia.process.moments.export import write_csv, write_json
from georgia.process.moments.in_store import decide_moment, read_moments
from georgia.process.moments.result import BatchMoments
from georgia.process.moments.settings import MomentsConfig
from georgia.web import schemas_moments as schemas
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import TABLE, TYPES, BatchId, asking_token, read_moment
from georgia.web.service import Service

_OWN = "/batches/{batch_id}/moments"
# Batches whose moments are kept until a frame, a value or a decision is added.
_MOST_KEPT = 16
# Where frames are added all the time, so many times as long as finding took passes before the next one.
_REST = 20
Temperature = Annotated[
    str,
    Query(
        max_length=400,
        description="The variable that is the solution's temperature; none: the settings', or the only one.",
    ),
]


class _Known:
    """The moments of batches: found one batch at a time, and in a twentieth of the time at most."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: OrderedDict[tuple[int, str], tuple[Any, float, BatchMoments]] = OrderedDict()
        self._finding = threading.Lock()

    def find(self, batch: Batch, temperature: str) -> BatchMoments:
        store = self._service.store
        # A seal is written with all that is added.
        place, key = (batch.id, temperature), (batch.n_frames, batch.ended_at_s, store.newest_head())
        with self._finding:
            known, until, found = self._kept.get(place, (None, 0.0, None))
            if found is None or (known != key and time.monotonic() >= until):
                began = time.monotonic()
                found = _read(self._service, batch, temperature)
                lasted = time.monotonic() - began
                self._kept[place] = (key, began + _REST * lasted, found)
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
            return found

    def forget(self) -> None:
        """Find everything anew: somebody decided."""
        with self._finding:
            self._kept.clear()


def _read(service: Service, batch: Batch, temperature: str) -> BatchMoments:
    config, must_have = _choose(service, temperature)
    try:
        return read_moments(service.store, batch, config, must_have=must_have)
    except InputError as error:
        raise RejectedRequest(409, str(error)) from error


def _choose(service: Service, temperature: str) -> tuple[MomentsConfig, bool]:
    """Return the settings, with the temperature that was asked for, which the batch must have then."""
    config = service.moments
    return (replace(config, temperature=temperature), True) if temperature else (config, False)


def make_moments_router(service: Service) -> APIRouter:
    """Return the routes; they need no monitor in this process, only the store."""
    router = APIRouter(prefix="/api", responses=document_errors())
    known = _Known(service)

    @router.get(
        _OWN, response_model=schemas.BatchMoments, tags=["moments"], responses=document_errors(404, 409)
    )
    def moments(batch_id: BatchId, temperature: Temperature = "") -> Any:
        """First crystals, clear and cloud point, growth, first impurity: suggested, and what was decided."""
        return known.find(service.find("batch", batch_id), temperature).to_json_dict()

    @router.get(
        f"{_OWN}/export",
        name="export_moments",
        response_class=Response,
        tags=["moments"],
        responses={**document_errors(404, 409), **TABLE},
    )
    def export(
        batch_id: BatchId, format: Literal["csv", "json"] = "csv", temperature: Temperature = ""
    ) -> Response:
        """The moments of a batch as a table."""
        found = known.find(service.find("batch", batch_id), temperature)
        body = write_csv(found) if format == "csv" else write_json(found)
        headers = {"Content-Disposition": f'attachment; filename="georgia-batch-{batch_id}-moments.{format}"'}
        content = body.encode("utf-8", "backslashreplace")
        return Response(content, media_type=TYPES[format], headers=headers)

    @router.post(
        _OWN,
        response_model=schemas.WrittenDecision,
        responses=document_errors(401, 403, 404, 409),
        **asking_token(service.config, "moments"),
    )
    def decide_on_moment(batch_id: BatchId, body: schemas.NewDecision) -> Any:
        """Confirm, correct or dismiss a moment; a later decision replaces an earlier one, which is kept."""
        batch = service.find("batch", batch_id)
        new = NewDecision(
            MomentAction(f"moment {body.decision}"),
            body.who,
            body.note,
            _read_time(body.time),
            _read_time(body.low),
            _read_time(body.high),
            body.expected,
        )
        try:
            config, must_have = _choose(service, body.temperature)
            seq = decide_moment(service.store, batch, body.kind, body.number, new, config, must_have)
        except InputError as error:
            raise RejectedRequest(409, str(error)) from error
        known.forget()
        return {"seq": seq}

    return router


def _read_time(moment: datetime | None) -> float | None:
    needs = "time, low, high: times of 1970 or later are needed."
    return None if moment is None else read_moment(moment, needs)
