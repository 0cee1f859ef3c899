"""Routes of the model: what it is, its prediction for an image, health and metrics."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse

import georgia
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.health import HealthState
from georgia.web import schemas
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.metrics_exporter import MetricsExporter
from georgia.web.routing import HTML, TEXT
from georgia.web.security import REPORT_POLICY, UPLOAD_PATH
from georgia.web.service import CARD_FILE, REPORT_FILE, Service


def make_model_router(service: Service, exporter: MetricsExporter) -> APIRouter:
    """Return the routes of the model and of the service itself."""
    router = APIRouter(responses=document_errors())
    _add_model(router, service)
    _add_predict(router, service, exporter)
    _add_service(router, service, exporter)
    return router


def _add_model(router: APIRouter, service: Service) -> None:
    @router.get("/api/model", response_model=schemas.Model, tags=["model"])
    def model() -> Any:
        """The model that predicts."""
        return service.describe_model()

    @router.get(
        "/model/report",
        response_class=FileResponse,
        tags=["model"],
        responses={**document_errors(404), **HTML},
    )
    def report() -> FileResponse:
        """The model's report."""
        path = service.model_file(REPORT_FILE)
        if path is None:
            raise RejectedRequest(404, "This model came without a report.")
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    @router.get(
        "/model/card",
        response_class=PlainTextResponse,
        tags=["model"],
        responses={**document_errors(404), **TEXT},
    )
    def card() -> PlainTextResponse:
        """The model card."""
        path = service.model_file(CARD_FILE)
        if path is None:
            raise RejectedRequest(404, "This model came without a card.")
        return PlainTextResponse(path.read_text(encoding="utf-8"))


def _add_predict(router: APIRouter, service: Service, exporter: MetricsExporter) -> None:
    @router.post(
        UPLOAD_PATH, response_model=schemas.Outcome, tags=["model"], responses=document_errors(403, 415)
    )
    async def predict(file: UploadFile) -> Any:
        """What one image shows. Nothing of it is kept."""
        started = time.perf_counter()
        name = (file.filename or "image").replace("\\", "/").rsplit("/", 1)[-1][:200]
        data = await file.read()
        prediction = await service.run_apart(service.predict, name, data)
        exporter.predictions.labels(prediction["label"]).inc()
        exporter.seconds.observe(time.perf_counter() - started)
        return prediction


def _add_service(router: APIRouter, service: Service, exporter: MetricsExporter) -> None:
    @router.get(
        "/api/health",
        response_model=schemas.Health,
        tags=["service"],
        responses={503: {"model": schemas.Health}},
    )
    def health(request: Request, response: Response) -> Any:
        """Whether service and monitor can do their work; 503 while the store or the folder is away, frames
        cannot be read, or the monitor has failed, hangs or was killed.
        """
        health: dict[str, Any] = {"status": "ok", "store": "ok", "version": georgia.__version__, "probe": {}}
        try:
            service.store.batches(limit=1)
            probe = service.find_health()
        except StoreAwayError as error:
            response.status_code = 503
            probe = service.health_without_store(str(error))
            return {**health, "status": "degraded", "store": str(error), "probe": probe.to_json_dict()}
        health["probe"] = probe.to_json_dict()
        if probe.is_expected and not probe.is_ok:
            response.status_code = 503
        is_well = not probe.is_expected or (probe.is_ok and probe.state != HealthState.NO_FRAMES)
        return {**health, "status": "ok" if is_well else "degraded"}

    @router.get(
        "/metrics", response_class=Response, tags=["service"], responses={**document_errors(), **TEXT}
    )
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(exporter.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
