"""What a check of the data is, what it is shown, and what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from georgia.audit.examples import Example
from georgia.audit.near_duplicates.search import Copies
from georgia.audit.settings import AuditConfig
from georgia.catalog.read import relative_name
from georgia.records import Catalog
from georgia.split.make import group_of

Severity = Literal["error", "warning"]
Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: ``message`` says what, ``todo`` what to do, ``evidence`` holds the numbers.

    ``files`` are names below the data folder. An error stops the gate unless ``is_allowed``.
    """

    check: str
    severity: Severity
    message: str
    todo: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    is_allowed: bool = False

    @property
    def stops(self) -> bool:
        """Whether the gate stops for it."""
        return self.severity == "error" and not self.is_allowed

    def to_json_dict(self) -> dict[str, Any]:
        """Return the finding as it stands in ``audit.json``."""
        return {
            "check": self.check,
            "severity": self.severity,
            "message": self.message,
            "todo": self.todo,
            "evidence": dict(self.evidence),
            "files": list(self.files),
            "allowed": self.is_allowed,
        }


@dataclass(frozen=True, eq=False)
class Observed:
    """All that checks may look at, every column in the order of ``catalog.records``.

    ``catalog`` holds the images that can be read, their joined groups, and all failures. ``columns`` are
    measurements by name (N,). ``features`` (N, F) are there in a deep audit only.
    """

    catalog: Catalog
    columns: Mapping[str, Column]
    copies: Copies
    config: AuditConfig
    features: npt.NDArray[np.float32] | None = None

    def name(self, position: int) -> str:
        """Return an image's name below the data folder."""
        return relative_name(self.catalog.records[position].path, self.catalog.root)

    def names(self, positions: Iterable[int]) -> tuple[str, ...]:
        """Return images' names below the data folder."""
        return tuple(self.name(int(position)) for position in positions)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class positions (N,)."""
        return self.catalog.labels.indices([record.class_name for record in self.catalog.records])

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """Group numbers (N,); an image without a group is its own."""
        keys = [group_of(record, self.catalog.root) for record in self.catalog.records]
        return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)


class Check(ABC):
    """One question to the data. Subclasses say what is wrong, from where on, and show a bad and a good case.

    ``threshold`` is in the unit that ``rule`` names, ``source`` says where it comes from. ``todo`` is what
    the reader should do. A check with ``is_deep`` runs only where a net has looked at the images.
    """

    name: ClassVar[str]
    severity: ClassVar[Severity]
    rule: ClassVar[str]
    threshold: ClassVar[float]
    source: ClassVar[str]
    todo: ClassVar[str]
    is_deep: ClassVar[bool] = False

    @abstractmethod
    def find(self, seen: Observed) -> list[Finding]:
        """Return what is wrong; empty if nothing is."""

    @abstractmethod
    def bad_example(self) -> Example:
        """Return the smallest set in which this check must find something."""

    @abstractmethod
    def good_example(self) -> Example:
        """Return the nearest set in which it must not."""

    def found(
        self,
        message: str,
        evidence: Mapping[str, Any] | None = None,
        files: Iterable[str] = (),
        severity: Severity | None = None,
    ) -> Finding:
        """Return a finding of this check."""
        return Finding(
            self.name, severity or self.severity, message, self.todo, dict(evidence or {}), tuple(files)
        )
