"""The audit before a training: whose settings it obeys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from georgia.audit import Audit
from georgia.errors import InputError
from georgia.labels import Labels
from georgia.progress import QUIET
from georgia.records import Catalog, Record
from georgia.report.training_run import DataAudit
from georgia.split.make import Split, SplitConfig
from georgia.train import TrainConfig
from georgia.train.data_audit import check_split, choose_audit, list_audit_settings


def test_audit_follows_given_settings() -> None:
    training = TrainConfig(seed=7, allow=("leak",))
    chosen = choose_audit(training, {"group_regex": r"run(\d+)", "allow": ["conflict", "leak"]})
    assert (chosen.group_regex, chosen.seed, chosen.allow) == (r"run(\d+)", 7, ("leak", "conflict"))
    assert choose_audit(training, {"seed": 3}).seed == 3
    with pytest.raises(InputError, match="Did you mean 'group_regex'"):
        choose_audit(training, {"group_regx": "x"})


def test_run_keeps_only_what_was_given() -> None:
    from pathlib import Path

    training = TrainConfig()
    catalog = Catalog(Path(), Labels(("CEX", "PG")), ())
    for given in ({}, {"group_regex": "x", "allow": ["leak"]}):
        audit = Audit(catalog, (), (), {}, (), choose_audit(training, given), 0.0)
        assert list_audit_settings(DataAudit(audit), training) == given
    assert list_audit_settings(DataAudit(), training) == {}


def test_class_without_validation_is_said() -> None:
    from pathlib import Path

    names = ("train A", "train B", "valid A", "test A", "test B")
    records = [Record(Path(f"{name}.png"), name[-1], split=name.split()[0]) for name in names]
    split = Split(Path(), Labels(("A", "B")), tuple(records), SplitConfig(order="given"))
    found = check_split(DataAudit(), split, QUIET)
    assert found.verdict.startswith("Validation has no image of B: the epoch")
    audit = Audit(Catalog(Path(), split.labels, ()), (), (), {}, (), choose_audit(TrainConfig(), {}), 0.0)
    assert (DataAudit(audit).gate, check_split(DataAudit(audit), split, QUIET).gate) == ("pass", "")
    whole = replace(split, records=(*records, Record(Path("valid B.png"), "B", split="valid")))
    assert check_split(DataAudit(), whole, QUIET).verdict == ""
