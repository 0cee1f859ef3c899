"""Other class frequencies: Bayes' rule for stated ones, EM for estimated ones, and faults in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from georgia.errors import InputError
from georgia.labels import UNKNOWN, Labels
from georgia.predict.prediction import Prediction
from georgia.predict.prior import correct_outcome
from georgia.records import Failure
from georgia.uncertainty.prior import (
    Prior,
    estimate_frequencies,
    estimate_prior,
    find_fitted_frequencies,
    read_prior,
    weigh_classes,
)

LABELS = Labels(("CEX", "PG"))
EQUAL = np.array([0.5, 0.5])


def make_batch(
    fraction: float, n: int, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return exact probabilities of a net fitted with equal frequencies, and which images are PG."""
    rng = np.random.default_rng(seed)
    is_pg = rng.random(n) < fraction
    logit = 2 * (rng.normal(np.where(is_pg, 1.0, -1.0), 1.0))
    p = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - p, p]), is_pg


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3, 0.8])
def test_estimate_finds_the_true_fraction(fraction: float) -> None:
    table, is_pg = make_batch(fraction, 4000)
    found = estimate_prior(table, LABELS, EQUAL)
    assert found.frequencies[1] == pytest.approx(is_pg.mean(), abs=0.03)
    assert sum(found.frequencies) == pytest.approx(1)
    assert found.ci95 is not None
    low, high = found.ci95[1]
    assert low - 1e-6 <= found.frequencies[1] <= high + 1e-6


def test_correction_with_the_truth_is_calibrated() -> None:
    table, is_pg = make_batch(0.1, 20_000)
    corrected = Prior(LABELS, (0.9, 0.1), (0.5, 0.5)).correct(table)
    assert table[:, 1].mean() > 0.17
    assert corrected[:, 1].mean() == pytest.approx(is_pg.mean(), abs=0.005)
    near = np.abs(corrected[:, 1] - 0.5) < 0.1
    assert is_pg[near].mean() == pytest.approx(corrected[near, 1].mean(), abs=0.06)
    wrong, wrong_raw = ((each[:, 1] > 0.5) != is_pg for each in (corrected, table))
    assert wrong.mean() < wrong_raw.mean()


def test_fitted_frequencies_change_nothing() -> None:
    table, _ = make_batch(0.4, 50)
    assert Prior(LABELS, (0.5, 0.5), (0.5, 0.5)).correct(table) == pytest.approx(table)


def test_estimate_of_the_fitted_batch_is_what_it_was() -> None:
    fitted = np.array([0.7, 0.3])
    table, is_pg = make_batch(0.3, 20_000)
    found = estimate_frequencies(weigh_classes(table, fitted / 0.5), fitted)
    assert found[1] == pytest.approx(is_pg.mean(), abs=0.02)


def test_impossible_class_keeps_what_the_net_said() -> None:
    certain = Prior(LABELS, (1.0, 0.0), (0.5, 0.5)).correct(np.array([[0.0, 1.0], [0.4, 0.6]]))
    assert certain.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_stated_prior_is_read() -> None:
    found = read_prior("PG=0.1, CEX=0.9", LABELS, EQUAL)
    assert found.frequencies == pytest.approx((0.9, 0.1))
    assert found.to_json_dict()["kind"] == "stated"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CEX",
        "CEX=0.9",
        "CEX=0.9,PG=0.3",
        "CEX=0.9,XX=0.1",
        "CEX=1.1,PG=-0.1",
        "CEX=.5,CEX=.5",
        "CEX=nan,PG=1",
    ],
)
def test_wrong_prior_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"Cannot use --prior: CEX=…,PG=… with frequencies"):
        read_prior(text, LABELS, EQUAL)


def test_fitted_frequencies_by_recipe_and_counts() -> None:
    counts = {"data": {"counts": {"train": {"CEX": 30, "PG": 10}}}}
    assert find_fitted_frequencies(LABELS, {"recipe": {"class_weights": True}, **counts}).tolist() == [
        0.5,
        0.5,
    ]
    assert find_fitted_frequencies(LABELS, {"recipe": {}, **counts}).tolist() == [0.75, 0.25]
    with pytest.raises(InputError, match="which class frequencies it was fitted"):
        find_fitted_frequencies(LABELS, {})


def test_rejected_image_and_set_stay() -> None:
    prior = Prior(LABELS, (0.95, 0.05), (0.5, 0.5))
    row = {"CEX": 0.4, "PG": 0.6}
    accepted = correct_outcome(Prediction(Path("a.png"), "PG", 0.6, row, 0.2, ("CEX", "PG")), prior)
    assert isinstance(accepted, Prediction)
    assert (accepted.label, accepted.set) == ("CEX", ("CEX", "PG"))
    assert accepted.probability == pytest.approx(0.4 * 0.95 / (0.4 * 0.95 + 0.6 * 0.05))
    rejected = correct_outcome(Prediction(Path("a.png"), UNKNOWN, 0.0, row, 3.0), prior)
    assert isinstance(rejected, Prediction)
    assert (rejected.label, rejected.probability) == (UNKNOWN, 0.0)
    failure = Failure(Path("b.png"), "no image")
    assert correct_outcome(failure, prior) is failure


def test_no_image_makes_no_estimate() -> None:
    with pytest.raises(InputError, match="Cannot estimate class frequencies: an image is needed; got 0"):
        estimate_frequencies(np.empty((0, 2)), EQUAL)
