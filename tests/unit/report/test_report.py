"""Tables, figures, contact sheets and the page: what they must tell, and what they must not break on."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.audit.result import AUDIT_CSV, AUDIT_JSON
from georgia.errors import InputError
from georgia.evaluate.compare import Comparison, Difference, compare_predictions
from georgia.evaluate.perturbations import Perturbation, list_perturbations
from georgia.evaluate.robustness import LEVEL, Robustness, RobustnessRow
from georgia.evaluate.score import EVALUATION_FILE, Evaluation, score_predictions
from georgia.explain import Explanation, Explanations
from georgia.labels import UNKNOWN, Labels
from georgia.model.load import load_bundled_model
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Failure, Record
from georgia.report import SheetConfig, draw_contact_sheet, page
from georgia.report.audit_page import AUDIT_PAGE
from georgia.report.canvas import figure_png, make_figure
from georgia.report.card import render_card
from georgia.report.contact_sheet import SheetTile, draw_page
from georgia.report.figures import (
    FIGURES,
    draw_confusion_matrix,
    draw_f1_intervals,
    draw_metrics_plot,
    draw_probability_histogram,
    draw_reliability,
    draw_robustness,
    find_figure,
    save_figure,
)
from georgia.report.files import RUN_FILES, link_files
from georgia.report.gallery import spread
from georgia.report.history import TrainingHistory, read_history
from georgia.report.page import ReportInputs, ReportLimits, render_report, save_report
from georgia.report.settings import describe_model, describe_proof, flatten
from georgia.report.tables import epoch_lines, format_number, format_percent, format_results
from georgia.report.trust import measure_trust
from georgia.report.verdict import describe_robustness
from georgia.split.make import MANIFEST_JSON
from georgia.uncertainty.calibration import Calibration, fit_temperature

MakeEvaluation = Callable[..., Evaluation]


def make_rows(n: int) -> tuple[dict[str, float], ...]:
    keys = ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy")
    return tuple({"epoch": float(e), **dict.fromkeys(keys, 0.5 + e / (2 * n + 2))} for e in range(1, n + 1))


@pytest.fixture
def make_evaluation(tmp_path: Path) -> MakeEvaluation:
    """Draw images and answers: ``wrong`` and ``refused`` are counts, spread over the classes."""

    def make(
        n: int = 24, names: tuple[str, ...] = ("CEX", "PG"), wrong: int = 0, refused: int = 0, seed: int = 0
    ) -> Evaluation:
        rng, items, records = np.random.default_rng(seed), [], []
        for i in range(n):
            truth = i % len(names)
            path = tmp_path / "pictures" / f"class {truth}" / f"image ({i}).png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
            named = (truth + 1) % len(names) if i < wrong else truth
            label = UNKNOWN if wrong <= i < wrong + refused else names[named]
            sure = float(rng.uniform(0.6, 1.0))
            shares = dict.fromkeys(names, (1 - sure) / (len(names) - 1)) | {names[named]: sure}
            items.append(Prediction(path, label, sure, shares))
            records.append(Record(path, names[truth], group=f"crystal {i // 2}"))
        return score_predictions(Predictions(Labels(names), tuple(items), (), "fake"), records)

    return make


def make_calibration() -> Calibration:
    logits = np.random.default_rng(0).normal(0, 4, (80, 2))
    return fit_temperature(logits, np.arange(80) % 2)


def make_robustness(*marked: str) -> Robustness:
    """Return a table in which the named changes cost half of the accuracy."""

    def row(change: Perturbation) -> RobustnessRow:
        drop = -0.5 if change.name in marked else 0.0
        figure = Difference(0.95 + drop, 0.95, drop, (drop - 0.04, drop + 0.03), 0.5)
        return RobustnessRow(change.name, change.title, figure, figure, 0, bool(drop))

    return Robustness(100, 90, 0.95, 0.95, tuple(map(row, list_perturbations((80, 90)))))


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
    shown = TagCheck()
    shown.feed(html)
    shown.close()
    assert shown.open == []
    shown.text = re.sub(r"\s+", " ", shown.text)
    return shown


# Tables


def test_results_hold_names_in_label_order_and_four_decimals(make_evaluation: MakeEvaluation) -> None:
    text = format_results(make_evaluation(24, ("PG", "CEX"), wrong=2))
    assert text.index("PG") < text.index("CEX")
    rows = dict(re.findall(r"^ *([A-Za-z ]+?) +0\.\d{4} +0\.\d{4} +0\.\d{4} +(\d+)$", text, re.MULTILINE))
    assert rows == {"PG": "12", "CEX": "12", "macro avg": "24", "weighted avg": "24"}
    assert re.search(r"accuracy +0\.9167 +24", text)
    assert "Wrong names: 2 of 24" in text
    assert text.count(", was named ") == 2


def test_results_agree_with_scikit_learn_in_numbers_and_order(make_evaluation: MakeEvaluation) -> None:
    from sklearn.metrics import classification_report

    evaluation = make_evaluation(60, ("b", "a", "c"), wrong=13)
    answers = [item.label for item in evaluation.predictions.items]
    expected = classification_report(evaluation.truth, answers, labels=["b", "a", "c"], digits=4)
    ours = format_results(evaluation).split("\n\n95 % intervals")[0].split("\n", 3)[3]
    assert ours.split() == expected.split()


def test_rounding_never_hides_the_last_error() -> None:
    assert format_percent(1 - 1e-9) == ">99.99 %"
    assert format_percent(1e-9) == "<0.01 %"
    assert format_percent(0.0) == "0 %"


def test_perfect_results_still_say_what_is_possible(make_evaluation: MakeEvaluation) -> None:
    text = format_results(make_evaluation(24))
    assert re.search(r"Wrong names: 0 of 24; up to 22\.09 % is possible \(one-sided, 95 %\)", text)
    assert "Misclassified" not in text


def test_epoch_lines_are_the_study_s(make_evaluation: MakeEvaluation) -> None:
    lines = epoch_lines(make_evaluation(24, wrong=1).metrics, 3)
    assert lines[0] == "Epoch 3 - Class-Wise Metrics:"
    assert [line.split(" - ")[0].strip() for line in lines[1:]] == ["CEX", "PG", "macro avg", "weighted avg"]
    assert lines[1].endswith("- Precision: 1.0000, Recall: 0.9167, F1-Score: 0.9565")


# Figures


@pytest.mark.parametrize("info", FIGURES, ids=lambda info: info.name)
@pytest.mark.parametrize("case", ["two", "perfect", "refused", "twelve", "strange names", "all refused"])
def test_figure_is_drawn_for_every_result(
    info: object, case: str, make_evaluation: MakeEvaluation, tmp_path: Path
) -> None:
    evaluation = {
        "two": lambda: make_evaluation(24, wrong=3),
        "perfect": lambda: make_evaluation(24),
        "refused": lambda: make_evaluation(24, wrong=2, refused=3),
        "twelve": lambda: make_evaluation(36, tuple(f"class number {i}" for i in range(12)), wrong=5),
        "strange names": lambda: make_evaluation(6, ("$x_1$", "a long name of a class <b>", "né µ 结晶"), 1),
        "all refused": lambda: make_evaluation(6, refused=6),
    }[case]()
    history = TrainingHistory(make_rows(1 if case == "two" else 5))
    results = {"history": history, "evaluation": evaluation, "robustness": make_robustness()}
    results["calibration"] = make_calibration()
    save_figure(info.draw, results[info.needs], tmp_path / "f.png", "$Study$")
    with Image.open(tmp_path / "f.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.convert("L").getextrema()[0] < 120


def test_draw_functions_are_named_after_their_figures() -> None:
    assert [info.draw.__name__ for info in FIGURES] == [f"draw_{info.name}" for info in FIGURES]
    assert len({info.name for info in FIGURES}) == len(FIGURES)
    assert find_figure(draw_reliability).name == "reliability"


def test_confusion_figure_returns_the_counts(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24, wrong=2, refused=3)
    drawn: dict = {}
    make_figure(lambda result, axes: drawn.update(draw_confusion_matrix(result, axes)), evaluation)
    assert drawn["columns"] == ["CEX", "PG", UNKNOWN]
    assert np.sum(drawn["counts"]) == 24
    assert np.sum(drawn["row_shares"], axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("names", "is_slanted"),
    [(("CEX", "PG"), False), (("argillaceous_limestone", "dolomitic_limestone"), True)],
)
def test_class_names_below_the_confusion_matrix_do_not_run_into_one_another(
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


def test_kept_epoch_is_marked_and_named() -> None:
    history = TrainingHistory(make_rows(5), kept_epoch=3, stop_reason="patience")
    figure = make_figure(draw_metrics_plot, history)
    assert figure.axes[0].get_title(loc="right") == "weights kept: epoch 3 (patience)"
    assert TrainingHistory(make_rows(5)).marked_epoch == 5


def test_histogram_and_reliability_count_every_answer_once(make_evaluation: MakeEvaluation) -> None:
    evaluation, drawn = make_evaluation(40, ("a", "b", "c"), wrong=6, refused=4), {}
    for draw in (draw_probability_histogram, draw_reliability, draw_f1_intervals):
        make_figure(lambda result, axes, draw=draw: drawn.update({draw: draw(result, axes)}), evaluation)
    assert sum(drawn[draw_probability_histogram]["right"]) == 30
    assert sum(drawn[draw_probability_histogram]["wrong"]) == 6
    assert sum(drawn[draw_reliability]["n"]) == 36
    assert list(drawn[draw_f1_intervals]) == ["a", "b", "c", "macro average"]


def test_figures_touch_no_global_state(make_evaluation: MakeEvaluation) -> None:
    import sys

    import matplotlib

    before = dict(matplotlib.rcParams)
    evaluation = make_evaluation(24, wrong=2)
    one = figure_png(draw_confusion_matrix, evaluation)
    assert figure_png(draw_confusion_matrix, evaluation) == one
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_history_reads_back_what_was_written(tmp_path: Path) -> None:
    rows = make_rows(3)
    text = [",".join(rows[0]), *(",".join(map(repr, row.values())) for row in rows)]
    (tmp_path / "history.csv").write_text("\n".join(text), encoding="utf-8")
    assert read_history(tmp_path / "history.csv") == rows
    with pytest.raises(InputError, match="Cannot read the history"):
        read_history(tmp_path / "none.csv")
    with pytest.raises(InputError, match="got none of epoch, train_accuracy, train_loss, valid_loss"):
        TrainingHistory(({"valid_accuracy": 1.0},))
    with pytest.raises(InputError, match="got no row"):
        TrainingHistory(())


# Contact sheets


def test_sheet_shows_every_image_and_frames_mistakes(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation(7, wrong=1)
    truth = dict(zip((i.file for i in evaluation.predictions.items), evaluation.truth, strict=True))
    config = SheetConfig(columns=3, rows=4, tile_px=64)
    written = draw_contact_sheet(evaluation.predictions, tmp_path / "sheet.png", truth, config)
    assert written == (tmp_path / "sheet.png",)
    orange = np.array([0xD5, 0x5E, 0x00])
    framed = (np.asarray(Image.open(written[0]).convert("RGB")) == orange).all(axis=2)
    assert framed.sum() > 4 * 64
    columns = np.flatnonzero(framed.any(axis=0))
    assert np.ptp(columns) == 63
    plain = draw_contact_sheet(evaluation.predictions, tmp_path / "plain.png", None, config)
    assert not (np.asarray(Image.open(plain[0]).convert("RGB")) == orange).all(axis=2).any()


def test_sheet_goes_over_pages_and_stops_at_the_limit(
    make_evaluation: MakeEvaluation, tmp_path: Path
) -> None:
    predictions = make_evaluation(11).predictions
    config = SheetConfig(columns=2, rows=2, tile_px=64, most_pages=2)
    written = draw_contact_sheet(predictions, tmp_path / "s.jpg", config=config)
    assert [path.name for path in written] == ["s.jpg", "s_2.jpg"]
    all_pages = draw_contact_sheet(predictions, tmp_path / "s.png", config=replace(config, most_pages=9))
    assert len(all_pages) == 3


def test_sheet_stays_whole_with_unreadable_files_and_strange_names(tmp_path: Path) -> None:
    tiles = [
        SheetTile(tmp_path / f"{'long ' * 30}µé–日.png", "x" * 80, 0.5, "PG"),
        SheetTile(Path("b"), "PG"),
    ]
    sheet = draw_page(tiles, ("CEX", "PG"), SheetConfig(tile_px=100))
    assert sheet.size[0] < 300


@pytest.mark.parametrize("n", [0, 4])
def test_sheet_refuses_what_it_cannot_write(n: int, make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    predictions = make_evaluation(4).predictions
    target = tmp_path / ("sheet.gif" if n else "sheet.png")
    with pytest.raises(InputError, match=f"got {n} images, suffix"):
        draw_contact_sheet(replace(predictions, items=predictions.items[:n]), target)


def test_sheet_settings_are_checked_together() -> None:
    with pytest.raises(InputError, match=r"columns must be 1 to 40; got 0 · tile_px must be"):
        SheetConfig(columns=0, tile_px=3)


# The page


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out: it takes most of a page's time and has tests of its own."""
    monkeypatch.setattr(page, "figure_png", lambda *_: b"\x89PNG")


without_figures = pytest.mark.usefixtures("no_figures")


def full_run(evaluation: Evaluation, folder: Path) -> ReportInputs:
    return ReportInputs(
        title="Georgia",
        evaluation=evaluation,
        prefix="GA",
        model="fast (efficientnet-lite0)",
        data="cropped",
        recipe={"epochs": 5, "dropout": (0.4, 0.3), "rehearse": False},
        history=make_rows(5),
        kept_epoch=4,
        split_counts={"train": {"CEX": 4802, "PG": 4762}, "test": {"CEX": 343, "PG": 341}},
        bundle={"preprocess": {"size_px": 224}, "versions": {"keras": "3.15"}, "data_fingerprint": "57ab"},
        failures=(Failure(Path("CEX/broken.png"), "the file is truncated"),),
        folder=folder,
        created="2025-11-23",
    )


def test_page_is_one_sound_file_without_outside_references(
    make_evaluation: MakeEvaluation, tmp_path: Path
) -> None:
    html = render_report(full_run(make_evaluation(24, wrong=3, refused=2), tmp_path))
    shown = read_page(html)
    assert "http" not in html
    assert "url(" not in html
    assert "<script" not in html
    assert all(link.startswith(("data:image/", "./")) for link in shown.links)
    assert len(html) < 2_000_000


@without_figures
def test_verdict_is_the_first_thing_said(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    run = full_run(make_evaluation(24, wrong=3), tmp_path)
    text = read_page(render_report(run)).text
    head = text[: text.index("Key figures")]
    assert "The data was not audited. fast (efficientnet-lite0), F1 with 95 % interval: CEX 0.8" in head
    assert "3 of 24 test images in 12 groups got a wrong name; up to" in head
    assert "Not checked: copies of one crystal" in head
    assert "Not read, and in no figure: 1 file." in head


@without_figures
def test_page_tells_what_is_still_possible_without_mistakes(make_evaluation: MakeEvaluation) -> None:
    text = read_page(render_report(ReportInputs("S", make_evaluation(24)))).text
    assert "None of 24 test images got a wrong name; up to 22.09 % are still possible at 95 %." in text


@without_figures
def test_data_verdict_of_an_audit_takes_the_first_place(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24)
    for gate, level in (("pass", "good"), ("stop", "bad"), ("", "caution")):
        run = ReportInputs("S", evaluation, data_verdict="The audit says so.", data_gate=gate)
        html = render_report(run)
        assert f'class="verdict {level}"' in html
        assert "<b>The audit says so.</b>" in html


@without_figures
def test_rehearsal_and_absent_classes_are_said(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(4)
    only = [item for item in evaluation.predictions.items if item.label == "PG"]
    records = [Record(item.file, "PG") for item in only]
    half = score_predictions(replace(evaluation.predictions, items=tuple(only)), records)
    html = render_report(ReportInputs("S", half, recipe={"rehearse": True}, data_gate="pass"))
    text = read_page(html).text
    assert "No test images of CEX: nothing is known about that." in text
    assert "This was a rehearsal" in text
    assert 'class="verdict caution"' in html


@without_figures
def test_page_leaves_out_what_it_was_not_given(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    bare = read_page(render_report(ReportInputs("S", make_evaluation(8)))).text
    full = read_page(render_report(full_run(make_evaluation(8), tmp_path))).text
    for heading in ("Course of the training", "Network input", "could not be read", "Recipe"):
        assert heading not in bare
        assert heading in full


@without_figures
def test_changes_that_cost_accuracy_are_marked(make_evaluation: MakeEvaluation) -> None:
    run = ReportInputs("S", make_evaluation(8), robustness=make_robustness("one_size", "blur"))
    html = render_report(run)
    assert html.count('<tr class="marked">') == 2
    text = read_page(html).text
    assert "Beyond chance it gets worse when images are: cropped to one size, 90×80 px (−50.0 points)" in text
    assert "stand changes" not in render_report(replace(run, robustness=None))


def make_small_robustness(n: int, accuracy: float = 1.0) -> Robustness:
    """Return a table in which one change costs every right answer of ``n`` images, without a mark."""
    fall = Difference(0.0, accuracy, -accuracy, (-accuracy, 0.001), 0.06)
    rows = [
        RobustnessRow(change.name, change.title, fall, fall, 0, False)
        for change in list_perturbations((8, 9))
    ]
    return Robustness(n, n, accuracy, accuracy, tuple(rows))


def test_too_few_images_are_said_to_tell_nothing() -> None:
    words = describe_robustness(make_small_robustness(5))
    assert "5 images are too few to tell anything: as 17 changes are tried together" in words
    assert "only where 8 groups or more lose their right answer" in words
    assert "beyond chance" not in words
    assert "1 image is too few" in describe_robustness(make_small_robustness(1))
    assert "So few right answers tell nothing" in describe_robustness(make_small_robustness(50, 0.1))
    enough = describe_robustness(make_small_robustness(8))
    assert "No change lowers the figures beyond chance. Drops of up to 100.0 percentage points" in enough


@pytest.mark.parametrize(("rows", "names"), [(17, "ab"), (17, "abcde"), (1, "ab"), (4, "abc")])
def test_least_groups_are_those_at_which_a_fall_of_everything_is_marked(rows: int, names: str) -> None:
    whole = make_small_robustness(9)
    tried = replace(whole, rows=whole.rows[:rows])
    least, level = tried.min_detectable_groups, 1 - (1 - LEVEL) / rows
    for n, is_significant in ((least - 2, False), (least + 1, True)):
        truth = np.arange(n) % len(names)
        answers = ((truth + 1) % len(names), truth)
        pair = compare_predictions(truth, answers, Labels(tuple(names)), level=level, n_draws=8000)
        assert (pair.accuracy.interval[1] < 0) is is_significant


@without_figures
def test_differences_have_a_minus_and_their_intervals_no_dash(make_evaluation: MakeEvaluation) -> None:
    one = Difference(0.8, 0.9, -0.1, (-0.1457, -0.0402), 0.01)
    none = replace(one, difference=0.0, interval=(-0.01, 0.02))
    pair = Comparison("noise-2", "other", 20, 20, 15, 1, 3, 1, 1, 3, one, none, {"CEX": one})
    run = ReportInputs("S", make_evaluation(8), comparison=pair, robustness=make_robustness("blur"))
    text = read_page(render_report(run)).text
    assert "−0.1000−0.1457 to −0.0402" in text
    assert "0.0000−0.0100 to +0.0200" in text
    assert "On 20 files in 20 groups, noise-2 alone is right on 1" in text
    assert not re.search(r"(?<![\w.])-\d", text)


def test_robustness_figure_returns_what_it_drew(make_evaluation: MakeEvaluation) -> None:
    from matplotlib.figure import Figure

    drawn = draw_robustness(make_robustness("blur"), Figure().add_subplot())
    assert len(drawn) == 17
    assert (drawn["blur"]["difference"], drawn["noise"]["difference"]) == (-0.5, 0.0)


ASSURED = {
    "calibration": make_calibration().to_dict(),
    "unknown": {"threshold": 1.0},
    "conformal": {
        "error_rate": 0.05,
        "limits": {"0.05": {"CEX": 0.0, "PG": 0.0}, "0.1": {"CEX": 0.5, "PG": 0.5}},
        "n_groups": {"CEX": 9, "PG": 9},
    },
}


@without_figures
def test_refusals_and_sets_are_counted(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24, wrong=2, refused=4)
    trust = measure_trust(evaluation, ASSURED)
    assert [(one.name, one.count, one.n) for one in trust.refused] == [("CEX", 2, 12), ("PG", 2, 12)]
    five, ten = trust.coverage
    assert (five.overall.value, five.mean_size, five.n_single) == (1.0, 2.0, 0)
    assert (ten.overall.count, ten.overall.n, ten.n_single) == (18, 20, 20)
    assert ten.overall.interval[0] < 0.9 < ten.overall.interval[1]
    text = read_page(render_report(ReportInputs("S", evaluation, bundle=ASSURED))).text
    assert "In its set at5 % errors" in text
    bare = measure_trust(evaluation, {})
    assert (bare.refused, bare.coverage, bare.calibration) == ((), (), None)


def test_card_holds_the_reports_figures_and_only_what_is_known(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24, wrong=3)
    full = render_card(
        replace(full_run(evaluation, Path("run")), bundle=ASSURED, robustness=make_robustness("blur"))
    )
    metrics = evaluation.metrics
    assert f"Accuracy {metrics.accuracy:.4f}" in full
    for name, one in metrics.per_class.items():
        assert f"| {name} | {one.precision:.4f} | {one.recall:.4f} | {one.f1:.4f} |" in full
    for heading in (
        "## Data",
        "## Figures",
        "## How sure it is",
        "## Robustness",
        "## Limits",
        "## How to use",
    ):
        assert heading in full
    bare = render_card(ReportInputs("S", evaluation))
    assert "## Robustness" not in bare
    assert "## How sure it is" not in bare
    assert "It refuses nothing." in bare
    assert "<b>" not in render_card(ReportInputs("<b>|x", evaluation)).replace("\\<b\\>", "")


@without_figures
def test_mistakes_are_shown_with_their_maps(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(12, wrong=3)
    items = tuple(
        Explanation(one.file, one.predicted, one.probability, one.predicted, 0.9, one.truth, "occlusion", MAP)
        for one in evaluation.misclassified
    )
    run = ReportInputs("S", evaluation, explanations=Explanations(evaluation.labels, items))
    html = render_report(replace(run, limits=ReportLimits(explained=2)))
    assert html.count("with the map of its answer") == 2
    assert "Where it looked" not in render_report(ReportInputs("S", evaluation))


MAP = np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)


@without_figures
def test_names_cannot_break_the_page(make_evaluation: MakeEvaluation) -> None:
    evil = "<script>alert(1)</script>"
    names = (evil, '"><img src=x>')
    evaluation = make_evaluation(8, names, wrong=2)
    run = ReportInputs(evil, evaluation, model=evil, data=evil, recipe={evil: evil}, bundle={"x": evil})
    run = replace(run, failures=(Failure(Path(evil), evil),), files=(Path(evil),), data_verdict=evil)
    html = render_report(run)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert evil in read_page(html).text


@without_figures
def test_no_absolute_path_of_the_user_is_told(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    run = full_run(make_evaluation(8, wrong=2), tmp_path)
    run = replace(run, data=str(tmp_path / "crops"), recipe={"weights": str(tmp_path / "w.h5")})
    run = replace(run, bundle={"data": {"source": tmp_path / "crops"}}, files=(tmp_path / "x" / "y.csv",))
    html = render_report(run)
    assert str(tmp_path) not in html
    assert "· crops" in read_page(html).text


@without_figures
def test_page_stays_small_with_many_mistakes(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(40, wrong=30)
    limits = ReportLimits(mistakes=4, right_per_class=2, thumbnail_px=64)
    html = render_report(ReportInputs("S", evaluation, limits=limits))
    assert html.count('class="wrong"') == 4
    assert "The first 4 are shown." in read_page(html).text


@without_figures
def test_unreadable_thumbnail_leaves_its_reason(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(8, wrong=1)
    evaluation.misclassified[0].file.unlink()
    assert "not read: no such file" in read_page(render_report(ReportInputs("S", evaluation))).text


@without_figures
def test_thumbnails_hold_the_image(tmp_path: Path) -> None:
    import base64

    path = tmp_path / "red.png"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(path)
    item = Prediction(path, "PG", 0.9, {"CEX": 0.1, "PG": 0.9})
    evaluation = score_predictions(
        Predictions(Labels(("CEX", "PG")), (item,), (), "fake"), [Record(path, "CEX")]
    )
    html = render_report(ReportInputs("S", evaluation))
    data = base64.b64decode(re.findall(r"data:image/jpeg;base64,([^\"]+)", html)[0])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (220, 110)
        assert image.getpixel((100, 50)) == pytest.approx((200, 10, 10), abs=12)


def test_spread_takes_both_ends_and_no_place_twice() -> None:
    for n in range(1, 30):
        for most in range(2, 9):
            places = spread(n, most)
            assert len(places) == min(n, most) == len(set(places))
            assert (places[0], places[-1]) == (0, n - 1)


@without_figures
def test_files_are_linked_from_where_the_page_lies(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    folder = tmp_path / "run folder"
    folder.mkdir()
    (folder / "GA #1.onnx").write_bytes(b"x" * 17_300)
    files = (folder / "GA #1.onnx", tmp_path / "other.csv")
    save_report(replace(full_run(make_evaluation(8), folder), files=files), folder / "report.html")
    shown = read_page((folder / "report.html").read_text(encoding="utf-8"))
    assert [link for link in shown.links if link.startswith("./")] == ["./GA%20%231.onnx"]
    assert "GA #1.onnx17.3 kB" in shown.text
    assert "other.csvnot written" in shown.text


def test_every_file_of_a_run_is_listed(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    assert set(RUN_FILES) == {EVALUATION_FILE, MANIFEST_JSON, AUDIT_PAGE, AUDIT_JSON, AUDIT_CSV}
    for name in (*RUN_FILES, "bundle.json", "stranger.txt"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    run = replace(full_run(make_evaluation(8), tmp_path), files=(tmp_path / "bundle.json",))
    listed = [one.name for one in link_files(run)]
    assert listed == ["bundle.json", *RUN_FILES]
    told = replace(run, files=(tmp_path / "audit.csv", tmp_path / "bundle.json"))
    assert sorted(one.name for one in link_files(told)) == sorted(listed)
    evaluated = replace(run, history=())
    assert [one.name for one in link_files(evaluated)] == ["bundle.json"]


def test_settings_have_no_more_digits_than_count_and_no_tables_of_measurements() -> None:
    about = {
        "parity": {"n_files": 50, "largest_difference": {"onnxruntime": 2.9136419296264647e-06}},
        "without_refusal": {"CEX": {"precision": 0.98, "precision_ci95": [0.97, 0.99]}},
        "backbone": {"name": "efficientnet-lite0", "sha256": "57ab"},
        "data": {"source": "drawn", "counts": {"train": {"a_b.c": 4802, "PG": 4762}}},
        "int8": {"kept": True, "accuracy": [0.99, 0.98], "f1": {"PG": [0.9, 0.9]}},
        "temperature": 0.41712811612550976,
    }
    assert describe_model(about) == {
        "backbone": "efficientnet-lite0",
        "sha256 of its weights": "57ab",
        "data": "drawn",
        "temperature": "0.4171",
        "train images": "a_b.c 4802, PG 4762",
        "8-bit file": "kept",
        "accuracy of the 8-bit file": "0.9800, float32 0.9900",
    }
    assert "train images" not in describe_model(about, has_counts=True)
    proof = {"images compared": "50", "from the trained net, onnxruntime": "2.914×10⁻⁶"}
    assert describe_proof(about) == proof
    assert describe_proof({}) == {}


@without_figures
def test_bundled_models_page_has_readable_settings(make_evaluation: MakeEvaluation) -> None:
    about = load_bundled_model().metadata
    text = read_page(render_report(ReportInputs("S", make_evaluation(8), bundle=about))).text
    settings = text[text.index("Settings") : text.index("Intervals are two-sided")]
    assert "without refusal" not in settings
    assert not re.search(r"\d\.\d{5}", settings)
    assert "Largest differences of the exported file images compared50" in settings


@pytest.mark.parametrize("value", [0.001, 1e-5, 0.75, 127.0, -0.5, 2.9136419296264647e-06, 12345.678, 0.0])
def test_rounded_numbers_are_near_the_true_ones(value: float) -> None:
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")
    base, _, power = format_number(value).partition("×10")
    shown = float(base.translate(raised)) * 10.0 ** int(power.translate(raised) or 0)
    assert shown == pytest.approx(value, rel=1e-3)
    assert len(base) <= 7


def test_settings_keep_whole_numbers_whole() -> None:
    shown = flatten({"mean": [127.0, 127.0], "dropout": (0.4, 0.25), "epochs": 40, "rate": 1e-5})
    assert shown == {"mean": "127, 127", "dropout": "0.4, 0.25", "epochs": "40", "rate": "1×10⁻⁵"}


@without_figures
def test_every_cell_of_a_table_that_is_stacked_on_phones_names_its_column(
    make_evaluation: MakeEvaluation, tmp_path: Path
) -> None:
    one = Difference(0.8, 0.9, -0.1, (-0.2, 0.1), 0.01)
    pair = Comparison('a "model"', "other", 20, 20, 15, 1, 3, 1, 1, 3, one, one, {"CEX": one})
    run = replace(full_run(make_evaluation(24, wrong=2, refused=4), tmp_path), bundle=ASSURED)
    html = render_report(replace(run, comparison=pair, robustness=make_robustness("blur")))
    tables = re.findall(r'<table class="[^"]*stack[^"]*">(.*?)</table>', html, re.DOTALL)
    assert len(tables) == 4
    for table in tables:
        cells = re.findall(r"<td([^>]*)>(.*?)</td>", table)
        assert len(cells) > 8
        assert [cell for cell in cells if bool(cell[1]) != ("data-label=" in cell[0])] == []
    assert 'data-label="a &#34;model&#34;"' in html


@without_figures
def test_data_table_has_a_row_for_each_class(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    text = read_page(render_report(full_run(make_evaluation(8), tmp_path))).text
    table = "ClasstraintestAll CEX4,8023435,145 PG4,7623415,103 all classes9,56468410,248"
    assert table in text


@without_figures
def test_note_tells_why_one_interval_is_wider(make_evaluation: MakeEvaluation) -> None:
    text = read_page(render_report(ReportInputs("S", make_evaluation(8)))).text
    assert "Wilson's interval takes the files of a group as sharing one fate" in text
    assert "the wider one is the cautious one" in text


@without_figures
def test_file_that_failed_twice_is_listed_once(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(4)
    lost = Failure(Path("CEX/broken.png"), "the file is truncated")
    predictions = replace(evaluation.predictions, failed=(lost,))
    run = ReportInputs("S", replace(evaluation, predictions=predictions), failures=(lost,))
    assert "Not read, and in no figure: 1 file." in read_page(render_report(run)).text


@without_figures
def test_killed_write_leaves_the_old_page(
    make_evaluation: MakeEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("old", encoding="utf-8")
    run = replace(ReportInputs("S", make_evaluation(4)), history=({"epoch": 1.0},))
    with pytest.raises(InputError, match="Cannot use the training history"):
        save_report(run, target)
    assert target.read_text(encoding="utf-8") == "old"


@without_figures
def test_styles_print_and_fit_a_phone(make_evaluation: MakeEvaluation) -> None:
    html = render_report(ReportInputs("S", make_evaluation(4)))
    assert "@media print" in html
    assert 'name="viewport"' in html
    assert "color-scheme: light" in html
