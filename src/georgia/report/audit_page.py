"""The audit as one self-contained page: what was found, seen side by side, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import georgia
from georgia.audit import CHECKS, Audit, Finding
from georgia.audit.measurements import PROPERTIES
from georgia.files import write_text
from georgia.records import Failure
from georgia.report.audit_figures import Distribution, draw_distribution, draw_property_power
from georgia.report.canvas import figure_png
from georgia.report.contact_sheet import encode_jpeg, read_thumbnails
from georgia.report.gallery import data_url
from georgia.split.make import group_of
from georgia.text import count_noun

if TYPE_CHECKING:
    from jinja2 import Environment

AUDIT_PAGE = "audit.html"
# The page stays below a few MB: so many sets of images a finding, and so many images a set.
_MOST_SETS, _MOST_IN_SET, _MOST_IN_GALLERY = 12, 8, 24
_THUMBNAIL_PX = 170
_SHOWN_ALWAYS = ("width_px", "height_px", "brightness", "contrast", "sharpness", "noise")


@dataclass(frozen=True)
class Tile:
    """One image of the page by its name below the data folder, with what stands below it."""

    name: str
    class_name: str
    note: str = ""


@dataclass(frozen=True)
class Shown:
    """One finding as the template needs it: ``sets`` are images that belong side by side."""

    finding: Finding
    sets: tuple[tuple[Tile, ...], ...] = ()
    n_sets: int = 0
    figure: str = ""
    rule: str = ""


@dataclass(frozen=True)
class _Images:
    """Thumbnails by name, read once."""

    sources: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


def render_audit(audit: Audit) -> str:
    """Return the page as HTML: the gate's answer, finding after finding, then the distributions."""
    shown = [_show(finding, audit) for finding in audit.findings]
    names = {tile.name for one in shown for tiles in one.sets for tile in tiles}
    page = (
        _environment()
        .get_template("audit.html.jinja")
        .render(
            audit=audit,
            findings=shown,
            images=_read_images(names, audit),
            classes=_count_classes(audit),
            power=data_url(
                figure_png(draw_property_power, audit, (6.6, 0.9 + 0.32 * len(audit.properties))), "image/png"
            )
            if audit.properties
            else "",
            figures=[
                _draw(Distribution(audit, entry)) for entry in PROPERTIES if entry.name in _SHOWN_ALWAYS
            ],
            clean=[
                check
                for check in CHECKS
                if check.name not in {one.check for one in audit.findings} and not check.is_deep
            ],
            data=audit.catalog.root.name,
            version=georgia.__version__,
        )
    )
    return page.replace(" %", "\N{NO-BREAK SPACE}%")


def save_audit_page(audit: Audit, path: Path) -> None:
    """Write the page whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_text(path, render_audit(audit))


def _show(finding: Finding, audit: Audit) -> Shown:
    check = next((one for one in CHECKS if one.name == finding.check), None)
    rule = f"{check.rule} {check.threshold:g}. Source: {check.source}." if check else ""
    sets: list[tuple[Tile, ...]] = []
    if finding.check == "copies":
        sets = [_line_up(group, audit) for group in finding.evidence["groups"]]
    elif finding.check == "leak":
        sets = [_line_up(group, audit) for group in finding.evidence["groups"].values()]
    elif finding.check in ("conflict", "near-conflict"):
        sets = [_line_up(finding.files, audit)]
    elif finding.check != "unreadable" and finding.files:
        sets = [tuple(_with_values(finding, audit)[:_MOST_IN_GALLERY])]
    entry = next((one for one in PROPERTIES if one.name == finding.evidence.get("property")), None)
    figure = ""
    if entry is not None:
        value = finding.evidence.get("value")
        is_marked = not entry.is_word and finding.evidence.get("sign") in ("≤", ">")
        figure = _draw(Distribution(audit, entry, float(value) if is_marked and value is not None else None))
    return Shown(finding, tuple(sets[:_MOST_SETS]), len(sets), figure, rule)


def _line_up(group: Iterable[str], audit: Audit) -> tuple[Tile, ...]:
    """Return the files of one group, each with how it is made from another one that stands before it."""
    members = list(group)
    made = {
        pair["second"]: f"{pair['transform']} of {Path(pair['first']).name}"
        + ("" if pair["kind"] == "exact" else f", near ({pair['similarity']:.2f})")
        for pair in reversed(audit.pairs)
        if pair["second"] in members and pair["first"] in members
    }
    parts = _records_by_name(audit)
    return tuple(
        Tile(name, parts[name].class_name, " · ".join(filter(None, (parts[name].split, made.get(name, "")))))
        for name in members[:_MOST_IN_SET]
    )


def _with_values(finding: Finding, audit: Audit) -> list[Tile]:
    records = _records_by_name(audit)
    columns = {name: values for name, values in finding.evidence.items() if isinstance(values, list)}
    tiles = []
    for at, name in enumerate(finding.files):
        notes = [
            f"{key.replace('_', ' ')} {_in_words(values[at])}"
            for key, values in columns.items()
            if at < len(values)
        ]
        tiles.append(Tile(name, records[name].class_name if name in records else "", ", ".join(notes)))
    return tiles


def _in_words(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _records_by_name(audit: Audit) -> dict[str, Any]:
    from georgia.catalog.read import relative_name

    return {relative_name(record.path, audit.catalog.root): record for record in audit.catalog.records}


def _read_images(names: Iterable[str], audit: Audit) -> _Images:
    records = _records_by_name(audit)
    known = sorted(name for name in names if name in records)
    sources, errors = {}, {}
    for position, image in read_thumbnails([records[name].path for name in known], _THUMBNAIL_PX):
        if isinstance(image, Failure):
            errors[known[position]] = image.error
        else:
            sources[known[position]] = data_url(encode_jpeg(image), "image/jpeg")
    return _Images(sources, errors)


def _count_classes(audit: Audit) -> list[tuple[str, int, int]]:
    """Return each class with its number of images and of groups."""
    groups: dict[str, set[str]] = {name: set() for name in audit.catalog.labels.names}
    for record in audit.catalog.records:
        groups[record.class_name].add(group_of(record, audit.catalog.root))
    return [(name, n, len(groups[name])) for name, n in audit.catalog.count_by_class().items()]


def _draw(result: Distribution) -> str:
    return data_url(figure_png(draw_distribution, result, (5.2, 2.9)), "image/png")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["count"] = count_noun
    return environment
