"""Judge one frame: overlapping windows at the model's scale, all of them in one engine call."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.images.decode import Image
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import open_engine
from georgia.monitor.detail import find_blindness, measure_detail
from georgia.monitor.fraction import estimate_fractions, find_smoothing
from georgia.monitor.result import EMPTY_CODE, UNKNOWN_CODE, ClassFraction, FrameStatus, TileMap
from georgia.monitor.settings import TileConfig

Boxes = npt.NDArray[np.int32]

# The scale of a model that does not say its own: the median side of drawn crops, px.
# Source: georgia.synthetic.optics.sample_size, 151 px or 125–225 px, log-uniform.
TILE_PX = 168
# More than half of the windows with something in them unknown: the material is, not a window or two.
_UNKNOWN_SHARE = 0.5


@dataclass(frozen=True)
class FrameAnalysis:
    """What one frame shows: fractions, counts of windows, and the map; ``error`` says why it is blind."""

    status: FrameStatus
    classes: tuple[ClassFraction, ...]
    n_tiles: int
    n_judged: int
    n_unknown: int
    n_empty: int
    n_effective: float
    map: TileMap
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    def fraction_of(self, name: str) -> ClassFraction | None:
        """Return the fraction of a class, None where nothing was judged."""
        return next((item for item in self.classes if item.name == name), None)


@lru_cache(maxsize=16)
def place_windows(height_px: int, width_px: int, tile_px: int, overlap: float) -> Boxes:
    """Return windows (N, 4), int32: left, top, width, height, px, row by row, covering the whole frame.

    Windows stand evenly and overlap by at least the share asked for; a frame smaller than a window is
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


def find_tile_px(bundle: Bundle, wanted: int = 0) -> int:
    """Return the side of a window, px: as wanted, or the model's own scale where it says one."""
    data = bundle.metadata.get("data")
    told = data.get("median_side_px") if isinstance(data, Mapping) else None
    return wanted or int(told or TILE_PX)


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

    def analyzer(self, image: Image) -> FrameAnalysis:
        """Return what a frame (H, W, 3), uint8 RGB, shows."""
        started = time.perf_counter()
        boxes = place_windows(image.shape[0], image.shape[1], self.tile_px, self.config.overlap)
        blind = find_blindness(image)
        detail = measure_detail(image, boxes)
        is_full = detail >= self.config.min_detail if not blind else np.zeros(len(boxes), bool)
        cut = time.perf_counter()
        probabilities, codes = self._ask(image, boxes, is_full)
        asked = time.perf_counter()
        analysis = self._sum_up(image, boxes, codes, probabilities, blind)
        seconds = {"cut": cut - started, "net": asked - cut, "sum": time.perf_counter() - asked}
        return FrameAnalysis(**{**analysis.__dict__, "seconds": seconds})

    def _ask(
        self, image: Image, boxes: Boxes, is_full: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        """Return probabilities (N, C) and codes (N,) of all windows; empty ones are not asked about."""
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

    def _sum_up(
        self,
        image: Image,
        boxes: Boxes,
        codes: npt.NDArray[np.int8],
        probabilities: npt.NDArray[np.float32],
        blind: str,
    ) -> FrameAnalysis:
        n_unknown = int((codes == UNKNOWN_CODE).sum())
        n_judged = int((codes >= 0).sum())
        is_unknown = n_unknown > _UNKNOWN_SHARE * (n_unknown + n_judged)
        status: FrameStatus = "judged"
        if blind:
            status = "camera blind"
        elif is_unknown and n_unknown >= self.config.min_judged:
            status = "unknown material"
        elif n_judged < self.config.min_judged:
            status = "no crystals"
        names = self.bundle.labels.names
        classes, n_effective = estimate_fractions(boxes, codes, probabilities, names, self.smoothing)
        return FrameAnalysis(
            status=status,
            classes=classes if status == "judged" else (),
            n_tiles=len(boxes),
            n_judged=n_judged,
            n_unknown=n_unknown,
            n_empty=int((codes == EMPTY_CODE).sum()),
            n_effective=n_effective,
            map=TileMap(
                image.shape[1], image.shape[0], names, boxes, codes, probabilities.astype(np.float16)
            ),
            error=blind,
        )


def choose_impurity(labels: Labels, wanted: str) -> str:
    """Return the class to watch for: as wanted, else PG where the model knows it, else the last one.

    Raises:
        InputError: the model does not know the class wanted.
    """
    if wanted:
        return labels.name(labels.index(wanted))
    if len(labels) < 2:
        raise InputError("Cannot watch", needs="two classes or more are needed", got=len(labels))
    return "PG" if "PG" in labels.names else labels.names[-1]
