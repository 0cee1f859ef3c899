"""One probe of several in the service: its pages and routes once its store is open, and its tile."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

from georgia.errors import GeorgiaError
from georgia.model.bundle import Bundle
from georgia.monitor.columns import iso_time
from georgia.monitor.health import HealthState, ProbeHealth
from georgia.monitor.probe_runner import ProbeRunner
from georgia.monitor.result import State
from georgia.monitor.run import Monitor
from georgia.monitor.store import Store
from georgia.web.app import create_app
from georgia.web.config import ServeConfig
from georgia.web.metrics_exporter import MetricsExporter
from georgia.web.service import Service

_log = logging.getLogger(__name__)

# A tile that is older is not of now: the probe's record does not respond. The pages have the same patience.
SILENT_S = 5.0
_OPEN_POLL_S = 0.2
# How long others wait for one probe's record.
_PATIENCE_S = 3.0
_FROM_FRAME = ("impurity", "fraction", "low", "high", "status", "n_judged", "frame_time")


class ProbeSite:
    """What the service has of one probe.

    Args:
        runner: runs the probe; ``take_store`` and ``take_monitor`` are what it calls.
        config: the settings of the service.
        bundle: the probe's model.
        folder: the run folder, for its report and model card.
    """

    def __init__(self, runner: ProbeRunner, config: ServeConfig, bundle: Bundle, folder: Path) -> None:
        self.runner, self.name = runner, runner.probe.name
        self._config, self._bundle, self._folder = config, bundle, folder
        self.service: Service | None = None
        self.exporter: MetricsExporter | None = None
        self.app: ASGIApp | None = None
        self._life: Life | None = None
        self._tile: tuple[float, dict[str, Any]] | None = None
        self._stop = threading.Event()
        # Asks the record for others; one that hangs keeps no other probe's.
        self._threads = ThreadPoolExecutor(2, f"georgia-record-{self.name}")
        self._keeper = threading.Thread(target=self._keep_tile, name=f"georgia-tile-{self.name}", daemon=True)

    # In the runner's thread

    def take_store(self, store: Store) -> None:
        """Take the probe's store, which is open now."""
        service = Service(self._config, self._bundle, store, None, self._folder)
        service.probe = self.name
        service.use_moments(self.runner.probe.moments)
        self.exporter, self.service = MetricsExporter(service), service

    def take_monitor(self, monitor: Monitor) -> None:
        """Take the probe's monitor, which begins or has begun anew."""
        if self.service is not None:
            self.service.monitor = monitor

    # In the event loop

    async def live(self) -> None:
        """Make the routes once the store is open, and end them when this task is cancelled."""
        self._keeper.start()
        try:
            while self.service is None or self.exporter is None:
                await asyncio.sleep(_OPEN_POLL_S)
            app = create_app(self.service, self.exporter)
            self._life = Life(app)
            await self._life.start()
            self.app = app
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("the pages of the probe %r could not be opened", self.name)
        finally:
            self._stop.set()
            self.app = None
            self._threads.shutdown(wait=False, cancel_futures=True)
            if self._life is not None:
                await self._life.end()

    def close(self) -> None:
        """End what hangs in a decoder, and the streams of pages that listen."""
        if self.service is not None:
            self.service.close()

    # In any thread

    def _keep_tile(self) -> None:
        while not self._stop.is_set():
            asked_at = time.monotonic()
            try:
                if self.service is not None:
                    # Reading may hang with the store: only this thread waits, and the tile grows old.
                    self._tile = asked_at, describe_tile(self.service.describe_status())
            except GeorgiaError as error:
                _log.debug("the tile of %r could not be read: %s", self.name, error)
            except Exception:
                _log.exception("the tile of %r could not be read", self.name)
            self._stop.wait(self._config.poll_interval_s)

    @property
    def silent_s(self) -> float | None:
        """Return for how long the probe's record has not responded, s; None where it never has."""
        return None if self._tile is None else time.monotonic() - self._tile[0]

    def may_read(self, headers: Headers) -> bool:
        """Tell whether who asks may see the probe's record: once people log in, whoever is known there.

        A record that does not respond in time tells nobody.
        """
        service = self.service
        if service is None:
            return True  # there is nothing to see
        asked = self._threads.submit(lambda: _knows(service, headers))
        try:
            return asked.result(_PATIENCE_S)
        except Exception as error:
            _log.debug("who asks could not be found for %r: %s", self.name, error)
            return False

    def describe(self, headers: Headers) -> dict[str, Any]:
        """Return the tile: state, fraction, alarm and backlog, with how old what was read of the record is.

        Where no loop works, the state and the reason are those of now, whatever was read. Who may not read
        the record sees whether the probe works, and nothing more.
        """
        if not self.may_read(headers):
            health = self.health()
            works = {"health": str(health.state), "is_ok": health.is_ok, "backlog": health.backlog}
            closed = {"state": "log in", "path": f"probes/{self.name}/", "read_s": self.silent_s}
            return {"name": self.name, **_EMPTY, **closed, **works}
        health, silent_s = self.health(), self.silent_s
        tile: dict[str, Any] = self._tile[1] if self._tile is not None else dict(_EMPTY)
        live = {"backlog": health.backlog, "health": str(health.state), "is_ok": health.is_ok}
        if not health.is_alive or health.state == HealthState.STORE_AWAY:
            is_away = self.runner.is_store_away or health.state == HealthState.STORE_AWAY
            state = State.STORE_AWAY if is_away else State.NOT_RUNNING
            live |= {"state": state, "fault": health.reason, "is_live": False}
        elif self._tile is None:
            live |= {"state": "starting", "fault": health.reason}
        age = {"read_s": None if silent_s is None else round(silent_s, 1)}
        return {"name": self.name, "path": f"probes/{self.name}/", **tile, **live, **age}

    def health(self) -> ProbeHealth:
        """Return the health of the probe's monitor; asks no store."""
        return self.runner.health()

    def describe_health(self) -> dict[str, Any]:
        """Return the probe's part of ``/api/health``: "ok" or "degraded", store, health of the monitor."""
        probe, silent_s = self.health(), self.silent_s
        is_away = self.runner.is_store_away or probe.state == HealthState.STORE_AWAY
        store = probe.reason if is_away else "ok"
        if store == "ok" and self.service is None:
            store = probe.reason or "it is being opened"
        elif store == "ok" and silent_s is not None and silent_s > SILENT_S:
            store = f"it has not responded for {silent_s:.0f} s"
        is_well = probe.is_ok and store == "ok" and probe.state != HealthState.NO_FRAMES
        return {"status": "ok" if is_well else "degraded", "store": store, "probe": probe.to_json_dict()}

    @staticmethod
    def is_dead(found: Mapping[str, Any]) -> bool:
        """Tell whether a part of ``/api/health`` says that the probe cannot do its work."""
        probe = found["probe"]
        return not probe["is_ok"] or (found["store"] != "ok" and probe["state"] != HealthState.STARTING)


_EMPTY: Mapping[str, Any] = {
    **{"state": State.NOT_RUNNING, "alarm": None, "reason": "", "fault": "", "is_live": False},
    **{"batch": None, "n_alarms": 0, "last_frame": None, "at": None},
    **dict.fromkeys(_FROM_FRAME),
}


def describe_tile(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tile shows of a probe's status."""
    last, batch = status["last"] or {}, status["batch"]
    return {
        **{name: status[name] for name in ("state", "alarm", "reason", "fault", "is_live", "at")},
        **{name: last.get(name) for name in _FROM_FRAME},
        "last_frame": last.get("judged_at") or last.get("frame_time"),
        "batch": batch["name"] if batch else None,
        "n_alarms": len(status["open_alarms"]),
    }


def _knows(service: Service, headers: Headers) -> bool:
    return not service.access.is_on() or service.access.find_person(headers) is not None


def describe_sites(sites: Mapping[str, ProbeSite], headers: Headers) -> dict[str, Any]:
    """Return the tiles of all probes, in the order of the settings, and the service's time."""
    return {"probes": [site.describe(headers) for site in sites.values()], "at": iso_time(time.time())}


class Life:
    """Begins and ends an ASGI application within another one, as its server would.

    Source: the ASGI specification, "Lifespan Protocol" 2.0, https://asgi.readthedocs.io/en/latest/specs/lifespan.html.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: the application could not begin.
        """
        self._task = asyncio.create_task(self._run())
        await self._asked.put({"type": "lifespan.startup"})
        said = await self._said.get()
        if said["type"] != "lifespan.startup.complete":
            raise RuntimeError(str(said.get("message", "it could not begin")))

    async def end(self) -> None:
        """End, and wait for it."""
        if self._task is None or self._task.done():
            return
        await self._asked.put({"type": "lifespan.shutdown"})
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._task, 5.0)

    async def _run(self) -> None:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        try:
            await self._app(scope, self._asked.get, self._said.put)
        except Exception as error:
            await self._said.put({"type": "lifespan.startup.failed", "message": str(error)})
