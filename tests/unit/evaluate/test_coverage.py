"""Coverage of prediction sets: counted, and below what is stated only where chance does not explain it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from georgia.evaluate.assessment import Concern, Level, assess
from georgia.evaluate.coverage import Coverage, Proportion, measure_coverage, measure_stated
from georgia.evaluate.score import Evaluation, score_predictions
from georgia.labels import Labels
from georgia.metrics.classification import compute_metrics
from georgia.metrics.intervals import exact_interval, wilson_interval
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record
from georgia.uncertainty.conformal import ConformalLimits

METRICS = compute_metrics(np.array([0, 1] * 40), np.array([0, 1] * 40), Labels(("CEX", "PG")))


def make_coverage(*counts: tuple[int, int], n_groups: int = 85, rate: float = 0.05) -> Coverage:
    """Return the coverage of classes of (holding, all) images, by limits of so many groups a class."""
    rows = [
        Proportion(f"c{at}", count, n, wilson_interval(count / n, n), n)
        for at, (count, n) in enumerate(counts)
    ]
    count, n = (sum(column) for column in zip(*counts, strict=True))
    whole = Proportion("all classes", count, n, wilson_interval(count / n, n), n)
    return Coverage(rate, whole, tuple(rows), 1.0, n, 0, {row.name: n_groups for row in rows})


@pytest.mark.parametrize(
    ("counts", "n_groups", "level", "cause"),
    [
        ([(70, 75), (69, 75)], 85, None, ""),  # 93 % of 150 is no evidence
        ([(845, 897)], 850, None, ""),  # nor are 94.2 % of 897
        ([(78, 90)] * 9 + [(74, 87)], 85, Level.BAD, "unlike"),  # 86.5 % of 897 are
        ([(460, 500), (462, 500)], 300, Level.CAUTION, "unlike"),  # 92.2 %, less than twice as many missed
        ([(935, 1000), (938, 1000)], 50, None, ""),  # so do limits of few groups by chance, often
        ([(915, 1000), (918, 1000)], 50, Level.CAUTION, "can explain"),  # more seldom, and it matters
        ([(90, 90)] * 9 + [(70, 90)], 85, Level.CAUTION, "of c9"),  # one class, beneath a good whole
        ([(90, 90)] * 9 + [(82, 90)], 85, None, ""),
        ([(900, 900)], 5, None, ""),  # every class is in every set
    ],
)
def test_sets_below_promise_are_a_concern(
    counts: list[tuple[int, int]], n_groups: int, level: Level | None, cause: str
) -> None:
    found = assess(METRICS, sets=make_coverage(*counts, n_groups=n_groups))
    assert {reason.concern: reason.level for reason in found.reasons} == (
        {Concern.SETS: level} if level else {}
    )
    assert cause in found.describe()
    assert found.stopping == ()


def test_concern_names_its_numbers() -> None:
    (reason,) = assess(METRICS, sets=make_coverage((776, 897), n_groups=850)).reasons
    assert reason.text.startswith(
        "The prediction sets hold the true class of 86.5 % of 897 accepted images (exact confidence interval "
        "84.1 % to 88.7 %), not of 95 % as stated"
    )


@pytest.mark.parametrize(("n_classes", "n_groups", "n"), [(2, 50, 500), (2, 200, 2000), (10, 85, 90)])
def test_sound_sets_are_seldom_a_concern(n_classes: int, n_groups: int, n: int) -> None:
    """Where images are exchangeable with those of the fit, their misses are beta-binomial."""
    rng = np.random.default_rng(0)
    below, concerns, binomial = int(0.05 * (n_groups + 1)), 0, 0
    for _ in range(100):
        missed = rng.binomial(n, rng.beta(below, n_groups + 1 - below, n_classes))
        coverage = make_coverage(*((n - int(count), n) for count in missed), n_groups=n_groups)
        concerns += bool(assess(METRICS, sets=coverage).reasons)
        binomial += exact_interval(coverage.overall.value, coverage.overall.n)[1] < 0.95
    assert concerns <= 12
    assert n_groups != 200 or binomial > 15  # which alone would not do


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (139, 150), (776, 897)])
def test_exact_interval_is_that_of_scipy(count: int, n: int) -> None:
    for confidence in (0.95, 0.995):
        expected = binomtest(count, n).proportion_ci(confidence, "exact")
        np.testing.assert_allclose(exact_interval(count / n, n, confidence), expected, atol=1e-12)
    assert exact_interval(0.5, 0) == (0.0, 1.0)


@dataclass(frozen=True)
class Images:
    """Images of two classes with random probabilities, some of them rejected."""

    evaluation: Evaluation
    second: np.ndarray
    truth: np.ndarray
    is_accepted: np.ndarray


def make_images(n: int = 60) -> Images:
    rng = np.random.default_rng(4)
    second, truth, is_accepted = rng.uniform(0, 1, n), rng.integers(0, 2, n), rng.uniform(0, 1, n) > 0.2
    labels, items, records = Labels(("CEX", "PG")), [], []
    for at, (value, true, accepted) in enumerate(zip(second, truth, is_accepted, strict=True)):
        name = labels.names[int(value >= 0.5)] if accepted else "unknown"
        path = Path(f"{at:02d}.png")
        items.append(Prediction(path, name, max(value, 1 - value), {"CEX": 1 - value, "PG": value}))
        records.append(Record(path, labels.names[true]))
    predictions = Predictions(labels, tuple(items), (), "onnxruntime", 0.0)
    return Images(score_predictions(predictions, records), second, truth, is_accepted)


def test_coverage_equals_plain_counts() -> None:
    images = make_images()
    limits = ConformalLimits(
        {0.05: {"CEX": 0.3, "PG": 0.6}, 0.1: {"CEX": 0.5, "PG": 0.7}}, {"CEX": 40, "PG": 50}
    )
    is_in = np.stack([1 - images.second >= 0.3, images.second >= 0.6], axis=1)[images.is_accepted]
    holds = is_in[np.arange(len(is_in)), images.truth[images.is_accepted]]
    five, _ = measure_coverage(images.evaluation, limits)
    sizes = is_in.sum(axis=1)
    assert (five.overall.count, five.overall.n) == (holds.sum(), len(holds))
    assert (five.mean_size, five.n_single, five.n_empty) == (
        sizes.mean(),
        (sizes == 1).sum(),
        (sizes == 0).sum(),
    )
    stated = measure_stated(images.evaluation, {"conformal": limits.to_dict()})
    assert stated is not None
    assert stated.error_rate == 0.05
    document = json.loads(json.dumps(stated.to_json_dict()))
    assert (document["n"], document["n_holding"], document["n_empty"]) == (
        len(holds),
        holds.sum(),
        five.n_empty,
    )
    assert document["n_groups_fitted"] == {"CEX": 40, "PG": 50}
    assert "stated to hold the true class of 95 % of images" in stated.describe()


def test_class_in_every_set_is_said() -> None:
    text = make_coverage((90, 90), (80, 80), n_groups=18).describe()
    assert text.endswith("In every set are 2 of 2 classes: the fit had fewer than 19 groups of each.")
    assert "In every set" not in make_coverage((90, 90), n_groups=19).describe()


def test_empty_sets_are_counted() -> None:
    found = make_coverage((90, 90), (80, 80))
    assert "hold none" not in found.describe()
    text = replace(found, n_empty=8).describe()
    assert text.endswith("classes. 8 of them hold none: no class is as likely as it must be.")


@pytest.mark.parametrize("metadata", [{}, {"conformal": None}, {"conformal": {"limits": []}}])
def test_model_without_limits_has_no_coverage(metadata: dict[str, object]) -> None:
    assert measure_stated(make_images().evaluation, metadata) is None
