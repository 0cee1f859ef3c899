"""The page of a commissioning: the verdict, each measure with its limit, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from georgia.files import write_text
from georgia.monitor.commission import REPORT_FILE, Commissioning, Finding
from georgia.report.render import render_template

_LEADS = {
    Finding.OK: "The frames are like the images that the model was trained on.",
    Finding.CAUTION: "Use the frames with caution: not all is like the training images, or known.",
    Finding.BAD: "The frames are unlike the images the model was trained on: its fractions mean nothing.",
}


def render_commissioning(result: Commissioning, head: Mapping[str, str]) -> str:
    """Return the page as HTML; ``head`` names model, frames and time."""
    kind = {Finding.OK: "good", Finding.BAD: "bad"}.get(result.verdict, "caution")
    return render_template(
        "commissioning.html.jinja", result=result, head=head, lead=_LEADS[result.verdict], kind=kind
    )


def save_commissioning_page(result: Commissioning, head: Mapping[str, str], folder: Path) -> Path:
    """Write the page whole or not at all and return its path.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_text(folder / REPORT_FILE, render_commissioning(result, head))
    return folder / REPORT_FILE
