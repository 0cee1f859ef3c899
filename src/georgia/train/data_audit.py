"""The audit before a training run: groups for its split, and what stops it or is said in its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from georgia.audit import Audit, AuditConfig, Finding, run_audit
from georgia.audit.checks import validate_check_names
from georgia.audit.result import AUDIT_JSON
from georgia.config import build_config
from georgia.errors import GateError
from georgia.progress import Progress
from georgia.records import Catalog
from georgia.report.audit_page import AUDIT_PAGE, save_audit_page
from georgia.report.training_run import DataAudit
from georgia.split.make import Split
from georgia.train.recipes import TrainConfig

# Labels that contradict one another, and test images that are in training too, falsify every metric. Other
# errors (a shortcut, few groups) stand on the report's first line, and training goes on.
STOPPING_CHECKS = ("conflict", "leak")


def audit_training_data(
    catalog: Catalog,
    config: TrainConfig,
    out: Path,
    progress: Progress,
    known: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Catalog, DataAudit]:
    """Return the readable images with joined groups, and the audit, which is written into ``out``.

    ``known`` is the folder of an audit of all these images, made for several runs; its findings stand, and
    have been let pass or have stopped the first of them. ``settings`` are those of ``AuditConfig`` that were
    given; what the training's own settings allow is allowed beside them.

    Raises:
        GateError: labels contradict one another, or the given splits leak, and it was not allowed.
        InputError: ``allow`` names no check, or a setting of the audit cannot be used.
    """
    validate_check_names(config.allow)
    if not config.audit:
        return catalog, DataAudit()
    if known is not None and (known / AUDIT_JSON).exists():
        audit = Audit.load(known)
        return audit.group_catalog(catalog), DataAudit(audit)
    audit = run_audit(catalog, choose_audit(config, settings), progress)
    audit.save(out)
    if audit.findings:
        save_audit_page(audit, out / AUDIT_PAGE)
    for finding in audit.findings:
        progress.say(f"audit: {finding.severity}: {finding.check}: {finding.message}")
    stopping = [finding for finding in audit.findings if finding.blocks and finding.check in STOPPING_CHECKS]
    if stopping:
        raise GateError(_describe_stop(stopping, out))
    return audit.catalog, DataAudit(audit)


def choose_audit(config: TrainConfig, settings: Mapping[str, Any] | None) -> AuditConfig:
    """Return the audit's settings: those given, with the seed of the training and all that either allows.

    Raises:
        InputError: a setting of the audit cannot be used.
    """
    chosen = build_config(AuditConfig, {"seed": config.seed}, settings or {}, where="the settings of 'audit'")
    return replace(chosen, allow=tuple(dict.fromkeys((*config.allow, *chosen.allow))))


def list_audit_settings(data: DataAudit, config: TrainConfig) -> dict[str, Any]:
    """Return the settings of the audit that the training's own settings do not imply, as plain values."""
    if data.audit is None:
        return {}
    implied, used = choose_audit(config, None), asdict(data.audit.config)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in used.items()
        if value != getattr(implied, name)
    }


def check_split(data: DataAudit, split: Split, progress: Progress) -> DataAudit:
    """Return what is known once the images are split: one by name or given may leak, or lack a class."""
    missing = [name for name, n in split.counts["valid"].items() if not n]
    if missing:
        gap = (
            f"Validation has no image of {', '.join(missing)}: the epoch, temperature and limits of the "
            "prediction sets were chosen without it."
        )
        progress.say(f"audit: warning: {gap}")
        data = replace(data, gap=gap)
    findings = data.audit.findings if data.audit else ()
    if not split.leaks or any(finding.check == "leak" for finding in findings):
        return data
    n_groups = f"{len(split.leaks):,} of {split.n_groups:,} groups"
    leak = f"This split leaks: {n_groups} stand in more than one part, so the figures are too good."
    progress.say(f"audit: error: {leak} Use order=grouped.")
    return replace(data, leak=leak)


def _describe_stop(findings: Sequence[Finding], out: Path) -> str:
    found = "; ".join(f"{finding.check}: {finding.message}" for finding in findings[:3])
    more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
    names = ",".join(dict.fromkeys(finding.check for finding in findings))
    remedy = f"See {str(out / AUDIT_PAGE)!r}. {findings[0].remedy} Or go on with --set allow={names}."
    return f"Training stopped, the data is not sound: {found}{more}. {remedy}"
