"""Checks of duplicates: files that show one crystal, contradicting labels, leaks between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from georgia.audit.check import AuditData, Check, Finding, Severity
from georgia.audit.groups import connect
from georgia.audit.near_duplicates.search import DuplicateKind, DuplicatePair
from georgia.split.make import group_of


def describe_pair(pair: DuplicatePair, data: AuditData) -> dict[str, object]:
    """Return one pair of duplicates as ``audit.json`` holds it."""
    return {
        "first": data.name(pair.first),
        "second": data.name(pair.second),
        "kind": pair.kind,
        "transform": pair.transform,
        "similarity": round(pair.similarity, 4),
    }


class DuplicatesFound(Check):
    """Several files show the same crystal."""

    name = "copies"
    severity = "warning"
    rule = "pairs of duplicates, from"
    threshold = 1
    source = "none is expected; docs/audit.md says how they are found"
    remedy = (
        "They count as one crystal: split and train keep each group in one split. Nothing needs to be done."
    )

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all groups of duplicates."""
        groups = data.duplicates.groups
        if not groups:
            return []
        files = [position for group in groups for position in group]
        n_exact = sum(pair.kind == "exact" for pair in data.duplicates.pairs)
        message = f"{len(files):,} files are duplicates or near-duplicates, in {len(groups):,} groups"
        evidence = {
            "n_groups": len(groups),
            "n_exact_pairs": n_exact,
            "n_near_pairs": len(data.duplicates.pairs) - n_exact,
            "groups": [list(data.names(group)) for group in groups],
        }
        return [self.found(message, evidence, data.names(files))]


class Conflict(Check):
    """The same image has two labels."""

    name = "conflict"
    severity: ClassVar[Severity] = "error"
    rule = "pairs of exact duplicates under two labels, from"
    threshold = 1
    source = "one image has one label"
    remedy = "Look at the images, and delete or move the one with the wrong label."
    kind: ClassVar[DuplicateKind] = "exact"
    text = "the same image, under two labels"

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding for each set of contradicting files."""
        records = data.catalog.records
        pairs = [
            pair
            for pair in data.duplicates.pairs
            if pair.kind == self.kind and records[pair.first].class_name != records[pair.second].class_name
        ]
        sets = connect(len(records), [(pair.first, pair.second) for pair in pairs])
        return [self._report(members, pairs, data) for members in sets]

    def _report(self, members: Sequence[int], pairs: Sequence[DuplicatePair], data: AuditData) -> Finding:
        named = [f"{data.name(member)} ({data.catalog.records[member].class_name})" for member in members]
        own = [describe_pair(pair, data) for pair in pairs if pair.first in members]
        return self.found(f"{' and '.join(named)}: {self.text}", {"pairs": own}, data.names(members))


class NearConflict(Conflict):
    """Nearly the same image has two labels."""

    name = "near-conflict"
    severity = "warning"
    rule = "pairs of near-duplicates under two labels, from"
    source = "one scene has one label, unless a crystal grew between two frames"
    remedy = "Look at both: one label may be wrong, or the crop shows two crystals."
    kind = "near"
    text = "nearly the same image, under two labels"


class Leak(Check):
    """A group has images in several splits of the source."""

    name = "leak"
    severity = "error"
    rule = "groups in more than one split, from"
    threshold = 1
    source = "a test image whose near-duplicate is in the training set measures memory, not generalisation"
    remedy = (
        "Split again: georgia split DATA --out NEW --order grouped. Metrics measured on this split are "
        "too optimistic."
    )

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all leaking groups."""
        records = data.catalog.records
        splits: dict[str, set[str]] = defaultdict(set)
        members: dict[str, list[int]] = defaultdict(list)
        for position, record in enumerate(records):
            if record.split:
                key = group_of(record, data.catalog.root)
                splits[key].add(record.split)
                members[key].append(position)
        leaking = [key for key, own in splits.items() if len(own) > 1]
        if not leaking:
            return []
        n_test = sum(record.split == "test" for record in records)
        known = [position for key in leaking if "train" in splits[key] for position in members[key]]
        n_known = sum(records[position].split == "test" for position in known)
        message = (
            f"{len(leaking):,} of {len(splits):,} groups are in more than one split; "
            f"{n_known:,} of {n_test:,} test images have a sibling in train"
        )
        evidence = {
            "groups": {key: list(data.names(members[key])) for key in leaking},
            "n_test_with_sibling_in_train": n_known,
            "n_test": n_test,
        }
        files = data.names(position for key in leaking for position in members[key])
        return [self.found(message, evidence, files)]
