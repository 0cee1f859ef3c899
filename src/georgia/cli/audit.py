"""``georgia audit``: what is wrong with the data, before a model is trained on it."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.options import (
    ClassNamesOption,
    ConfigOption,
    DataArgument,
    GroupRegexOption,
    JsonOption,
    PartsOption,
    TimeGapOption,
    TimeRegexOption,
    make_config,
    parse_layout,
)
from georgia.files import check_outside_data, hold_folder
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.audit import Audit

# Lines of one check; a set in which every crystal has two labels has thousands of findings.
_MAX_LINES = 10
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", help="Check whose findings do not fail the quality gate; repeatable.", metavar="CHECK"
    ),
]
GroupFolderOption = Annotated[
    int | None,
    typer.Option("--group-folder", help="1: files of one folder are one group; 2: of the one above …"),
]


def run(
    data: DataArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for audit.json and the report.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also search for wrong labels and outliers with a network.")
    ] = False,
    allow: AllowOption = None,
    group_regex: GroupRegexOption = None,
    time_gap: TimeGapOption = None,
    time_regex: TimeRegexOption = None,
    group_folder: GroupFolderOption = None,
    class_names: ClassNamesOption = None,
    parts: PartsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find near-duplicates, conflicts, leaks, shortcuts and bad images; exit 4 if the quality gate fails.

    \b
    Examples:
      georgia audit data/crops --out audit
      georgia audit data/crops --group-regex 'run(\\d+)' --allow file-shortcut
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.audit import AuditConfig, run_audit
    from georgia.catalog.read import read_catalog

    given = {
        "deep": deep or None,
        "allow": tuple(allow) if allow else None,
        "group_regex": group_regex,
        "time_gap_s": time_gap,
        "time_regex": time_regex,
        "folder_level": group_folder,
    }
    settings = make_config(AuditConfig, config, "audit", given)
    layout = parse_layout(class_names, parts)
    if out is not None:
        check_outside_data(out, data)
    files: list[Path] = []
    with hold_folder(out) if out is not None else nullcontext(), console.ConsoleProgress() as progress:
        catalog = read_catalog(data, **layout, verify=False, progress=progress)
        audit = run_audit(catalog, settings, progress)
        if out is not None:
            files = _write(audit, out)
    if as_json:
        console.show_json({**audit.to_json_dict(), "files": files, "failed": audit.catalog.failures})
    else:
        _show(audit, files)
    code = console.end_with(audit.catalog.failures)
    return console.GATE_FAILED if audit.gate == "stop" else code


def _write(audit: Audit, out: Path) -> list[Path]:
    from georgia.report.audit_page import AUDIT_PAGE, save_audit_page

    files = audit.save(out)
    save_audit_page(audit, out / AUDIT_PAGE)
    return [out / AUDIT_PAGE, *files]


def _show(audit: Audit, files: list[Path]) -> None:
    counts = ", ".join(f"{name} {n:,}" for name, n in audit.catalog.count_by_class().items())
    console.show_line(f"{audit.n_images:,} images ({counts}) in {audit.n_groups:,} groups")
    n_found = Counter(finding.check for finding in audit.findings)
    n_told: Counter[str] = Counter()
    for finding in audit.findings:
        n_told[finding.check] += 1
        if n_told[finding.check] > _MAX_LINES:
            continue
        allowed = " (allowed)" if finding.is_allowed else ""
        console.show_line(f"{finding.severity}{allowed} · {finding.check} · {finding.message}")
        if n_told[finding.check] == 1:
            console.show_line(f"    {finding.remedy}")
        n_more = n_found[finding.check] - _MAX_LINES
        if n_told[finding.check] == _MAX_LINES and n_more > 0:
            where = "audit.json holds" if files else "--out or --json lists"
            console.show_line(f"    and {count_noun(n_more, 'more finding')} of this kind, which {where}")
    if not audit.findings:
        console.show_line("Nothing was found.")
    console.show_line(f"gate: {audit.gate}")
    for file in files[:1]:
        console.show_line(f"report: {file}")
