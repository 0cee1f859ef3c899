"""What a check reads (``AuditData``), what it returns (``Finding``), and their base (``Check``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from georgia.audit.class_predictability import ClassPredictability, measure_predictability
from georgia.audit.near_duplicates.search import Duplicates
from georgia.audit.settings import AuditConfig
from georgia.catalog.read import relative_name
from georgia.records import Catalog
from georgia.split.make import group_of
from georgia.text import make_printable

Severity = Literal["error", "warning"]
Column = npt.NDArray[Any]


# A name of more signs is cut in a finding's line; the evidence holds it whole.
_MOST_SIGNS = 80
# No finding's line is longer, whatever the set.
MOST_SIGNS_OF_MESSAGE = 500


def shorten(text: str, most: int = _MOST_SIGNS) -> str:
    """Return a text in one line of up to ``most`` signs, with its end, which tells files apart.

    >>> shorten("CEX/a.png"), shorten("CEX/" + 90 * "a" + ".png", 20)
    ('CEX/a.png', 'CEX/aa…aaaaaaaaa.png')
    """
    plain = make_printable(text)
    if len(plain) <= most:
        return plain
    n_head = (most - 1) // 3
    return f"{plain[:n_head]}…{plain[n_head + 1 - most :]}"


def list_names(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, shortened, with the number of the others.

    >>> list_names(["a.png", "b.png", "c.png"], 2)
    'a.png, b.png and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(shorten(name) for name in names[:most]) + more


@dataclass(frozen=True)
class Finding:
    """One problem: ``message`` says what is wrong, ``remedy`` what to do, ``evidence`` holds the values.

    ``files`` are names below the data folder. An error blocks the quality gate unless ``is_allowed``.
    """

    check: str
    severity: Severity
    message: str
    remedy: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    is_allowed: bool = False

    @property
    def blocks(self) -> bool:
        """Whether the quality gate fails because of it."""
        return self.severity == "error" and not self.is_allowed

    def to_json_dict(self) -> dict[str, Any]:
        """Return the finding as ``audit.json`` holds it."""
        return {
            "check": self.check,
            "severity": self.severity,
            "message": self.message,
            "todo": self.remedy,
            "evidence": dict(self.evidence),
            "files": list(self.files),
            "allowed": self.is_allowed,
        }

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Read a finding of ``audit.json``."""
        return cls(
            values["check"],
            values["severity"],
            values["message"],
            values["todo"],
            values["evidence"],
            tuple(values["files"]),
            values["allowed"],
        )


@dataclass(frozen=True, eq=False)
class AuditData:
    """All that checks read; every column is in the order of ``catalog.records``.

    ``catalog`` holds the readable images with their joined groups, and all failures. ``columns`` are
    measurements by name (N,). ``features`` (N, F) are None unless the audit is deep.
    """

    catalog: Catalog
    columns: Mapping[str, Column]
    duplicates: Duplicates
    config: AuditConfig
    features: npt.NDArray[np.float32] | None = None

    def name(self, position: int) -> str:
        """Return an image's name below the data folder."""
        return relative_name(self.catalog.records[position].path, self.catalog.root)

    def names(self, positions: Iterable[int]) -> tuple[str, ...]:
        """Return images' names below the data folder."""
        return tuple(self.name(int(position)) for position in positions)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class positions (N,)."""
        return self.catalog.labels.indices([record.class_name for record in self.catalog.records])

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """Group numbers (N,); an image without a group is its own."""
        keys = [group_of(record, self.catalog.root) for record in self.catalog.records]
        return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)

    @cached_property
    def predictability(self) -> ClassPredictability | None:
        """How well each measured property predicts the class; None if fewer than two classes have images."""
        names = self.catalog.labels.names
        return measure_predictability(self.columns, self.labels, self.groups, names, self.config)


class Check(ABC):
    """One question about the data; a subclass states what is wrong and above which threshold.

    ``rule`` names the measured value and its unit, ``threshold`` is in that unit, ``source`` says where it
    comes from, and ``remedy`` what the reader should do. A check with ``is_deep`` needs the features of a
    network.
    """

    name: ClassVar[str]
    severity: ClassVar[Severity]
    rule: ClassVar[str]
    threshold: ClassVar[float]
    source: ClassVar[str]
    remedy: ClassVar[str]
    is_deep: ClassVar[bool] = False

    @abstractmethod
    def find(self, data: AuditData) -> list[Finding]:
        """Return what is wrong; empty if nothing is."""

    def found(
        self,
        message: str,
        evidence: Mapping[str, Any] | None = None,
        files: Iterable[str] = (),
        severity: Severity | None = None,
    ) -> Finding:
        """Return a finding of this check, its message as one line of bounded length."""
        line = shorten(message, MOST_SIGNS_OF_MESSAGE)
        return Finding(
            self.name, severity or self.severity, line, self.remedy, dict(evidence or {}), tuple(files)
        )
