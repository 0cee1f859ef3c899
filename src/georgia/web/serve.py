"""How the page and the REST service are started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.errors import MissingDependencyError
from georgia.web.config import ServeConfig

if TYPE_CHECKING:
    import uvicorn

    from georgia.model.bundle import Bundle
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store


def open_service(
    config: ServeConfig,
    bundle: Bundle,
    store: Store,
    monitor: Monitor | None = None,
    folder: Path | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> uvicorn.Server:
    """Return a server that is ready to ``run()``.

    Args:
        config: its token must be set.
        bundle: the model that classifies images dropped on the page.
        store: frames, batches, alarms.
        monitor: one that runs in this process, if any.
        folder: the run folder, for its report and model card.
        on_start: called with the address once the port is open.

    Raises:
        MissingDependencyError: the extra ``web`` is not installed.
    """
    try:
        import uvicorn

        from georgia.web.app import create_app
        from georgia.web.service import Service
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Cannot serve",
            needs="FastAPI and uvicorn are needed",
            got=error,
            hint="pip install 'georgia[web]'.",
        ) from error
    app = create_app(Service(config, bundle, store, monitor, folder))
    settings = uvicorn.Config(
        app,
        host=config.host.strip("[]"),
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=3,
        limit_concurrency=200,
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        lifespan="on",
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
            await super().startup(sockets)  # type: ignore[arg-type]
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                on_start(f"http://{_in_brackets(config.host)}:{port}/")

    return Server(settings)


def _in_brackets(host: str) -> str:
    host = host.strip("[]")
    return f"[{host}]" if ":" in host else host
