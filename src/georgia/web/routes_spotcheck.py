"""Routes of a batch's spot check: its plan, the windows to be named, their names, and what they say."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import HTMLResponse

from georgia.errors import InputError
from georgia.monitor.columns import iso_time
from georgia.monitor.records import Batch
from georgia.monitor.spotchecks import NameConflictError, StoredCheck, WindowName, find_standing
from georgia.spotcheck.checked import CheckedFraction, count_more, measure_check
from georgia.spotcheck.export import write_check_csv, write_check_json
from georgia.spotcheck.in_store import find_surroundings, list_windows, make_extension, make_plan
from georgia.spotcheck.plan import SpotcheckConfig
from georgia.web import schemas_spotcheck as schemas
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.routing import HTML, PNG, SHORT_TABLE, TYPES, BatchId, asking_token
from georgia.web.security import REPORT_POLICY
from georgia.web.service import Service

# A batch's own spot check.
_OWN = "/batches/{batch_id}/spotcheck"
CheckId = Annotated[int, Query(ge=1, le=2**63 - 1, description="The check's number.")]
WindowPosition = Annotated[int, Path(ge=1, le=schemas.MOST_SAMPLED, description="Its place in the plan.")]


def make_spotcheck_router(service: Service) -> APIRouter:
    """Return the routes; a check needs no monitor in this process, only the store."""
    router = APIRouter(prefix="/api", responses=document_errors())
    _add_reading(router, service)
    _add_list(router, service)
    _add_files(router, service)
    _add_naming(router, service)
    return router


def _add_reading(router: APIRouter, service: Service) -> None:
    @router.get(_OWN, response_model=schemas.Spotcheck, tags=["spot check"], responses=document_errors(404))
    def spotcheck(
        batch_id: BatchId,
        width: Annotated[
            float | None, Query(gt=0, lt=1, description="A wished width of the interval.")
        ] = None,
    ) -> Any:
        """The newest spot check of a batch, and what the names of the one that counts say."""
        batch = service.find("batch", batch_id)
        counting = service.checks.counting(batch)
        newest = service.checks.newest(batch)
        wanted = counting or newest
        n_more = count_more(wanted, width) if width is not None and wanted is not None else None
        return {
            "batch": batch_id,
            "check": _describe(service, newest) if newest else None,
            "result": counting.to_json_dict() if counting else None,
            "n_more_for_width": n_more,
        }

    @router.get(
        f"{_OWN}/windows/{{position}}",
        response_class=Response,
        tags=["spot check"],
        responses={**document_errors(404), **PNG},
    )
    async def spotcheck_window(
        batch_id: BatchId, position: WindowPosition, check: CheckId, wide: bool = False
    ) -> Response:
        """A sampled window as PNG, or with its surroundings; cut from the file that was analysed."""
        found = _find_check(service, batch_id, check)
        windows = list_windows(found)
        if position > len(windows):
            raise RejectedRequest(404, f"Check {check} has {len(windows)} windows, not {position}.")
        data = await service.run_apart(service.window_image, check, windows[position - 1], wide)
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _add_list(router: APIRouter, service: Service) -> None:
    @router.get("/spotchecks", response_model=schemas.CheckedBatches, tags=["spot check"])
    def spotchecks(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Any:
        """What people found of the newest batches with a spot check, newest first."""
        newest = list(dict.fromkeys(check.batch_id for check in service.store.spotchecks()))[:limit]
        found = [(number, service.describe_checked(service.store.batch(number))) for number in newest]
        return {
            "checked": [{"batch": number, **each} for number, each in found if each and "fault" not in each],
            "faults": [{"batch": number, **each} for number, each in found if each and "fault" in each],
        }


def _add_files(router: APIRouter, service: Service) -> None:
    @router.get(
        f"{_OWN}/export",
        response_class=Response,
        tags=["spot check"],
        responses={**document_errors(404), **SHORT_TABLE},
    )
    def export_spotcheck(batch_id: BatchId, format: Literal["csv", "json"] = "csv") -> Response:
        """The check that counts: a row for each window that was named, or all of it as one JSON object."""
        batch, found = _find_counting(service, batch_id)
        text = write_check_csv(found) if format == "csv" else write_check_json(found, batch)
        headers = {"Content-Disposition": f'attachment; filename="georgia-spotcheck-{batch_id}.{format}"'}
        return Response(text, media_type=TYPES[format], headers=headers)

    @router.get(
        f"{_OWN}/report",
        response_class=HTMLResponse,
        tags=["spot check"],
        responses={**document_errors(404), **HTML},
    )
    async def spotcheck_report(batch_id: BatchId) -> HTMLResponse:
        """The check that counts as one page that needs nothing else: windows, plan, names, result, head."""
        batch, found = _find_counting(service, batch_id)
        page = await service.run_apart(service.render_check, found, batch)
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


def _add_naming(router: APIRouter, service: Service) -> None:
    store = service.store
    may_change: dict[str, Any] = {
        **asking_token(service.config),
        "responses": document_errors(401, 403, 404, 409),
    }

    @router.post(_OWN, response_model=schemas.Check, status_code=201, **may_change)
    def plan_spotcheck(batch_id: BatchId, body: schemas.PlanIn) -> Any:
        """Sample windows of the batch, as it is now, or of what came since the newest check, to be named.

        The plan is in the record before a name.
        """
        batch = service.find("batch", batch_id)
        seed = secrets.randbelow(2**32) if body.seed is None else body.seed
        config = SpotcheckConfig(n=body.n or SpotcheckConfig.n, class_name=body.class_name, seed=seed)
        with _conflicts():
            plan = (
                make_extension(store, batch, config, body.n)
                if body.extend
                else make_plan(store, batch, config)
            )
            if not service.has_frames(each["file"] for each in plan["draws"]):
                message = "No image of the sampled windows is within reach: none could be named."
                hint = "Start with --watch, or --set frames=FOLDER, where the frames of this batch lie."
                raise RejectedRequest(409, f"{message} {hint}")
            check = store.spotcheck(store.plan_spotcheck(batch_id, plan, body.who, body.reason))
        return _describe(service, measure_check(store, check))

    @router.post(f"{_OWN}/names", response_model=schemas.CheckProgress, **may_change)
    def name_window(batch_id: BatchId, body: schemas.NameIn) -> Any:
        """Name the next window; it is in the record when this responds. Twice the same counts once."""
        _find_check(service, batch_id, body.check)
        with _conflicts():
            store.name_window(body.check, body.position, body.name, body.who)
        return _describe_progress(service, body.check)

    @router.post(f"{_OWN}/withdrawals", response_model=schemas.CheckProgress, **may_change)
    def withdraw_name(batch_id: BatchId, body: schemas.WithdrawalIn) -> Any:
        """Take the last name back; the record keeps both."""
        _find_check(service, batch_id, body.check)
        with _conflicts():
            store.withdraw_name(body.check, body.position, body.who)
        return _describe_progress(service, body.check)


@contextmanager
def _conflicts() -> Iterator[None]:
    """Respond with 409 to what another person or page has changed meanwhile, 422 to what cannot be done."""
    try:
        yield
    except NameConflictError as error:
        raise RejectedRequest(409, str(error)) from error
    except InputError as error:
        raise RejectedRequest(422, str(error)) from error


def _find_check(service: Service, batch_id: int, check_id: int) -> StoredCheck:
    service.find("batch", batch_id)
    found = service.find("spotcheck", check_id)
    if found.batch_id != batch_id:
        raise RejectedRequest(404, f"Spot check {check_id} is none of batch {batch_id}.")
    checked: StoredCheck = found
    return checked


def _find_counting(service: Service, batch_id: int) -> tuple[Batch, CheckedFraction]:
    batch = service.find("batch", batch_id)
    found = service.checks.counting(batch)
    if found is None:
        raise RejectedRequest(404, f"No window of batch {batch_id} has been named by a person yet.")
    return batch, found


def _describe_progress(service: Service, check_id: int) -> dict[str, Any]:
    """Return how far a check is; nothing of what the model says is in it."""
    check = service.store.spotcheck(check_id)
    names = find_standing(service.store.spotcheck_names(check_id))
    return _progress_of(check, names)


def _progress_of(check: StoredCheck, names: Sequence[WindowName]) -> dict[str, Any]:
    windows, n_named = list_windows(check), len(names)
    following, last = windows[n_named] if n_named < len(windows) else None, names[-1] if names else None
    return {
        "check": check.id,
        "n_named": n_named,
        "n_sampled": check.n_sampled,
        "next": following
        and {
            "position": following.position,
            "frame": following.frame_id,
            "ordinal": following.ordinal,
            "file": following.file,
            "frame_time": iso_time(following.frame_time_s),
            "box": list(following.box),
            "around": list(find_surroundings(following)),
        },
        "last": last and {"position": last.position, "name": last.name, "who": last.who, "at": last.at},
    }


def _describe(service: Service, found: CheckedFraction) -> dict[str, Any]:
    check, body = found.check, found.check.body
    return {
        **_progress_of(check, found.names),
        "classes": body["classes"],
        **{name: found.count(name) for name in ("n_windows", "n_frames", "n_frames_without", "n_skipped")},
        "extends": [part.check.id for part in found.before],
        "class_name": check.target,
        "seed": check.seed,
        "planned_by": check.planned_by,
        "planned_at": check.planned_at,
        "reason": check.reason,
        "through_ordinal": body["through"]["ordinal"],
        "through_time": body["through"]["frame_time"],
        "is_part": found.is_part,
        "n_checks": len(service.store.spotchecks(check.batch_id)),
    }
