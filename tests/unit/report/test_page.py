"""The page: one sound file that leaves out what it was not given."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.report import METADATA, MakeEvaluation, make_inputs, make_robustness, read_page
from tests.helpers.training import make_training_run

from georgia.audit.result import AUDIT_CSV, AUDIT_JSON
from georgia.evaluate.compare import Comparison, Difference
from georgia.evaluate.score import EVALUATION_FILE
from georgia.records import Failure
from georgia.report.audit_page import AUDIT_PAGE
from georgia.report.page import RUN_FILES, ReportInputs, link_files, render_report, save_report
from georgia.split.make import MANIFEST_JSON


def test_page_is_self_contained(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    html = render_report(make_inputs(make_evaluation(24, wrong=3, rejected=2), tmp_path))
    shown = read_page(html)
    assert "http" not in html
    assert "url(" not in html
    assert "<script" not in html
    assert all(link.startswith(("data:image/", "./")) for link in shown.links)
    assert len(html) < 2_000_000


@pytest.mark.usefixtures("no_figures")
def test_page_omits_what_is_absent(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    bare = read_page(render_report(ReportInputs("S", make_evaluation(8)))).text
    full = read_page(render_report(make_inputs(make_evaluation(8), tmp_path))).text
    for heading in ("Training history", "Network input", "could not be read", "Recipe"):
        assert heading not in bare
        assert heading in full


@pytest.mark.usefixtures("no_figures")
def test_significant_perturbations_are_marked(make_evaluation: MakeEvaluation) -> None:
    run = ReportInputs("S", make_evaluation(8), robustness=make_robustness("one_size", "blur"))
    html = render_report(run)
    assert html.count('<tr class="marked">') == 2
    text = read_page(html).text
    assert (
        "The model is significantly worse when images are: cropped to one size, 90×80 px (−50.0 points)"
        in text
    )
    assert "Robustness" not in render_report(replace(run, robustness=None))


@pytest.mark.usefixtures("no_figures")
def test_differences_have_a_minus(make_evaluation: MakeEvaluation) -> None:
    metric = Difference(0.8, 0.9, -0.1, (-0.1457, -0.0402), 0.01)
    none = replace(metric, difference=0.0, interval=(-0.01, 0.02))
    pair = Comparison("noise-2", "other", 20, 20, 15, 1, 3, 1, 1, 3, metric, none, {"CEX": metric})
    run = ReportInputs("S", make_evaluation(8), comparison=pair, robustness=make_robustness("blur"))
    text = read_page(render_report(run)).text
    assert "−0.1000−0.1457 to −0.0402" in text
    assert "0.0000−0.0100 to +0.0200" in text
    assert "On 20 files in 20 groups, noise-2 alone is correct on 1" in text
    assert not re.search(r"(?<![\w.])-\d", text)


@pytest.mark.usefixtures("no_figures")
def test_names_cannot_break_the_page(make_evaluation: MakeEvaluation) -> None:
    evil = "<script>alert(1)</script>"
    names = (evil, '"><img src=x>')
    evaluation = make_evaluation(8, names, wrong=2)
    run = ReportInputs(
        evil,
        evaluation,
        model=evil,
        data=evil,
        training=make_training_run({evil: evil}),
        metadata={"x": evil},
    )
    run = replace(run, failures=(Failure(Path(evil), evil),), files=(Path(evil),), data_verdict=evil)
    html = render_report(run)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert evil in read_page(html).text


@pytest.mark.usefixtures("no_figures")
def test_page_holds_no_absolute_path(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    run = make_inputs(make_evaluation(8, wrong=2), tmp_path)
    run = replace(
        run, data=str(tmp_path / "crops"), training=make_training_run({"weights": str(tmp_path / "w.h5")})
    )
    run = replace(run, metadata={"data": {"source": tmp_path / "crops"}}, files=(tmp_path / "x" / "y.csv",))
    html = render_report(run)
    assert str(tmp_path) not in html
    assert "· crops" in read_page(html).text


@pytest.mark.usefixtures("no_figures")
def test_files_are_linked_from_the_page(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    folder = tmp_path / "run folder"
    folder.mkdir()
    (folder / "GA #1.onnx").write_bytes(b"x" * 17_300)
    files = (folder / "GA #1.onnx", tmp_path / "other.csv")
    save_report(replace(make_inputs(make_evaluation(8), folder), files=files), folder / "report.html")
    shown = read_page((folder / "report.html").read_text(encoding="utf-8"))
    assert [link for link in shown.links if link.startswith("./")] == ["./GA%20%231.onnx"]
    assert "GA #1.onnx17.3 kB" in shown.text
    assert "other.csvnot written" in shown.text


def test_every_file_of_a_run_is_listed(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    assert set(RUN_FILES) == {EVALUATION_FILE, MANIFEST_JSON, AUDIT_PAGE, AUDIT_JSON, AUDIT_CSV}
    for name in (*RUN_FILES, "bundle.json", "other.txt"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    run = replace(make_inputs(make_evaluation(8), tmp_path), files=(tmp_path / "bundle.json",))
    listed = [file.name for file in link_files(run)]
    assert listed == ["bundle.json", *RUN_FILES]
    given = replace(run, files=(tmp_path / "audit.csv", tmp_path / "bundle.json"))
    assert sorted(file.name for file in link_files(given)) == sorted(listed)
    evaluated = replace(run, training=None)
    assert [file.name for file in link_files(evaluated)] == ["bundle.json"]


@pytest.mark.usefixtures("no_figures")
def test_stacked_cells_name_their_column(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    metric = Difference(0.8, 0.9, -0.1, (-0.2, 0.1), 0.01)
    pair = Comparison('a "model"', "other", 20, 20, 15, 1, 3, 1, 1, 3, metric, metric, {"CEX": metric})
    run = replace(make_inputs(make_evaluation(24, wrong=2, rejected=4), tmp_path), metadata=METADATA)
    html = render_report(replace(run, comparison=pair, robustness=make_robustness("blur")))
    tables = re.findall(r'<table class="[^"]*stack[^"]*">(.*?)</table>', html, re.DOTALL)
    assert len(tables) == 4
    for table in tables:
        cells = re.findall(r"<td([^>]*)>(.*?)</td>", table)
        assert len(cells) > 8
        assert [cell for cell in cells if bool(cell[1]) != ("data-label=" in cell[0])] == []
    assert 'data-label="a &#34;model&#34;"' in html


@pytest.mark.usefixtures("no_figures")
def test_data_table_has_class_rows(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    text = read_page(render_report(make_inputs(make_evaluation(8), tmp_path))).text
    table = "ClasstrainingvalidationtestAll CEX4,80203435,145 PG4,76203415,103 all classes9,564068410,248"
    assert table in text


@pytest.mark.usefixtures("no_figures")
def test_note_explains_the_wider_interval(make_evaluation: MakeEvaluation) -> None:
    text = read_page(render_report(ReportInputs("S", make_evaluation(8)))).text
    assert "Wilson's interval assumes that all files of a group are correct or wrong together" in text
    assert "the wider one is the cautious one" in text


@pytest.mark.usefixtures("no_figures")
def test_failed_write_leaves_old_page(
    make_evaluation: MakeEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("old", encoding="utf-8")
    run = replace(ReportInputs("S", make_evaluation(4)), metadata=None)
    with pytest.raises(AttributeError):
        save_report(run, target)
    assert target.read_text(encoding="utf-8") == "old"


@pytest.mark.usefixtures("no_figures")
def test_styles_print_and_fit_a_phone(make_evaluation: MakeEvaluation) -> None:
    html = render_report(ReportInputs("S", make_evaluation(4)))
    assert "@media print" in html
    assert 'name="viewport"' in html
    assert "color-scheme: light" in html
