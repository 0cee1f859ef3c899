"""The figures of a run: each is made for every result, and returns what it plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.report import MakeEvaluation, make_calibration, make_learning, make_robustness
from tests.helpers.subsample import every
from tests.helpers.training import make_rows

from georgia.labels import UNKNOWN
from georgia.report.canvas import figure_png, make_figure
from georgia.report.figures import (
    FIGURES,
    draw_confusion_matrix,
    draw_f1_intervals,
    draw_metrics_plot,
    draw_probability_histogram,
    draw_reliability,
    draw_robustness,
    save_figure,
)
from georgia.report.history import TrainingHistory


@pytest.mark.parametrize("info", FIGURES, ids=lambda info: info.name)
@pytest.mark.parametrize(
    "case", every(3, ["twelve", "two", "perfect", "all rejected", "odd names", "rejected"])
)
def test_figure_is_made_for_every_result(
    info: object, case: str, make_evaluation: MakeEvaluation, tmp_path: Path
) -> None:
    evaluation = {
        "two": lambda: make_evaluation(24, wrong=3),
        "perfect": lambda: make_evaluation(24),
        "rejected": lambda: make_evaluation(24, wrong=2, rejected=3),
        "twelve": lambda: make_evaluation(36, tuple(f"class number {i}" for i in range(12)), wrong=5),
        "odd names": lambda: make_evaluation(6, ("$x_1$", "a long name of a class <b>", "né µ 结晶"), 1),
        "all rejected": lambda: make_evaluation(6, rejected=6),
    }[case]()
    history = TrainingHistory(make_rows(1 if case == "two" else 5))
    results = {"history": history, "evaluation": evaluation, "robustness": make_robustness()}
    results |= {"calibration": make_calibration(), "learning": make_learning()}
    save_figure(info.draw, results[info.needs], tmp_path / "f.png", "$Study$")
    with Image.open(tmp_path / "f.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.convert("L").getextrema()[0] < 120


def test_figures_have_different_names() -> None:
    assert len({info.name for info in FIGURES}) == len(FIGURES)
    assert "reliability" in {info.name for info in FIGURES}


def test_confusion_figure_returns_counts(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24, wrong=2, rejected=3)
    plotted: dict = {}
    make_figure(lambda result, axes: plotted.update(draw_confusion_matrix(result, axes)), evaluation)
    assert plotted["columns"] == ["CEX", "PG", UNKNOWN]
    assert np.sum(plotted["counts"]) == 24
    assert np.sum(plotted["row_fractions"], axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("names", "is_slanted"),
    [(("CEX", "PG"), False), (("argillaceous_limestone", "dolomitic_limestone"), True)],
)
def test_confusion_class_names_do_not_overlap(
    names: tuple[str, ...], is_slanted: bool, make_evaluation: MakeEvaluation
) -> None:
    figure = make_figure(draw_confusion_matrix, make_evaluation(24, names))
    figure.draw_without_rendering()
    labels = figure.axes[0].get_xticklabels()
    assert {label.get_rotation() > 0 for label in labels} == {is_slanted}
    boxes = [label.get_window_extent() for label in labels]
    assert is_slanted or boxes[0].x1 < boxes[1].x0


def test_curve_of_one_epoch_is_visible() -> None:
    figure = make_figure(draw_metrics_plot, TrainingHistory(make_rows(1)))
    assert len(figure.axes) == 2
    for axes in figure.axes:
        points = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
        assert len(points) == 2
        assert axes.get_xlim() == (0.5, 1.5)


def test_kept_epoch_is_marked() -> None:
    history = TrainingHistory(make_rows(5), kept_epoch=3, stop_reason="patience")
    figure = make_figure(draw_metrics_plot, history)
    assert figure.axes[0].get_title(loc="right") == "weights kept: epoch 3 (patience)"
    assert TrainingHistory(make_rows(5)).marked_epoch == 5


def test_figures_count_every_prediction_once(make_evaluation: MakeEvaluation) -> None:
    evaluation, plotted = make_evaluation(40, ("a", "b", "c"), wrong=6, rejected=4), {}
    for draw in (draw_probability_histogram, draw_reliability, draw_f1_intervals):
        make_figure(lambda result, axes, draw=draw: plotted.update({draw: draw(result, axes)}), evaluation)
    assert sum(plotted[draw_probability_histogram]["correct"]) == 30
    assert sum(plotted[draw_probability_histogram]["wrong"]) == 6
    assert sum(plotted[draw_reliability]["n"]) == 36
    assert list(plotted[draw_f1_intervals]) == ["a", "b", "c", "macro average"]


def test_robustness_figure_returns_differences(make_evaluation: MakeEvaluation) -> None:
    from matplotlib.figure import Figure

    plotted = draw_robustness(make_robustness("blur"), Figure().add_subplot())
    assert len(plotted) == 17
    assert (plotted["blur"]["difference"], plotted["noise"]["difference"]) == (-0.5, 0.0)


def test_figures_touch_no_global_state(make_evaluation: MakeEvaluation) -> None:
    import sys

    import matplotlib

    before = dict(matplotlib.rcParams)
    evaluation = make_evaluation(24, wrong=2)
    first = figure_png(draw_confusion_matrix, evaluation)
    assert figure_png(draw_confusion_matrix, evaluation) == first
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
