"""The result of an audit: findings, groups, quality gate; saved as ``audit.json`` and ``audit.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.audit.check import Finding
from georgia.audit.measurements import TEXT_COLUMNS
from georgia.audit.settings import AuditConfig
from georgia.catalog.read import relative_name
from georgia.config import build_config, flatten_config
from georgia.errors import InputError
from georgia.files import check_fields, read_json, read_table, reading, write_json, write_text
from georgia.labels import Labels
from georgia.records import Catalog, Failure, Record, Result, check_classes
from georgia.split.make import group_of
from georgia.text import count_noun, format_csv, read_rows

AUDIT_JSON = "audit.json"
AUDIT_CSV = "audit.csv"
_RECORD_COLUMNS = ("path", "class", "group", "part", "time")


@dataclass(frozen=True, eq=False, repr=False)
class Audit(Result):
    """The audited ``catalog`` with its joined groups, and what was found, errors first.

    ``pairs`` are the duplicates, ``columns`` the measurements (N,) in the order of the records,
    ``properties`` how well each one predicts the class.
    """

    catalog: Catalog
    findings: tuple[Finding, ...]
    pairs: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, npt.NDArray[Any]]
    properties: tuple[Mapping[str, Any], ...]
    config: AuditConfig
    seconds: float

    @property
    def n_images(self) -> int:
        """Number of images that could be read."""
        return len(self.catalog.records)

    @cached_property
    def n_groups(self) -> int:
        """Number of groups; an image without one counts as its own."""
        return len({group_of(record, self.catalog.root) for record in self.catalog.records})

    def summary(self) -> str:
        """Return the size of the data, the quality gate and the verdict."""
        size = f"{count_noun(self.n_images, 'image')} in {count_noun(self.n_groups, 'group')}"
        return f"{size}; quality gate: {self.gate}. {self.verdict}".strip()

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the findings, errors first."""
        return [
            {
                "check": finding.check,
                "severity": finding.severity,
                "allowed": finding.is_allowed,
                "message": finding.message,
                "remedy": finding.remedy,
                "n_files": len(finding.files),
            }
            for finding in self.findings
        ]

    @property
    def gate(self) -> Literal["pass", "stop"]:
        """The quality gate: "stop" if an error was not allowed."""
        return "stop" if any(finding.blocks for finding in self.findings) else "pass"

    @property
    def allowed(self) -> tuple[str, ...]:
        """Names of the checks with findings that are allowed."""
        return tuple(dict.fromkeys(finding.check for finding in self.findings if finding.is_allowed))

    @property
    def verdict(self) -> str:
        """One sentence for the first line of a report."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        n_warnings = len(self.findings) - len(errors)
        warned = f" {count_noun(n_warnings, 'warning')}." if n_warnings else ""
        if not errors:
            return f"Data audited: no error in {self.n_images:,} images of {self.n_groups:,} groups.{warned}"
        by_check: dict[str, str] = {}
        for finding in errors:
            by_check.setdefault(finding.check, finding.message)
        first = "; ".join(f"{check}: {message}" for check, message in by_check.items())
        n_more = len(errors) - len(by_check)
        more = f"; and {count_noun(n_more, 'more error')} of these kinds" if n_more else ""
        allowed = " Allowed on request." if self.gate == "pass" else ""
        return f"The data is not sound: {first}{more}.{allowed}{warned}"

    def group_catalog(self, catalog: Catalog) -> Catalog:
        """Return images with the groups that they have here; those that could not be read become failures.

        Raises:
            InputError: an image is not known here.
        """
        groups = {record.path.resolve(): record.group for record in self.catalog.records}
        failed = {failure.path.resolve(): failure for failure in self.catalog.failures}
        readable = [record for record in catalog.records if record.path.resolve() not in failed]
        new = [record.path.name for record in readable if record.path.resolve() not in groups]
        if new:
            raise InputError(
                "Cannot use the audit",
                needs="it must know every image",
                got=f"{len(new)} that it does not, such as {new[0]!r}",
                hint="Audit these images first: georgia audit DATA --out DIR.",
            )
        records = tuple(replace(record, group=groups[record.path.resolve()]) for record in readable)
        left_out = {record.path for record in catalog.records} - {record.path for record in readable}
        more = tuple(replace(failed[path.resolve()], path=path) for path in sorted(left_out))
        return replace(catalog, records=records, failures=(*catalog.failures, *more))

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia audit --json`` prints."""
        return {
            "n_images": self.n_images,
            "classes": self.catalog.count_by_class(),
            "n_groups": self.n_groups,
            "findings": [finding.to_json_dict() for finding in self.findings],
            "gate": self.gate,
            "allowed": list(self.allowed),
            "verdict": self.verdict,
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``audit.json`` and ``audit.csv`` (a catalog with the groups); return the paths."""
        folder = Path(folder)
        details = {
            **self.to_json_dict(),
            "root": self.catalog.root.absolute().as_posix(),
            "pairs": [dict(pair) for pair in self.pairs],
            "properties": [dict(row) for row in self.properties],
            "failed": [failure.to_json_dict() for failure in self.catalog.failures],
            "settings": flatten_config(self.config),
            "seconds": round(self.seconds, 3),
        }
        write_json(folder / AUDIT_JSON, details)
        write_text(folder / AUDIT_CSV, self._list_files())
        return [folder / AUDIT_JSON, folder / AUDIT_CSV]

    def _list_files(self) -> str:
        rows: list[Sequence[str]] = [[*_RECORD_COLUMNS, *self.columns]]
        for position, record in enumerate(self.catalog.records):
            name = relative_name(record.path, self.catalog.root)
            values = [column[position] for column in self.columns.values()]
            cells = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in values]
            rows.append([name, record.class_name, record.group, record.split, record.time, *cells])
        return format_csv(rows)

    @classmethod
    def load(cls, folder: str | Path) -> Audit:
        """Read an audit that was saved.

        Raises:
            InputError: a file is missing or is none of ours.
        """
        folder = Path(folder)
        what, needs = f"Cannot read the audit in {str(folder)!r}", f"{AUDIT_JSON} and {AUDIT_CSV} are needed"
        with reading(what, needs):
            info = read_json(folder / AUDIT_JSON)
            text = read_table(folder / AUDIT_CSV)
            root = Path(info["root"])
            rows = read_rows(text)
            records = tuple(
                Record(root / row["path"], *(row[name] for name in _RECORD_COLUMNS[1:])) for row in rows
            )
            labels = Labels(tuple(info["classes"]))
            check_classes(records, labels)
            failures = tuple(Failure.from_json_dict(failure) for failure in info["failed"])
            found = cls(
                catalog=Catalog(root, labels, records, failures),
                findings=tuple(Finding.from_json_dict(finding) for finding in info["findings"]),
                pairs=tuple(info["pairs"]),
                columns=_read_columns(rows),
                properties=tuple(info["properties"]),
                config=build_config(AuditConfig, info["settings"]),
                seconds=info["seconds"],
            )
            return check_fields(found)


def _read_columns(rows: list[dict[str, str]]) -> dict[str, npt.NDArray[Any]]:
    names = [name for name in (rows[0] if rows else {}) if name not in _RECORD_COLUMNS]
    return {
        name: np.array([row[name] for row in rows], dtype=object)
        if name in TEXT_COLUMNS
        else np.array([float(row[name]) for row in rows])
        for name in names
    }
