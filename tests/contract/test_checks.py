"""Every check of the audit finds the fault of its bad example, and nothing in its good example."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.helpers.audit_examples import EXAMPLES, Example

from georgia.audit import CHECKS, Audit, AuditConfig, Check, run_audit

NAMES = [check.name for check in CHECKS]
# Enough permutations for the level of 5 %, over all properties at once.
CONFIG = AuditConfig(n_permutations=39, alpha=0.05, near_copies=False)
# A network has to be loaded and run for the deep ones.
PARAMS = [
    pytest.param(check, marks=[pytest.mark.slow] if check.is_deep else [], id=check.name) for check in CHECKS
]


@pytest.fixture(params=PARAMS)
def check(request: pytest.FixtureRequest) -> Check:
    return request.param  # type: ignore[no-any-return]


# Many checks have the same good example: it is audited once.
AUDITS: dict[tuple[object, ...], Audit] = {}


def audit_example(check: Check, example: Example, folder: Path) -> Audit:
    config = dataclasses.replace(
        CONFIG, deep=check.is_deep, near_copies=check.name in ("near-conflict", "same-scene")
    )
    images = tuple(
        (image.name, image.group, image.split, b"" if image.image is None else image.image.tobytes())
        for image in example.images
    )
    if (config, images) not in AUDITS:
        AUDITS[config, images] = run_audit(example.write(folder), config)
    return AUDITS[config, images]


def test_every_check_has_examples() -> None:
    assert sorted(EXAMPLES) == sorted(NAMES)


def test_bad_example_gives_finding_with_remedy(check: Check, tmp_path: Path) -> None:
    example = EXAMPLES[check.name].bad()
    audit = audit_example(check, example, tmp_path)
    own = [finding for finding in audit.findings if finding.check == check.name]
    assert own
    assert {finding.severity for finding in own} == {check.severity}
    assert all(finding.message and finding.remedy for finding in own)
    assert {name for finding in own for name in finding.files} <= {image.name for image in example.images}


def test_good_example_gives_no_finding(check: Check, tmp_path: Path) -> None:
    audit = audit_example(check, EXAMPLES[check.name].good(), tmp_path)
    assert check.name not in {finding.check for finding in audit.findings}


def test_check_states_rule_and_source(check: Check) -> None:
    assert check.rule
    assert check.source
    assert check.threshold > 0


def test_names_unique_and_documented() -> None:
    assert len(set(NAMES)) == len(NAMES)
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if f"`{name}`" not in page]
