"""Which places of an image a model's prediction rests on.

Models that Georgia exports have an output for it, the class map (``cam``): where their head is piecewise
linear behind global average pooling it is exact, its mean being the logit except for what biases add. For
other models patches of the image are covered, and the map shows what each takes from the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.config import Config
from georgia.errors import InputError
from georgia.files import check_fields, read_json, reading, write_json
from georgia.images.decode import iter_images
from georgia.images.preprocess import PreprocessSpec, resize_weights
from georgia.labels import UNKNOWN, Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import Engine, EngineName, Outputs
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET, Progress
from georgia.records import Failure

EXPLAIN_FILE = "explain.json"
Method = Literal["class map", "occlusion"]
Image = npt.NDArray[np.uint8]
FloatMap = npt.NDArray[np.float32]

# Covers as wide as two sevenths of the image, moved by half of that: small enough to distinguish the parts
# of a crystal, large enough to hide the middle of a needle.
# Source: occlusion, Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53.
GRID = 6
# A cover shows the image blurred by a tenth of its side: a grey patch has edges of its own.
# Source: Fong and Vedaldi 2017, doi 10.1109/ICCV.2017.371.
_BLUR_FRACTION = 0.1


@dataclass(frozen=True)
class ExplainConfig(Config):
    """Class to explain ("": the predicted one) and method ("auto": the class map if there is one)."""

    class_name: str = ""
    method: Literal["auto", "class map", "occlusion"] = "auto"
    engine: EngineName = "auto"


@dataclass(frozen=True, eq=False)
class Explanation:
    """One image's map: ``values`` (h, w), float32, positive where a place of the image supports the class.

    ``label`` is the prediction, ``probability`` its probability (0 if rejected); ``class_name`` is the class
    explained and ``class_probability`` its probability; ``rival`` is the most probable other class.
    Values are in logits, of the difference between the two classes: their mean is the difference (class map),
    or each is what covering that place takes from it (occlusion). Places outside the net's window are NaN.
    """

    file: Path
    label: str
    probability: float
    class_name: str
    class_probability: float
    rival: str
    method: Method
    values: FloatMap

    @property
    def strength(self) -> float:
        """The largest distance from 0 on the map, in logits; the end of the colour scale."""
        inside = self.values[np.isfinite(self.values)]
        return float(np.abs(inside).max(initial=0.0))

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form; NaN becomes null."""
        rows = [[float(v) if np.isfinite(v) else None for v in row] for row in self.values.round(4)]
        return {**vars(self), "file": str(self.file), "values": rows}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> Explanation:
        """Read the plain form."""
        table = np.array([[np.nan if v is None else v for v in row] for row in values["values"]], np.float32)
        if table.ndim != 2 or not table.size:
            raise ValueError("a map of values is needed")
        return check_fields(cls(**{**values, "file": Path(values["file"]), "values": table}))


@dataclass(frozen=True)
class Explanations:
    """All maps in the order of the files, and what could not be read."""

    labels: Labels
    items: tuple[Explanation, ...]
    failed: tuple[Failure, ...] = ()
    model: str = ""

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "model": self.model,
            "classes": list(self.labels.names),
            "explanations": [explanation.to_json_dict() for explanation in self.items],
            "failed": [failure.to_json_dict() for failure in self.failed],
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``explain.json`` and return its path."""
        folder = Path(folder)
        write_json(folder / EXPLAIN_FILE, self.to_json_dict(), indent=None)
        return folder / EXPLAIN_FILE

    @classmethod
    def load(cls, folder: str | Path) -> Explanations:
        """Read what `save` wrote; values have four decimals.

        Raises:
            InputError: the file is missing or is not what `save` wrote.
        """
        folder = Path(folder)
        path = folder / EXPLAIN_FILE
        with reading(f"Cannot read {str(path)!r}", "a file that georgia explain wrote is needed"):
            values = read_json(path)
            items = tuple(Explanation.from_json_dict(entry) for entry in values["explanations"])
            failed = tuple(Failure.from_json_dict(entry) for entry in values["failed"])
            return cls(Labels(tuple(values["classes"])), items, failed, values["model"])


def explain_files(
    bundle: Bundle,
    paths: Sequence[Path],
    config: ExplainConfig = ExplainConfig(),
    progress: Progress = QUIET,
) -> Explanations:
    """Return maps of the predictions for image files, in the order of the files.

    Raises:
        InputError: the model cannot be opened, has no such class, or has no class map and one is requested.
    """
    if config.class_name:
        bundle.labels.index(config.class_name)
    predictor = Predictor(bundle, PredictConfig(config.engine, precision="float32"))
    progress.start("explain", len(paths))
    items: list[Explanation] = []
    failed: list[Failure] = []
    for position, image in iter_images(paths):
        if isinstance(image, Failure):
            failed.append(image)
        else:
            items.append(explain_image(predictor, image, paths[position], config))
        progress.advance()
    return Explanations(bundle.labels, tuple(items), tuple(failed), bundle.name)


def explain_image(
    predictor: Predictor, image: Image, file: Path, config: ExplainConfig = ExplainConfig()
) -> Explanation:
    """Return the map of the prediction for one image (H, W, 3), uint8 RGB.

    Raises:
        InputError: a class map is requested and the model has none.
    """
    engine, bundle = predictor.engine, predictor.bundle
    outputs = engine.run([engine.prepare(image)])
    decision = bundle.thresholds.decide(outputs)[0]
    own, rival = _choose_pair(outputs["probabilities"][0], bundle.labels, config.class_name)
    method = _choose_method(outputs, config.method, bundle.name)
    if method == "class map":
        maps = outputs["cam"][0]
        difference = np.asarray(maps[own] - maps[rival], np.float32)
        values = place_on_image(difference, bundle.preprocess, image.shape[:2])
    else:
        values = occlude(engine, image, (own, rival), _margin(outputs, own, rival)[0])
    return Explanation(
        file=file,
        label=decision.label,
        probability=0.0 if decision.label == UNKNOWN else decision.probability,
        class_name=bundle.labels.name(own),
        class_probability=float(outputs["probabilities"][0][own]),
        rival=bundle.labels.name(rival),
        method=method,
        values=values,
    )


def place_on_image(input_map: FloatMap, spec: PreprocessSpec, size_px: tuple[int, int]) -> FloatMap:
    """Return a map of the net's input (h, w) as a map of the whole image of ``size_px`` (height, width).

    Where the whole image is stretched to the input, the map is unchanged. Where it keeps its aspect, cells on
    the padding are cut off. Where the input is a window at fixed scale, the map is placed at the window; what
    lies outside is NaN.

    >>> spec = PreprocessSpec(224, window_px=100)
    >>> place_on_image(np.ones((7, 7), np.float32), spec, (100, 200))[0, [0, 7, -1]]
    array([nan,  1., nan], dtype=float32)
    """
    if not spec.window_px and not spec.keeps_aspect:
        return input_map
    old, window_px = input_map.shape, spec.window_px or float(max(size_px))
    # A cell of the new map is as large as one of the old, so that no detail is invented.
    cells = [max(1, round(side / window_px * n)) for side, n in zip(size_px, old, strict=True)]
    places, outside = [], []
    for side, n_new, n_old in zip(size_px, cells, old, strict=True):
        centres_px = (np.arange(n_new) + 0.5) / n_new * side - side / 2
        at = (centres_px / window_px + 0.5) * n_old
        outside.append((at < 0) | (at >= n_old))
        places.append(np.clip(at.astype(np.int64), 0, n_old - 1))
    placed = input_map[np.ix_(*places)].astype(np.float32)
    placed[outside[0][:, None] | outside[1][None, :]] = np.nan
    return placed


def occlude(engine: Engine, image: Image, pair: tuple[int, int], plain: float, grid: int = GRID) -> FloatMap:
    """Return what covering each place takes from a pair of logits, as a map (grid + 1, grid + 1).

    Every cover is two cells wide and high; a cell's value is the mean over the covers that lie on it.
    """
    covers = list(_cover(image, grid))
    outputs = engine.run([engine.prepare(covered) for covered, _ in covers])
    drops = plain - _margin(outputs, *pair)
    n_cells = grid + 1
    total, count = np.zeros((n_cells, n_cells)), np.zeros((n_cells, n_cells))
    for drop, (_, (row, column)) in zip(drops, covers, strict=True):
        total[row : row + 2, column : column + 2] += drop
        count[row : row + 2, column : column + 2] += 1
    return (total / count).astype(np.float32)


def enlarge(values: FloatMap, size_px: tuple[int, int]) -> FloatMap:
    """Return a map at the image's size (H, W), by the triangle filter; places outside the window stay NaN."""
    known = np.isfinite(values)
    rows, columns = (resize_weights(n, size) for n, size in zip(values.shape, size_px, strict=True))
    total = rows @ np.where(known, values, 0.0).astype(np.float32) @ columns.T
    weight = rows @ known.astype(np.float32) @ columns.T
    result = np.full(size_px, np.nan, np.float32)
    np.divide(total, weight, out=result, where=weight >= 0.5)
    return result


def _cover(image: Image, grid: int) -> Iterator[tuple[Image, tuple[int, int]]]:
    import cv2

    height, width = image.shape[:2]
    sigma = max(0.5, _BLUR_FRACTION * min(height, width))
    hidden = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    rows, columns = (np.linspace(0, side, grid + 2).round().astype(int) for side in (height, width))
    for row in range(grid):
        for column in range(grid):
            place = (slice(rows[row], rows[row + 2]), slice(columns[column], columns[column + 2]))
            covered = image.copy()
            covered[place] = hidden[place]
            yield covered, (row, column)


def _margin(outputs: Outputs, own: int, rival: int) -> npt.NDArray[np.float64]:
    """Return the logit difference of a pair of classes (N,)."""
    logits = outputs.get("logits")
    if logits is None or logits.shape[1] <= max(own, rival):
        logits = np.log(np.clip(outputs["probabilities"], 1e-12, 1.0))
    return np.asarray(logits[:, own] - logits[:, rival], np.float64)


def _choose_pair(probabilities: npt.NDArray[np.floating], labels: Labels, asked: str) -> tuple[int, int]:
    order = np.argsort(-probabilities, kind="stable").tolist()
    own = labels.index(asked) if asked else order[0]
    return own, next(at for at in order if at != own)


def _choose_method(outputs: Outputs, asked: str, model: str) -> Method:
    has_map = "cam" in outputs and outputs["cam"].ndim == 4
    if asked == "class map" and not has_map:
        raise InputError(
            f"Cannot explain {model!r}",
            needs="a class map is needed",
            got="none",
            hint="Use method occlusion, or export the model with this version of Georgia.",
        )
    return "class map" if has_map and asked != "occlusion" else "occlusion"
