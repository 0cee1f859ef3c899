"""What an audit hands on: findings, groups, the gate's answer; saved as ``audit.json`` and ``audit.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.audit.check import Finding
from georgia.audit.measurements import PROPERTIES
from georgia.audit.settings import AuditConfig
from georgia.catalog.read import relative_name
from georgia.config import build_config
from georgia.errors import InputError
from georgia.files import write_json, write_text
from georgia.labels import Labels
from georgia.records import Catalog, Failure, Record
from georgia.split.make import group_of

AUDIT_JSON = "audit.json"
AUDIT_CSV = "audit.csv"
_RECORD_COLUMNS = ("path", "class", "group", "part", "time")


@dataclass(frozen=True, eq=False)
class Audit:
    """The audited ``catalog`` with its joined groups, and what was found, errors first.

    ``pairs`` are the copies, ``columns`` the measurements (N,) in the order of the records, ``properties``
    how much each one tells of the class.
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

    @property
    def gate(self) -> Literal["pass", "stop"]:
        """Whether an error stands that was not allowed."""
        return "stop" if any(finding.stops for finding in self.findings) else "pass"

    @property
    def allowed(self) -> tuple[str, ...]:
        """Names of the checks that found something and were let pass."""
        return tuple(dict.fromkeys(one.check for one in self.findings if one.is_allowed))

    @property
    def verdict(self) -> str:
        """One sentence for the first line of a report."""
        errors = [one for one in self.findings if one.severity == "error"]
        n_warnings = len(self.findings) - len(errors)
        warned = f" {n_warnings} warning{'s' if n_warnings > 1 else ''}." if n_warnings else ""
        if not errors:
            return f"Data audited: no error in {self.n_images:,} images of {self.n_groups:,} groups.{warned}"
        named = list({one.check: one for one in reversed(errors)}.values())[::-1]
        first = "; ".join(f"{one.check}: {one.message}" for one in named)
        n_more = len(errors) - len(named)
        more = f"; and {n_more} more error{'s' if n_more > 1 else ''} of these kinds" if n_more else ""
        let_pass = " Let pass on request." if self.gate == "pass" else ""
        return f"The data is not sound: {first}{more}.{let_pass}{warned}"

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

    def save(self, folder: Path) -> list[Path]:
        """Write ``audit.json`` and ``audit.csv`` (a catalog with the groups); return the paths."""
        details = {
            **self.to_json_dict(),
            "root": self.catalog.root.absolute().as_posix(),
            "pairs": [dict(pair) for pair in self.pairs],
            "properties": [dict(row) for row in self.properties],
            "failed": [one.to_json_dict() for one in self.catalog.failures],
            "settings": {
                key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.config).items()
            },
            "seconds": round(self.seconds, 3),
        }
        write_json(folder / AUDIT_JSON, details)
        write_text(folder / AUDIT_CSV, self._list_files())
        return [folder / AUDIT_JSON, folder / AUDIT_CSV]

    def _list_files(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_RECORD_COLUMNS, *self.columns])
        for at, record in enumerate(self.catalog.records):
            name = relative_name(record.path, self.catalog.root)
            values = [column[at] for column in self.columns.values()]
            cells = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in values]
            writer.writerow([name, record.class_name, record.group, record.split, record.time, *cells])
        return stream.getvalue()

    @classmethod
    def load(cls, folder: Path) -> Audit:
        """Read an audit that was saved.

        Raises:
            InputError: a file is missing or is none of ours.
        """
        try:
            info = json.loads((folder / AUDIT_JSON).read_text(encoding="utf-8"))
            text = (folder / AUDIT_CSV).read_text(encoding="utf-8")
            root = Path(info["root"])
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            records = tuple(
                Record(root / row["path"], row["class"], row["group"], row["part"], row["time"])
                for row in rows
            )
            failures = tuple(Failure.from_json_dict(one) for one in info["failed"])
            catalog = Catalog(root, Labels(tuple(info["classes"])), records, failures)
            findings = tuple(_read_finding(one) for one in info["findings"])
            config = build_config(AuditConfig, info["settings"])
            pairs, properties = tuple(info["pairs"]), tuple(info["properties"])
            return cls(catalog, findings, pairs, _read_columns(rows), properties, config, info["seconds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"Cannot read the audit in {str(folder)!r}",
                needs=f"{AUDIT_JSON} and {AUDIT_CSV} are needed",
                got=error,
            ) from error


def _read_finding(one: Mapping[str, Any]) -> Finding:
    return Finding(
        one["check"],
        one["severity"],
        one["message"],
        one["todo"],
        one["evidence"],
        tuple(one["files"]),
        one["allowed"],
    )


def _read_columns(rows: list[dict[str, str]]) -> dict[str, npt.NDArray[Any]]:
    words = {entry.name for entry in PROPERTIES if entry.is_word}
    names = [name for name in (rows[0] if rows else {}) if name not in _RECORD_COLUMNS]
    return {
        name: np.array([row[name] for row in rows], dtype=object)
        if name in words
        else np.array([float(row[name]) for row in rows])
        for name in names
    }
