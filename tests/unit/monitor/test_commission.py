"""Commissioning: frames like the training images pass, others do not, and nothing calm is said over them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.helpers.monitor import make_map

from georgia.errors import InputError
from georgia.monitor.appearance import describe_known, measure_appearance, measure_input
from georgia.monitor.batch_tracker import BatchTracker
from georgia.monitor.commission import Finding, compare_input, known_of, save_commissioning
from georgia.monitor.commissioned import check_override, find_commissioning, record_commissioning
from georgia.monitor.input_charts import FEWEST_FIRST, N_FIRST, InputCharts
from georgia.monitor.records import AuditAction
from georgia.monitor.result import ClassFraction, FrameAnalysis, FrameInput, FrameStatus, State
from georgia.monitor.settings import ChartConfig
from georgia.monitor.store import Store
from georgia.report.commissioning_page import render_commissioning
from georgia.synthetic import render_crop

RIGHT = FrameInput(60, 1, 0.6, 95.0, 0.0, 0.44, 4.3)
WRONG = replace(RIGHT, n_unknown=40, score=1.3)
KNOWN = {
    "threshold": 1.0,
    "validation": {
        "n": 400,
        "score": {"0.01": 0.3, "0.05": 0.4, "0.25": 0.5, "0.5": 0.6, "0.75": 0.7, "0.8": 0.75, "0.95": 0.9},
        "grey": {"0.01": 60.0, "0.99": 130.0},
        "detail": {"0.01": 0.3, "0.99": 0.7},
        "structure": {"0.01": 4.0, "0.99": 4.8},
    },
}


def _analysis(new: FrameInput | None) -> FrameAnalysis:
    classes = (ClassFraction("PG", 0.01, 0.0, 0.05, 1),)
    return FrameAnalysis(FrameStatus.ANALYSED, classes, 60, 59, 1, 0, 30.0, make_map(), input=new)


def _findings(result):
    return {line.name: line.finding for line in result.lines}


def test_frames_like_training_are_ok():
    result = compare_input([RIGHT] * 10, KNOWN)
    assert result.verdict == Finding.OK
    assert result.describe() == "the frames are like the training images"


@pytest.mark.parametrize(
    ("name", "changes", "finding"),
    [
        ("rejected windows", {"n_unknown": 7}, Finding.CAUTION),
        ("rejected windows", {"n_unknown": 12}, Finding.BAD),
        ("unknown score", {"score": 0.8}, Finding.CAUTION),
        ("unknown score", {"score": 0.95}, Finding.BAD),
        ("light", {"grey": 170.0}, Finding.CAUTION),
        ("light", {"grey": 45.0}, Finding.CAUTION),
        ("black and white pixels", {"clipped": 0.2}, Finding.BAD),
        ("focus", {"detail": 0.1}, Finding.CAUTION),
        ("size of structures", {"structure": 5.5}, Finding.CAUTION),
    ],
)
def test_each_measure_has_its_limit(name, changes, finding):
    result = compare_input([replace(RIGHT, **changes)] * 10, KNOWN)
    assert _findings(result)[name] == result.verdict == finding
    assert all(line.remedy for line in result.lines if line.finding == finding)
    assert name in result.describe()


@pytest.mark.parametrize(
    ("n_frames", "n_unknown", "finding"),
    [
        (2, 7, Finding.CAUTION),
        (30, 7, Finding.CAUTION),
        (90, 8, Finding.BAD),
        (30, 5, Finding.OK),
        (900, 5, Finding.OK),
        (900, 6, Finding.OK),
        (900, 7, Finding.BAD),
    ],
)
def test_many_frames_above_limit_are_bad(n_frames, n_unknown, finding):
    result = compare_input([replace(RIGHT, n_unknown=n_unknown)] * n_frames, KNOWN)
    assert _findings(result)["rejected windows"] == finding


def test_light_within_a_fifth_passes():
    for factor in (0.8, 1.2):
        assert compare_input([replace(RIGHT, grey=95 * factor)] * 10, KNOWN).verdict == Finding.OK


def test_old_bundle_says_not_known():
    findings = _findings(compare_input([RIGHT] * 10, {"threshold": 1.0}))
    assert findings["light"] == findings["focus"] == Finding.NOT_KNOWN
    assert compare_input([WRONG] * 10, {"threshold": 1.0}).verdict == Finding.BAD


def test_model_without_score_is_caution():
    assert compare_input([replace(RIGHT, score=None, n_unknown=0)] * 10, {}).verdict == Finding.CAUTION
    assert known_of(SimpleNamespace(name="x")) == {}


def test_few_windows_are_caution():
    assert compare_input([replace(RIGHT, n_full=9, n_unknown=0)], KNOWN).verdict == Finding.CAUTION


def test_appearance_tells_blur_and_size():
    image = render_crop("PG", 3, (160, 160)).image
    import cv2

    blurred, small = cv2.GaussianBlur(image, (0, 0), 3), np.tile(cv2.resize(image, (80, 80)), (2, 2, 1))
    _, _, detail, structure = measure_appearance(image)
    assert measure_appearance(blurred)[2] < 0.5 * detail
    assert measure_appearance(small)[3] > structure + 0.3


@pytest.mark.parametrize("shape", [(1, 1), (9, 9), (2, 500), (500, 1), (10, 10), (19, 400)])
def test_tiny_images_are_measured(shape):
    # One such image among validation images ended a training after its last epoch.
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = measure_appearance(image)
    assert np.isfinite(found).all()
    assert (found[2] == 0) == (min(shape) < 10)


def test_summary_of_known_images_is_ok():
    crops = [render_crop(("CEX", "PG")[i % 2], i, (160, 160)).image for i in range(12)]
    found = describe_known(np.linspace(0.3, 1.0, 12), [measure_appearance(crop) for crop in crops])
    boxes = np.array([[0, 0, 160, 160]], np.int32)
    inputs = [measure_input(crop, boxes, 0, np.array([0.5])) for crop in crops] * 5
    result = compare_input(inputs, json.loads(json.dumps({"validation": found})))
    assert result.verdict == Finding.OK, result.describe()


@pytest.mark.parametrize("by_hand", [{}, {"mean": 0.01, "sigma": 0.01}])
def test_wrong_material_is_never_in_control(by_hand):
    tracker = BatchTracker(ChartConfig(baseline_frames=5, **by_hand))
    tracker.input.known = KNOWN
    steps = [tracker.advance(_analysis(WRONG), "PG") for _ in range(N_FIRST + 10)]
    assert {step.state for step in steps[FEWEST_FIRST - 1 :]} == {State.UNLIKE_TRAINING}
    verdicts = [
        detail for step in steps for action, detail in step.events if action == AuditAction.COMMISSIONED
    ]
    assert [detail["verdict"] for detail in verdicts] == ["bad", "bad"]


def test_right_material_comes_in_control():
    tracker = BatchTracker(ChartConfig(baseline_frames=5))
    tracker.input.known = KNOWN
    steps = [tracker.advance(_analysis(RIGHT), "PG") for _ in range(N_FIRST + 5)]
    assert steps[-1].state == State.IN_CONTROL
    assert steps[-1].point.rejected < steps[-1].point.rejected_limit
    assert abs(steps[-1].point.light_drift) < 1


def test_override_holds_over_a_restart():
    tracker = BatchTracker(ChartConfig(baseline_frames=5))
    tracker.input.known = KNOWN
    for _ in range(40):
        tracker.advance(_analysis(WRONG), "PG")
    tracker.input.give("bad", "Ann")
    again = BatchTracker.from_json(tracker.to_json(), tracker.config)
    again.input.known = KNOWN
    assert again.advance(_analysis(WRONG), "PG").state == State.IN_CONTROL


def test_unknown_material_is_said_before_one_half():
    charts = InputCharts(KNOWN)
    for _ in range(N_FIRST):
        charts.advance(RIGHT)
    n = 0
    while charts.name_state(State.IN_CONTROL) == State.IN_CONTROL:
        charts.advance(replace(RIGHT, n_unknown=18))  # 30 %
        n += 1
    assert charts.name_state(State.IN_CONTROL) == State.UNKNOWN_MATERIAL
    assert n <= 6
    assert charts.name_state(State.ALARM) == State.ALARM
    assert "rejected" in charts.describe()


@pytest.mark.parametrize("changes", [{"grey": 95 * 1.35}, {"grey": 60.0}, {"detail": 0.2}])
def test_drift_of_the_input_is_said(changes):
    charts = InputCharts(KNOWN)
    for _ in range(N_FIRST):
        charts.advance(RIGHT)
    for _ in range(20):
        charts.advance(replace(RIGHT, **changes))
    assert charts.name_state(State.IN_CONTROL) == State.INPUT_DRIFT
    assert "of its limit" in charts.describe()


def test_verdict_is_recorded_and_found(tmp_path):
    store = Store(str(tmp_path / "a.db"))
    assert find_commissioning(store, "probe", "m") is None
    record_commissioning(store, "Ann", "probe", "m", compare_input([WRONG] * 5, KNOWN))
    assert find_commissioning(store, "probe", "m") == ("bad", "")
    assert find_commissioning(store, "probe", "other") is None
    entry = {"source": "probe", "model_sha256": "m", "verdict": "bad", "reason": "known"}
    store.append_event("Ben", AuditAction.COMMISSIONING_OVERRIDDEN, entry)
    assert find_commissioning(store, "probe", "m") == ("bad", "Ben")
    store.close()


def test_override_needs_name_and_reason():
    with pytest.raises(InputError, match="the name of a person"):
        check_override(" ", "why")
    with pytest.raises(InputError, match="a reason"):
        check_override("Ann", "")


def test_page_and_json_hold_every_line(tmp_path):
    result = compare_input([WRONG] * 5, KNOWN)
    head = {"source": "probe <b>", "model": "m"}
    page = render_commissioning(result, head)
    assert "probe &lt;b&gt;" in page
    saved = json.loads(save_commissioning(result, tmp_path, head).read_text(encoding="utf-8"))
    assert saved["verdict"] == "bad"
    assert [line["name"] for line in saved["lines"]] == [line.name for line in result.lines]
    assert all(
        line.name.capitalize() in page and line.measured.split(" ")[0] in page for line in result.lines
    )
