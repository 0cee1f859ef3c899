"""What the routes have in common: numbers in paths, bodies that are no JSON, changes, and moments in time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Path

from georgia.web.config import ServeConfig
from georgia.web.http_errors import RejectedRequest
from georgia.web.security import require_token

BatchId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The batch's number.")]
# The media types of exported tables, by their forms.
TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


def document_body(*kinds: str, is_binary: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entry of a body that is no JSON of a model, by its media types.

    >>> document_body("text/csv; charset=utf-8")
    {200: {'content': {'text/csv': {'schema': {'type': 'string'}}}}}
    """
    schema = {"type": "string", "format": "binary"} if is_binary else {"type": "string"}
    return {200: {"content": {kind.split(";")[0]: {"schema": dict(schema)} for kind in kinds}}}


HTML = document_body("text/html")
TEXT = document_body("text/plain")
JPEG = document_body("image/jpeg", is_binary=True)
PNG = document_body("image/png", is_binary=True)
# A table in each form that it is exported in, and one that is never long.
TABLE = document_body(*TYPES.values())
SHORT_TABLE = document_body(TYPES["csv"], TYPES["json"])


def asking_token(config: ServeConfig, tag: str = "changes") -> dict[str, Any]:
    """Return what each route that changes something is made with: a request needs the token."""
    return {"dependencies": [Depends(require_token(config))], "tags": [tag]}


def read_moment(moment: datetime, needs: str = "time: one of 1970 or later is needed.") -> float:
    """Return the seconds since 1970 of a time that a request holds.

    Raises:
        RejectedRequest: 422, it lies before 1970, or where no clock reaches.
    """
    try:
        seconds = moment.timestamp()
    except (OverflowError, ValueError):
        seconds = -1.0
    if seconds < 0:
        raise RejectedRequest(422, needs)
    return seconds
