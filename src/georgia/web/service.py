"""What the routes call: the state of the probe, predictions, and the images of frames."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from georgia.errors import InputError, UnreadableImageError
from georgia.images.decode import Image, decode_image
from georgia.images.windows import crop
from georgia.model.bundle import Bundle
from georgia.model.engines import Engine, Outputs
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.file_names import find_file, read_recorded_file
from georgia.monitor.health import BeatWatch, HealthState, ProbeHealth, read_health
from georgia.monitor.records import Batch
from georgia.monitor.result import FrameResult, State
from georgia.monitor.run import Monitor
from georgia.monitor.settings import TileConfig
from georgia.monitor.store import Store
from georgia.monitor.thread_choice import count_processors
from georgia.monitor.tile import FrameAnalyzer, find_tile_px, place_windows
from georgia.predict.rejudge import open_served_engine
from georgia.process.moments.in_store import record_settings
from georgia.process.moments.settings import MomentsConfig
from georgia.spotcheck.checked import CheckedFraction, CheckedFractions
from georgia.spotcheck.in_store import (
    SampledWindow,
    encode_png,
    find_surroundings,
    read_frame_file,
)
from georgia.web.access import Access
from georgia.web.batch_model import BatchModels
from georgia.web.config import ServeConfig
from georgia.web.decode_pool import BusyError, DecodePool
from georgia.web.http_errors import RejectedRequest
from georgia.web.reauthentication import Reauthentication, require_anew

REPORT_FILE, CARD_FILE = "report.html", "MODEL_CARD.md"
# An image that waits longer for its turn is rejected.
_PATIENCE_S = 30.0
# An image whose shorter side is so many windows of the model is a frame, not a crop; one with more windows
# would keep the service for too long.
_FRAME_SIDES, _MOST_WINDOWS = 2.0, 400
# The newest images of frames, which every page asks for.
_MOST_PREVIEWS = 64
_MOST_WINDOW_IMAGES = 256
_OTHER_IMAGE = (
    "The image of frame {frame_id} is gone: {file!r} was written over since, and holds another image now."
)
T = TypeVar("T")


@dataclass
class _Served:
    """A model that predicts single images, and its nets once they were opened."""

    bundle: Bundle
    engine: Engine | None = None
    analyzer: FrameAnalyzer | None = None


class Service:
    """One model, one store, and a monitor if it runs in this process; safe to use from many threads."""

    def __init__(
        self,
        config: ServeConfig,
        bundle: Bundle,
        store: Store,
        monitor: Monitor | None = None,
        folder: Path | None = None,
    ) -> None:
        self.config, self.store, self.monitor = config, store, monitor
        self._served, self._folder = _Served(bundle), folder
        # The probe's name, where the service has several.
        self.probe = ""
        self.moments = MomentsConfig()
        self.access = Access(store, config)
        # What waits for a new log-in at an identity provider, where the settings name one.
        self.anew: Reauthentication | None = None
        self._opening = threading.Lock()
        self._batch_models, self._beats = BatchModels(store), BeatWatch()
        # Called in the event loop when the service ends.
        self.ends: list[Callable[[], None]] = []
        limits = (config.max_pixels, config.pixels_in_flight, config.decode_timeout_s)
        # Uploads come from anybody and frames from the probe: neither waits for the other.
        self._uploads, self._frames = DecodePool(config.n_predicting, *limits), DecodePool(1, *limits)
        self._predicting = threading.BoundedSemaphore(config.n_predicting)
        self._previews: OrderedDict[int, bytes] = OrderedDict()
        # What spot checks say of the batches, and the newest images of their windows.
        self.checks = CheckedFractions(store)
        self._windows: OrderedDict[tuple[int, int, bool], bytes] = OrderedDict()
        # Threads that wait for a decoder; those of the event stream and of the routes stay free.
        self._upload_threads = ThreadPoolExecutor(config.n_waiting, thread_name_prefix="georgia-uploads")
        self._frame_threads = ThreadPoolExecutor(2, thread_name_prefix="georgia-frames")

    def use_moments(self, config: MomentsConfig) -> None:
        """Find the moments of batches with these settings from now on, and write them into the record."""
        self.moments = config
        record_settings(self.store, config)

    def close(self) -> None:
        """End what decodes images, and what else is to end with the service."""
        for end in self.ends:
            end()
        for pool in (self._uploads, self._frames):
            pool.close()
        for threads in (self._upload_threads, self._frame_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    async def run_apart(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what work with images returns, done in threads of its own kind."""
        threads = self._upload_threads if work == self.predict else self._frame_threads
        return await asyncio.get_running_loop().run_in_executor(threads, partial(work, *arguments))

    @property
    def bundle(self) -> Bundle:
        """Return the model that predicts here."""
        return self._find_served().bundle

    def _find_served(self) -> _Served:
        """Return the model and its nets; a monitor of this process may have taken another one."""
        now, served = self.monitor.bundle if self.monitor is not None else None, self._served
        if isinstance(now, Bundle) and now.sha256 != served.bundle.sha256:
            served = self._served = _Served(now)
            self._folder = now.model_path.parent if self._folder else None
        return served

    # The probe

    def describe_status(self) -> dict[str, Any]:
        """Return the state, the running batch, the last frame, and the open alarms."""
        try:
            batch = self.store.running_batch() or next(iter(self.store.batches(limit=1)), None)
            frames = self.store.frames(batch.id, limit=1) if batch else []
            alarms = self.store.alarms(open_only=True, limit=20)
            newest = self.store.audit_log(limit=1)
        except StoreAwayError as error:
            return self._without_store(str(error))
        last = frames[0] if frames else None
        status, health = self.monitor.status() if self.monitor else None, self.find_health()
        is_alarm = last.alarm if last else False
        if status is not None:
            state, is_alarm = status.state, status.alarm
        elif batch is None or batch.ended_at_s is not None:
            state, is_alarm = State.NOT_RUNNING, False
        else:
            state = self._find_state(health, last.state if last else State.WARMING_UP)
            since_s = last.judged_at_s if last else batch.started_at_s
            # One that leaves signs of life says itself that no frame comes, by a clock that does not jump.
            is_mute = health.state == HealthState.UNKNOWN
            if is_mute and time.time() - since_s > self.config.no_frames_s:
                state = State.NO_FRAMES
        return {
            "state": state,
            "alarm": is_alarm,
            "batch": batch.to_json_dict() if batch else None,
            "last": last.to_json_dict() if last else None,
            "model": self._batch_models.describe(last.model_sha256, self.bundle) if last else None,
            "reason": status.reason if status else "",
            "fault": status.fault if status else _find_fault(health),
            "is_live": health.is_alive and health.state != HealthState.UNKNOWN,
            "health": health.to_json_dict(),
            "open_alarms": [alarm.to_json_dict() for alarm in alarms],
            "trail": newest[0].seq if newest else 0,
            "may_change": self.monitor is not None,
            "at": iso_time(time.time()),
            **self._named,
        }

    @property
    def _named(self) -> dict[str, str]:
        return {"probe": self.probe} if self.probe else {}

    @staticmethod
    def _find_state(health: ProbeHealth, state: State) -> State:
        """Return the probe's state by what its monitor says of itself, or else by its last frame."""
        if not health.is_alive:
            return State.NOT_RUNNING
        names: set[str] = {str(state) for state in State}
        return State(health.state) if str(health.state) in names else state

    def find_health(self) -> ProbeHealth:
        """Return the health of the monitor, in this process or in another that writes into the store.

        Raises:
            StoreAwayError: the store cannot be reached, and the monitor runs elsewhere.
        """
        if self.monitor is not None:
            return self.monitor.health()
        return read_health(self.store, time.time(), beats=self._beats)

    def health_without_store(self, fault: str) -> ProbeHealth:
        """Return the monitor's health while the store cannot be read: it may not have noticed yet."""
        if self.monitor is None:
            return ProbeHealth(HealthState.STORE_AWAY, fault, at_s=time.time())
        health = self.monitor.health()
        return replace(health, state=HealthState.STORE_AWAY, reason=fault) if health.is_alive else health

    def _without_store(self, fault: str) -> dict[str, Any]:
        now, health = time.time(), self.health_without_store(fault)
        state = State.STORE_AWAY if health.is_alive else State.NOT_RUNNING
        is_alarm = self.monitor is not None and health.is_alive and self.monitor.status().alarm
        plain: dict[str, Any] = {"state": state, "alarm": is_alarm, "batch": None, "last": None}
        plain |= {"model": None, **self._named}
        plain |= {"reason": fault, "trail": None, "may_change": self.monitor is not None}
        rest: dict[str, Any] = {"health": health.to_json_dict(), "open_alarms": [], "at": iso_time(now)}
        return {**plain, "fault": fault, "is_live": False, **rest}

    def require_monitor(self) -> Monitor:
        """Return the monitor of this process.

        Raises:
            RejectedRequest: 409, it runs elsewhere.
        """
        if self.monitor is None:
            message = "The monitor runs in another process; change it there, or start with --watch."
            raise RejectedRequest(409, message)
        return self.monitor

    def require_anew(self) -> Reauthentication:
        """Return what waits for a new log-in: see ``reauthentication.require_anew``."""
        return require_anew(self.anew)

    # Images of frames

    def frame_image(self, frame_id: int) -> bytes:
        """Return a stored frame's image as JPEG, at most ``PREVIEW_PX`` wide or high.

        Only the store says which file that is, and only files below the watched folder are opened.

        Raises:
            RejectedRequest: 404, there is no such frame, its file is gone, or was written over since.
        """
        frame = self.find("frame", frame_id)
        known = self._previews.get(frame_id)
        if known is not None:
            return known
        root = self._frames_folder()
        path = find_file(root, frame.file).resolve() if root else None
        if root is None or path is None or not path.is_relative_to(root.resolve()):
            raise RejectedRequest(404, f"The image of frame {frame_id} is not within reach.")
        try:
            before = _identify(path)
            if before[0] != frame.key.sha256:
                raise RejectedRequest(404, _OTHER_IMAGE.format(frame_id=frame_id, file=frame.file))
            preview = self._frames.preview(path, _PATIENCE_S)
            if _identify(path) != before:  # written over while it was read
                raise RejectedRequest(404, _OTHER_IMAGE.format(frame_id=frame_id, file=frame.file))
        except OSError as error:
            reason = error.strerror or str(error)
            raise RejectedRequest(404, f"The image of frame {frame_id} is gone: {reason}.") from error
        except UnreadableImageError as error:
            raise RejectedRequest(404, f"The image of frame {frame_id} is gone: {error}.") from error
        except BusyError as error:
            raise RejectedRequest(503, str(error), {"Retry-After": "5"}) from error
        self._previews[frame_id] = preview
        while len(self._previews) > _MOST_PREVIEWS:
            self._previews.popitem(last=False)
        return preview

    def read_frame(self, frame: FrameResult) -> Image:
        """Return a stored frame's pixels (H, W, 3), uint8 RGB: of the file that was analysed, and no other.

        Raises:
            UnreadableImageError: that file is gone or holds another image now.
            BusyError: too many wait.
        """
        root = self._frames_folder()
        if root is None:
            raise UnreadableImageError("it is not within reach: start with --set frames=FOLDER")
        with self._frames.decode(
            read_recorded_file(root, frame.file, frame.key.sha256), _PATIENCE_S
        ) as image:
            return image.copy()

    def describe_checked(self, batch: Batch) -> dict[str, Any] | None:
        """Return what people found of a batch, None if it has no name; ``fault`` where rows were altered."""
        try:
            found = self.checks.counting(batch)
        except InputError as error:
            return {"fault": str(error)}
        return found.to_json_dict() if found else None

    def has_frames(self, files: Iterable[str]) -> bool:
        """Tell whether one of some frames' files, or more, lies in the folder of the frames."""
        root = self._frames_folder()
        return root is not None and any(find_file(root, file).is_file() for file in files)

    def window_image(self, check_id: int, window: SampledWindow, is_wide: bool = False) -> bytes:
        """Return a window of a spot check as PNG; with its surroundings where ``is_wide``.

        It is cut from the file that was analysed, which its sha256 tells, and from no other.

        Raises:
            RejectedRequest: 404, that file is gone or holds another image now; 503, too many wait.
        """
        key = (check_id, window.position, is_wide)
        known = self._windows.get(key)
        if known is not None:
            return known
        root, name = self._frames_folder(), f"frame {window.ordinal} ({window.file})"
        if root is None:
            raise RejectedRequest(
                404, f"The image of {name} is not within reach: start with --set frames=FOLDER."
            )
        try:
            data = read_frame_file(root, window)
            with self._frames.decode(data, _PATIENCE_S) as image:
                png = encode_png(crop(image, find_surroundings(window) if is_wide else window.box))
        except UnreadableImageError as error:
            raise RejectedRequest(404, f"The image of {name} cannot be shown: {error}.") from error
        except BusyError as error:
            raise RejectedRequest(503, str(error), {"Retry-After": "5"}) from error
        self._windows[key] = png
        while len(self._windows) > _MOST_WINDOW_IMAGES:
            self._windows.popitem(last=False)
        return png

    def render_check(self, found: CheckedFraction, batch: Batch) -> str:
        """Return the page of a spot check; a window whose image is gone says so."""
        from georgia.report.spotcheck_page import render_spotcheck

        windows = [(check.id, window) for check, window, _ in found.list_named()]
        images: dict[tuple[int, int], Image | str] = {}
        for check, window in sorted(windows, key=lambda each: each[1].frame_id):
            try:
                images[check, window.position] = decode_image(self.window_image(check, window))
            except RejectedRequest as error:
                images[check, window.position] = str(error.detail)
        shown = [images[check, window.position] for check, window in windows]
        return render_spotcheck(found, batch, self.store.newest_head(), shown)

    def _frames_folder(self) -> Path | None:
        if self.monitor is not None:
            return self.monitor.config.watch
        return self.config.frames

    def find(self, what: str, number: int) -> Any:
        """Return one "frame", "batch" or "alarm" of the store.

        Raises:
            RejectedRequest: 404, there is none of that number.
        """
        try:
            return getattr(self.store, what)(number)
        except InputError as error:
            raise RejectedRequest(404, f"There is no {what} {number} in the store.") from error

    def find_running(self) -> int | None:
        """Return the number of the batch that runs, None without."""
        batch = self.store.running_batch()
        return batch.id if batch is not None else None

    # The model

    def describe_model(self) -> dict[str, Any]:
        """Return the model's name, classes, hash, preprocessing and what it was measured to do."""
        metrics = self.bundle.metadata.get("metrics")
        return {
            "name": self.bundle.name,
            "classes": list(self.bundle.labels.names),
            "note": self.bundle.note,
            "is_demonstration": self.bundle.is_demonstration,
            "sha256": self.bundle.sha256,
            "created": self.bundle.metadata.get("created"),
            "metrics": metrics if isinstance(metrics, dict) else None,
            "has_report": self.model_file(REPORT_FILE) is not None,
            "has_card": self.model_file(CARD_FILE) is not None,
        }

    def model_file(self, name: str) -> Path | None:
        """Return one of the model's own pages, None where it has none."""
        path = self._folder / name if self._folder else None
        return path if path is not None and path.is_file() else None

    def predict(self, name: str, data: bytes) -> dict[str, Any]:
        """Return the prediction for one image: label, probabilities, unknown score, and the class map.

        A whole frame is cut into windows besides, as the monitor does: ``frame`` holds what they show.

        Raises:
            RejectedRequest: 415, it is no readable image; 503, too many wait.
        """
        try:
            with self._uploads.decode(data, _PATIENCE_S) as image, self._predicting:
                return {"file": name, **self._predict(image), "frame": self._analyze(image)}
        except UnreadableImageError as error:
            raise RejectedRequest(415, f"Cannot read {name!r}: {error}.") from error
        except BusyError as error:
            raise RejectedRequest(503, str(error), {"Retry-After": "5"}) from error

    def _predict(self, image: Image) -> dict[str, Any]:
        served = self._find_served()
        bundle, engine = served.bundle, self._open(served)
        outputs = engine.run([engine.prepare(image)])
        (decision,) = bundle.thresholds.decide(outputs)
        best = max(decision.probabilities, key=lambda name: decision.probabilities[name])
        return {
            "label": decision.label,
            "probability": decision.probability,
            "probabilities": decision.probabilities,
            "unknown_score": decision.unknown_score,
            "set": list(decision.set),
            "engine": engine.name,
            "precision": engine.precision,
            "width_px": image.shape[1],
            "height_px": image.shape[0],
            "map": _class_map(outputs, bundle.labels.index(best)),
        }

    def _analyze(self, image: Image) -> dict[str, Any] | None:
        """Return what the windows of a frame show; None for a crop, or a frame with too many windows."""
        served = self._find_served()
        tile_px = find_tile_px(served.bundle)
        n_windows = len(place_windows(*image.shape[:2], tile_px, TileConfig().overlap))
        if min(image.shape[:2]) < _FRAME_SIDES * tile_px or n_windows > _MOST_WINDOWS:
            return None
        with self._opening:
            if served.analyzer is None:
                # Uploads are of any origin: what stands still from one to the next says nothing.
                served.analyzer = FrameAnalyzer(
                    served.bundle,
                    TileConfig(fouled_after=0),
                    engine=self.config.engine,
                    threads=count_processors(),
                    precision=self.config.precision,
                )
        found = served.analyzer.analyze(image)
        impurity = served.analyzer.impurity
        fraction = found.fraction_of(impurity)
        return {
            "status": str(found.status),
            "impurity": impurity,
            "fraction": fraction.fraction if fraction else None,
            "low": fraction.low if fraction else None,
            "high": fraction.high if fraction else None,
            "n_judged": found.n_judged,
            "n_unknown": found.n_unknown,
            "n_empty": found.n_empty,
            "map": found.map.to_json_dict(),
        }

    def _open(self, served: _Served) -> Engine:
        with self._opening:
            if served.engine is None:
                served.engine = open_served_engine(
                    served.bundle, self.config.engine, precision=self.config.precision
                )
            return served.engine


def _find_fault(health: ProbeHealth) -> str:
    """Return what is wrong with a monitor in another process, or with what it reads while it runs."""
    return health.reason if not health.is_ok or health.state == HealthState.RUNNING else ""


def _identify(path: Path) -> tuple[str, int]:
    """Return the sha256 of a file's content, and its time of change."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), os.fstat(stream.fileno()).st_mtime_ns


def _class_map(outputs: Outputs, class_index: int) -> list[list[float]] | None:
    """Return a class map as rows in 0–1, relative to its maximum; None if the model has no map."""
    maps = outputs.get("cam")
    if maps is None:
        return None
    positive = np.maximum(maps[0, class_index], 0)
    rows: list[list[float]] = (positive / max(float(positive.max()), 1e-6)).round(3).tolist()
    return rows
