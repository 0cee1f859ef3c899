"""The report: one self-contained HTML page that a scientist can read, print and send on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import georgia
from georgia.files import write_text
from georgia.metrics.classification import N_BOOTSTRAP
from georgia.metrics.intervals import FEW_GROUPS
from georgia.report.canvas import figure_png
from georgia.report.figures import FIGURES
from georgia.report.files import link_files
from georgia.report.fonts import find_fonts
from georgia.report.gallery import (
    data_url,
    gather_accepted,
    gather_explained,
    gather_mistakes,
    gather_refused,
    gather_right,
    name_file,
)
from georgia.report.history import TrainingHistory
from georgia.report.inputs import NOT_CHECKED, ReportInputs, ReportLimits
from georgia.report.settings import describe_model, describe_proof, flatten, in_words
from georgia.report.tables import (
    format_change,
    format_change_interval,
    format_fraction,
    format_interval,
    format_percent,
    write_minus,
)
from georgia.report.trust import measure_trust, read_calibration
from georgia.report.verdict import describe_mistakes, describe_robustness, make_verdict
from georgia.text import count_noun

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["NOT_CHECKED", "ReportInputs", "ReportLimits", "render_report", "save_report"]

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class ShownFigure:
    """One figure as the template needs it."""

    name: str
    title: str
    caption: str
    source: str
    width: int
    section: str


def render_report(run: ReportInputs) -> str:
    """Return the page as HTML: verdict first, then figures with intervals, images and settings.

    Raises:
        InputError: the history lacks a column that its figure needs.
    """
    evaluation = run.evaluation
    template = open_templates().get_template("report.html.jinja")
    page = template.render(
        run=run,
        data=in_words(run.data) if run.data else "",
        metrics=evaluation.metrics,
        ece=evaluation.ece,
        ece_ci95=evaluation.ece_ci95,
        engine=evaluation.predictions.engine,
        verdict=make_verdict(run),
        mistakes_in_words=describe_mistakes(evaluation.metrics, run.images),
        figures=_draw_figures(run),
        mistakes=gather_mistakes(evaluation, run.limits),
        refused=gather_refused(evaluation, run.limits),
        accepted=gather_accepted(run.strangers, run.limits) if run.strangers else None,
        right=gather_right(evaluation, run.limits),
        settings=flatten(run.recipe),
        preprocess=flatten(run.bundle.get("preprocess", {})),
        versions={"georgia": georgia.__version__, **flatten(run.bundle.get("versions", {}))},
        about=describe_model(run.bundle, has_counts=bool(run.split_counts)),
        proof=describe_proof(run.bundle),
        files=link_files(run),
        failures=run.all_failures,
        trust=measure_trust(evaluation, run.bundle),
        explained=gather_explained(run),
        tried_in_words=describe_robustness(run.robustness) if run.robustness else "",
        split_rows=_count_parts(run),
        missing_signs=find_fonts("".join(evaluation.labels.names)).missing,
        method={"few": FEW_GROUPS, "draws": N_BOOTSTRAP},
    )
    # A number must not part from its sign at the end of a line.
    return page.replace(" %", "\N{NO-BREAK SPACE}%")


def save_report(run: ReportInputs, path: Path) -> None:
    """Write the page whole or not at all.

    Raises:
        InputError: as `render_report`.
        OSError: the folder cannot be written to.
    """
    write_text(path, render_report(run))


def _count_parts(run: ReportInputs) -> list[tuple[str, list[int]]]:
    """Return each class, and all, with its number of images in each part."""
    parts = run.split_counts.values()
    rows = [(name, [counts.get(name, 0) for counts in parts]) for name in run.evaluation.labels.names]
    return [*rows, ("all classes", [sum(counts.values()) for counts in parts])]


def _draw_figures(run: ReportInputs) -> list[ShownFigure]:
    history = TrainingHistory(run.history, run.kept_epoch, run.stop_reason) if run.history else None
    results: dict[str, Any] = {"evaluation": run.evaluation, "history": history, "robustness": run.robustness}
    results["calibration"] = read_calibration(run.bundle)
    shown = []
    for info in FIGURES:
        result = results[info.needs]
        if result is not None:
            size = info.size_for(result)
            source = data_url(figure_png(info.draw, result, size), "image/png")
            width = round(size[0] * 100)
            shown.append(ShownFigure(info.name, info.title, info.caption, source, width, info.section))
    return shown


@lru_cache(maxsize=1)
def open_templates() -> Environment:
    """Return the pages' templates, with the ways to write numbers that they use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "fraction": format_fraction,
        "interval": format_interval,
        "percent": format_percent,
        "change": format_change,
        "change_interval": format_change_interval,
        "minus": write_minus,
        "file": name_file,
    }
    environment.globals["count"] = count_noun
    return environment
