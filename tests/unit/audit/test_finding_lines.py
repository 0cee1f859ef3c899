"""Findings: each message is one short line, whatever the number and the length of names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from georgia.audit import CHECKS, AuditConfig
from georgia.audit.check import MOST_SIGNS_OF_MESSAGE, AuditData, Check, list_names, shorten
from georgia.audit.measurements import QUALITY_COLUMNS
from georgia.audit.near_duplicates.search import DuplicateKind, DuplicatePair, Duplicates
from georgia.images.symmetry import Symmetry
from georgia.labels import Labels
from georgia.records import SPLITS, Catalog, Failure, Record

ROOT = Path("/data")
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=240)


def find_check(name: str) -> Check:
    return next(check for check in CHECKS if check.name == name)


def make_data(stem: str, n_images: int, n_classes: int) -> AuditData:
    """Return a set with every fault: all images are blank and duplicates, under many labels and splits."""
    classes = [f"{'n' * len(stem)}{number}" for number in range(n_classes)]
    records = [
        Record(ROOT / f"{k}{stem}.png", classes[k % n_classes], group=stem[: k % 3], split=SPLITS[k % 3])
        for k in range(n_images)
    ]
    half = n_images // 2
    pairs = [DuplicatePair(0, k, "exact", Symmetry.IDENTITY, 1.0) for k in range(1, half)]
    pairs += [DuplicatePair(half, k, "near", Symmetry.IDENTITY, 0.9) for k in range(half + 1, n_images)]
    groups = (tuple(range(half)), tuple(range(half, n_images)))
    columns = {name: np.zeros(n_images) for name in QUALITY_COLUMNS}
    columns |= {"contrast": np.zeros(n_images), "bit_depth": np.full(n_images, 8.0)}
    columns |= {"width_px": np.ones(n_images), "height_px": np.ones(n_images)}
    failures = tuple(Failure(ROOT / f"{k}{stem}.bad", 40 * stem) for k in range(n_images))
    catalog = Catalog(ROOT, Labels(tuple(classes)), tuple(records), failures)
    return AuditData(catalog, columns, Duplicates(tuple(pairs), groups, groups), AuditConfig())


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(stem=NAMES, n_images=st.integers(4, 60), n_classes=st.integers(2, 40))
def test_messages_are_one_short_line(stem: str, n_images: int, n_classes: int) -> None:
    data = make_data(stem, n_images, n_classes)
    # What predicts the class is measured apart; its properties have names of bounded length.
    data.__dict__["predictability"] = None
    findings = [finding for check in CHECKS if not check.is_deep for finding in check.find(data)]
    names = {finding.check for finding in findings}
    assert {"conflict", "near-conflict", "copies", "same-scene", "unreadable"} <= names
    for finding in findings:
        assert len(finding.message) <= MOST_SIGNS_OF_MESSAGE
        assert len(finding.message.splitlines()) == 1


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(max_size=400), most=st.integers(4, 100))
def test_shortened_text_keeps_its_end(text: str, most: int) -> None:
    short = shorten(text, most)
    assert len(short) <= most
    assert short.endswith(shorten(text, 400)[-1:]) or not text


def test_listed_names_count_the_others() -> None:
    assert list_names(["a", "b", "c"]) == "a, b, c"
    assert list_names([str(k) for k in range(1200)], 1) == "0 and 1,199 more"


def test_conflict_names_each_class_first() -> None:
    data = make_data("x", 40, 2)
    data.__dict__["predictability"] = None
    (finding,) = find_check("conflict").find(data)
    assert finding.message.startswith("0x.png (n0) and 1x.png (n1) and ")
    assert " more: the same image" in finding.message
    assert len(finding.files) == 20


class Counted(tuple[DuplicatePair, ...]):
    """Pairs that count how often somebody goes through all of them."""

    n_passes = 0

    def __iter__(self) -> Iterator[DuplicatePair]:
        Counted.n_passes += 1
        return super().__iter__()


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_pairs_are_gone_through_as_often_for_many_groups_as_for_few(kind: DuplicateKind) -> None:
    """With a pass over all pairs for each group, 100,000 images took longer to report than to compare."""
    passes = []
    for n_groups in (2, 200):
        records = tuple(Record(ROOT / f"{k}.png", "AB"[k % 2]) for k in range(2 * n_groups))
        pairs = Counted(
            DuplicatePair(k, k + 1, kind, Symmetry.IDENTITY, 1.0) for k in range(0, len(records), 2)
        )
        groups = tuple((pair.first, pair.second) for pair in pairs)
        catalog = Catalog(ROOT, Labels(("A", "B")), records, ())
        data = AuditData(catalog, {}, Duplicates(pairs, groups), AuditConfig())
        Counted.n_passes = 0
        found = [f for name in ("copies", "conflict", "near-conflict") for f in find_check(name).find(data)]
        passes.append(Counted.n_passes)
        assert len(found) == 1 + n_groups
        assert set(found[0].evidence["group_kinds"]) == {"exact" if kind == "exact" else "overlapping"}
        assert found[-1].evidence["pairs"][0]["second"] == f"{len(records) - 1}.png"
    assert passes[0] == passes[1]
