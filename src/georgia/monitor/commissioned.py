"""What the audit log holds of a probe's commissioning: verdicts, and who overrode one, for which reason."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.columns import iso_time
from georgia.monitor.commission import Commissioning, Finding, compare_input
from georgia.monitor.connect import reading
from georgia.monitor.records import AuditAction
from georgia.monitor.result import FrameInput

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.store import Store

_ACTIONS = (str(AuditAction.COMMISSIONED), str(AuditAction.COMMISSIONING_OVERRIDDEN))


@dataclass
class CommissioningRun:
    """A comparison that somebody began: of the next ``n_frames`` frames that have windows with detail.

    ``n_read`` counts all frames since then. It is in memory alone: a restart ends it without a verdict.
    """

    who: str
    n_frames: int
    started_at_s: float = field(default_factory=time.time)
    inputs: tuple[FrameInput, ...] = ()
    n_read: int = 0

    def add(self, new: FrameInput | None, known: Mapping[str, Any]) -> Commissioning | None:
        """Take in one frame; return the verdict once enough are there."""
        self.n_read += 1
        self.inputs = self.inputs if new is None else (*self.inputs, new)
        return compare_input(self.inputs, known) if len(self.inputs) >= self.n_frames else None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form: who began it, and how far it is."""
        return {
            "who": self.who,
            "started_at": iso_time(self.started_at_s),
            "n_frames": self.n_frames,
            "n_compared": len(self.inputs),
            "n_read": self.n_read,
        }


def make_entry(source: str, model_sha256: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of the audit log that holds for frames of a source with a model."""
    return {"source": source, "model_sha256": model_sha256, **detail}


def make_verdict_entry(source: str, model_sha256: str, result: Commissioning) -> dict[str, Any]:
    """Return the entry of a verdict, with all lines of its page."""
    lines = [{**asdict(line), "finding": str(line.finding)} for line in result.lines]
    return make_entry(source, model_sha256, {**result.to_event(), "lines": lines})


def record_commissioning(
    store: Store, who: str, source: str, model_sha256: str, result: Commissioning
) -> None:
    """Write a verdict: the next start with this source and model takes it over.

    Raises:
        StoreAwayError: the store cannot be reached now.
    """
    store.append_event(who, AuditAction.COMMISSIONED, make_verdict_entry(source, model_sha256, result))


def find_commissioning(store: Store, source: str, model_sha256: str) -> tuple[str, str] | None:
    """Return the newest verdict on a source with a model, and who overrode it, "" nobody; None without one.

    Verdicts on the first frames of a batch hold for that batch alone, and are not meant here.
    """
    log = tables.audit_log.c
    query = select(log.action, log.who, log.detail).where(log.action.in_(_ACTIONS)).order_by(log.seq.desc())
    with reading(store.engine) as connection:
        for action, who, text in connection.execute(query):
            detail = json.loads(text)
            if (detail.get("source"), detail.get("model_sha256")) != (source, model_sha256):
                continue
            overridden_by = str(who) if action == AuditAction.COMMISSIONING_OVERRIDDEN else ""
            return str(detail["verdict"]), overridden_by
    return None


def read_verdict(store: StoreReader, source: str, model_sha256: str) -> dict[str, Any] | None:
    """Return the newest verdict on a source with a model for a page, with who overrode it; None without one.

    Its keys are those of the entry, ``at``, ``who`` and ``override``: None, or who, when and why.

    Raises:
        StoreAwayError: the store cannot be reached.
    """
    log = tables.audit_log.c
    query = select(log.action, log.at_s, log.who, log.detail).where(log.action.in_(_ACTIONS))
    override = None
    with reading(store.engine) as connection:
        for action, at_s, who, text in connection.execute(query.order_by(log.seq.desc())):
            detail = json.loads(text)
            if (detail.get("source"), detail.get("model_sha256")) != (source, model_sha256):
                continue
            said = {"who": str(who), "at": iso_time(at_s)}
            if action == AuditAction.COMMISSIONED:
                return {**detail, **said, "override": override}
            override = override or {**said, "reason": str(detail.get("reason", ""))}
    return None


def is_held(verdict: Mapping[str, Any] | None) -> bool:
    """Tell whether a verdict of ``read_verdict`` keeps the state from "in control"."""
    return verdict is not None and verdict["verdict"] == Finding.BAD and verdict["override"] is None


def check_override(who: str, reason: str) -> None:
    """Check that somebody goes on by name and reason.

    Raises:
        InputError: one of them is missing.
    """
    for what, text in (("the name of a person", who), ("a reason", reason)):
        if not text.strip():
            raise InputError("Cannot override the commissioning", needs=f"{what} is needed", got="none")
