"""The labelling page: a session over a pool of crops, behind the monitor's security middleware."""

from __future__ import annotations

import secrets
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import georgia
from georgia.errors import InputError
from georgia.monitor.people.sessions import LoginRules
from georgia.web.config import ServeConfig, is_loopback, make_token
from georgia.web.serve import make_server, needing_packages, open_listeners

if TYPE_CHECKING:
    import uvicorn

    from georgia.label.session import LabelSession
    from georgia.label.settings import LearnConfig
    from georgia.monitor.store import Store
    from georgia.web.access import Access
    from georgia.web.label_training import Trainer
    from georgia.web.reauthentication import Reauthentication
    from georgia.web.security import SecurityMiddleware

STATIC = Path(__file__).parent / "static"
PAGE = "label.html"
DESCRIPTION = (
    "Names for crops, one key each. Requests that change something need 'Authorization: Bearer TOKEN', or "
    "where people log in, the cookie of a session or a client's token."
)
# A person presses up to five keys a second, and pages ask for crops between them.
# Source: a skilled typist's 280 ms a key; Salthouse 1984, doi:10.1037/0096-3445.113.3.345.
CHANGES_PER_MINUTE = 3000
# Settings ``oidc_…`` that the page has in common with the probe's service.
_OF_PROVIDER = ("issuer", "client", "claim", "roles")


def make_label_config(port: int = 0, token: str = "", host: str = "127.0.0.1") -> ServeConfig:
    """Return the settings of a labelling page: on the loopback, with a new token where none is given."""
    return ServeConfig(
        host=host, port=port, token=token or make_token(), changes_per_minute=CHANGES_PER_MINUTE
    )


def let_log_in(config: ServeConfig, service: ServeConfig, redirect: str = "") -> ServeConfig:
    """Return the settings of a page with the rules by which people log in to ``service``.

    Args:
        config: of ``make_label_config``.
        service: the settings of the probe's service.
        redirect: the address of this page's ``/login/oidc/callback`` as the identity provider knows it;
            without it nobody logs in there.

    Raises:
        InputError: there is an address, and the service's settings name no provider.
    """
    kept = {each.name: getattr(service, each.name) for each in fields(LoginRules)}
    if not redirect:
        return replace(config, **kept)
    if not service.oidc_issuer:
        needs = "oidc_issuer in the section [serve] of --config is needed"
        raise InputError("Cannot use oidc_redirect", needs=needs, got="none")
    kept |= {f"oidc_{name}": getattr(service, f"oidc_{name}") for name in _OF_PROVIDER}
    name = urllib.parse.urlsplit(redirect).hostname or ""
    hosts = () if is_loopback(name) else (name, "127.0.0.1", "localhost")
    return replace(config, **kept, oidc_redirect=redirect, allowed_hosts=hosts)


@dataclass(frozen=True)
class PageHooks:
    """What is called while a page is served: ``on_start`` with its address once the port is open.

    ``on_trained`` is called with the folder of each model that was trained, in a thread of its own.
    """

    on_start: Callable[[str], None] = lambda _: None
    on_trained: Callable[[Path], None] = lambda _: None


def open_label_page(
    config: ServeConfig,
    session: LabelSession,
    who: str = "",
    hooks: PageHooks = PageHooks(),
    model: Path | None = None,
    learn: LearnConfig | None = None,
    people: Store | None = None,
) -> uvicorn.Server:
    """Return a server of the labelling page that is ready to ``run()``.

    Args:
        config: of ``make_label_config``, with ``let_log_in`` where there are people; its token must be set.
        session: the pool and its labels; who opened it closes it when the server has ended.
        who: the name that a page begins with, "" to ask for it.
        hooks: what is called meanwhile.
        model: the folder of the model in use, which a better one may replace; None for none.
        learn: how models are learned from the labels.
        people: the store of a live probe whose users log in to the page; None: whoever has the address names.

    Raises:
        InputError: the port is taken, or the host is not this machine's.
        MissingDependencyError: the extra ``web`` is not installed.
    """
    with needing_packages():
        from georgia.web.label_training import Trainer

        trainer = Trainer(session, model, hooks.on_trained, learn, _recording_in(people))
        ends: list[Callable[[], None]] = [trainer.close]
        app = create_label_app(config, session, trainer, who, people, ends)

    def end() -> None:
        for each in ends:
            each()

    return make_server(app, config, open_listeners(config), hooks.on_start, end)


def _recording_in(people: Store | None) -> Callable[[Path], None]:
    """Return what writes into the record of the people's probe that one of them promoted a model."""

    def record(folder: Path) -> None:
        if people is not None:
            from georgia.model.bundle import PROMOTION
            from georgia.model.load import load_bundle
            from georgia.monitor.people.promotions import record_promotion

            bundle = load_bundle(folder)
            record_promotion(people, str(bundle.metadata[PROMOTION]["who"]), bundle)

    return record


@dataclass
class _People:
    """Who logs in to the page: see ``routes_oidc.WithProvider``."""

    access: Access
    store: Store
    config: ServeConfig
    ends: list[Callable[[], None]]
    anew: Reauthentication | None = None
    probe: str = ""


def create_label_app(
    config: ServeConfig,
    session: LabelSession,
    trainer: Trainer,
    who: str = "",
    people: Store | None = None,
    ends: list[Callable[[], None]] | None = None,
) -> SecurityMiddleware:
    """Return the ASGI application of one labelling session, behind its security middleware.

    What is to be called when the server ends is put into ``ends``.
    """
    from fastapi import Depends, FastAPI
    from fastapi.responses import FileResponse
    from fastapi.staticfiles import StaticFiles

    from georgia.web.access import LABEL_ROUTES, Access, make_authorisation
    from georgia.web.app import describe_app, record_other_names
    from georgia.web.http_errors import add_error_handlers
    from georgia.web.routes_label import make_label_router
    from georgia.web.routes_oidc import make_oidc_login_router
    from georgia.web.routes_people import make_login_router
    from georgia.web.security import SecurityMiddleware

    access = Access(people, config, routes=LABEL_ROUTES) if people is not None else None
    app = FastAPI(
        title="Georgia label",
        version=georgia.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(make_authorisation(access))] if access is not None else [],
    )
    add_error_handlers(app)
    logged_in = None
    if people is not None and access is not None:
        logged_in = _People(access, people, config, [] if ends is None else ends)
        app.include_router(make_login_router(logged_in))
        app.include_router(make_oidc_login_router(logged_in))
        record_other_names(app, access)
    app.include_router(make_label_router(session, trainer, config, secrets.token_hex(8), who, logged_in))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / PAGE, media_type="text/html")

    def describe() -> dict[str, Any]:
        return describe_app(app)

    app.openapi = describe  # type: ignore[method-assign]
    return SecurityMiddleware(app, config, access)
