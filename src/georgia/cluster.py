"""Which images look alike to a model: its features in a plane, in k groups, beside their labels.

The plane is that of the two largest principal components; the groups are those of k-means in it, as in
the source study's plot (k = 4). With more ``components`` k-means sees more than the plane shows.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import atomic_path, write_json
from georgia.images.listing import natural_key
from georgia.model.bundle import Bundle
from georgia.model.engines import check_engine_name
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET, Progress
from georgia.records import Failure
from georgia.text import count_noun

FloatArray = npt.NDArray[np.float64]

CLUSTER_FILE, ASSIGNMENTS_FILE = "cluster.json", "assignments.csv"
# Source: scikit-learn's own default before 1.4; the best of so many starts is kept.
_N_STARTS = 10
# Features are 32-bit numbers, exact to 6e-8 of their size; a spread below this share of it is rounding.
_RESOLUTION = 1e-6


@dataclass(frozen=True)
class ClusterConfig:
    """How many groups, in how many principal components (2: the plane that is drawn), on which engine."""

    k: int = 4
    components: int = 2
    seed: int = 42
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_engine_name(self.engine)
        faults = [
            f"{name} must be {low} or more; got {value}"
            for name, value, low in (("k", self.k, 1), ("components", self.components, 2))
            if value < low
        ]
        if faults:
            raise InputError("Cannot cluster: " + " · ".join(faults))


@dataclass(frozen=True)
class Assignment:
    """One image's cluster, from 1 (the largest), its place in the plane, and its label, "" if unknown."""

    file: Path
    cluster: int
    x: float
    y: float
    label: str = ""


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its number, size, count of each label, and the share in [0, 1] of the commonest one.

    ``purity`` is None where no image has a label.
    """

    number: int
    size: int
    labels: Mapping[str, int]
    purity: float | None


@dataclass(frozen=True)
class Clustering:
    """All images in path order; ``explained`` is the share of the features' spread along x and y.

    ``purity``: share of images whose label is the commonest one of their cluster. ``rand`` (adjusted
    Rand index) is 0 for clusters that know nothing of the labels and 1 for the same division.
    Source: Hubert and Arabie 1985, doi 10.1007/BF01908075. ``k`` is the number of clusters asked for;
    fewer different images give fewer clusters.
    """

    assignments: tuple[Assignment, ...]
    clusters: tuple[ClusterSummary, ...]
    explained: tuple[float, float]
    purity: float | None
    rand: float | None
    failed: tuple[Failure, ...] = ()
    model: str = ""
    k: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the images, in natural order; empty where there are none."""
        return tuple(sorted({one.label for one in self.assignments if one.label}, key=natural_key))

    def describe(self) -> str:
        """Return sizes and purity in words, and why there are fewer clusters than were asked for."""
        n, sizes = len(self.clusters), ", ".join(f"{one.size:,}" for one in self.clusters)
        text = f"{count_noun(len(self.assignments), 'image')} in {count_noun(n, 'cluster')} of {sizes}"
        if n < self.k:
            text += f": only {count_noun(n, 'distinct image')}, so {count_noun(n, 'cluster')}"
            text += f" instead of {self.k:,}"
        text += "."
        if self.purity is None or self.rand is None:
            return text
        return (
            f"{text} {100 * self.purity:.1f} % carry the commonest label of their cluster "
            f"(adjusted Rand index {self.rand:.3f})."
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia cluster --json`` prints, without its files."""
        return {
            "assignments": [{**vars(one), "file": str(one.file)} for one in self.assignments],
            "clusters": [vars(one) for one in self.clusters],
            "explained": list(self.explained),
            "purity": self.purity,
            "rand": self.rand,
            "model": self.model,
            "k": self.k,
            "failed": [one.to_json_dict() for one in self.failed],
        }

    def save(self, folder: Path) -> list[Path]:
        """Write ``cluster.json`` and ``assignments.csv``; return their paths."""
        rest = {key: value for key, value in self.to_json_dict().items() if key != "assignments"}
        write_json(folder / CLUSTER_FILE, rest)
        path = folder / ASSIGNMENTS_FILE
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["file", "cluster", "x", "y", "label"])
            for one in self.assignments:
                writer.writerow([one.file, one.cluster, repr(one.x), repr(one.y), one.label])
        return [folder / CLUSTER_FILE, path]

    @classmethod
    def load(cls, folder: Path) -> Clustering:
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing or is not what `save` wrote.
        """
        try:
            values = json.loads((folder / CLUSTER_FILE).read_text(encoding="utf-8"))
            with (folder / ASSIGNMENTS_FILE).open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            assignments = tuple(
                Assignment(
                    Path(row["file"]), int(row["cluster"]), float(row["x"]), float(row["y"]), row["label"]
                )
                for row in rows
            )
            clusters = tuple(ClusterSummary(**one) for one in values["clusters"])
            failed = tuple(Failure.from_json_dict(one) for one in values["failed"])
            first, second = values["explained"]
            rates = (values["purity"], values["rand"])
            # Files of older versions do not tell what was asked for.
            asked = int(values.get("k", 0))
            return cls(assignments, clusters, (first, second), *rates, failed, values["model"], asked)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Cannot read the clusters in {str(folder)!r}",
                needs=f"{CLUSTER_FILE} and {ASSIGNMENTS_FILE} are needed, as they were written",
                got=error,
            ) from error


def cluster_files(
    bundle: Bundle,
    paths: Sequence[Path],
    labels: Mapping[Path, str] | None = None,
    config: ClusterConfig = ClusterConfig(),
    progress: Progress = QUIET,
) -> Clustering:
    """Return the clusters of image files by a model's features; ``labels`` names some files' classes.

    Raises:
        InputError: the model gives no features, or fewer images than clusters can be read.
    """
    predictor = Predictor(bundle, PredictConfig(config.engine))
    files, features, failed = read_features(predictor, paths, progress)
    names = [(labels or {}).get(file, "") for file in files]
    return cluster_features(files, features, names, config, failed, bundle.name)


def read_features(
    predictor: Predictor, paths: Sequence[Path], progress: Progress = QUIET
) -> tuple[list[Path], npt.NDArray[np.float32], list[Failure]]:
    """Return the files that could be read, their features (N, F), and the failures.

    Raises:
        InputError: the model gives no features.
    """
    files: list[Path] = []
    parts: list[npt.NDArray[np.float32]] = []
    failed: list[Failure] = []
    for entries, outputs in predictor.iterate_outputs(paths, progress):
        failed += [entry for entry in entries if isinstance(entry, Failure)]
        files += [entry for entry in entries if not isinstance(entry, Failure)]
        if outputs and "features" not in outputs:
            raise InputError(
                f"Cannot use {predictor.bundle.name!r}",
                needs="a model with the output 'features' is needed",
                got=", ".join(outputs),
                hint="Export it with Georgia.",
            )
        if outputs:
            parts.append(outputs["features"].reshape(len(outputs["features"]), -1).astype(np.float32))
    return files, np.concatenate(parts) if parts else np.empty((0, 0), np.float32), failed


def cluster_features(
    files: Sequence[Path],
    features: npt.NDArray[np.floating],
    labels: Sequence[str],
    config: ClusterConfig = ClusterConfig(),
    failed: Sequence[Failure] = (),
    model: str = "",
) -> Clustering:
    """Return clusters of features (N, F), numbered by size; neither the files' order nor names touch them.

    Raises:
        InputError: fewer images than clusters, or fewer than two.
    """
    if len(files) < max(2, config.k):
        raise InputError(
            "Cannot cluster",
            needs=f"{max(2, config.k)} images that can be read, or more, are needed for k = {config.k}",
            got=f"{len(files)}",
            hint="Lower --k or add images.",
        )
    # In an order that depends on the features alone, so that the files' order cannot touch the starts.
    order = np.lexsort(np.asarray(features, np.float64).T[:8][::-1])
    points, explained = project(features[order], config)
    numbers = _group(points, config)
    places = np.empty((len(files), 2))
    clusters = np.empty(len(files), np.int64)
    places[order], clusters[order] = points[:, :2], numbers
    rows = sorted(
        (
            Assignment(file, int(number), float(x), float(y), label)
            for file, number, (x, y), label in zip(files, clusters, places, labels, strict=True)
        ),
        key=lambda one: natural_key(str(one.file)),
    )
    summaries = tuple(_summarize(rows, number) for number in range(1, int(clusters.max()) + 1))
    purity, rand = _agreement(rows, summaries)
    return Clustering(tuple(rows), summaries, explained, purity, rand, tuple(failed), model, config.k)


def project(
    features: npt.NDArray[np.floating], config: ClusterConfig
) -> tuple[FloatArray, tuple[float, float]]:
    """Return features along their principal components (N, D), and the share of spread along the first two.

    Each axis points to where its longest tail lies, so that the same images always look the same; one
    along which nothing but rounding differs is 0.
    """
    from sklearn.decomposition import PCA

    n_axes = min(config.components, *features.shape)
    values = np.asarray(features, np.float64)
    smallest = _RESOLUTION * float(np.abs(values).max(initial=0.0))
    if float(np.ptp(values, axis=0).max(initial=0.0)) <= smallest:
        return np.zeros((len(values), 2)), (0.0, 0.0)
    method = PCA(n_axes, svd_solver="randomized" if values.size > 2e7 else "full", random_state=config.seed)
    points = method.fit_transform(values)
    points[:, np.ptp(points, axis=0) <= _RESOLUTION * np.ptp(points[:, 0])] = 0.0
    points *= np.where(np.abs(points.min(axis=0)) > points.max(axis=0), -1.0, 1.0)
    shares = [*map(float, method.explained_variance_ratio_[:2] * points[:, :2].any(axis=0)), 0.0]
    if points.shape[1] == 1:
        points = np.column_stack([points, np.zeros(len(points))])
    return points, (shares[0], shares[1])


def _group(points: FloatArray, config: ClusterConfig) -> npt.NDArray[np.int64]:
    """Return cluster numbers (N,) from 1, the largest first; equal sizes from left to right."""
    from sklearn.cluster import KMeans

    k = _count_distinct(points, config.k)
    found = KMeans(k, n_init=_N_STARTS, random_state=config.seed).fit_predict(points)
    sizes = np.bincount(found, minlength=k)
    left = np.array([points[found == number, 0].mean() for number in range(k)])
    rank = np.empty(k, np.int64)
    rank[np.lexsort((left, -sizes))] = np.arange(1, k + 1)
    numbers: npt.NDArray[np.int64] = rank[found]
    return numbers


def _count_distinct(points: FloatArray, most: int) -> int:
    """Return how many points (N, D) are told apart by more than rounding; counting ends at ``most``."""
    smallest, n, rest = _RESOLUTION * float(np.ptp(points, axis=0).max()), 0, points
    while len(rest) and n < most:
        rest, n = rest[np.abs(rest - rest[0]).max(axis=1) > smallest], n + 1
    return n


def _summarize(rows: Sequence[Assignment], number: int) -> ClusterSummary:
    own = [one for one in rows if one.cluster == number]
    counts = Counter(one.label for one in own if one.label)
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], natural_key(item[0]))))
    purity = max(counts.values()) / sum(counts.values()) if counts else None
    return ClusterSummary(number, len(own), ordered, purity)


def _agreement(
    rows: Sequence[Assignment], clusters: Sequence[ClusterSummary]
) -> tuple[float | None, float | None]:
    from sklearn.metrics import adjusted_rand_score

    labelled = [one for one in rows if one.label]
    if not labelled:
        return None, None
    n_common = sum(max(one.labels.values(), default=0) for one in clusters)
    rand = adjusted_rand_score([one.label for one in labelled], [one.cluster for one in labelled])
    return n_common / len(labelled), float(rand)
