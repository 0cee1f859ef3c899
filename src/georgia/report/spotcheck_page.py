"""The page of a spot check: the result, the plan, every named window, and the head of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from georgia.files import write_text
from georgia.images.decode import Image
from georgia.monitor.columns import iso_time
from georgia.monitor.records import Batch
from georgia.monitor.spotchecks import StoredCheck, hash_plan
from georgia.report.render import render_template
from georgia.report.thumbnails import image_url
from georgia.spotcheck.check import NEITHER, UNCLEAR
from georgia.spotcheck.checked import CheckedFraction
from georgia.spotcheck.export import list_named

REPORT_FILE = "spotcheck.html"
# The longest side of a window on the page, px.
_WINDOW_PX = 160


@dataclass(frozen=True)
class _Shown:
    """A named window: its row, its image as a URL or why there is none; whether the net says otherwise."""

    row: Mapping[str, Any]
    source: str
    fault: str
    is_other: bool


def render_spotcheck(found: CheckedFraction, batch: Batch, head: str, images: Sequence[Image | str]) -> str:
    """Return the page as HTML.

    ``images`` are the named windows' pixels (H, W, 3), uint8, in their order, or why one cannot be shown.
    ``head`` is the end of the store's record, ``NUMBER:HASH``.
    """
    rows = list_named(found)
    shown = [_show(row, image) for row, image in zip(rows, images, strict=True)]
    body = found.check.body
    return render_template(
        "spotcheck.html.jinja",
        found=found,
        result=found.result,
        batch=batch,
        head=head,
        shown=shown,
        plans=[_describe_plan(part.check) for part in found.parts],
        curve=[
            {**span.to_json_dict(), "from_time": iso_time(span.from_s), "to_time": iso_time(span.to_s)}
            for span in found.curve
        ],
        population=_describe_population(found),
        is_limited=found.is_part or bool(found.count("n_frames_without")),
        n_without=found.count("n_frames_without"),
        through=body["through"],
        percent_of=100 * body["settings"]["confidence"],
    )


def save_spotcheck_page(
    found: CheckedFraction, batch: Batch, head: str, images: Sequence[Image | str], folder: Path
) -> Path:
    """Write the page whole or not at all and return its path.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_text(folder / REPORT_FILE, render_spotcheck(found, batch, head, images))
    return folder / REPORT_FILE


def _show(row: Mapping[str, Any], image: Image | str) -> _Shown:
    label = NEITHER if row["label"] == "unknown" else row["label"]
    is_other = row["name"] not in (UNCLEAR, label)
    if isinstance(image, str):
        return _Shown(row, "", image, is_other)
    from PIL import Image as Pillow

    small = Pillow.fromarray(image)
    small.thumbnail((_WINDOW_PX, _WINDOW_PX))
    return _Shown(row, image_url(small), "", is_other)


def _describe_population(found: CheckedFraction) -> dict[str, str]:
    body, first = found.check.body, found.parts[0].check.body
    models = sorted({model for part in found.parts for model in part.check.body["models"]})
    lines = {
        "windows": f"{found.count('n_windows'):,}, without the empty ones",
        "frames": f"{found.count('n_frames'):,}, up to frame {body['through']['ordinal']:,} of the batch",
        "taken": f"{first['first_time']} to {body['last_time']}",
        "models (sha256)": ", ".join(models),
    }
    if found.count("n_skipped"):
        lines["left out"] = (
            f"{found.count('n_skipped'):,} windows, which the monitor did not give to the model"
        )
    if found.count("n_frames_without"):
        lines["not checked"] = f"{found.count('n_frames_without'):,} frames, whose windows had been removed"
    return lines


def _describe_plan(check: StoredCheck) -> dict[str, str]:
    settings, extends = check.body["settings"], check.body.get("extends")
    lines = {
        "goes on with": f"check {extends['check']}: the frames that came since" if extends else "",
        "planned": f"{check.planned_at} by {check.planned_by}",
        "reason": check.reason,
        "windows sampled": f"{check.n_sampled:,}",
        "seed": str(check.seed),
        "spread evenly": f"{100 * settings['even']:.0f} % of the draws",
        "names allowed": ", ".join(check.body["names"]),
        "sha256 of the windows": check.body["fingerprint"],
        "sha256 of the plan": hash_plan(check.plan),
        "Georgia": check.body["georgia"],
    }
    return {name: value for name, value in lines.items() if value}
