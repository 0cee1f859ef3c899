"""One run as a row of the study's table, read from the run's own folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from georgia.atomic import write_text
from georgia.bundle import BUNDLE_FILE
from georgia.errors import InputError, describe_fault
from georgia.evaluate import Evaluation
from georgia.intervals import Interval
from georgia.report.history import read_history
from georgia.study.plan import PlannedRun, describe_dropout
from georgia.train.history import HISTORY_FILE

ROW_FILE = "row.json"


@dataclass(frozen=True)
class StudyRow:
    """One run's figures, fractions in [0, 1], times in seconds; ``reason`` says why a run failed.

    Accuracies in training and validation are those of the last epoch, ``accuracy_delta`` is validation
    minus training, ``test_missed`` counts test pictures without their right name, as in the source study.
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
        write_text(folder / ROW_FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def load_row(folder: Path) -> StudyRow | None:
    """Return the row of a run that has ended, or None.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / ROW_FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        limits = document.pop("f1_ci95")
        return StudyRow(**document, f1_ci95=tuple(limits) if limits else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        do = "Delete it to have the run's figures taken anew."
        raise InputError(
            describe_fault(f"Cannot read {str(file)!r}", "it must be whole", error, do)
        ) from error


def make_row(run: PlannedRun, folder: Path, seconds: float) -> StudyRow:
    """Return the row of a finished run, from the figures of its exported file.

    Raises:
        InputError: the folder does not hold a finished run.
    """
    about = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    last = read_history(folder / HISTORY_FILE)[-1]
    metrics = Evaluation.load(folder).metrics
    return StudyRow(
        **_describe(run),
        seconds=seconds,
        train_accuracy=last["train_accuracy"],
        valid_accuracy=last["valid_accuracy"],
        test_accuracy=metrics.accuracy,
        test_missed=metrics.n - metrics.n_right,
        n_test=metrics.n,
        f1=metrics.macro.f1,
        f1_ci95=metrics.macro.f1_ci95,
        epochs=int(about["training"]["epochs"]),
        trainable_layers=int(about["trainable_base_layers"]),
        f1_by_class={name: one.f1 for name, one in metrics.per_class.items()},
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
