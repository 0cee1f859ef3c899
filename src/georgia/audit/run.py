"""The audit as one step: look at every image once, join groups, ask every check."""

from __future__ import annotations

import time
from dataclasses import replace

from georgia.audit.check import Check, Finding, Observed
from georgia.audit.conflicts import Conflict, CopiesFound, Leak, NearConflict, describe_pair
from georgia.audit.deep import LabelSuspect, Outlier, open_look
from georgia.audit.groups import join_groups
from georgia.audit.near_duplicates.search import NearDuplicateConfig, find_near_duplicates
from georgia.audit.quality import (
    Blank,
    Blurred,
    Colored,
    Dark,
    Imbalance,
    OddSize,
    Overexposed,
    Tiny,
    TooFewGroups,
    Unreadable,
)
from georgia.audit.result import Audit
from georgia.audit.scan import scan_catalog
from georgia.audit.settings import AuditConfig
from georgia.audit.shortcuts import FileShortcut, ImageShortcut, list_power
from georgia.errors import InputError, suggest
from georgia.progress import QUIET, Progress
from georgia.records import Catalog

CHECKS: tuple[Check, ...] = (
    Conflict(),
    Leak(),
    FileShortcut(),
    TooFewGroups(),
    CopiesFound(),
    NearConflict(),
    ImageShortcut(),
    Imbalance(),
    Unreadable(),
    Blank(),
    Dark(),
    Overexposed(),
    Blurred(),
    Tiny(),
    OddSize(),
    Colored(),
    LabelSuspect(),
    Outlier(),
)


def run_audit(catalog: Catalog, config: AuditConfig | None = None, progress: Progress = QUIET) -> Audit:
    """Return what is wrong with a catalog's images and labels, and which images belong together.

    The catalog need not be verified: every file is decoded here, once.

    Raises:
        InputError: ``allow`` names no check, or a rule for groups cannot be followed.
    """
    config = config or AuditConfig()
    check_names(config.allow)
    started = time.perf_counter()
    # What cannot be followed is said before an hour of reading.
    join_groups(catalog, (), config)
    scan = scan_catalog(catalog, open_look() if config.deep else None, progress)
    if not scan.catalog.records:
        raise InputError("Cannot audit", needs="images that can be read are needed", got="none")
    copies = find_near_duplicates(scan.descriptions, NearDuplicateConfig(near=config.near_copies), progress)
    grouped = join_groups(scan.catalog, copies.groups, config)
    seen = Observed(grouped, scan.columns, copies, config, scan.features)
    progress.start("Asking every check", len(CHECKS))
    findings: list[Finding] = []
    for check in CHECKS:
        if seen.features is not None or not check.is_deep:
            findings += check.find(seen)
        progress.advance()
    allowed = [replace(one, is_allowed=one.check in config.allow) for one in findings]
    allowed.sort(key=lambda one: (one.severity != "error", one.is_allowed))
    pairs = tuple(describe_pair(pair, seen) for pair in copies.pairs)
    seconds = time.perf_counter() - started
    return Audit(grouped, tuple(allowed), pairs, scan.columns, list_power(seen), config, seconds)


def group_catalog(catalog: Catalog, config: AuditConfig | None = None, progress: Progress = QUIET) -> Catalog:
    """Return the readable images with their joined groups: the part of an audit that a split needs.

    Raises:
        InputError: a rule for groups cannot be followed.
    """
    config = config or AuditConfig()
    join_groups(catalog, (), config)
    scan = scan_catalog(catalog, progress=progress)
    copies = find_near_duplicates(scan.descriptions, NearDuplicateConfig(near=config.near_copies), progress)
    return join_groups(scan.catalog, copies.groups, config)


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names that are none of the checks.

    Raises:
        InputError: some are; all of them in one message.
    """
    known = [check.name for check in CHECKS]
    wrong = [f"{name!r}.{suggest(name, known)}".rstrip(".") for name in names if name not in known]
    if wrong:
        raise InputError(
            "Cannot allow a check", needs=f"it must be one of {', '.join(known)}", got=" and ".join(wrong)
        )
