"""Every check of the audit finds its fault where it is, and not where it is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from georgia.audit import CHECKS, Audit, AuditConfig, Check, run_audit

NAMES = [check.name for check in CHECKS]
# Enough permutations for the level of 5 %, over all properties at once.
CONFIG = AuditConfig(n_permutations=39, alpha=0.05, near_copies=False)


# A net has to be loaded and run for the deep ones.
PARAMS = [pytest.param(one, marks=[pytest.mark.slow] if one.is_deep else [], id=one.name) for one in CHECKS]


@pytest.fixture(params=PARAMS)
def check(request: pytest.FixtureRequest) -> Check:
    return request.param  # type: ignore[no-any-return]


# Many checks have the same good example: it is audited once.
AUDITS: dict[tuple[object, ...], Audit] = {}


def audit_example(check: Check, is_bad: bool, folder: Path) -> Audit:
    example = check.bad_example() if is_bad else check.good_example()
    needed = dataclasses.replace(CONFIG, deep=check.is_deep, near_copies=check.name == "near-conflict")
    images = tuple(
        (one.name, one.group, one.split, b"" if one.image is None else one.image.tobytes())
        for one in example.images
    )
    if is_bad or (needed, images) not in AUDITS:
        AUDITS[needed, images] = run_audit(example.write(folder), needed)
    return AUDITS[needed, images]


def test_bad_example_is_found_at_its_severity_with_what_to_do(check: Check, tmp_path: Path) -> None:
    own = [one for one in audit_example(check, True, tmp_path).findings if one.check == check.name]
    assert own
    assert {one.severity for one in own} == {check.severity}
    assert all(one.message and one.todo for one in own)
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert {name for one in own for name in one.files} <= there


def test_good_example_is_not_found(check: Check, tmp_path: Path) -> None:
    assert check.name not in {one.check for one in audit_example(check, False, tmp_path).findings}


def test_check_says_what_it_measures_and_where_its_threshold_comes_from(check: Check) -> None:
    assert check.rule
    assert check.source
    assert check.threshold > 0


def test_names_are_unique_and_on_the_page() -> None:
    assert len(set(NAMES)) == len(NAMES)
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if f"`{name}`" not in page]
