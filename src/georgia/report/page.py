"""The report: one self-contained HTML page that a scientist can read, print and send on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import georgia
from georgia.evaluate.assessment import describe_errors, format_limit
from georgia.files import write_text
from georgia.metrics.classification import N_BOOTSTRAP
from georgia.metrics.intervals import FEW_GROUPS
from georgia.report.canvas import figure_url
from georgia.report.figures import FIGURES, FigureInfo
from georgia.report.fonts import find_fonts
from georgia.report.gallery import (
    gather_accepted,
    gather_correct,
    gather_explained,
    gather_misclassified,
    gather_rejected,
)
from georgia.report.inputs import ReportInputs, ReportLimits
from georgia.report.render import render_template
from georgia.report.settings import describe_model, describe_parity, flatten, format_value
from georgia.report.trust import measure_trust, read_calibration
from georgia.report.verdict import describe_robustness, make_verdict

__all__ = ["ReportInputs", "ReportLimits", "render_report", "save_report"]

REPORT_FILE = "report.html"
# What a training run leaves in its folder beside the files that its report is told of.
RUN_FILES = ("evaluation.json", "split.json", "audit.html", "audit.json", "audit.csv")


@dataclass(frozen=True)
class ShownFigure:
    """One figure with its image as a data URL, and the width in px beyond which it is not enlarged."""

    info: FigureInfo
    source: str
    width: int


@dataclass(frozen=True)
class LinkedFile:
    """One file of the run: its name, its size with a unit, and a link, empty if it lies elsewhere."""

    name: str
    size: str
    link: str


def render_report(run: ReportInputs) -> str:
    """Return the page as HTML: verdict first, then metrics with intervals, figures, images and settings.

    Raises:
        InputError: the history lacks a column that its figure needs.
    """
    evaluation, metadata = run.evaluation, run.metadata
    return render_template(
        "report.html.jinja",
        run=run,
        data=format_value(run.data) if run.data else "",
        metrics=evaluation.metrics,
        ece=evaluation.ece,
        ece_ci95=evaluation.ece_ci95,
        computation=evaluation.predictions.computation,
        verdict=make_verdict(run),
        error_limit=format_limit(evaluation.metrics.error_rate_upper95),
        figures=_draw_figures(run),
        misclassified=gather_misclassified(evaluation, run.limits),
        misclassified_text=describe_errors(evaluation.metrics, run.images),
        rejected=gather_rejected(evaluation, run.limits),
        ood=run.ood,
        accepted=gather_accepted(run.ood, run.limits) if run.ood else None,
        correct=gather_correct(evaluation, run.limits),
        settings=flatten(run.settings),
        preprocess=flatten(metadata.get("preprocess", {})),
        versions={"georgia": georgia.__version__, **flatten(metadata.get("versions", {}))},
        metadata=describe_model(metadata, has_counts=bool(run.split_counts)),
        parity=describe_parity(metadata),
        files=link_files(run),
        failures=run.all_failures,
        trust=measure_trust(evaluation, metadata, is_own=not run.learning),
        explained=gather_explained(run),
        robustness_text=describe_robustness(run.robustness) if run.robustness else "",
        split_rows=_count_splits(run),
        missing_characters=find_fonts("".join(evaluation.labels.names)).missing,
        method={"few": FEW_GROUPS, "draws": N_BOOTSTRAP},
    )


def save_report(run: ReportInputs, path: str | Path) -> None:
    """Write the page whole or not at all.

    Raises:
        InputError: as `render_report`.
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    write_text(path, render_report(run))


def _count_splits(run: ReportInputs) -> list[tuple[str, list[int]]]:
    """Return each class, and all, with its number of images in each split."""
    splits = run.split_counts.values()
    rows = [(name, [counts.get(name, 0) for counts in splits]) for name in run.evaluation.labels.names]
    return [*rows, ("all classes", [sum(counts.values()) for counts in splits])]


def _draw_figures(run: ReportInputs) -> list[ShownFigure]:
    results: dict[str, Any] = {"evaluation": run.evaluation, "robustness": run.robustness}
    results["history"] = run.training.history if run.training and not run.learning else None
    results["learning"] = run.learning if run.learning and len(run.learning.curve) > 1 else None
    results["calibration"] = read_calibration(run.metadata)
    shown = []
    for info in FIGURES:
        result = results[info.needs]
        if result is not None:
            size = info.size_for(result)
            shown.append(ShownFigure(info, figure_url(info.draw, result, size), round(size[0] * 100)))
    return shown


def link_files(run: ReportInputs) -> list[LinkedFile]:
    """Return the files of a report, linked from where the page is going to lie."""
    files = list(run.files)
    if run.training and run.folder is not None:
        beside = (run.folder / name for name in RUN_FILES)
        files += [path for path in beside if path.is_file() and path not in files]
    return [_link(path, run.folder) for path in files]


def format_size(n_bytes: int) -> str:
    """Return a file size with three digits.

    >>> format_size(950), format_size(17_300), format_size(178_000_000)
    ('950 B', '17.3 kB', '178 MB')
    """
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def _link(path: Path, folder: Path | None) -> LinkedFile:
    size = format_size(path.stat().st_size) if path.exists() else "not written"
    if folder is None or not path.absolute().is_relative_to(folder.absolute()):
        return LinkedFile(path.name, size, "")
    name = path.absolute().relative_to(folder.absolute()).as_posix()
    return LinkedFile(name, size, quote(f"./{name}"))
