"""The report: one self-contained HTML page that a scientist can read, print and send on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import georgia
from georgia.atomic import write_text
from georgia.intervals import FEW_GROUPS
from georgia.metrics import N_BOOTSTRAP
from georgia.report.canvas import figure_png
from georgia.report.figures import FIGURES
from georgia.report.gallery import (
    data_url,
    gather_explained,
    gather_mistakes,
    gather_refused,
    gather_right,
    name_file,
)
from georgia.report.history import TrainingHistory
from georgia.report.inputs import NOT_CHECKED, ReportInputs, ReportLimits
from georgia.report.tables import count_noun, format_fraction, format_interval, format_percent
from georgia.report.trust import measure_trust, read_calibration
from georgia.report.verdict import describe_mistakes, make_verdict

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["NOT_CHECKED", "ReportInputs", "ReportLimits", "render_report", "save_report"]

REPORT_FILE = "report.html"
# Parts of bundle.json that have a place of their own on the page, or none.
_SHOWN_ELSEWHERE = (
    "classes",
    "preprocess",
    "versions",
    "recipe",
    "metrics",
    "model",
    "name",
    "training",
    "audit",
    "robustness",
    "calibration",
    "unknown",
    "conformal",
)
_LONGEST_VALUE = 240


@dataclass(frozen=True)
class ShownFigure:
    """One figure as the template needs it."""

    name: str
    title: str
    caption: str
    source: str
    width: int
    section: str


@dataclass(frozen=True)
class LinkedFile:
    """One file of the run: its name, its size in words, and a link, empty if it lies elsewhere."""

    name: str
    size: str
    link: str


def render_report(run: ReportInputs) -> str:
    """Return the page as HTML: verdict first, then figures with intervals, pictures and settings.

    Raises:
        InputError: the history lacks a column that its figure needs.
    """
    evaluation = run.evaluation
    template = open_templates().get_template("report.html.jinja")
    page = template.render(
        run=run,
        data=_in_words(run.data) if run.data else "",
        metrics=evaluation.metrics,
        ece=evaluation.ece,
        ece_ci95=evaluation.ece_ci95,
        engine=evaluation.predictions.engine,
        verdict=make_verdict(run),
        mistakes_in_words=describe_mistakes(evaluation.metrics, run.pictures),
        figures=_draw_figures(run),
        mistakes=gather_mistakes(evaluation, run.limits),
        refused=gather_refused(evaluation, run.limits),
        right=gather_right(evaluation, run.limits),
        settings=flatten(run.recipe),
        preprocess=flatten(run.bundle.get("preprocess", {})),
        versions={"georgia": georgia.__version__, **flatten(run.bundle.get("versions", {}))},
        about=_describe_bundle(run),
        files=_link_files(run),
        failures=run.all_failures,
        trust=measure_trust(evaluation, run.bundle),
        explained=gather_explained(run),
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


def flatten(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested settings as one line each, in words.

    >>> flatten({"epochs": 3, "dropout": [0.4, 0.3], "net": {"name": "x", "frozen": True}})
    {'epochs': '3', 'dropout': '0.4, 0.3', 'net.name': 'x', 'net.frozen': 'yes'}
    """
    lines: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines.update(flatten(value, f"{before}{key}."))
        else:
            text = _in_words(value)
            lines[f"{before}{key}"] = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
    return lines


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


def _in_words(value: Any) -> str:
    if value is None or value in ("", (), []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_in_words(one) for one in value)
    if isinstance(value, (str, Path)):
        # A page that is sent on tells no user's folders.
        return Path(value).name if Path(value).is_absolute() else str(value)
    return json.dumps(value, default=str)


def _describe_bundle(run: ReportInputs) -> dict[str, str]:
    lines = flatten({key: value for key, value in run.bundle.items() if key not in _SHOWN_ELSEWHERE})
    has_counts = bool(run.split_counts)
    return {key: text for key, text in lines.items() if not (has_counts and key.startswith("data.counts."))}


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


def _link_files(run: ReportInputs) -> list[LinkedFile]:
    linked = []
    for path in run.files:
        inside = run.folder is not None and path.absolute().is_relative_to(run.folder.absolute())
        name = (
            path.absolute().relative_to(run.folder.absolute()).as_posix()
            if inside and run.folder
            else path.name
        )
        size = format_size(path.stat().st_size) if path.exists() else "not written"
        linked.append(LinkedFile(name, size, quote(f"./{name}") if inside else ""))
    return linked


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
        "file": name_file,
    }
    environment.globals["count"] = count_noun
    return environment
