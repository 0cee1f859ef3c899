"""The route that puts batches over one another, with the band of released ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from georgia.errors import MissingDependencyError
from georgia.process.compare import (
    ELAPSED,
    MOST_BATCHES,
    TABLE_COLUMNS,
    BatchComparison,
    compare_batches,
)
from georgia.process.join import PAGES, parquet_pages
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import TABLE, TYPES
from georgia.web.schemas import Open
from georgia.web.service import Service

Batches = Annotated[
    Sequence[Annotated[int, Query(ge=1, le=2**63 - 1)]],
    Query(min_length=1, max_length=MOST_BATCHES, description="Numbers of batches; the first is the measure."),
]
By = Annotated[
    str,
    Query(
        max_length=200,
        description='"elapsed" (minutes), "frame", "=TITLE" of a variable, "@EVENT" (minutes since it).',
    ),
]


class ComparedLine(Open):
    """A batch over x; null is a gap. Where it ``differs`` it cannot be compared with the first one."""

    batch: int
    name: str
    x: list[float]
    y: list[float | None]
    n: list[int]
    n_frames: int
    n_left_out: int = Field(description="Frames that have no fraction, or no x.")
    differs: list[str]
    released: str


class ComparedBand(BaseModel):
    """Median and quantiles of released batches; null where fewer than ``least_batches`` have frames."""

    x: list[float]
    median: list[float | None]
    low: list[float | None]
    high: list[float | None]
    n: list[int]


class ComparedBatches(BaseModel):
    """Batches over one another; ``choices`` are what they can be compared by."""

    by: str
    label: str
    choices: list[str]
    lines: list[ComparedLine]
    band: ComparedBand
    n_released: int
    least_batches: int
    quantiles: tuple[float, float]
    notes: list[str]


def make_compare_router(service: Service) -> APIRouter:
    """Return the routes; they need only the store."""
    router = APIRouter(prefix="/api", responses=document_errors())

    def compare(batches: Sequence[int], by: str) -> BatchComparison:
        for number in batches:
            service.find("batch", number)
        return compare_batches(service.store, batches, by)

    @router.get("/compare", response_model=ComparedBatches, tags=["batches"], responses=document_errors(404))
    def compare_many(batch: Batches, by: By = ELAPSED) -> Any:
        """Batches over one another, and the band of released ones."""
        return compare(batch, by).to_json_dict()

    @router.get(
        "/compare/export",
        name="export_comparison",
        response_class=StreamingResponse,
        tags=["batches"],
        responses={**document_errors(404, 501), **TABLE},
    )
    def export(
        batch: Batches, by: By = ELAPSED, format: Literal["csv", "jsonl", "json", "parquet"] = "csv"
    ) -> StreamingResponse:
        """The same as a table: a row for each point of each batch, then of the band."""
        found = compare(batch, by)
        try:
            if format == "parquet":
                pages = parquet_pages(TABLE_COLUMNS, found.to_rows(), ("name",), ("batch", "n"))
            else:
                pages = PAGES[format](TABLE_COLUMNS, found.to_rows())
        except MissingDependencyError as error:
            raise RejectedRequest(501, str(error)) from error
        headers = {"Content-Disposition": f'attachment; filename="georgia-comparison.{format}"'}
        return StreamingResponse(pages, media_type=TYPES[format], headers=headers)

    return router
