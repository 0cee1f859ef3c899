"""The course of a training run: one row an epoch, kept in ``history.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.errors import InputError
from georgia.files import atomic_path, reading

HISTORY_FILE = "history.csv"
Row = Mapping[str, float]
_NEEDED = ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy")


@dataclass(frozen=True)
class TrainingHistory:
    """One row per epoch, oldest first; ``kept_epoch`` is the one whose weights were kept.

    ``stop_reason`` says in a few words why the training ended.

    >>> row = dict(epoch=1, train_loss=1, train_accuracy=0.5, valid_loss=1, valid_accuracy=0.6)
    >>> TrainingHistory((row,)).column("valid_accuracy")
    [0.6]

    Raises:
        InputError: no row, or a column that the figures need is missing.
    """

    rows: tuple[Row, ...]
    kept_epoch: int | None = None
    stop_reason: str = ""

    def __post_init__(self) -> None:
        missing = sorted({name for name in _NEEDED for row in self.rows if name not in row})
        if missing or not self.rows:
            raise InputError(
                "Cannot use the training history",
                needs=f"one row per epoch with {', '.join(_NEEDED)} is needed",
                got=f"none of {', '.join(missing)}" if missing else "no row",
            )

    @property
    def epochs(self) -> list[int]:
        """Epoch numbers, from 1."""
        return [int(row["epoch"]) for row in self.rows]

    @property
    def marked_epoch(self) -> int:
        """The epoch that was kept, or the first with the best validation metric if that is not known."""
        if self.kept_epoch is not None:
            return self.kept_epoch
        name = "macro_f1" if all("macro_f1" in row for row in self.rows) else "valid_accuracy"
        values = self.column(name)
        return self.epochs[max(range(len(values)), key=values.__getitem__)]

    @property
    def mark_text(self) -> str:
        """What the marked epoch is, as text."""
        if self.kept_epoch is None:
            return f"best in validation: epoch {self.marked_epoch}"
        reason = f" ({self.stop_reason})" if self.stop_reason else ""
        return f"weights kept: epoch {self.kept_epoch}{reason}"

    def column(self, name: str) -> list[float]:
        """Return one column's values, oldest epoch first."""
        return [float(row[name]) for row in self.rows]


def save_history(folder: str | Path, rows: Sequence[Row]) -> None:
    """Write ``history.csv`` whole or not at all, six significant digits a value."""
    folder = Path(folder)
    path = folder / HISTORY_FILE
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: int(value) if key == "epoch" else f"{value:.6g}" for key, value in row.items()}
            )


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """Return the rows of ``history.csv`` as numbers; empty cells become NaN.

    Raises:
        InputError: the file cannot be read, or a cell is no number.
    """
    with (
        reading(f"Cannot read the history {str(path)!r}", "a CSV file with a number in each cell is needed"),
        path.open(encoding="utf-8", newline="") as stream,
    ):
        return tuple(
            {name: float(text) if text.strip() else float("nan") for name, text in row.items()}
            for row in csv.DictReader(stream)
        )
