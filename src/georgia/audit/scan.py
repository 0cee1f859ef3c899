"""One pass over the files: pixels are decoded once, and everybody who wants to look at them looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from georgia.audit.measurements import PROPERTIES, QUALITY_COLUMNS, Row, measure_file, measure_pixels
from georgia.audit.near_duplicates.descriptors import Description, describe_image
from georgia.images.decode import Image, iter_images
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Failure

Features = npt.NDArray[np.float32]
# Turns one image into a net's input, in any thread, and a batch of inputs into features (N, F).
Prepare = Callable[[Image], npt.NDArray[Any]]
Extract = Callable[[Sequence[npt.NDArray[Any]]], Features]
_BATCH = 16


@dataclass(frozen=True)
class Look:
    """A net that looks at the images too."""

    prepare: Prepare
    extract: Extract


@dataclass(frozen=True)
class Scan:
    """What one pass saw; columns, descriptions and features stand in the order of ``catalog.records``.

    ``catalog`` holds the images that could be read; the others are among its failures.
    """

    catalog: Catalog
    columns: dict[str, npt.NDArray[Any]]
    descriptions: tuple[Description, ...]
    features: Features | None = None


@dataclass(frozen=True)
class _Seen:
    description: Description
    row: Row
    prepared: npt.NDArray[Any] | None


def scan_catalog(catalog: Catalog, look: Look | None = None, progress: Progress = QUIET) -> Scan:
    """Return measurements and descriptions of all images; those that cannot be read become failures."""

    def observe(image: Image) -> _Seen:
        prepared = None if look is None else look.prepare(image)
        return _Seen(describe_image(image), measure_pixels(image), prepared)

    kept, rows, descriptions, failures = [], [], [], []
    waiting: list[npt.NDArray[Any]] = []
    features: list[Features] = []
    progress.start("Auditing images", len(catalog.records))
    paths = [record.path for record in catalog.records]
    for position, result in iter_images(paths, transform=cast(Any, observe)):
        progress.advance()
        if isinstance(result, Failure):
            failures.append(result)
            continue
        seen = cast(_Seen, result)
        kept.append(catalog.records[position])
        rows.append({**measure_file(paths[position]), **seen.row})
        descriptions.append(seen.description)
        if look is not None and seen.prepared is not None:
            waiting.append(seen.prepared)
            if len(waiting) == _BATCH:
                features.append(look.extract(waiting))
                waiting = []
    if look is not None and waiting:
        features.append(look.extract(waiting))
    readable = replace(catalog, records=tuple(kept), failures=(*catalog.failures, *failures))
    gathered = np.concatenate(features) if features else None
    return Scan(readable, _make_columns(rows), tuple(descriptions), gathered)


def _make_columns(rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
    words = {entry.name for entry in PROPERTIES if entry.is_word}
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in (*(entry.name for entry in PROPERTIES), *QUALITY_COLUMNS):
        if name in words:
            columns[name] = np.array([str(row.get(name, "")) for row in rows], dtype=object)
        else:
            columns[name] = np.array([float(row.get(name, 0.0)) for row in rows], np.float64)
    return columns
