"""Routes of the labelling page: crops that wait, their names, what was named, and their images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from georgia.errors import UnreadableImageError
from georgia.label.records import ConflictError, Label, Progress, TrayItem
from georgia.monitor.people.roles import SignedAction
from georgia.web import schemas_label as schemas
from georgia.web.config import ServeConfig
from georgia.web.current import CURRENT
from georgia.web.http_errors import RejectedRequest, document_errors
from georgia.web.label_paths import ShownSession, clean
from georgia.web.routing import HTML, PNG, asking_token
from georgia.web.schemas import Accepted
from georgia.web.schemas_people import ActionWaits
from georgia.web.security import REPORT_POLICY
from georgia.web.signing import WithPeople, do_anew

if TYPE_CHECKING:
    from georgia.label.session import LabelSession
    from georgia.web.label_training import Trainer

# Classes that have a key of their own: 1 to 9.
N_KEYS = 9
ModelQuery = Annotated[str, Query(min_length=1, max_length=80, description="The model's name.")]
ItemQuery = Annotated[str, Query(min_length=1, max_length=4096, description="The crop's path in the pool.")]


def make_label_router(
    opened: LabelSession,
    trainer: Trainer,
    config: ServeConfig,
    start: str,
    who: str,
    people: WithPeople | None = None,
) -> APIRouter:
    """Return all routes of a labelling session.

    Args:
        opened: holds the pool and writes the labels.
        trainer: learns models from them.
        config: its token is asked for wherever something changes.
        start: tells one run of the program from the next.
        who: the name that a page begins with, "" to ask for it.
        people: those who log in to the page; None: whoever has the address names.
    """
    session = ShownSession(opened)
    router = APIRouter(prefix="/api/label", responses=document_errors())
    _add_reading(router, session, trainer, start, who)
    _add_images(router, session)
    change = asking_token(config)
    _add_tray(router, session, change)
    _add_names(router, session, change)
    _add_training(router, trainer, change)
    _add_use(router, trainer, change, people)
    return router


def _add_reading(router: APIRouter, session: ShownSession, trainer: Trainer, start: str, who: str) -> None:
    @router.get("", response_model=schemas.LabelState, tags=["label"])
    def state() -> Any:
        """What is labelled, with which keys, and how far it is."""
        keys = [str(number) for number in range(1, N_KEYS + 1)]
        return {
            "source": session.source,
            "out": session.out,
            "kind": session.pool.kind,
            "n_empty": session.pool.n_empty,
            "n_failures": len(session.pool.failures),
            "n_damaged": session.n_damaged,
            "fault": session.fault,
            "who": person.name if (person := CURRENT.get()) is not None else who,
            "people": person is not None,
            "start": start,
            "classes": [
                {"name": name, "key": keys[at] if at < N_KEYS else ""}
                for at, name in enumerate(session.classes)
            ],
            "progress": _show_progress(session.progress()),
            "training": trainer.describe(),
        }

    @router.get("/history", response_model=schemas.History, tags=["label"])
    def history(
        n: Annotated[int, Query(ge=1, le=200)] = 10,
        path: Annotated[
            str | None, Query(max_length=4096, description="Only the label of this crop.")
        ] = None,
    ) -> Any:
        """The newest labels that hold, newest first."""
        if path is None:
            return {"labels": [_show_label(label) for label in session.history(n)]}
        return {"labels": [_show_label(label) for label in session.find_labels(path, n)]}


def _add_images(router: APIRouter, session: ShownSession) -> None:
    # Decoding keeps no name waiting: it has threads of its own.
    threads = ThreadPoolExecutor(2, thread_name_prefix="georgia-crops")

    async def read(path: str, size: int, around: bool) -> bytes:
        work = partial(session.image, path, size, around)
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except UnreadableImageError as error:
            raise RejectedRequest(415, f"Cannot show {path!r}: {error}.") from error

    @router.get(
        "/image",
        response_class=Response,
        tags=["label"],
        responses={**document_errors(400, 415), **PNG},
    )
    async def image(
        path: ItemQuery,
        size: Annotated[int, Query(ge=16, le=2048, description="Most pixels of its longer side.")] = 640,
        around: Annotated[bool, Query(description="With what is around it in its frame.")] = False,
    ) -> Response:
        """One crop of the pool."""
        return Response(await read(path, size, around), media_type="image/png")

    @router.get(
        "/surroundings",
        response_model=schemas.Surroundings,
        tags=["label"],
        responses=document_errors(400, 415),
    )
    def surroundings(path: ItemQuery) -> Any:
        """Where a crop lies in what is around it."""
        try:
            found = session.surroundings(path)
        except UnreadableImageError as error:
            raise RejectedRequest(415, f"Cannot show {path!r}: {error}.") from error
        return {
            "box": None if found.box is None else list(found.box),
            "width_px": found.width_px,
            "height_px": found.height_px,
        }


def _add_tray(router: APIRouter, session: ShownSession, change: dict[str, Any]) -> None:
    @router.post("/tray", response_model=schemas.Tray, responses=document_errors(401, 403), **change)
    def tray(body: schemas.TrayIn) -> Any:
        """Keep crops for one page: no other page gets them meanwhile."""
        items = [_show_item(item) for item in session.tray(body.tab, body.n, body.is_hinting)]
        return {"items": items, "progress": _show_progress(session.progress())}

    @router.post("/skip", response_model=schemas.Kept, responses=document_errors(401, 403), **change)
    def skip(body: schemas.SkipIn) -> Any:
        """Pass a crop over; it comes back when the others are named."""
        session.skip(body.path, body.tab)
        return {"progress": _show_progress(session.progress())}

    @router.post("/leave", response_model=schemas.Kept, responses=document_errors(401, 403), **change)
    def leave(body: schemas.LeaveIn) -> Any:
        """Give the crops of a page that closes to others."""
        session.close_tab(body.tab)
        return {"progress": _show_progress(session.progress())}


def _add_names(router: APIRouter, session: ShownSession, change: dict[str, Any]) -> None:
    @router.post("/name", response_model=schemas.Kept, responses=document_errors(401, 403, 409), **change)
    def name(body: schemas.NameIn) -> Any:
        """Name a crop; the label is on disk when the response comes.

        409: another page or person has named it meanwhile, or has changed the label that is to be replaced;
        nothing is written.
        """
        try:
            progress = session.name(body.path, body.name, body.who, body.tab, body.replaces)
        except ConflictError as error:
            raise RejectedRequest(409, str(error)) from error
        return {"progress": _show_progress(progress)}

    @router.post("/undo", response_model=schemas.Undone, responses=document_errors(401, 403, 409), **change)
    def undo(body: schemas.UndoIn) -> Any:
        """Take back the last label of one page."""
        try:
            item = session.undo(body.tab, body.who)
        except ConflictError as error:
            raise RejectedRequest(409, str(error)) from error
        return {"item": _show_item(item) if item else None, "progress": _show_progress(session.progress())}


def _add_training(router: APIRouter, trainer: Trainer, change: dict[str, Any]) -> None:
    begun: dict[str, Any] = {"status_code": 202, "response_model": Accepted, **change}
    errors = document_errors(401, 403)

    @router.get("/training", response_model=schemas.Training, tags=["training"])
    def training() -> Any:
        """What is being trained, the models that were, and which one is in use."""
        return {
            **trainer.describe(),
            "models": trainer.list_models(),
            "in_use": trainer.describe_in_use(),
            "folder": clean(str(trainer.folder)),
        }

    @router.get(
        "/training/report",
        name="trained_model_report",
        response_class=FileResponse,
        tags=["training"],
        responses={**document_errors(404), **HTML},
    )
    def report(model: ModelQuery) -> FileResponse:
        """The report page of a model that was trained here."""
        path = trainer.find_report(model)
        if path is None:
            raise RejectedRequest(404, f"There is no report of {model!r}.")
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    @router.post("/training", name="train", responses=errors, **begun)
    def train() -> Any:
        """Begin to learn a model from the labels that there are now."""
        trainer.train()
        return {}

    @router.post("/training/stop", name="stop_training", responses=errors, **begun)
    def stop() -> Any:
        """Stop what is at work; nothing of it is kept."""
        trainer.stop()
        return {}


def _add_use(router: APIRouter, trainer: Trainer, change: dict[str, Any], people: WithPeople | None) -> None:
    begun: dict[str, Any] = {
        **{"status_code": 202, "response_model": Accepted | ActionWaits, **change},
        "responses": document_errors(401, 403, 409),
    }

    def begin(request: Request, body: schemas.UseIn | schemas.BackIn, do: Callable[[], None]) -> Any:
        def begin_it() -> dict[str, Any]:
            do()
            return {}

        if people is None:
            return begin_it()
        return do_anew(people, request, SignedAction.PROMOTE, body, begin_it)

    @router.post("/training/use", name="use_model", **begun)
    def use(body: schemas.UseIn, request: Request) -> Any:
        """Put a model in use, if it is not worse on groups that neither model learned from.

        For a user of an identity provider the response is where to log in anew: it begins after that.
        """
        return begin(request, body, lambda: trainer.use(body.model, body.who, body.reason, body.override))

    @router.post("/training/back", name="go_back", **begun)
    def back(body: schemas.BackIn, request: Request) -> Any:
        """Put the model before the present one in use again; as above, after a new log-in."""
        return begin(request, body, lambda: trainer.go_back(body.who, body.reason))


def _show_progress(progress: Progress) -> dict[str, Any]:
    return progress.to_json_dict()


def _show_item(item: TrayItem) -> dict[str, Any]:
    suggestion = item.suggestion and {"label": item.suggestion[0], "probability": item.suggestion[1]}
    return {**item.to_json_dict(), "suggestion": suggestion}


def _show_label(label: Label) -> dict[str, Any]:
    names = ("path", "name", "who", "at", "number", "reason")
    return {**{name: getattr(label, name) for name in names}, "n_duplicates": len(label.duplicates)}
