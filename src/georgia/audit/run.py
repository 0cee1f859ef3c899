"""The audit as one step: decode every image once, join groups, run every check."""

from __future__ import annotations

import time
from dataclasses import replace

from georgia.audit.check import AuditData, Finding
from georgia.audit.checks import CHECKS, validate_check_names
from georgia.audit.checks.duplicates import SameScene, describe_pair
from georgia.audit.checks.features import open_feature_extractor
from georgia.audit.groups import join_groups
from georgia.audit.near_duplicates.search import find_near_duplicates
from georgia.audit.result import Audit
from georgia.audit.scan import scan_catalog
from georgia.audit.settings import AuditConfig, NearDuplicateConfig
from georgia.errors import InputError
from georgia.progress import QUIET, Progress
from georgia.records import Catalog


def run_audit(catalog: Catalog, config: AuditConfig | None = None, progress: Progress = QUIET) -> Audit:
    """Return what is wrong with a catalog's images and labels, and which images belong together.

    The catalog need not be verified: every file is decoded here, once.

    Raises:
        InputError: ``allow`` names no check, or a rule for groups cannot be followed.
    """
    config = config or AuditConfig()
    validate_check_names(config.allow)
    started = time.perf_counter()
    data = _read_data(catalog, config, progress)
    if not data.catalog.records:
        raise InputError("Cannot audit", needs="images that can be read are needed", got="none")
    progress.start("Running checks", len(CHECKS))
    findings: list[Finding] = []
    for check in CHECKS:
        if data.features is not None or not check.is_deep:
            found = check.find(data)
            findings += [replace(finding, is_allowed=check.name in config.allow) for finding in found]
        progress.advance()
    findings.sort(key=lambda finding: (finding.severity != "error", finding.is_allowed))
    return Audit(
        catalog=data.catalog,
        findings=tuple(findings),
        pairs=tuple(describe_pair(pair, data) for pair in data.duplicates.pairs),
        columns=data.columns,
        properties=data.predictability.to_rows() if data.predictability else (),
        config=config,
        seconds=time.perf_counter() - started,
    )


def group_catalog(catalog: Catalog, config: AuditConfig | None = None, progress: Progress = QUIET) -> Catalog:
    """Return the readable images with their joined groups: what a split needs of an audit.

    Raises:
        InputError: a rule for groups cannot be followed.
    """
    data = _read_data(catalog, replace(config or AuditConfig(), deep=False), progress)
    for finding in SameScene().find(data):
        progress.say(f"note: {finding.message}. {finding.remedy}")
    return data.catalog


def _read_data(catalog: Catalog, config: AuditConfig, progress: Progress) -> AuditData:
    # A rule that cannot be followed is reported before an hour of reading.
    join_groups(catalog, (), config, progress)
    scan = scan_catalog(catalog, open_feature_extractor() if config.deep else None, progress)
    search = NearDuplicateConfig(near=config.near_copies)
    duplicates = find_near_duplicates(scan.descriptions, search, progress)
    joined = (*duplicates.groups, *(duplicates.same_scene if config.same_scene == "join" else ()))
    grouped = join_groups(scan.catalog, joined, config)
    return AuditData(grouped, scan.columns, duplicates, config, scan.features)
