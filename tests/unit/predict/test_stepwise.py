"""Two views decide what is clear; what is near a threshold gets four, then eight; a trial says how near."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from georgia.errors import InputError
from georgia.evaluate.serving import try_views
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import Outputs
from georgia.model.load import load_bundled_model
from georgia.model.views_net import ViewsNet, ViewSums
from georgia.predict.precision import BFLOAT16_TOLERANCE, WINDOW_TOLERANCE, Bands, PrecisionWarning
from georgia.predict.rejudge import open_served_engine
from georgia.predict.stepwise import MAX_VIEWS, N_VIEWS, StepwiseEngine, ViewStep, ViewsTrial, try_steps
from georgia.records import Record
from georgia.synthetic import render_crop
from georgia.uncertainty.conformal import ConformalLimits
from georgia.uncertainty.decision import DecisionThresholds

BUNDLE = load_bundled_model()
THRESHOLDS = DecisionThresholds(Labels(("A", "B")), 1.0)
STEPS = (ViewStep(2, 1.0, -0.2, 0.5, 0.2, 0.1, 0.5), ViewStep(4, 1.0, 0.0, 0.1, 0.05, 0.05, 0.2))
SHOWN = ViewsTrial(400, 2.7, 0, 0.004, 0.1, STEPS)


@pytest.fixture(autouse=True)
def free_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEORGIA_PRECISION", raising=False)


def make_outputs(p: npt.ArrayLike, scores: npt.ArrayLike) -> Outputs:
    first = np.array(p, np.float32)
    return {
        "probabilities": np.stack([first, 1 - first], axis=1),
        "unknown_score": np.array(scores, np.float32),
    }


class NumbersNet:
    """Images are (probability of the first class, unknown score); two views raise the score by 0.2."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []

    def prepare(self, image: Any) -> Any:
        return image

    def start(self, prepared: Sequence[Any]) -> ViewSums:
        return ViewSums(0, [], None)

    def add_views(self, before: ViewSums, prepared: Sequence[Any], numbers: Sequence[int]) -> ViewSums:
        self.counts.append((len(prepared), len(numbers)))
        rows = len(numbers) * np.array(prepared, np.float32).reshape(-1, 2)
        sums = [rows + (before.sums[0] if before.sums else 0)]
        return ViewSums(before.n_views + len(numbers), sums, None)

    def finish(self, gathered: ViewSums) -> Outputs:
        means: npt.NDArray[Any] = gathered.sums[0] / gathered.n_views
        raised = 0.2 if gathered.n_views == 2 else 0.0
        return make_outputs(means[:, 0], means[:, 1] + raised)


def make_engine(
    thresholds: DecisionThresholds = THRESHOLDS, tolerance: float = BFLOAT16_TOLERANCE
) -> tuple[StepwiseEngine, NumbersNet]:
    net = NumbersNet()
    return StepwiseEngine(net, STEPS, thresholds, tolerance), net  # type: ignore[arg-type]


def test_only_what_is_near_gets_more_views() -> None:
    engine, net = make_engine()
    # Clear; near after two views; near after four; no clear class, if rejected; near the score's threshold.
    images: Any = [(0.999, 0.5), (0.97, 0.5), (0.5, 0.5), (0.6, 2.0), (0.999, 0.93)]
    outputs = engine.run(images)
    assert net.counts == [(5, 2), (4, 2), (2, 4)]
    assert (engine.n_images, engine.n_views) == (5, 26)
    np.testing.assert_allclose(outputs["probabilities"][:, 0], [row[0] for row in images], atol=1e-6)
    # What two views raise the score by is taken off.
    np.testing.assert_allclose(outputs["unknown_score"], [row[1] for row in images], atol=1e-6)


def test_batches_keep_their_order_and_empty_ones() -> None:
    engine, _ = make_engine()
    batches: Any = [("a", [(0.999, 0.5)]), ("none", []), ("b", [(0.5, 0.5), (0.001, 0.4)])]
    streamed = list(engine.stream(batches))
    assert [token for token, _ in streamed] == ["a", "none", "b"]
    assert streamed[1][1] == {}
    np.testing.assert_allclose(streamed[2][1]["probabilities"][:, 0], [0.5, 0.001], atol=1e-6)


def test_limit_of_a_set_counts_only_where_sets_are_kept() -> None:
    limits = ConformalLimits({0.05: {"A": 0.9995, "B": 0.9995}}, {"A": 50, "B": 50})
    images: Any = [(0.9993, 0.5)]
    counted = []
    for thresholds in (replace(THRESHOLDS, conformal=limits), THRESHOLDS):
        engine, _ = make_engine(thresholds)
        engine.run(images)
        counted.append(engine.n_views)
    assert counted == [4, 2]


def test_window_stops_sooner_and_keeps_its_label() -> None:
    """0.5 of the odds may move 0.95 by 0.03, and turn 0.6 into another label."""
    counted = []
    for tolerance in (BFLOAT16_TOLERANCE, WINDOW_TOLERANCE):
        engine, net = make_engine(tolerance=tolerance)
        images: Any = [(0.95, 0.5), (0.6, 0.5)]
        engine.run(images)
        counted.append(net.counts)
    assert counted == [[(2, 2), (2, 2), (1, 4)], [(2, 2), (1, 2)]]


@pytest.mark.parametrize("odds", [0.04, 0.5, 1.5, 4.0])
def test_margin_keeps_the_larger_class_whatever_the_tolerance(odds: float) -> None:
    for tolerance in (BFLOAT16_TOLERANCE, WINDOW_TOLERANCE, 1.0):
        margin = Bands(odds).find_margin(tolerance)
        least = np.log((1 + margin) / (1 - margin))
        assert least >= odds - 1e-9


def make_trial_outputs(n: int = 200) -> tuple[list[Outputs], Outputs]:
    rng = np.random.default_rng(4)
    odds, scores = rng.normal(0, 8, n), rng.uniform(0.4, 0.9, n)
    found = []
    for noise, raised in ((0.3, 0.2), (0.1, 0.05), (0.0, 0.0)):
        p = 1 / (1 + np.exp(-(odds + noise * rng.uniform(-1, 1, n))))
        found.append(make_outputs(p, scores + raised + 0.1 * noise * rng.uniform(-1, 1, n)))
    return found, found[-1]


def test_trial_takes_off_what_few_views_raise() -> None:
    found, full = make_trial_outputs()
    trial = try_steps(found, full, THRESHOLDS)
    assert [step.n_views for step in trial.steps] == list(N_VIEWS[:-1])
    assert trial.is_shown
    assert (trial.n, trial.n_changed_kept) == (200, 0)
    assert trial.steps[0].score_offset == pytest.approx(-0.2, abs=0.03)
    # Bands are of what scatters, not of what is raised alike.
    assert trial.steps[0].band_above < 0.1
    assert 2 < trial.n_views < 4
    assert trial.largest_kept <= 0.01
    np.testing.assert_allclose(
        trial.n_views, 2 + 2 * (1 - trial.steps[0].kept) + 4 * (1 - trial.steps[0].kept - trial.steps[1].kept)
    )


def test_trial_of_no_images_shows_nothing() -> None:
    none = make_outputs([], [])
    assert "0 validation images do not show it" in try_steps([none] * 3, none, THRESHOLDS).reason


def test_trial_is_read_as_it_was_written() -> None:
    found, full = make_trial_outputs()
    trial = try_steps(found, full, THRESHOLDS)
    document = json.loads(json.dumps({"precision": {"views": trial.to_json_dict()}}))
    assert ViewsTrial.from_metadata(document) == trial
    assert document["precision"]["views"]["is_shown"] is True


def with_views(**changes: Any) -> Bundle:
    values = {**SHOWN.to_json_dict(), **changes}
    return replace(BUNDLE, metadata={**BUNDLE.metadata, "precision": {"views": values}})


FIRST, SECOND = (vars(step) for step in STEPS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 3}, "3 validation images do not show it; 50 are needed"),
        (
            {"n_changed_kept": 1},
            "on 400 validation images it changed 1 label and probab",
        ),
        (
            {"largest_kept": 0.03},
            ".* it changed 0 labels and probabilities by up to 0.03",
        ),
        ({"n_views": MAX_VIEWS + 1}, "400 validation images needed 6.0 of 8 views"),
        # Without a sound step for every number of views it is another trial.
        ({"steps": [FIRST]}, "it was not tried on this model's validation images"),
        ({"steps": [FIRST, {**SECOND, "n_views": 3}]}, "it was not tried"),
        ({"steps": [{**FIRST, "band_below": float("nan")}, SECOND]}, "it was not tried"),
        ({"steps": [{**FIRST, "band_below": -1.0}, SECOND]}, "it was not tried"),
        ({"steps": "two"}, "it was not tried"),
    ],
)
def test_unshown_views_are_float32_and_said(changes: dict[str, Any], reason: str) -> None:
    with pytest.warns(PrecisionWarning, match=f"^views is not used for .* on all its views is: {reason}"):
        engine = open_served_engine(with_views(**changes), "openvino", 0, "views")
    assert engine.precision == "float32"


def test_views_need_a_net_that_averages_them() -> None:
    single = replace(with_views(), preprocess=replace(BUNDLE.preprocess, symmetry="none"))
    with pytest.warns(PrecisionWarning, match="^views is not used .*: it does not average eight views"):
        assert open_served_engine(single, "openvino", 0, "views").precision == "float32"
    with pytest.raises(InputError, match="Cannot use views: OpenVINO is needed"):
        open_served_engine(with_views(), "onnxruntime", 0, "views")


@pytest.mark.parametrize(("view_s", "precision"), [(0.6, "views"), (0.8, "float32")])
def test_fastest_counts_the_views_that_are_needed(
    view_s: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 2.7 views in the mean, two views have to take less than 74 % of float32's time."""
    times = {"float32": 1.0, "views": view_s}
    monkeypatch.setattr("georgia.predict.rejudge._time_images", lambda engine, _: times[engine.precision])
    assert open_served_engine(with_views(), "openvino", 0, "fastest").precision == precision


@pytest.mark.slow
def test_views_give_labels_of_float32() -> None:
    engine = open_served_engine(BUNDLE, "openvino", 0, "views")
    assert isinstance(engine, StepwiseEngine)
    assert isinstance(engine.net, ViewsNet)
    full = open_served_engine(BUNDLE, "openvino", 0, "float32")
    crops = [render_crop(name, seed).image for seed in range(700, 740) for name in ("CEX", "PG")]
    # Blends with black lie near the threshold of the unknown score.
    crops += [(crop * factor).astype(np.uint8) for crop in crops[:12] for factor in (0.2, 0.4, 0.6)]
    prepared = [engine.prepare(crop) for crop in crops]
    exact, served = full.run(prepared), engine.run(prepared)
    decisions = [BUNDLE.thresholds.decide(outputs) for outputs in (exact, served)]
    assert [(d.label, d.set) for d in decisions[0]] == [(d.label, d.set) for d in decisions[1]]
    stated = BUNDLE.metadata["precision"]["views"]["tolerance"]
    for name, key in (("probabilities", "probability"), ("unknown_score", "unknown_score")):
        assert np.abs(exact[name] - served[name]).max() <= stated[key]
    assert 2 < engine.n_views / engine.n_images < 6


def test_trial_passes_over_files_that_cannot_be_read(tmp_path: Path) -> None:
    records = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        PillowImage.fromarray(render_crop("PG", number).image).save(path)
        records.append(Record(path, "PG", str(number)))
    (tmp_path / "torn.png").write_bytes(b"no image")
    trial = try_views(BUNDLE, [*records, Record(tmp_path / "torn.png", "PG", "torn")])
    assert (trial.n, [step.n_views for step in trial.steps]) == (3, [2, 4])
    assert "3 validation images do not show it" in trial.reason
    assert 2 <= trial.n_views <= 8
