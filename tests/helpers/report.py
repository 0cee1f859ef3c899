"""What a report shows, made up: evaluations, calibrations, robustness, a run; and a reader of pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from tests.helpers.training import make_training_run

from georgia.evaluate.compare import Difference
from georgia.evaluate.perturbations import Perturbation, list_perturbations
from georgia.evaluate.robustness import Robustness, RobustnessRow
from georgia.evaluate.score import Evaluation
from georgia.metrics.classification import Metrics
from georgia.records import Failure
from georgia.report.learning import CurvePlace, Learning, Namer
from georgia.report.page import ReportInputs
from georgia.uncertainty.calibration import Calibration, fit_temperature

MakeEvaluation = Callable[..., Evaluation]


COUNTS = {
    "train": {"CEX": 4802, "PG": 4762},
    "valid": {"CEX": 0, "PG": 0},
    "test": {"CEX": 343, "PG": 341},
}


def make_calibration() -> Calibration:
    """Return a calibration of 80 random predictions."""
    logits = np.random.default_rng(0).normal(0, 4, (80, 2))
    return fit_temperature(logits, np.arange(80) % 2)


def make_robustness(*significant: str) -> Robustness:
    """Return a table in which the named perturbations cost half of the accuracy."""

    def row(change: Perturbation) -> RobustnessRow:
        drop = -0.5 if change.name in significant else 0.0
        metric = Difference(0.95 + drop, 0.95, drop, (drop - 0.04, drop + 0.03), 0.5)
        return RobustnessRow(change.name, change.title, metric, metric, 0, bool(drop))

    return Robustness(100, 90, 0.95, 0.95, tuple(map(row, list_perturbations((80, 90)))))


def make_small_robustness(n: int, accuracy: float = 1.0) -> Robustness:
    """Return a table in which each perturbation costs every correct prediction of ``n`` images."""
    fall = Difference(0.0, accuracy, -accuracy, (-accuracy, 0.001), 0.06)
    rows = [
        RobustnessRow(change.name, change.title, fall, fall, 0, False)
        for change in list_perturbations((8, 9))
    ]
    return Robustness(n, n, accuracy, accuracy, tuple(rows))


def make_learning(even: Metrics | None = None) -> Learning:
    """Return labels of two persons, with a learning curve and a forecast."""
    curve = [CurvePlace(n, 0.8 + n / 1000, (0.7, 0.95)) for n in (20, 50, 100)]
    return Learning(
        even,
        3,
        1,
        (
            Namer("Ada <b>", "2026-11-20 08:00", "2026-11-20 09:00", {"CEX": 14}),
            Namer("Ben", "2026-11-21 08:00", "2026-11-21 09:00", {"PG": 10}),
        ),
        {"even": 16, "uncertain": 8},
        2,
        0,
        (*curve, CurvePlace(200, 0.95, (0.9, 0.98), is_forecast=True)),
        "With 200 labels instead of 100, macro F1 would go up.",
    )


METADATA = {
    "calibration": make_calibration().to_dict(),
    "unknown": {"threshold": 1.0},
    "conformal": {
        "error_rate": 0.05,
        "limits": {"0.05": {"CEX": 0.0, "PG": 0.0}, "0.1": {"CEX": 0.5, "PG": 0.5}},
        "n_groups": {"CEX": 9, "PG": 9},
    },
}


def make_inputs(evaluation: Evaluation, folder: Path) -> ReportInputs:
    """Return the inputs of a training run's page."""
    return ReportInputs(
        title="Georgia",
        evaluation=evaluation,
        model="fast (efficientnet-lite0)",
        data="cropped",
        training=make_training_run({"epochs": 5, "dropout": (0.4, 0.3), "rehearse": False}, counts=COUNTS),
        metadata={"preprocess": {"size_px": 224}, "versions": {"keras": "3.15"}, "data_fingerprint": "57ab"},
        failures=(Failure(Path("CEX/broken.png"), "the file is truncated"),),
        folder=folder,
    )


class TagCheck(HTMLParser):
    """Every tag is closed, and nothing is fetched from elsewhere."""

    EMPTY = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def read_page(html: str) -> TagCheck:
    """Return a page's links and its text, once its tags are found closed."""
    shown = TagCheck()
    shown.feed(html)
    shown.close()
    assert shown.open == []
    shown.text = re.sub(r"\s+", " ", shown.text)
    return shown
