"""One pass over the files: each image is decoded once, for measurements, descriptions and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from georgia.audit.measurements import (
    PROPERTIES,
    QUALITY_COLUMNS,
    TEXT_COLUMNS,
    Row,
    measure_file,
    measure_pixels,
)
from georgia.audit.near_duplicates.descriptors import Description, describe_image
from georgia.images.decode import Image, iter_images
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Failure

Features = npt.NDArray[np.float32]
_BATCH = 16


@dataclass(frozen=True)
class FeatureExtractor:
    """A network: ``prepare`` makes its input from one image, in any thread; ``extract`` returns (N, F)."""

    prepare: Callable[[Image], npt.NDArray[Any]]
    extract: Callable[[Sequence[npt.NDArray[Any]]], Features]


@dataclass(frozen=True)
class Scan:
    """The results of one pass; columns, descriptions and features are in the order of ``catalog.records``.

    ``catalog`` holds the readable images; the others are among its failures.
    """

    catalog: Catalog
    columns: dict[str, npt.NDArray[Any]]
    descriptions: tuple[Description, ...]
    features: Features | None = None


@dataclass(frozen=True)
class _Scanned:
    description: Description
    row: Row
    prepared: npt.NDArray[Any] | None


def scan_catalog(
    catalog: Catalog, extractor: FeatureExtractor | None = None, progress: Progress = QUIET
) -> Scan:
    """Return measurements and descriptions of all images; unreadable ones become failures."""

    def scan_image(image: Image) -> _Scanned:
        prepared = None if extractor is None else extractor.prepare(image)
        return _Scanned(describe_image(image), measure_pixels(image), prepared)

    kept, rows, descriptions, failures = [], [], [], []
    waiting: list[npt.NDArray[Any]] = []
    features: list[Features] = []
    progress.start("Auditing images", len(catalog.records))
    paths = [record.path for record in catalog.records]
    for position, result in iter_images(paths, transform=cast(Any, scan_image)):
        progress.advance()
        if isinstance(result, Failure):
            failures.append(result)
            continue
        scanned = cast(_Scanned, result)
        kept.append(catalog.records[position])
        rows.append({**measure_file(paths[position]), **scanned.row})
        descriptions.append(scanned.description)
        if extractor is not None and scanned.prepared is not None:
            waiting.append(scanned.prepared)
            if len(waiting) == _BATCH:
                features.append(extractor.extract(waiting))
                waiting = []
    if extractor is not None and waiting:
        features.append(extractor.extract(waiting))
    readable = replace(catalog, records=tuple(kept), failures=(*catalog.failures, *failures))
    gathered = np.concatenate(features) if features else None
    return Scan(readable, _make_columns(rows), tuple(descriptions), gathered)


def _make_columns(rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in (*(entry.name for entry in PROPERTIES), *QUALITY_COLUMNS):
        if name in TEXT_COLUMNS:
            columns[name] = np.array([str(row.get(name, "")) for row in rows], dtype=object)
        else:
            columns[name] = np.array([float(row.get(name, 0.0)) for row in rows], np.float64)
    return columns
