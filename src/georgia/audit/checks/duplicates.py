"""Checks of duplicates: one crystal or one scene in several files, contradicting labels, leaks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from georgia.audit.check import AuditData, Check, Finding, Severity, shorten
from georgia.audit.groups import connect
from georgia.audit.near_duplicates.search import DuplicateKind, DuplicatePair, GroupKind
from georgia.audit.settings import NearDuplicateConfig
from georgia.split.make import group_of
from georgia.text import count_noun

# Files that one line names.
_N_SHOWN = 4


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
        kinds = [data.duplicates.kind_of(group) for group in groups]
        counted = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in GroupKind if kind in kinds)
        message = (
            f"{len(files):,} files are duplicates or near-duplicates, in {count_noun(len(groups), 'group')} "
            f"({counted}){describe_largest(groups, len(data.catalog.records))}"
        )
        evidence = {
            "n_groups": len(groups),
            "n_exact_pairs": n_exact,
            "n_near_pairs": len(data.duplicates.pairs) - n_exact,
            "groups": [list(data.names(group)) for group in groups],
            "group_kinds": kinds,
        }
        return [self.found(message, evidence, data.names(files))]


class SameScene(Check):
    """Images agree on a scene or an apparatus, but on nothing of their own."""

    name = "same-scene"
    severity = "warning"
    rule = "sets of images that agree only on what many show at that place, or on a silhouette, from"
    threshold = 1
    source = "synthetic look-alikes with known truth (docs/measurements/near_duplicates.md)"
    remedy = (
        "Look at them. If they are frames of one crystal, say so: --group-regex, --time-gap, or same_scene = "
        '"join" under [audit] in the config. If only an apparatus, a legend or a shape is the same, nothing '
        "needs to be done."
    )

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all such sets."""
        groups = sorted(data.duplicates.same_scene, key=lambda group: -len(group))
        if not groups:
            return []
        files = [position for group in groups for position in group]
        is_joined = data.config.same_scene == "join"
        message = (
            f"same scene or apparatus? {len(files):,} files in {count_noun(len(groups), 'set')} agree on "
            "what many images show at the same place, or on a shape, but on nothing of their own; "
            f"they {'are' if is_joined else 'are not'} kept together"
            f"{describe_largest(groups, len(data.catalog.records))}"
        )
        evidence = {
            "n_groups": len(groups),
            "groups": [list(data.names(group)) for group in groups],
            "group_kinds": [GroupKind.SAME_SCENE] * len(groups),
            "joined": is_joined,
        }
        return [self.found(message, evidence, data.names(files))]


def describe_largest(groups: Sequence[Sequence[int]], n_images: int) -> str:
    """Return which fraction of the set the largest group is, if that is a lot; else nothing."""
    largest = max(map(len, groups))
    if largest <= max(2, NearDuplicateConfig().large_group * n_images):
        return ""
    return f"; the largest has {largest:,} files, {largest / n_images:.0%} of the set"


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
        own = [pair for pair in data.duplicates.pairs if pair.kind == self.kind]
        pairs = [pair for pair in own if records[pair.first].class_name != records[pair.second].class_name]
        # Equality is transitive: of several equal files each is paired with the first one only, and those of
        # its label contradict the others too.
        linked = own if self.kind == "exact" else pairs
        sets = connect(len(records), [(pair.first, pair.second) for pair in linked])
        pairs_of: dict[int, list[DuplicatePair]] = defaultdict(list)
        for pair in pairs:
            pairs_of[pair.first].append(pair)
        return [
            self._report(members, [pair for member in members for pair in pairs_of.get(member, ())], data)
            for members in sets
            if len({records[member].class_name for member in members}) > 1
        ]

    def _report(self, members: Sequence[int], pairs: Sequence[DuplicatePair], data: AuditData) -> Finding:
        own = [describe_pair(pair, data) for pair in pairs]
        named = [
            f"{shorten(data.name(member))} ({shorten(data.catalog.records[member].class_name)})"
            for member in _choose_shown(members, data)
        ]
        n_more = len(members) - len(named)
        more = f" and {n_more:,} more" if n_more else ""
        return self.found(f"{' and '.join(named)}{more}: {self.text}", {"pairs": own}, data.names(members))


def _choose_shown(members: Sequence[int], data: AuditData) -> list[int]:
    """Return few members, one of each class first."""
    first_of = {data.catalog.records[member].class_name: member for member in reversed(members)}
    ahead = set(first_of.values())
    return sorted(members, key=lambda member: (member not in ahead, member))[:_N_SHOWN]


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
