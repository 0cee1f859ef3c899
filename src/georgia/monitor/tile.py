"""Analyse one frame: overlapping windows at the model's scale, all of them in one engine call."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.images.decode import Image
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import open_engine
from georgia.monitor.fraction import estimate_fractions, find_smoothing
from georgia.monitor.result import EMPTY_CODE, UNKNOWN_CODE, FrameAnalysis, FrameStatus, TileMap
from georgia.monitor.settings import TileConfig
from georgia.predict.precision import warn_of_precision

Boxes = npt.NDArray[np.int32]
Grey = npt.NDArray[np.float32]

# Source of the four limits: 30 synthetic fields of each kind without crystals against 90 synthetic frames
# with 0, 5 and 30 % coverage (georgia.synthetic). Grey levels; middles of the gaps between the two.
DARK_BELOW = 25.0  # brightest percent: dark fields to 16, frames from 106
BRIGHT_FROM = 240.0  # median: saturated fields from 245, frames to 139
# Spread of structures of 4–8 px: unfocused fields to 1.8, frames from 2.6.
STRUCTURE_FROM = 2.0
# Spread of finer structures by that one: pure noise from 3.8, frames to 2.
NOISE_FROM = 2.8

# The scale of a model whose metadata does not hold it: the median side of synthetic crops, px.
# Source: georgia.synthetic.optics.sample_size, 151 px or 125–225 px, log-uniform.
TILE_PX = 168
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


def find_blindness(image: Image) -> str:
    """Return why a frame (H, W, 3), uint8, shows nothing; "" where it shows something.

    >>> find_blindness(np.zeros((100, 100, 3), np.uint8))
    'it is dark'
    """
    grey = to_grey(image)
    if float(np.percentile(grey[::4, ::4], 99)) < DARK_BELOW:
        return "it is dark"
    if float(np.median(grey[::4, ::4])) >= BRIGHT_FROM:
        return "it is saturated"
    fine, structure = _measure_bands(grey)
    if structure < STRUCTURE_FROM:
        return "it is out of focus or shows nothing"
    return "it is noise" if fine > NOISE_FROM * structure else ""


def to_grey(image: Image) -> Grey:
    """Return an image (H, W, 3), uint8, as grey levels (H, W), float32, 0–255."""
    grey: Grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def _measure_bands(grey: Grey) -> tuple[float, float]:
    """Return the spread of structures below 4 px and of 4–8 px, at a quarter of the size."""
    size = (max(8, grey.shape[1] // 4), max(8, grey.shape[0] // 4))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(small, (0, 0), 1.0)
    far = cv2.GaussianBlur(near, (0, 0), 1.7320508)  # together with the first: sigma 2
    return float((small - near).std()), float((near - far).std())


def measure_detail(image: Image, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return the detail of each window (N,), float32: how far fine structures exceed its own grain.

    It is the 99th percentile of the structures of 1–2 px by their median: 3.8 for grain or haze alone,
    whatever their strength, and more where edges, facets or needles are in focus.
    """
    grey = to_grey(image)
    near = cv2.GaussianBlur(grey, (0, 0), 1.0)
    fine = np.abs(near - cv2.GaussianBlur(near, (0, 0), 1.7320508))
    details = np.empty(len(boxes), np.float32)
    for position, (left, top, width, height) in enumerate(boxes):
        # A quarter of the pixels gives the same percentiles in a quarter of the time.
        values = fine[top : top + height : 2, left : left + width : 2].ravel()
        middle, high = len(values) // 2, int(0.99 * len(values))
        ranked = np.partition(values, (middle, high))
        details[position] = ranked[high] / max(float(ranked[middle]), 1e-6)
    return details


class FrameAnalyzer:
    """One model, opened, and how frames are cut for it.

    Raises:
        InputError: the model or the engine cannot be opened, or the model does not know the impurity.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: TileConfig,
        impurity: str = "",
        engine: str = "auto",
        threads: int = 0,
    ) -> None:
        self.bundle, self.config = bundle, config
        self.impurity = choose_impurity(bundle.labels, impurity)
        self.smoothing = find_smoothing(bundle.metadata)
        self.tile_px = find_tile_px(bundle, config.tile_px)
        self.model_sha256 = hashlib.sha256(bundle.model_path.read_bytes()).hexdigest()
        self._engine = open_engine(bundle.model_path, bundle.preprocess, engine, threads)
        warn_of_precision(bundle, self._engine.precision)
        self.engine_name = self._engine.name
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="georgia-tiles")

    def describe(self) -> dict[str, Any]:
        """Return what the store keeps of the model, beside its sha256."""
        return {
            "name": self.bundle.name,
            "file": self.bundle.model_path.name,
            "classes": list(self.bundle.labels.names),
            "preprocess": self.bundle.preprocess.to_dict(),
            "tile_px": self.tile_px,
            "label_smoothing": self.smoothing,
        }

    def analyze(self, image: Image) -> FrameAnalysis:
        """Return what a frame (H, W, 3), uint8 RGB, shows."""
        started = time.perf_counter()
        boxes = place_windows(image.shape[0], image.shape[1], self.tile_px, self.config.overlap)
        blindness = find_blindness(image)
        detail = measure_detail(image, boxes)
        is_full = detail >= self.config.min_detail if not blindness else np.zeros(len(boxes), bool)
        cut = time.perf_counter()
        probabilities, codes = self._predict(image, boxes, is_full)
        predicted = time.perf_counter()
        names = self.bundle.labels.names
        classes, n_effective = estimate_fractions(boxes, codes, probabilities, names, self.smoothing)
        n_unknown, n_analysed = int((codes == UNKNOWN_CODE).sum()), int((codes >= 0).sum())
        status = self._choose_status(blindness, n_unknown, n_analysed)
        stored = probabilities.astype(np.float16)
        tile_map = TileMap(image.shape[1], image.shape[0], names, boxes, codes, stored)
        summed = time.perf_counter()
        return FrameAnalysis(
            status=status,
            classes=classes if status == FrameStatus.ANALYSED else (),
            n_tiles=len(boxes),
            n_judged=n_analysed,
            n_unknown=n_unknown,
            n_empty=int((codes == EMPTY_CODE).sum()),
            n_effective=n_effective,
            map=tile_map,
            error=blindness,
            seconds={"cut": cut - started, "net": predicted - cut, "sum": summed - predicted},
        )

    def _predict(
        self, image: Image, boxes: Boxes, is_full: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        """Return probabilities (N, C) and codes (N,) of all windows; empty ones do not go through the net."""
        labels = self.bundle.labels
        probabilities = np.zeros((len(boxes), len(labels)), np.float32)
        codes = np.full(len(boxes), EMPTY_CODE, np.int8)
        if not is_full.any():
            return probabilities, codes
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
        return probabilities, codes

    def _choose_status(self, blindness: str, n_unknown: int, n_analysed: int) -> FrameStatus:
        is_unknown = n_unknown > _UNKNOWN_FRACTION * (n_unknown + n_analysed)
        if blindness:
            return FrameStatus.CAMERA_BLIND
        if is_unknown and n_unknown >= self.config.min_judged:
            return FrameStatus.UNKNOWN_MATERIAL
        return FrameStatus.ANALYSED if n_analysed >= self.config.min_judged else FrameStatus.NO_CRYSTALS


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
