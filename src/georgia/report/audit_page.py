"""The audit as one self-contained page: what was found, images side by side, and what to do about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.audit import CHECKS, Audit, Finding
from georgia.audit.checks.duplicates import Conflict, DuplicatesFound, Leak, NearConflict, SameScene
from georgia.audit.checks.image_quality import Unreadable
from georgia.audit.measurements import PROPERTIES
from georgia.catalog.read import relative_name
from georgia.files import write_text
from georgia.records import Failure, Record
from georgia.report.audit_figures import Distribution, draw_distribution, draw_property_predictability
from georgia.report.canvas import figure_url
from georgia.report.render import render_template
from georgia.report.thumbnails import image_url, read_thumbnails
from georgia.split.make import group_of

AUDIT_PAGE = "audit.html"
# The page stays below a few MB: so many findings of a check, sets of images a finding, and images a set.
_MAX_OF_CHECK, _MAX_SETS, _MAX_IN_SET, _MAX_IN_GALLERY = 12, 12, 8, 24
_THUMBNAIL_PX = 170
_PLOTTED_ALWAYS = ("width_px", "height_px", "brightness", "contrast", "sharpness", "noise")
Records = Mapping[str, Record]


@dataclass(frozen=True)
class Tile:
    """One image of the page by its name below the data folder, with the note below it."""

    name: str
    class_name: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One finding as the template needs it: ``sets`` are images that belong side by side.

    ``n_further`` are findings of the same check that have no section of their own.
    """

    finding: Finding
    sets: tuple[tuple[Tile, ...], ...] = ()
    n_sets: int = 0
    figure: str = ""
    rule: str = ""
    n_further: int = 0


class _Lines:
    """Images of one group side by side, each with the transform that makes it from an earlier one."""

    def __init__(self, audit: Audit, records: Records) -> None:
        self._records = records
        self._pairs: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for pair in audit.pairs:
            self._pairs[str(pair["second"])].append(pair)

    def line_up(self, group: Iterable[str]) -> tuple[Tile, ...]:
        """Return the first files of a group."""
        members = list(group)
        known = set(members)
        return tuple(self._make_tile(name, known) for name in members[:_MAX_IN_SET])

    def _make_tile(self, name: str, members: set[str]) -> Tile:
        record = self._records[name]
        made = next((pair for pair in self._pairs.get(name, ()) if pair["first"] in members), None)
        note = ""
        if made is not None:
            near = "" if made["kind"] == "exact" else f", near ({made['similarity']:.2f})"
            note = f"{made['transform']} of {Path(made['first']).name}{near}"
        return Tile(name, record.class_name, " · ".join(filter(None, (record.split, note))))


def render_audit(audit: Audit) -> str:
    """Return the page as HTML: the quality gate, all findings, then the distributions."""
    records = {relative_name(record.path, audit.catalog.root): record for record in audit.catalog.records}
    sections = _make_sections(audit, records)
    names = {tile.name for section in sections for tiles in section.sets for tile in tiles}
    predictability = ""
    if audit.properties:
        size = (6.6, 0.9 + 0.32 * len(audit.properties))
        predictability = figure_url(draw_property_predictability, audit, size)
    failing = {finding.check for finding in audit.findings}
    return render_template(
        "audit.html.jinja",
        audit=audit,
        sections=sections,
        images=_read_images(sorted(names & records.keys()), records),
        classes=_count_classes(audit),
        predictability=predictability,
        figures=[_draw(Distribution(audit, entry)) for entry in PROPERTIES if entry.name in _PLOTTED_ALWAYS],
        clean=[check for check in CHECKS if check.name not in failing and not check.is_deep],
        data=audit.catalog.root.name,
    )


def save_audit_page(audit: Audit, path: str | Path) -> None:
    """Write the page whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    write_text(path, render_audit(audit))


def _make_sections(audit: Audit, records: Records) -> list[Section]:
    """Return the findings in their order: of each check the first ones, the last telling of the rest."""
    lines, counts = _Lines(audit, records), Counter(finding.check for finding in audit.findings)
    sections: list[Section] = []
    n_shown: Counter[str] = Counter()
    for finding in audit.findings:
        n_shown[finding.check] += 1
        if n_shown[finding.check] <= _MAX_OF_CHECK:
            is_last = n_shown[finding.check] == _MAX_OF_CHECK
            n_further = counts[finding.check] - _MAX_OF_CHECK if is_last else 0
            sections.append(replace(_make_section(finding, audit, lines, records), n_further=n_further))
    return sections


def _make_section(finding: Finding, audit: Audit, lines: _Lines, records: Records) -> Section:
    check = next((check for check in CHECKS if check.name == finding.check), None)
    rule = f"{check.rule} {check.threshold:g}. Source: {check.source}." if check else ""
    groups: list[Iterable[str]] = []
    if finding.check in (DuplicatesFound.name, SameScene.name):
        groups = finding.evidence["groups"]
    elif finding.check == Leak.name:
        groups = list(finding.evidence["groups"].values())
    elif finding.check in (Conflict.name, NearConflict.name):
        groups = [finding.files]
    sets = [lines.line_up(group) for group in groups[:_MAX_SETS]]
    if not groups and finding.check != Unreadable.name and finding.files:
        sets = [tuple(_add_values(finding, records))]
    entry = next((entry for entry in PROPERTIES if entry.name == finding.evidence.get("property")), None)
    figure = ""
    if entry is not None:
        value = finding.evidence.get("value")
        is_marked = not entry.is_text and finding.evidence.get("sign") in ("≤", ">")
        figure = _draw(Distribution(audit, entry, float(value) if is_marked and value is not None else None))
    return Section(finding, tuple(sets), max(len(groups), len(sets)), figure, rule)


def _add_values(finding: Finding, records: Records) -> Iterable[Tile]:
    """Yield the files of a finding, each with its own values of the evidence."""
    columns = {name: values for name, values in finding.evidence.items() if isinstance(values, list)}
    for position, name in enumerate(finding.files[:_MAX_IN_GALLERY]):
        notes = [
            f"{key.replace('_', ' ')} {_format(values[position])}"
            for key, values in columns.items()
            if position < len(values)
        ]
        yield Tile(name, records[name].class_name if name in records else "", ", ".join(notes))


def _format(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _read_images(names: list[str], records: Records) -> dict[str, str]:
    """Return thumbnails as URLs by name; a file that cannot be read any more has none."""
    thumbnails = read_thumbnails([records[name].path for name in names], _THUMBNAIL_PX)
    return {
        names[position]: image_url(image) for position, image in thumbnails if not isinstance(image, Failure)
    }


def _count_classes(audit: Audit) -> list[tuple[str, int, int]]:
    """Return each class with its number of images and of groups."""
    groups: dict[str, set[str]] = {name: set() for name in audit.catalog.labels.names}
    for record in audit.catalog.records:
        groups[record.class_name].add(group_of(record, audit.catalog.root))
    return [(name, n, len(groups[name])) for name, n in audit.catalog.count_by_class().items()]


def _draw(result: Distribution) -> str:
    return figure_url(draw_distribution, result, (5.2, 2.9))
