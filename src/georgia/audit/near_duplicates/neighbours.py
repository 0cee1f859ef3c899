"""The nearest neighbours of many points among many points, in less than quadratic time.

Points are assigned to about √n cells around centres; a query searches only the cells nearest to it. With
p cells searched, n queries cost about p · n · √n. What a query misses is a neighbour across a cell's
border; an image has many points, so that one missed neighbour does not matter.
Source: Sivic and Zisserman 2003, doi 10.1109/ICCV.2003.1238663 (cells around learned centres).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

N_DIMENSIONS = 32
_N_ROUNDS = 4
_SEED = 0
# Cells searched, and neighbours taken from each. Source: synthetic crops of seed 1: with half of each, one
# near-duplicate in 2,000 is lost; with twice, none is gained at half as much work again.
_N_CELLS_SEARCHED = 6
_N_PER_CELL = 3
# Queries that are sorted into cells together, and rows of distances held at a time.
_BLOCK = 65_536
_ROWS = 4096


@dataclass(frozen=True)
class Reduction:
    """Principal axes (D, d) and mean (D,) of points. Source: Jolliffe 2002, doi 10.1007/b98835."""

    mean: Floats
    axes: Floats

    def apply(self, points: Floats) -> Floats:
        """Return points (n, D) as (n, d)."""
        return np.asarray((points - self.mean) @ self.axes, np.float32)


def learn_reduction(points: Floats, n_dimensions: int = N_DIMENSIONS) -> Reduction:
    """Return the axes along which points (n, D) vary most; it depends on their values and order only."""
    mean = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(points - mean, rowvar=False))
    return Reduction(
        mean.astype(np.float32), np.ascontiguousarray(axes[:, ::-1][:, :n_dimensions], np.float32)
    )


def take_evenly(points: npt.NDArray[Scalar], most: int) -> npt.NDArray[Scalar]:
    """Return up to ``most`` points, evenly taken from their order."""
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).astype(np.int64)]


class CellIndex:
    """Points (n, d) in cells, which can be searched for neighbours."""

    def __init__(self, points: Floats) -> None:
        n_cells = max(1, round(2 * np.sqrt(len(points))) if len(points) > 2000 else 1)
        self._centres = _learn_centres(take_evenly(points, 40 * n_cells), n_cells)
        cell_of = _nearest_cells(points, self._centres, 1)[:, 0]
        self._members: Ints = np.argsort(cell_of, kind="stable")
        self._bounds: Ints = np.searchsorted(cell_of[self._members], np.arange(n_cells + 1))
        self._points: Floats = _with_norm(points[self._members])

    def query(self, queries: Floats, k: int) -> Ints:
        """Return the positions (m, k) of each query's nearest points, nearest first; −1 where too few."""
        blocks = [self._query_block(queries[at : at + _BLOCK], k) for at in range(0, len(queries), _BLOCK)]
        return np.concatenate(blocks) if blocks else np.zeros((0, k), np.int64)

    def _query_block(self, queries: Floats, k: int) -> Ints:
        n_searched = min(_N_CELLS_SEARCHED, len(self._centres))
        n_per_cell = _N_PER_CELL if n_searched > 1 else k
        width = n_searched * n_per_cell
        likeness = np.full((len(queries), width), -np.inf, np.float32)
        place = np.full((len(queries), width), -1, np.int64)
        cells = _nearest_cells(queries, self._centres, n_searched)
        extended = np.column_stack([queries, np.ones(len(queries), np.float32)])
        for rank in range(n_searched):
            order = np.argsort(cells[:, rank], kind="stable")
            starts = np.searchsorted(cells[order, rank], np.arange(len(self._centres) + 1))
            columns = slice(rank * n_per_cell, (rank + 1) * n_per_cell)
            for cell in np.flatnonzero(np.diff(starts)):
                rows = order[starts[cell] : starts[cell + 1]]
                low, high = self._bounds[cell], self._bounds[cell + 1]
                scores = extended[rows] @ self._points[low:high].T
                values, found = _largest(scores, n_per_cell)
                likeness[rows, columns] = values
                if high > low:
                    place[rows, columns] = np.where(found >= 0, self._members[low + found.clip(0)], -1)
        best = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(place, best, axis=1)


def _largest(scores: Floats, k: int) -> tuple[Floats, Ints]:
    """Return the k largest of each row and their columns; −inf and −1 where a row is shorter."""
    values = np.full((len(scores), k), -np.inf, np.float32)
    columns = np.full((len(scores), k), -1, np.int64)
    rows = np.arange(len(scores))
    for rank in range(min(k, scores.shape[1])):
        best = scores.argmax(axis=1)
        values[:, rank], columns[:, rank] = scores[rows, best], best
        scores[rows, best] = -np.inf
    return values, columns


def _with_norm(points: Floats) -> Floats:
    """Return points with −|x|²/2 as one more number: the dot product then orders by distance."""
    return np.column_stack([points, -0.5 * (points * points).sum(axis=1)]).astype(np.float32)


def _nearest_cells(points: Floats, centres: Floats, k: int) -> Ints:
    """Return the k nearest centres of each point, in blocks of points, as there are many distances."""
    half = 0.5 * (centres * centres).sum(axis=1)
    cells = np.empty((len(points), k), np.int64)
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        scores = points[rows] @ centres.T
        scores -= half
        cells[rows] = _largest(scores, k)[1]
    return cells


def _learn_centres(points: Floats, n_cells: int) -> Floats:
    """Return cell centres (c, d): k-means, a few rounds. Source: Lloyd 1982, 10.1109/TIT.1982.1056489."""
    rng = np.random.default_rng(_SEED)
    centres = points[np.sort(rng.choice(len(points), n_cells, replace=False))]
    for _ in range(_N_ROUNDS if n_cells > 1 else 1):
        cell_of = _nearest_cells(points, centres, 1)[:, 0]
        order = np.argsort(cell_of, kind="stable")
        filled, starts = np.unique(cell_of[order], return_index=True)
        sums = np.add.reduceat(points[order], starts, axis=0)
        centres = centres.copy()
        centres[filled] = sums / np.diff([*starts, len(points)])[:, None]
    return centres
