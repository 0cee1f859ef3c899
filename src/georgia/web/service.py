"""What the routes call: the state of the probe, predictions, and the images of frames."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from georgia.errors import InputError, UnreadableImageError
from georgia.images.decode import Image
from georgia.model.bundle import Bundle
from georgia.model.engines import Engine, Outputs, open_engine
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.result import State
from georgia.monitor.run import Monitor
from georgia.monitor.store import Store
from georgia.predict.precision import warn_of_precision
from georgia.web.config import ServeConfig
from georgia.web.decode_pool import BusyError, DecodePool
from georgia.web.http_errors import RejectedRequest

REPORT_FILE, CARD_FILE = "report.html", "MODEL_CARD.md"
# An image that waits longer for its turn is rejected.
_PATIENCE_S = 30.0
# The newest images of frames, which every page asks for.
_MOST_PREVIEWS = 64
T = TypeVar("T")


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
        self.config, self.bundle, self.store, self.monitor = config, bundle, store, monitor
        self._folder = folder
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self._model_sha256 = ""
        # Called in the event loop when the service ends.
        self.ends: list[Callable[[], None]] = []
        limits = (config.max_pixels, config.pixels_in_flight, config.decode_timeout_s)
        # Uploads come from anybody and frames from the probe: neither waits for the other.
        self._uploads, self._frames = DecodePool(config.n_predicting, *limits), DecodePool(1, *limits)
        self._predicting = threading.BoundedSemaphore(config.n_predicting)
        self._previews: OrderedDict[int, bytes] = OrderedDict()
        # Threads that wait for a decoder; those of the event stream and of the routes stay free.
        self._upload_threads = ThreadPoolExecutor(config.n_waiting, thread_name_prefix="georgia-uploads")
        self._frame_threads = ThreadPoolExecutor(2, thread_name_prefix="georgia-frames")

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

    # The probe

    def describe_status(self) -> dict[str, Any]:
        """Return the state, the running batch, the last frame, and the open alarms."""
        try:
            batch = self.store.running_batch() or next(iter(self.store.batches(limit=1)), None)
            frames = self.store.frames(batch.id, limit=1) if batch else []
            alarms = self.store.alarms(open_only=True, limit=20)
        except StoreAwayError as error:
            return self._without_store(str(error))
        last = frames[0] if frames else None
        status = self.monitor.status() if self.monitor else None
        state = last.state if last else State.WARMING_UP
        is_alarm = last.alarm if last else False
        if status is not None:
            state, is_alarm = status.state, status.alarm
        elif batch is None or batch.ended_at_s is not None:
            state, is_alarm = State.NOT_RUNNING, False
        elif time.time() - (last.judged_at_s if last else batch.started_at_s) > self.config.no_frames_s:
            state = State.NO_FRAMES
        return {
            "state": state,
            "alarm": is_alarm,
            "batch": batch.to_json_dict() if batch else None,
            "last": last.to_json_dict() if last else None,
            "fault": status.fault if status else "",
            "is_live": status is not None and status.is_running,
            "open_alarms": [alarm.to_json_dict() for alarm in alarms],
            "at": iso_time(time.time()),
        }

    def _without_store(self, fault: str) -> dict[str, Any]:
        plain: dict[str, Any] = {"state": State.NO_FRAMES, "alarm": False, "batch": None, "last": None}
        return {**plain, "fault": fault, "is_live": False, "open_alarms": [], "at": iso_time(time.time())}

    def require_monitor(self) -> Monitor:
        """Return the monitor of this process.

        Raises:
            RejectedRequest: 409, it runs elsewhere.
        """
        if self.monitor is None:
            message = "The monitor runs in another process; change it there, or start with --watch."
            raise RejectedRequest(409, message)
        return self.monitor

    # Images of frames

    def frame_image(self, frame_id: int) -> bytes:
        """Return a stored frame's image as JPEG, at most ``PREVIEW_PX`` wide or high.

        Only the store says which file that is, and only files below the watched folder are opened.

        Raises:
            RejectedRequest: 404, there is no such frame or its file is gone.
        """
        frame = self.find("frame", frame_id)
        known = self._previews.get(frame_id)
        if known is not None:
            return known
        root = self._frames_folder()
        path = (root / frame.file).resolve() if root else None
        if root is None or path is None or not path.is_relative_to(root.resolve()):
            raise RejectedRequest(404, f"The image of frame {frame_id} is not within reach.")
        try:
            preview = self._frames.preview(path, _PATIENCE_S)
        except UnreadableImageError as error:
            raise RejectedRequest(404, f"The image of frame {frame_id} is gone: {error}.") from error
        except BusyError as error:
            raise RejectedRequest(503, str(error), {"Retry-After": "5"}) from error
        self._previews[frame_id] = preview
        while len(self._previews) > _MOST_PREVIEWS:
            self._previews.popitem(last=False)
        return preview

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

    # The model

    def describe_model(self) -> dict[str, Any]:
        """Return the model's name, classes, hash, preprocessing and what it was measured to do."""
        if not self._model_sha256:
            self._model_sha256 = hashlib.sha256(self.bundle.model_path.read_bytes()).hexdigest()
        metrics = self.bundle.metadata.get("metrics")
        return {
            "name": self.bundle.name,
            "classes": list(self.bundle.labels.names),
            "note": self.bundle.note,
            "sha256": self._model_sha256,
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

        Raises:
            RejectedRequest: 415, it is no readable image; 503, too many wait.
        """
        try:
            with self._uploads.decode(data, _PATIENCE_S) as image, self._predicting:
                return {"file": name, **self._predict(image)}
        except UnreadableImageError as error:
            raise RejectedRequest(415, f"Cannot read {name!r}: {error}.") from error
        except BusyError as error:
            raise RejectedRequest(503, str(error), {"Retry-After": "5"}) from error

    def _predict(self, image: Image) -> dict[str, Any]:
        engine = self._open()
        outputs = engine.run([engine.prepare(image)])
        (decision,) = self.bundle.thresholds.decide(outputs)
        best = max(decision.probabilities, key=lambda name: decision.probabilities[name])
        return {
            "label": decision.label,
            "probability": decision.probability,
            "probabilities": decision.probabilities,
            "unknown_score": decision.unknown_score,
            "set": list(decision.set),
            "width_px": image.shape[1],
            "height_px": image.shape[0],
            "map": _class_map(outputs, self.bundle.labels.index(best)),
        }

    def _open(self) -> Engine:
        with self._opening:
            if self._engine is None:
                bundle = self.bundle
                self._engine = open_engine(bundle.model_path, bundle.preprocess, self.config.engine)
                warn_of_precision(bundle, self._engine.precision)
            return self._engine


def _class_map(outputs: Outputs, class_index: int) -> list[list[float]] | None:
    """Return a class map as rows in 0–1, relative to its maximum; None if the model has no map."""
    maps = outputs.get("cam")
    if maps is None:
        return None
    positive = np.maximum(maps[0, class_index], 0)
    rows: list[list[float]] = (positive / max(float(positive.max()), 1e-6)).round(3).tolist()
    return rows
