"""Which images are similar to a model: its features in a plane, in k clusters, compared with the labels.

The plane is that of the two largest principal components; k-means finds the clusters in it, as in the
source study's plot (k = 4). With more ``components`` k-means uses more than the plane shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from georgia.config import Config, Seed, at_least
from georgia.errors import InputError
from georgia.files import check_fields, read_json, read_table, reading, write_json, write_text
from georgia.images.listing import natural_key
from georgia.model.bundle import Bundle
from georgia.model.engines import EngineName
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET, Progress
from georgia.records import Failure
from georgia.text import count_noun, format_csv, read_rows

FloatArray = npt.NDArray[np.float64]

CLUSTER_FILE, ASSIGNMENTS_FILE = "cluster.json", "assignments.csv"
# Source: scikit-learn's own default before 1.4; the best of so many starts is kept.
_N_STARTS = 10
# Features are 32-bit numbers, exact to 6e-8 of their size; a spread below this fraction of it is rounding.
_RESOLUTION = 1e-6


@dataclass(frozen=True)
class ClusterConfig(Config):
    """How many clusters, in how many principal components (2: the plane of the plot), on which engine."""

    k: Annotated[int, at_least(1)] = 4
    components: Annotated[int, at_least(2)] = 2
    seed: Seed = 42
    engine: EngineName = "auto"


@dataclass(frozen=True)
class Assignment:
    """One image's cluster, from 1 (the largest), its position in the plane, and its label ("": none)."""

    file: Path
    cluster: int
    x: float
    y: float
    label: str = ""


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster: its number, size and count of each label.

    ``purity`` is the fraction, in [0, 1], of its most common label; None where no image has one.
    """

    number: int
    size: int
    labels: Mapping[str, int]
    purity: float | None


@dataclass(frozen=True)
class Clustering:
    """All images in path order; ``explained`` is the fraction of the features' variance along x and y.

    ``purity``: fraction of images whose label is the most common one of their cluster. ``rand``, the
    adjusted Rand index, is 0 for clusters independent of the labels and 1 for the same partition.
    Source: Hubert and Arabie 1985, doi 10.1007/BF01908075. ``k`` is the requested number of clusters;
    fewer distinct images give fewer clusters.
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
        return tuple(sorted({row.label for row in self.assignments if row.label}, key=natural_key))

    def describe(self) -> str:
        """Return sizes and purity as text, and why there are fewer clusters than requested."""
        n, sizes = len(self.clusters), ", ".join(f"{cluster.size:,}" for cluster in self.clusters)
        text = f"{count_noun(len(self.assignments), 'image')} in {count_noun(n, 'cluster')} of {sizes}"
        if n < self.k:
            text += f": only {count_noun(n, 'distinct image')}, so {count_noun(n, 'cluster')}"
            text += f" instead of {self.k:,}"
        text += "."
        if self.purity is None or self.rand is None:
            return text
        return (
            f"{text} {100 * self.purity:.1f} % have the most common label of their cluster "
            f"(adjusted Rand index {self.rand:.3f})."
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia cluster --json`` prints, without its files."""
        return {
            "assignments": [{**vars(row), "file": str(row.file)} for row in self.assignments],
            "clusters": [vars(cluster) for cluster in self.clusters],
            "explained": list(self.explained),
            "purity": self.purity,
            "rand": self.rand,
            "model": self.model,
            "k": self.k,
            "failed": [failure.to_json_dict() for failure in self.failed],
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``cluster.json`` and ``assignments.csv``; return their paths."""
        folder = Path(folder)
        rest = {key: value for key, value in self.to_json_dict().items() if key != "assignments"}
        write_json(folder / CLUSTER_FILE, rest)
        path = folder / ASSIGNMENTS_FILE
        rows = [["file", "cluster", "x", "y", "label"]]
        for row in self.assignments:
            rows.append([str(row.file), str(row.cluster), repr(row.x), repr(row.y), row.label])
        write_text(path, format_csv(rows))
        return [folder / CLUSTER_FILE, path]

    @classmethod
    def load(cls, folder: str | Path) -> Clustering:
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing or is not what `save` wrote.
        """
        folder = Path(folder)
        needs = f"{CLUSTER_FILE} and {ASSIGNMENTS_FILE} are needed, as they were written"
        with reading(f"Cannot read the clusters in {str(folder)!r}", needs):
            values = read_json(folder / CLUSTER_FILE)
            rows = tuple(map(_read_assignment, read_rows(read_table(folder / ASSIGNMENTS_FILE))))
            first, second = values["explained"]
            found = cls(
                assignments=rows,
                clusters=tuple(check_fields(ClusterSummary(**entry)) for entry in values["clusters"]),
                explained=(first, second),
                purity=values["purity"],
                rand=values["rand"],
                failed=tuple(Failure.from_json_dict(entry) for entry in values["failed"]),
                model=values["model"],
                k=int(values.get("k", 0)),  # files of older versions do not hold it
            )
            return check_fields(found)


def _read_assignment(row: Mapping[str, str]) -> Assignment:
    return Assignment(Path(row["file"]), int(row["cluster"]), float(row["x"]), float(row["y"]), row["label"])


def cluster_files(
    bundle: Bundle,
    paths: Sequence[Path],
    labels: Mapping[Path, str] | None = None,
    config: ClusterConfig = ClusterConfig(),
    progress: Progress = QUIET,
) -> Clustering:
    """Return the clusters of image files by a model's features; ``labels`` holds the classes of some files.

    Raises:
        InputError: the model gives no features, or fewer images than clusters can be read.
    """
    predictor = Predictor(bundle, PredictConfig(config.engine, precision="float32"))
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
    """Return clusters of features (N, F), numbered by size, whatever the order and the names of the files.

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
    # In an order that depends on the features alone, so that the order of the files cannot change the starts.
    order = np.lexsort(np.asarray(features, np.float64).T[:8][::-1])
    points, explained = project(features[order], config)
    numbers = _run_kmeans(points, config)
    places = np.empty((len(files), 2))
    clusters = np.empty(len(files), np.int64)
    places[order], clusters[order] = points[:, :2], numbers
    rows = sorted(
        (
            Assignment(file, int(number), float(x), float(y), label)
            for file, number, (x, y), label in zip(files, clusters, places, labels, strict=True)
        ),
        key=lambda row: natural_key(str(row.file)),
    )
    summaries = tuple(_summarize_cluster(rows, number) for number in range(1, int(clusters.max()) + 1))
    purity, rand = _agreement(rows, summaries)
    return Clustering(tuple(rows), summaries, explained, purity, rand, tuple(failed), model, config.k)


def project(
    features: npt.NDArray[np.floating], config: ClusterConfig
) -> tuple[FloatArray, tuple[float, float]]:
    """Return features along their principal components (N, D), and the first two's fractions of the variance.

    Each axis points towards its longer tail, so that the same images give the same plot; an axis along
    which only rounding differs is 0.
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
    explained = [*map(float, method.explained_variance_ratio_[:2] * points[:, :2].any(axis=0)), 0.0]
    if points.shape[1] == 1:
        points = np.column_stack([points, np.zeros(len(points))])
    return points, (explained[0], explained[1])


def _run_kmeans(points: FloatArray, config: ClusterConfig) -> npt.NDArray[np.int64]:
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
    """Return how many points (N, D) differ by more than rounding, ``most`` at the most."""
    smallest, n, rest = _RESOLUTION * float(np.ptp(points, axis=0).max()), 0, points
    while len(rest) and n < most:
        rest, n = rest[np.abs(rest - rest[0]).max(axis=1) > smallest], n + 1
    return n


def _summarize_cluster(rows: Sequence[Assignment], number: int) -> ClusterSummary:
    own = [row for row in rows if row.cluster == number]
    counts = Counter(row.label for row in own if row.label)
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], natural_key(item[0]))))
    purity = max(counts.values()) / sum(counts.values()) if counts else None
    return ClusterSummary(number, len(own), ordered, purity)


def _agreement(
    rows: Sequence[Assignment], clusters: Sequence[ClusterSummary]
) -> tuple[float | None, float | None]:
    from sklearn.metrics import adjusted_rand_score

    labelled = [row for row in rows if row.label]
    if not labelled:
        return None, None
    n_common = sum(max(cluster.labels.values(), default=0) for cluster in clusters)
    rand = adjusted_rand_score([row.label for row in labelled], [row.cluster for row in labelled])
    return n_common / len(labelled), float(rand)
