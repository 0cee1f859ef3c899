"""Each concern is found where it is, at its level, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.report import make_robustness

from georgia.evaluate.assessment import (
    Acceptance,
    Assessment,
    Concern,
    Level,
    Orientation,
    assess,
    describe_errors,
)
from georgia.labels import Labels
from georgia.metrics.classification import Metrics, compute_metrics

NAMES = ("CEX", "PG", "salt")


def make_metrics(*counts: tuple[int, int, int], names: tuple[str, ...] = NAMES[:2]) -> Metrics:
    """Return metrics of (correct, misclassified as the next class, rejected) images of each class."""
    truth, predicted = [], []
    for index, (n_correct, n_wrong, n_rejected) in enumerate(counts):
        truth += [index] * (n_correct + n_wrong + n_rejected)
        predicted += [index] * n_correct + [(index + 1) % len(names)] * n_wrong + [-1] * n_rejected
    return compute_metrics(np.array(truth), np.array(predicted), Labels(names))


def concerns(found: Assessment) -> dict[Concern, Level]:
    return {reason.concern: reason.level for reason in found.reasons}


def test_good_evaluation_has_no_concern() -> None:
    found = assess(make_metrics((39, 1, 0), (40, 0, 1)), make_robustness(), Acceptance(0.99, 0.99, 90, 80))
    assert (found.level, found.reasons, found.stopping, found.describe()) == (Level.OK, (), (), "")


def test_everything_rejected_is_bad_and_stops() -> None:
    metrics = make_metrics((0, 0, 503), (0, 0, 503))
    found = assess(metrics)
    assert concerns(found) == {Concern.ALL_REJECTED: Level.BAD}
    assert [reason.concern for reason in found.stopping] == [Concern.ALL_REJECTED]
    assert found.describe() == "bad: The model rejected every image (1,006 of 1,006): it cannot be used."
    text = describe_errors(metrics, "test images")
    assert text.startswith("All 1,006 test images were rejected as unknown: no label was given")
    assert "None" not in text
    assert "at most" not in text


@pytest.mark.parametrize(
    ("n_rejected", "expected"),
    [
        ((1, 1), {}),
        ((30, 30), {Concern.MANY_REJECTED: Level.CAUTION}),
        ((90, 90), {Concern.MANY_REJECTED: Level.BAD}),
        # One limit for all classes rejects a fifth of one class and nothing of another.
        ((20, 0, 0, 0, 0), {Concern.MANY_REJECTED: Level.CAUTION}),
    ],
)
def test_rejected_known_images_are_a_concern(
    n_rejected: tuple[int, ...], expected: dict[Concern, Level]
) -> None:
    rows = [(100 - count, 0, count) for count in n_rejected]
    found = assess(make_metrics(*rows, names=tuple("abcde"[: len(rows)])))
    assert concerns(found) == expected
    assert found.stopping == ()


def test_many_rejected_are_said_beside_stated_rate() -> None:
    metrics = make_metrics((70, 0, 30), (72, 0, 28))
    text = assess(metrics, acceptance=Acceptance(0.99, 0.99, 90, 80)).describe()
    assert "rejected: 29.0 % of 200 (95 % confidence interval 23.2 % to 35.6 %), not 1.0 % as stated." in text
    assert "stated" not in assess(metrics).describe()


@pytest.mark.parametrize(("n", "level"), [(25, Level.BAD), (3, Level.CAUTION)])
def test_class_never_predicted_is_named(n: int, level: Level) -> None:
    found = assess(make_metrics((60, 0, 0), (60, 0, 0), (0, n, 0), names=NAMES))
    assert concerns(found)[Concern.NEVER_PREDICTED] is level
    assert f"The model never predicted salt ({n} images)." in found.describe()


def test_model_worse_than_majority_is_bad() -> None:
    found = assess(make_metrics((20, 60, 0), (18, 2, 0)))
    assert concerns(found) == {Concern.NO_BETTER_THAN_ONE_CLASS: Level.BAD}
    assert "no better than calling every image CEX: 38 of 100 accepted images correct" in found.describe()
    constant = assess(make_metrics((80, 0, 0), (0, 20, 0)))
    assert concerns(constant) == {
        Concern.NEVER_PREDICTED: Level.BAD,
        Concern.NO_BETTER_THAN_ONE_CLASS: Level.BAD,
    }
    assert Concern.NO_BETTER_THAN_ONE_CLASS not in concerns(assess(make_metrics((30, 5, 0), (0, 0, 0))))


def test_few_images_are_named() -> None:
    found = assess(make_metrics((3, 0, 0), (1, 1, 0)))
    assert concerns(found)[Concern.FEW_IMAGES] is Level.CAUTION
    assert "(fewer than 20 of a class): CEX 3, PG 2." in found.describe()
    assert concerns(assess(make_metrics((20, 0, 0), (20, 0, 0)))) == {}


def test_robustness_reaches_the_assessment() -> None:
    tried = make_robustness("one_size")
    assert len(tried.significant) == 1
    found = assess(make_metrics((40, 0, 0), (40, 0, 0)), tried)
    assert concerns(found) == {Concern.NOT_ROBUST: Level.CAUTION}


@pytest.mark.parametrize(
    ("fraction", "n_groups", "level"),
    [(0.99, 900, None), (1.0, 5, None), (0.96, 30, None), (0.97, 900, "caution"), (0.0, 9, "bad")],
)
def test_acceptance_off_its_statement_is_found(fraction: float, n_groups: int, level: str | None) -> None:
    acceptance = Acceptance(fraction, 0.99, 2 * n_groups, n_groups)
    found = assess(make_metrics((40, 0, 0), (40, 0, 0)), acceptance=acceptance)
    assert concerns(found).get(Concern.ACCEPTANCE) == level
    assert bool(found.stopping) is (level == "bad")
    assert Acceptance.from_metadata({"acceptance": acceptance.to_json_dict()}) == acceptance


@pytest.mark.parametrize("metadata", [{}, {"acceptance": None}, {"acceptance": {"fraction": "x"}}])
def test_acceptance_not_measured_is_none(metadata: dict[str, object]) -> None:
    assert Acceptance.from_metadata(metadata) is None


def test_worst_reason_comes_first() -> None:
    found = assess(make_metrics((3, 0, 0), (0, 7, 0)))
    assert [reason.level for reason in found.reasons] == ["bad", "bad", "caution"]
    assert found.to_json_dict()["reasons"][0]["concern"] == "never-predicted"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (
            ((20, 0, 4), (24, 0, 0)),
            "None of 44 accepted images were misclassified; the error rate is at most",
        ),
        (((4, 0, 0), (1, 1, 0)), "1 of 6 images was misclassified; the error rate is at most 59 % with 95 %"),
        (((342, 0, 0), (342, 0, 0)), "the error rate is at most 0.44 % with 95 % confidence."),
        (((9, 0, 1), (9, 0, 0)), "1 of 19 was rejected as unknown."),
    ],
)
def test_errors_are_said_of_accepted_images(counts: tuple[tuple[int, int, int], ...], text: str) -> None:
    assert text in describe_errors(make_metrics(*counts))


def test_class_without_image_is_named() -> None:
    found = assess(make_metrics((40, 0, 0), (40, 0, 0), (0, 0, 0), names=NAMES))
    assert concerns(found) == {Concern.FEW_IMAGES: Level.CAUTION}
    assert found.describe().endswith("(fewer than 20 of a class): salt 0.")


def test_mostly_wrong_model_is_bad() -> None:
    names = tuple(f"c{number:02d}" for number in range(30))
    found = assess(make_metrics(*[(1, 0, 0)] * 3, *[(0, 1, 0)] * 27, names=names))
    assert concerns(found)[Concern.MOSTLY_WRONG] is Level.BAD
    assert "Most predictions are wrong: 27 of 30 accepted images." in found.describe()
    assert len(found.describe()) < 400
    assert "c05" not in found.describe()
    half = assess(make_metrics(*[(12, 13, 0)] * 4, names=names[:4]))
    assert concerns(half) == {Concern.MOSTLY_WRONG: Level.CAUTION}


@pytest.mark.parametrize(
    ("as_is", "exported", "n", "is_said"),
    [
        (0.987, 0.87, 227, True),
        (0.99, 0.985, 5000, False),  # beyond chance, and little
        (0.95, 0.80, 20, False),  # much, and three images
        (0.90, 0.95, 400, False),
        (0.60, 0.50, 900, True),
    ],
)
def test_classes_that_depend_on_orientation_are_said(
    as_is: float, exported: float, n: int, is_said: bool
) -> None:
    measured = Orientation(as_is, exported, n)
    assert Orientation.from_metadata({"orientation": measured.to_json_dict()}) == measured
    found = assess(make_metrics((40, 0, 0), (40, 0, 0)), orientation=measured)
    assert concerns(found) == ({Concern.ORIENTATION: Level.CAUTION} if is_said else {})
    assert ("symmetry=none" in found.describe()) == is_said


def test_orientation_of_an_earlier_version_is_not_known() -> None:
    for metadata in ({}, {"orientation": None}, {"orientation": {"as_is": "x"}}):
        assert Orientation.from_metadata(metadata) is None
