"""Copies, what they contradict, and where they leak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from georgia.audit.check import Check, Finding, Observed, Severity
from georgia.audit.examples import Example, ExampleImage, Image, add, change, draw_texture, draw_textures
from georgia.audit.groups import connect
from georgia.audit.near_duplicates.search import CopyPair
from georgia.split.make import group_of


def describe_pair(pair: CopyPair, seen: Observed) -> dict[str, object]:
    """Return one pair of copies as it stands in JSON."""
    return {
        "first": seen.name(pair.first),
        "second": seen.name(pair.second),
        "kind": pair.kind,
        "transform": pair.transform,
        "similarity": round(pair.similarity, 4),
    }


def _clashes(seen: Observed, kind: str) -> list[CopyPair]:
    records = seen.catalog.records
    return [
        pair
        for pair in seen.copies.pairs
        if pair.kind == kind and records[pair.first].class_name != records[pair.second].class_name
    ]


class CopiesFound(Check):
    """Files show the same crystal."""

    name = "copies"
    severity = "warning"
    rule = "pairs of copies, from"
    threshold = 1
    source = "none is expected; see docs/leaks.md for how they are told"
    todo = "They count as one crystal: split and train keep each group on one side. Nothing must be done."

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with all groups of copies."""
        groups = seen.copies.groups
        if not groups:
            return []
        files = [at for group in groups for at in group]
        n_exact = sum(pair.kind == "exact" for pair in seen.copies.pairs)
        message = f"{len(files):,} files are copies of one another, in {len(groups):,} groups"
        evidence = {
            "n_groups": len(groups),
            "n_exact_pairs": n_exact,
            "n_near_pairs": len(seen.copies.pairs) - n_exact,
            "groups": [list(seen.names(group)) for group in groups],
        }
        return [self.found(message, evidence, seen.names(files))]

    def bad_example(self) -> Example:
        """Return a set with one image turned by 90°."""
        return add(draw_textures(6), ExampleImage("CEX/turned.png", np.rot90(draw_texture(0, 44, 44)).copy()))

    def good_example(self) -> Example:
        """Return a set of images all their own."""
        return draw_textures(6)


class Conflict(Check):
    """The very same image stands under two labels."""

    name = "conflict"
    severity: ClassVar[Severity] = "error"
    rule = "pairs of exact copies under two labels, from"
    threshold = 1
    source = "one image has one label"
    todo = "Look at the images, and delete or move the one with the wrong label."
    kind = "exact"
    words = "the same image, under two labels"

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding for each set of contradicting files."""
        pairs = _clashes(seen, self.kind)
        sets = connect(len(seen.catalog.records), [(pair.first, pair.second) for pair in pairs])
        return [self._report(members, pairs, seen) for members in sets]

    def _report(self, members: Sequence[int], pairs: Sequence[CopyPair], seen: Observed) -> Finding:
        named = [f"{seen.name(at)} ({seen.catalog.records[at].class_name})" for at in members]
        own = [describe_pair(pair, seen) for pair in pairs if pair.first in members]
        return self.found(f"{' and '.join(named)}: {self.words}", {"pairs": own}, seen.names(members))

    def bad_example(self) -> Example:
        """Return a set with one image, mirrored, in both folders."""
        return add(draw_textures(6), ExampleImage("PG/mirrored.png", draw_texture(0, 44, 44)[:, ::-1].copy()))

    def good_example(self) -> Example:
        """Return a set in which the mirrored image stands beside its own."""
        return add(
            draw_textures(6), ExampleImage("CEX/mirrored.png", draw_texture(0, 44, 44)[:, ::-1].copy())
        )


class NearConflict(Conflict):
    """Nearly the same image stands under two labels."""

    name = "near-conflict"
    severity = "warning"
    rule = "pairs of near copies under two labels, from"
    source = "one scene has one label, unless a crystal grew between two frames"
    todo = "Look at both: one label may be wrong, or the crop shows two crystals."
    kind = "near"
    words = "nearly the same image, under two labels"

    def bad_example(self) -> Example:
        """Return a set with one image, brightened, in both folders."""
        brighter = np.clip(draw_texture(500, 120, 120) * 1.15, 0, 255).astype(np.uint8)
        large = add(draw_textures(6), ExampleImage("CEX/large.png", draw_texture(500, 120, 120)))
        return add(large, ExampleImage("PG/brighter.png", brighter))

    def good_example(self) -> Example:
        """Return a set with two images of one kind, each its own."""
        large = add(draw_textures(6), ExampleImage("CEX/large.png", draw_texture(500, 120, 120)))
        return add(large, ExampleImage("PG/large.png", draw_texture(501, 120, 120)))


class Leak(Check):
    """A group stands on two sides of the split that the source has."""

    name = "leak"
    severity = "error"
    rule = "groups in more than one part, from"
    threshold = 1
    source = "a model that has seen a crystal is not tested by its copy"
    todo = "Split anew: georgia split DATA --out NEW --order grouped. Figures of this split are too good."

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with all leaking groups."""
        parts: dict[str, set[str]] = defaultdict(set)
        members: dict[str, list[int]] = defaultdict(list)
        for at, record in enumerate(seen.catalog.records):
            if record.split:
                key = group_of(record, seen.catalog.root)
                parts[key].add(record.split)
                members[key].append(at)
        leaking = [key for key, own in parts.items() if len(own) > 1]
        if not leaking:
            return []
        n_test = sum(record.split == "test" for record in seen.catalog.records)
        known = [at for key in leaking for at in members[key] if "train" in parts[key]]
        n_known = sum(seen.catalog.records[at].split == "test" for at in known)
        message = (
            f"{len(leaking):,} of {len(parts):,} groups stand in more than one part; "
            f"{n_known:,} of {n_test:,} test images have a sibling in train"
        )
        evidence = {
            "groups": {key: list(seen.names(members[key])) for key in leaking},
            "n_test_with_sibling_in_train": n_known,
            "n_test": n_test,
        }
        return [self.found(message, evidence, seen.names(at for key in leaking for at in members[key]))]

    def bad_example(self) -> Example:
        """Return a split set with a turned copy of a training image in its test part."""
        return self._example(np.rot90(draw_texture(0, 44, 44), 2).copy())

    def good_example(self) -> Example:
        """Return a split set with another image there."""
        return self._example(draw_texture(900, 44, 44))

    def _example(self, image: Image) -> Example:
        parts = ("train", "train", "train", "valid", "valid", "test", "test")
        images = [
            ExampleImage(
                f"{part}/{name}/{number}.png", draw_texture(100 * place + number, 44, 44), split=part
            )
            for place, name in enumerate(("CEX", "PG"))
            for number, part in enumerate(parts)
        ]
        return change(Example(tuple(images)), "test/CEX/6.png", image)
