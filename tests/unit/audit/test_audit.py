"""Laws of the whole audit: settings, order, quality gate, and the saved result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.audit_examples import FIRST, Example, ExampleImage, render_texture, render_textures

from georgia.audit import Audit, AuditConfig, run_audit
from georgia.catalog.read import read_catalog
from georgia.errors import InputError

FAST = AuditConfig(n_permutations=39, alpha=0.05, near_copies=False)
CONFLICT = render_textures(5).add("PG/flipped.png", FIRST[::-1].copy())


def test_config_reports_all_faults_together() -> None:
    with pytest.raises(InputError, match=r"n_permutations must be 1 / alpha or more"):
        AuditConfig(n_permutations=39)
    with pytest.raises(InputError, match=r"time_gap_s must be 0 or more.*group_regex"):
        AuditConfig(time_gap_s=-1, group_regex="(")


def test_order_of_files_changes_no_finding(tmp_path: Path) -> None:
    catalog = CONFLICT.write(tmp_path)
    reversed_catalog = replace(catalog, records=catalog.records[::-1])
    first, second = run_audit(catalog, FAST), run_audit(reversed_catalog, FAST)
    assert {found.check for found in first.findings} == {found.check for found in second.findings}
    assert first.n_groups == second.n_groups == len(catalog.records) - 1


def test_saved_audit_loads_the_same(tmp_path: Path) -> None:
    audit = run_audit(CONFLICT.write(tmp_path / "data"), replace(FAST, allow=("conflict",)))
    audit.save(tmp_path / "out")
    loaded = Audit.load(tmp_path / "out")
    assert loaded.to_json_dict() == audit.to_json_dict()
    assert loaded.config == audit.config
    assert loaded.pairs == audit.pairs
    assert loaded.catalog.records == audit.catalog.records
    assert list(loaded.columns) == list(audit.columns)
    table = tmp_path / "out" / "audit.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",CEX,", ",CEy,", 1), encoding="utf-8")
    with pytest.raises(InputError, match="'CEy' of"):
        Audit.load(tmp_path / "out")


def test_loading_from_empty_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"audit\.json and audit\.csv are needed"):
        Audit.load(tmp_path)


def test_allowed_error_passes_and_is_recorded(tmp_path: Path) -> None:
    catalog = CONFLICT.write(tmp_path)
    stopped, passed = run_audit(catalog, FAST), run_audit(catalog, replace(FAST, allow=("conflict",)))
    assert (stopped.gate, stopped.allowed) == ("stop", ())
    assert (passed.gate, passed.allowed) == ("pass", ("conflict",))
    assert "conflict" in passed.verdict


def test_unknown_check_cannot_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'conflict'"):
        run_audit(render_textures(3).write(tmp_path), replace(FAST, allow=("conflct",)))


def test_class_size_is_named_with_rule(tmp_path: Path) -> None:
    images = [
        ExampleImage(f"{name}/{n}.png", render_texture(100 * len(name) + n, 44, side))
        for name, sides in (("CEX", [51] * 12), ("PG", [*range(40, 51), 52]))
        for n, side in enumerate(sides)
    ]
    audit = run_audit(Example(tuple(images)).write(tmp_path), FAST)
    finding = next(found for found in audit.findings if found.evidence.get("property") == "width_px")
    assert finding.message.startswith("width = 51 px: CEX, else PG: balanced accuracy ")
    assert finding.severity == "error"
    assert audit.gate == "stop"


def test_clean_synthetic_crops_have_no_finding(synthetic_crops: Path) -> None:
    audit = run_audit(read_catalog(synthetic_crops, verify=False), FAST)
    assert audit.findings == ()
    assert audit.gate == "pass"


def test_real_crystals_have_known_findings(shared_data: Path) -> None:
    audit = run_audit(read_catalog(shared_data / "crystals", verify=False))
    groups = next(found for found in audit.findings if found.check == "copies").evidence["groups"]
    numbers = {frozenset(name.split("(")[1].split(")")[0] for name in group) for group in groups}
    assert numbers == {frozenset(("565", "566", "567")), frozenset(("5946", "5947", "5950"))}
    assert any("width = 151 px: CEX, else PG" in found.message for found in audit.findings)
    assert audit.gate == "stop"
