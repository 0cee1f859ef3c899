"""The audit before a training run: groups for its split, and what stops it or is said about its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from georgia.audit import Audit, AuditConfig, Finding, run_audit
from georgia.audit.result import AUDIT_JSON
from georgia.audit.run import check_names
from georgia.errors import GateError
from georgia.progress import Progress
from georgia.records import Catalog
from georgia.report.audit_page import AUDIT_PAGE, save_audit_page
from georgia.report.inputs import NOT_CHECKED
from georgia.split.make import Split
from georgia.train.recipes import TrainConfig

# Labels that contradict one another, and test images seen in training, make every figure a lie. Other
# errors (a shortcut, few groups) are said on the report's first line, and training goes on.
STOPPING_CHECKS = ("conflict", "leak")


@dataclass(frozen=True)
class DataAudit:
    """What is known of a run's data: the audit, and a leak that the split itself made.

    ``is_at_one_scale`` says that the net sees nothing of an image's size. ``verdict`` is one line for the
    report, ``gate`` "pass", "stop", or "" where nothing was audited.
    """

    audit: Audit | None = None
    leak: str = ""
    is_at_one_scale: bool = False

    @property
    def gate(self) -> Literal["", "pass", "stop"]:
        """What the audit's gate says, or "stop" for a leaking split."""
        if self.leak:
            return "stop"
        if self.audit is None:
            return ""
        # On a report an error is an error, also where it was let pass.
        return "stop" if any(one.severity == "error" for one in self.audit.findings) else "pass"

    @property
    def verdict(self) -> str:
        """One line on the data, empty where nothing was audited."""
        known = "" if self.audit is None else self.audit.verdict
        cure = "The net was shown all images at one scale." if self.is_at_one_scale else ""
        return " ".join(part for part in (self.leak, known, cure) if part)

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What no step has looked at."""
        return NOT_CHECKED if self.audit is None else NOT_CHECKED[2:]

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``bundle.json`` holds under "audit"."""
        if self.audit is None:
            return {"gate": self.gate, "verdict": self.verdict}
        return {
            "gate": self.gate,
            "verdict": self.verdict,
            "allowed": list(self.audit.allowed),
            "n_groups": self.audit.n_groups,
            "findings": [
                {"check": one.check, "severity": one.severity, "message": one.message}
                for one in self.audit.findings
            ],
        }


NO_DATA_AUDIT = DataAudit()


def audit_training_data(
    catalog: Catalog, config: TrainConfig, out: Path, progress: Progress, known: Path | None = None
) -> tuple[Catalog, DataAudit]:
    """Return the readable images with joined groups, and the audit, which is written into ``out``.

    ``known`` is the folder of an audit of all these images, made for several runs; its findings stand, and
    have stopped or not stopped what they had to.

    Raises:
        GateError: labels contradict one another, or the given parts leak, and it was not allowed.
        InputError: ``allow`` names no check.
    """
    check_names(config.allow)
    if not config.audit:
        return catalog, DataAudit()
    if known is not None and (known / AUDIT_JSON).exists():
        audit = Audit.load(known)
        return audit.group_catalog(catalog), DataAudit(audit)
    audit = run_audit(catalog, AuditConfig(allow=config.allow, seed=config.seed), progress)
    audit.save(out)
    if audit.findings:
        save_audit_page(audit, out / AUDIT_PAGE)
    for finding in audit.findings:
        progress.say(f"audit: {finding.severity}: {finding.check}: {finding.message}")
    stopping = [one for one in audit.findings if one.stops and one.check in STOPPING_CHECKS]
    if stopping:
        raise GateError(_describe_stop(stopping, out))
    return audit.catalog, DataAudit(audit)


def check_split(soundness: DataAudit, split: Split, progress: Progress) -> DataAudit:
    """Return what is known once the parts are dealt: a split by name or a given one may leak."""
    if not split.leaks or any(
        one.check == "leak" for one in (soundness.audit.findings if soundness.audit else ())
    ):
        return soundness
    n_groups = f"{len(split.leaks):,} of {split.n_groups:,} groups"
    leak = f"This split leaks: {n_groups} stand in more than one part, so the figures are too good."
    progress.say(f"audit: error: {leak} Use order=grouped.")
    return replace(soundness, leak=leak)


def _describe_stop(findings: Sequence[Finding], out: Path) -> str:
    found = "; ".join(f"{one.check}: {one.message}" for one in findings[:3])
    more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
    names = ",".join(dict.fromkeys(one.check for one in findings))
    do = f"See {str(out / AUDIT_PAGE)!r}. {findings[0].todo} Or go on with --set allow={names}."
    return f"Training stopped, the data is not sound: {found}{more}. {do}"
