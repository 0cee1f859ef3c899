"""One run as a row of the study's table, read from the run's own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from georgia.evaluate.assessment import Acceptance, assess
from georgia.evaluate.score import Evaluation
from georgia.files import check_fields, read_json, reading, write_json
from georgia.metrics.intervals import Interval
from georgia.model.bundle import BUNDLE_FILE
from georgia.report.history import HISTORY_FILE, read_history
from georgia.study.plan import PlannedRun, describe_dropout
from georgia.train.recipes import rename_settings

ROW_FILE = "row.json"


@dataclass(frozen=True)
class StudyRow:
    """One run's metrics, fractions in [0, 1], times in seconds; ``reason`` says why a run failed.

    Accuracies in training and validation are those of the last epoch, ``accuracy_delta`` is validation
    minus training, ``test_missed`` counts test images that are not classified correctly, as in the source
    study. ``gate`` says why a finished run's quality gate failed; empty where it passed, and in a dry run.
    """

    run_name: str
    variant: str
    repeat: int
    fold: int
    settings: Mapping[str, Any]
    dropout_layers: str
    reason: str = ""
    seconds: float = 0.0
    train_accuracy: float | None = None
    valid_accuracy: float | None = None
    test_accuracy: float | None = None
    test_missed: int | None = None
    n_test: int = 0
    f1: float | None = None
    f1_ci95: Interval | None = None
    epochs: int = 0
    trainable_layers: int = 0
    f1_by_class: Mapping[str, float] = field(default_factory=dict)
    gate: str = ""

    @property
    def is_done(self) -> bool:
        """Whether the run came to its end."""
        return not self.reason

    @property
    def accuracy_delta(self) -> float | None:
        """Validation accuracy minus training accuracy."""
        if self.valid_accuracy is None or self.train_accuracy is None:
            return None
        return self.valid_accuracy - self.train_accuracy

    def save(self, folder: Path) -> None:
        """Write ``row.json``: the mark that a run has ended, and how."""
        write_json(folder / ROW_FILE, asdict(self))

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> StudyRow:
        """Read the plain form, that of version 0.1 too."""
        limits = values["f1_ci95"]
        settings = rename_settings(values["settings"])
        row = cls(**{**values, "settings": settings, "f1_ci95": tuple(limits) if limits else None})
        float(settings["trainable_fraction"]), float(settings["learning_rate"])
        return check_fields(row)


def load_row(folder: Path) -> StudyRow | None:
    """Return the row of a run that has ended, or None.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / ROW_FILE
    if not file.exists():
        return None
    hint = "Delete it to have the run's metrics read anew."
    with reading(f"Cannot read {str(file)!r}", "it must be whole", hint):
        return StudyRow.from_json_dict(read_json(file))


def make_row(run: PlannedRun, folder: Path, seconds: float, is_dry_run: bool = False) -> StudyRow:
    """Return the row of a finished run, from the metrics of its exported file.

    Raises:
        InputError: the folder does not hold a finished run.
    """
    with reading(f"Cannot read the run {str(folder)!r}", f"a {BUNDLE_FILE} of ours is needed"):
        metadata = read_json(folder / BUNDLE_FILE)
        epochs = int(metadata["training"]["epochs"])
        trainable_layers = int(metadata["trainable_base_layers"])
    last = read_history(folder / HISTORY_FILE)[-1]
    metrics = Evaluation.load(folder).metrics
    stopping = assess(metrics, acceptance=Acceptance.from_metadata(metadata)).stopping
    return StudyRow(
        **_describe(run),
        seconds=seconds,
        train_accuracy=last["train_accuracy"],
        valid_accuracy=last["valid_accuracy"],
        test_accuracy=metrics.accuracy,
        test_missed=metrics.n - metrics.n_correct,
        n_test=metrics.n,
        f1=metrics.macro.f1,
        f1_ci95=metrics.macro.f1_ci95,
        epochs=epochs,
        trainable_layers=trainable_layers,
        f1_by_class={name: row.f1 for name, row in metrics.per_class.items()},
        gate="" if is_dry_run else " ".join(reason.text for reason in stopping),
    )


def make_failed_row(run: PlannedRun, reason: str, seconds: float) -> StudyRow:
    """Return the row of a run that could not be finished."""
    return StudyRow(**_describe(run), reason=" ".join(reason.split()) or "no reason given", seconds=seconds)


def _describe(run: PlannedRun) -> dict[str, Any]:
    return {
        "run_name": run.name,
        "variant": run.variant,
        "repeat": run.repeat,
        "fold": run.fold,
        "settings": run.config.to_dict(),
        "dropout_layers": describe_dropout(run.config),
    }


# Source: the Georgia Project's table; F1 with its interval, the reason of a failure and why the quality gate
# failed are added.
COLUMNS = (
    "run name",
    "run time",
    "train acc",
    "valid acc",
    "test acc",
    "acc delta",
    "test missed",
    "epochs",
    "learning rate",
    "dropout layers",
    "trainable layers",
    "F1",
    "F1 95 % low",
    "F1 95 % high",
    "test images",
    "failed",
    "quality gate",
)


def table_rows(rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Return each run as a dict of ``COLUMNS``: fractions as numbers, run time as h:mm:ss, gaps as None."""
    return [_table_row(row) for row in rows]


def format_time(seconds: float) -> str:
    """Return a time as h:mm:ss.

    >>> format_time(9_785.2)
    '2:43:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _table_row(row: StudyRow) -> dict[str, Any]:
    low, high = row.f1_ci95 or (None, None)
    values = (
        row.run_name,
        format_time(row.seconds),
        row.train_accuracy,
        row.valid_accuracy,
        row.test_accuracy,
        row.accuracy_delta,
        row.test_missed,
        row.epochs if row.is_done else None,
        f"{row.settings['learning_rate']:g}",
        row.dropout_layers,
        describe_trainable(row),
        row.f1,
        low,
        high,
        row.n_test if row.is_done else None,
        row.reason,
        row.gate,
    )
    return dict(zip(COLUMNS, values, strict=True))


def describe_trainable(row: StudyRow) -> str:
    """Return the table's text for the backbone layers that are trained, such as ``last 10 % (34)``."""
    fraction = float(row.settings["trainable_fraction"])
    if not fraction:
        return "none"
    return f"last {100 * fraction:g} %" + (f" ({row.trainable_layers})" if row.is_done else "")
