"""A study's figure and page: variants best first, which of them differ, and every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from georgia.files import write_bytes, write_text
from georgia.records import Failure
from georgia.report.canvas import BLUE, INK, MUTED, RULE, Size, figure_png, figure_url, mark_interval, shorten
from georgia.report.render import render_template
from georgia.report.thumbnails import image_url, read_thumbnails

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from georgia.study.compare import MissedImage
    from georgia.study.result import Study

PAGE_FILE, FIGURE_FILE = "study.html", "study.png"
_LONGEST_NAME = 34
# How many misclassified images the page shows, and how large.
MOST_MISSED, THUMBNAIL_PX = 60, 220


def draw_study(result: Study, axes: Axes) -> dict[str, Any]:
    """Draw each variant's F1 with its 95 % confidence interval, best on top, and a ring for each run."""
    from matplotlib.ticker import MaxNLocator

    shown: dict[str, Any] = {}
    lowest = 1.0
    for place, variant in enumerate(reversed(result.variants)):
        runs = [row.f1 for row in result.rows if row.variant == variant.variant and row.f1 is not None]
        low, high = variant.f1_ci95
        color = INK if variant.rank == 1 else BLUE
        mark_interval(axes, place, (low, variant.f1, high), color)
        # Rings stand below the line, so that runs of equal F1 do not hide it.
        style: dict[str, Any] = {
            "marker": "o",
            "markersize": 6,
            "markerfacecolor": "none",
            "linestyle": "none",
        }
        axes.plot(runs, [place - 0.25] * len(runs), color=MUTED, **style)
        axes.text(variant.f1, place + 0.17, f"{variant.f1:.4f}", ha="center", fontsize=9.5, color=color)
        lowest = min(lowest, low, *runs)
        shown[variant.variant] = {"f1": variant.f1, "ci95": list(variant.f1_ci95), "runs": runs}
    names = [shorten(variant.variant, _LONGEST_NAME) for variant in reversed(result.variants)]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(-0.6, max(0, len(names) - 1) + 0.6)
    axes.set_xlim(max(-0.02, lowest - 0.06 * (1.0 - lowest) - 0.003), 1.0 + 0.04 * (1.0 - lowest) + 0.001)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("macro F1 with 95 % confidence interval; rings: single runs")
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    return shown


def size_for(study: Study) -> Size:
    """Return the figure's width and height in inches: a row for each variant."""
    return 7.2, 1.3 + 0.62 * max(1, len(study.variants))


def save_study_figure(study: Study, path: str | Path) -> None:
    """Draw the variants into a PNG at 150 dpi, written whole or not at all."""
    path = Path(path)
    write_bytes(path, figure_png(draw_study, study, size_for(study)))


def render_study(study: Study, lead: str, note: str, table: Sequence[Mapping[str, Any]]) -> str:
    """Return the page as HTML.

    ``lead`` says what came out, ``note`` how pairs are tested, ``table`` has a dict of cells for each run,
    in the order of ``study.rows``.
    """
    figure = figure_url(draw_study, study, size_for(study)) if study.variants else ""
    links = [quote(f"./runs/{row.run_name}/report.html") if row.is_done else "" for row in study.rows]
    best = study.variants[0].variant if study.variants else ""
    missed = [image for image in study.missed if image.variant == best]
    return render_template(
        "study.html.jinja",
        missed=list_missed(missed),
        n_missed=len(missed),
        missed_total=len({image.file for image in missed}),
        study=study,
        source=Path(study.source).name,
        lead=lead,
        note=note,
        figure=figure,
        width=round(size_for(study)[0] * 100),
        heads=list(table[0])[:11] if table else [],
        runs=list(zip(study.rows, table, links, strict=True)),
    )


def list_missed(missed: Sequence[MissedImage]) -> list[dict[str, Any]]:
    """Return the images that runs missed, each once, those missed most often first, with a small copy."""
    by_file: dict[str, list[MissedImage]] = {}
    for image in missed:
        by_file.setdefault(image.file, []).append(image)
    chosen = sorted(by_file.items(), key=lambda entry: (-len(entry[1]), entry[0]))[:MOST_MISSED]
    shown = [
        {
            "name": Path(file).name,
            "truth": images[0].truth,
            "labels": ", ".join(dict.fromkeys(image.label for image in images)),
            "n_runs": len(images),
            "source": "",
        }
        for file, images in chosen
    ]
    for position, thumbnail in read_thumbnails([Path(file) for file, _ in chosen], THUMBNAIL_PX):
        if not isinstance(thumbnail, Failure):
            shown[position]["source"] = image_url(thumbnail)
    return shown


def save_study_page(
    study: Study, path: str | Path, lead: str, note: str, table: Sequence[Mapping[str, Any]]
) -> None:
    """Write the page whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    write_text(path, render_study(study, lead, note, table))
