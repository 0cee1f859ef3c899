"""Analyse one frame: overlapping windows at the model's scale, all of them in one engine call."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.images.decode import Image
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import Engine
from georgia.monitor.appearance import measure_input
from georgia.monitor.fair_queue import ProbeNet
from georgia.monitor.fraction import estimate_fractions, find_smoothing
from georgia.monitor.result import EMPTY_CODE, UNKNOWN_CODE, FrameAnalysis, FrameStatus, TileMap
from georgia.monitor.settings import MonitorConfig, TileConfig, Windows
from georgia.monitor.thread_choice import ThreadTrial
from georgia.monitor.visibility import (
    LEAST_GRAIN,
    Bands,
    Grey,
    StillWindows,
    View,
    find_fine,
    find_view,
    measure_cover,
    to_grey,
)
from georgia.monitor.window_subsets import WindowSubsets
from georgia.predict.rejudge import open_served_engine

Boxes = npt.NDArray[np.int32]
# Views in which no window can show a crystal.
_BLIND = (View.DARK, View.SATURATED, View.NOISE)

# The scale of a model whose metadata does not hold it: the median side of synthetic crops, px.
# Source: georgia.synthetic.optics.sample_size, 151 px or 125–225 px, log-uniform.
TILE_PX = 168
# Where more than this fraction of the windows with detail has not moved, the probe's window is fouled.
_FOULED_FRACTION = 0.5
# Where more than this fraction of the windows with detail is unknown, the material is.
_UNKNOWN_FRACTION = 0.5


@lru_cache(maxsize=16)
def place_windows(height_px: int, width_px: int, tile_px: int, overlap: float) -> Boxes:
    """Return windows (N, 4), int32: left, top, width, height, px, row by row, covering the whole frame.

    Windows are spaced evenly and overlap by at least the fraction requested; a frame smaller than a window is
    one window.

    >>> place_windows(100, 250, 100, 0.5)[:, 0].tolist()
    [0, 50, 100, 150]
    """
    tile = min(tile_px, height_px, width_px)
    starts = []
    for length in (height_px, width_px):
        n = 1 + int(np.ceil((length - tile) / (tile * (1 - overlap)) - 1e-9))
        starts.append(np.linspace(0, length - tile, max(1, n)).round().astype(np.int32))
    tops, lefts = np.meshgrid(*starts, indexing="ij")
    sides = np.full(tops.size, tile, np.int32)
    boxes = np.stack([lefts.ravel(), tops.ravel(), sides, sides], axis=1)
    boxes.setflags(write=False)
    return boxes


def find_tile_px(bundle: Bundle, requested: int = 0) -> int:
    """Return the side of a window, px: as requested, or else the model's own scale."""
    data = bundle.metadata.get("data")
    own = data.get("median_side_px") if isinstance(data, Mapping) else None
    return requested or int(own or TILE_PX)


def measure_detail(image: Image, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return the detail of each window (N,), float32: how far fine structures exceed its own grain.

    It is the 99th percentile of the structures of 1–2 px by their median: 3.8 for grain or haze alone,
    whatever their strength, and more where edges, facets or needles are in focus. A ground without grain
    is not full of detail because of the camera's last grey level, or of the blocks of a JPEG.
    """
    return _rank_fine(find_fine(to_grey(image)), boxes)


def _rank_fine(fine: Grey, boxes: Boxes) -> npt.NDArray[np.float32]:
    details = np.empty(len(boxes), np.float32)
    for position, (left, top, width, height) in enumerate(boxes):
        # A quarter of the pixels gives the same percentiles in a quarter of the time.
        values = fine[top : top + height : 2, left : left + width : 2].ravel()
        middle, high = len(values) // 2, int(0.99 * len(values))
        ranked = np.partition(values, (middle, high))
        details[position] = ranked[high] / max(float(ranked[middle]), LEAST_GRAIN)
    return details


def _measure_covers(fine: Grey, boxes: Boxes) -> tuple[npt.NDArray[np.float64], float]:
    """Return the cover of each window (N,) and of the whole frame, 0–1."""
    height, width = fine.shape
    *covers, field = measure_cover(fine, np.vstack([boxes, np.array([[0, 0, width, height]], np.int32)]))
    return np.array(covers), round(float(field), 5)


class FrameAnalyzer:
    """One model, opened, and how frames are cut for it.

    ``threads`` are those of the net; with 0 the first frames are computed both with one and with all, and
    the cheaper way is kept that keeps up. ``engine`` is a name, or a part of a net that others run too;
    ``precision`` is that of a net of its own.

    Raises:
        InputError: the model or the engine cannot be opened, or the model does not know the impurity.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: TileConfig,
        impurity: str = "",
        engine: str | ProbeNet = "auto",
        threads: int = 0,
        precision: str = "auto",
    ) -> None:
        self.bundle, self.config = bundle, config
        self.impurity = choose_impurity(bundle.labels, impurity)
        self.smoothing = find_smoothing(bundle.metadata)
        self.tile_px = find_tile_px(bundle, config.tile_px)
        self.model_sha256 = hashlib.sha256(bundle.model_path.read_bytes()).hexdigest()
        if isinstance(engine, ProbeNet):
            self._engine: ThreadTrial | ProbeNet = engine
        else:
            self._engine = ThreadTrial(lambda n: open_probe_engine(bundle, engine, n, precision), threads)
        self.engine_name, self.precision = self._engine.name, self._engine.precision
        self._still, self._subsets = StillWindows(), WindowSubsets(config.windows)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="georgia-tiles")

    @classmethod
    def of_monitor(
        cls, bundle: Bundle, config: MonitorConfig, tiles: TileConfig | None = None
    ) -> FrameAnalyzer:
        """Return one with a net of its own, as a monitor's settings say; ``tiles`` stand in for theirs."""
        net = config.engine, config.n_threads, config.precision
        return cls(bundle, tiles or config.tiles, config.impurity, *net)

    @property
    def threads(self) -> int | None:
        """Return the threads of the net, None while they are measured; 0 is as the engine likes."""
        return None if self._engine.is_measuring else self._engine.n_threads

    def describe_threads(self) -> dict[str, Any]:
        """Return what the record holds of the net's threads: how many, why, and what each way costs."""
        return self._engine.describe()

    def describe_windows(self) -> str:
        """Return in one clause what goes through the net.

        It is "windows of 162 px", or "windows of 162 px: half of the windows of each frame, in turns".
        """
        windows = self.config.windows
        some = "" if windows == Windows.ALL else f": {windows.describe()}"
        return f"windows of {self.tile_px} px{some}"

    def note_arrival(self, n_waiting: int) -> None:
        """Take in that a frame is taken while ``n_waiting`` wait: the net must keep up with them."""
        self._engine.note_arrival(n_waiting)

    def go_on_from(self, other: FrameAnalyzer) -> None:
        """Take over, from the model before, for how many frames each window has not moved."""
        self._still = other._still

    def describe(self) -> dict[str, Any]:
        """Return what the store keeps of the model, beside its sha256."""
        return {
            "name": self.bundle.name,
            "file": self.bundle.model_path.name,
            "is_demonstration": self.bundle.is_demonstration,
            "classes": list(self.bundle.labels.names),
            "preprocess": self.bundle.preprocess.to_dict(),
            "tile_px": self.tile_px,
            "label_smoothing": self.smoothing,
            "windows_count_by": "cover",
        }

    def analyze(self, image: Image) -> FrameAnalysis:
        """Return what a frame (H, W, 3), uint8 RGB, shows."""
        started, cpu_started = time.perf_counter(), time.process_time()
        boxes = place_windows(image.shape[0], image.shape[1], self.tile_px, self.config.overlap)
        grey = to_grey(image)
        fine, bands = find_fine(grey), Bands.of(grey)
        view, is_full = find_view(grey, bands), _rank_fine(fine, boxes) >= self.config.min_detail
        if view in _BLIND:
            is_full[:] = False
        elif is_full.any():
            view = View.GOOD  # some crystals in a field that is clear otherwise
        fouling = self._find_fouling(grey, bands, boxes, is_full)
        cover, field = _measure_covers(fine, boxes)
        subset = self._subsets.take(boxes, is_full, cover, self.config.min_judged)
        n_tiles, taken = len(boxes), subset.is_taken
        boxes, is_full, cover = boxes[taken], is_full[taken], cover[taken]
        cut = time.perf_counter()
        probabilities, codes, scores = self._predict(image, boxes, is_full)
        predicted = time.perf_counter()
        names = self.bundle.labels.names
        classes, n_effective = estimate_fractions(
            boxes, codes, probabilities, names, self.smoothing, cover, subset.worth
        )
        n_unknown, n_analysed = int((codes == UNKNOWN_CODE).sum()), int((codes >= 0).sum())
        status = self._choose_status(view, fouling, n_unknown, n_analysed)
        stored = probabilities.astype(np.float16)
        tile_map = TileMap(image.shape[1], image.shape[0], names, boxes, codes, stored)
        summed = time.perf_counter()
        return FrameAnalysis(
            status=status,
            classes=classes if status == FrameStatus.ANALYSED else (),
            n_tiles=n_tiles,
            n_judged=n_analysed,
            n_unknown=n_unknown,
            n_empty=int((codes == EMPTY_CODE).sum()),
            n_effective=n_effective,
            map=tile_map,
            error=fouling or str(view),
            input=measure_input(image, boxes[is_full], n_unknown, scores),
            seconds=self._describe_seconds((started, cut, predicted, summed), cpu_started),
            threads=self.threads,
            cover=field,
            n_skipped=None if self.config.windows == Windows.ALL else n_tiles - len(boxes),
            subset=subset.number,
        )

    def _describe_seconds(
        self, moments: tuple[float, float, float, float], cpu_started: float
    ) -> dict[str, float]:
        """Return the time of each step, s; a turn that was waited for apart.

        The processor time is the whole process's, and says nothing of one frame where several probes work.
        """
        started, cut, predicted, summed = moments
        steps = {"cut": cut - started, "net": predicted - cut, "sum": summed - predicted}
        if not isinstance(self._engine, ProbeNet):
            return {**steps, "cpu": time.process_time() - cpu_started}
        waited_s = self._engine.take_waited()
        return {**steps, "net": steps["net"] - waited_s, "queued": waited_s}

    def _predict(
        self, image: Image, boxes: Boxes, is_full: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8], npt.NDArray[np.floating] | None]:
        """Return probabilities (N, C) and codes (N,) of all windows, and unknown scores of those not empty.

        Empty ones do not go through the net.
        """
        labels = self.bundle.labels
        probabilities = np.zeros((len(boxes), len(labels)), np.float32)
        codes = np.full(len(boxes), EMPTY_CODE, np.int8)
        if not is_full.any():
            return probabilities, codes, None
        windows = [
            np.ascontiguousarray(image[top : top + height, left : left + width])
            for left, top, width, height in boxes[is_full]
        ]
        outputs = self._engine.run(list(self._pool.map(self._engine.prepare, windows)))
        probabilities[is_full] = outputs["probabilities"]
        codes[is_full] = [
            UNKNOWN_CODE if decision.label == UNKNOWN else labels.index(decision.label)
            for decision in self.bundle.thresholds.decide(outputs)
        ]
        return probabilities, codes, outputs.get("unknown_score")

    def _find_fouling(self, grey: Grey, bands: Bands, boxes: Boxes, is_full: npt.NDArray[np.bool_]) -> str:
        """Take windows that have not moved out of ``is_full``; return a reason where most have not."""
        after = self.config.fouled_after
        n_still = self._still.update(grey, boxes, bands)
        if not after or not is_full.any():
            return ""
        is_still = is_full & (n_still >= after)
        n_full, n_fouled = int(is_full.sum()), int(is_still.sum())
        if n_fouled > _FOULED_FRACTION * n_full:
            return f"{n_fouled} of {n_full} windows have not moved for {after} frames or more"
        is_full &= ~is_still
        return ""

    def _choose_status(self, view: View, fouling: str, n_unknown: int, n_analysed: int) -> FrameStatus:
        is_unknown = n_unknown > _UNKNOWN_FRACTION * (n_unknown + n_analysed)
        if view != View.GOOD:
            return {View.DARK: FrameStatus.DARK, View.CLEAR: FrameStatus.CLEAR}.get(
                view, FrameStatus.CAMERA_BLIND
            )
        if fouling:
            return FrameStatus.FOULED
        if is_unknown and n_unknown >= self.config.min_judged:
            return FrameStatus.UNKNOWN_MATERIAL
        return FrameStatus.ANALYSED if n_analysed >= self.config.min_judged else FrameStatus.NO_CRYSTALS


def open_probe_engine(
    bundle: Bundle, name: str = "auto", threads: int = 0, precision: str = "auto"
) -> Engine:
    """Open a model for the windows of frames: many at once, of which no prediction set is asked.

    Raises:
        InputError: the model or the engine cannot be opened.
    """
    return open_served_engine(bundle, name, threads, precision, is_wide=True, is_of_frames=True)


def choose_impurity(labels: Labels, requested: str) -> str:
    """Return the class to chart: as requested, else PG where the model knows it, else the last one.

    Raises:
        InputError: the model does not know the requested class.
    """
    if requested:
        return labels.name(labels.index(requested))
    if len(labels) < 2:
        raise InputError("Cannot watch", needs="two classes or more are needed", got=len(labels))
    return "PG" if "PG" in labels.names else labels.names[-1]
