"""The route of a batch's report: the page that ``georgia report`` writes, to be saved."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from georgia.errors import UnreadableImageError
from georgia.images.decode import Image
from georgia.web.decode_pool import BusyError
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import HTML, BatchId
from georgia.web.security import REPORT_POLICY
from georgia.web.service import CARD_FILE, Service

if TYPE_CHECKING:
    from georgia.monitor.records import Batch
    from georgia.monitor.result import FrameResult


def make_report_router(service: Service) -> APIRouter:
    """Return the route; one report is made at a time, since each verifies the whole record."""
    router = APIRouter(prefix="/api", responses=document_errors())
    making = threading.Lock()

    @router.get(
        "/batches/{batch_id}/report",
        name="batch_report",
        response_class=HTMLResponse,
        tags=["batches"],
        responses={**document_errors(404), **HTML},
    )
    async def batch_report(batch_id: BatchId) -> HTMLResponse:
        """The batch as one page that needs nothing else, to read, print, sign and file."""
        batch = service.find("batch", batch_id)
        page = await service.run_apart(_render, service, batch, making)
        name = f"georgia-report-{batch_id}.html"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": REPORT_POLICY,
            "Cache-Control": "no-store",
        }
        return HTMLResponse(page.encode("utf-8", "backslashreplace"), headers=headers)

    return router


def _render(service: Service, batch: Batch, making: threading.Lock) -> str:
    from georgia.report.batch.facts import read_facts
    from georgia.report.batch.page import add_key_frames, render_batch

    if not making.acquire(blocking=False):
        raise RejectedRequest(503, "Another report is being made; try again.", {"Retry-After": "10"})
    try:
        own = "the store of this service"
        facts = read_facts(service.store, batch, own, _read_card(service), moments=service.moments)
        return render_batch(add_key_frames(facts, service.store, lambda frame: _read_image(service, frame)))
    finally:
        making.release()


def _read_card(service: Service) -> dict[str, str]:
    path = service.model_file(CARD_FILE)
    if path is None:
        return {}
    return {str(service.describe_model()["sha256"]): path.read_text(encoding="utf-8", errors="replace")}


def _read_image(service: Service, frame: FrameResult) -> Image | str:
    """Return a frame's image, decoded apart from the service, or why there is none."""
    try:
        return service.read_frame(frame)
    except (UnreadableImageError, BusyError) as error:
        return str(error).rstrip(".")
