"""Fixtures of the tests of a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.report import MakeEvaluation

from georgia.evaluate.score import Evaluation, score_predictions
from georgia.labels import UNKNOWN, Labels
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record
from georgia.report import page


@pytest.fixture
def make_evaluation(tmp_path: Path) -> MakeEvaluation:
    """Make images with predictions: ``wrong`` and ``rejected`` are counts, spread over the classes."""

    def make(
        n: int = 24, names: tuple[str, ...] = ("CEX", "PG"), wrong: int = 0, rejected: int = 0, seed: int = 0
    ) -> Evaluation:
        rng, items, records = np.random.default_rng(seed), [], []
        for i in range(n):
            truth = i % len(names)
            path = tmp_path / "images" / f"class {truth}" / f"image ({i}).png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
            named = (truth + 1) % len(names) if i < wrong else truth
            label = UNKNOWN if wrong <= i < wrong + rejected else names[named]
            highest = float(rng.uniform(0.6, 1.0))
            rest = dict.fromkeys(names, (1 - highest) / (len(names) - 1))
            items.append(Prediction(path, label, highest, rest | {names[named]: highest}))
            records.append(Record(path, names[truth], group=f"crystal {i // 2}"))
        return score_predictions(Predictions(Labels(names), tuple(items), (), "fake"), records)

    return make


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out: they take most of a page's time and have tests of their own."""
    monkeypatch.setattr(page, "figure_url", lambda *_: "data:image/png;base64,")
