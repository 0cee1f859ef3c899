"""The audit before a training: whose settings it obeys."""

from __future__ import annotations

import pytest

from georgia.audit import Audit
from georgia.errors import InputError
from georgia.labels import Labels
from georgia.records import Catalog
from georgia.report.training_run import DataAudit
from georgia.train import TrainConfig
from georgia.train.data_audit import choose_audit, list_audit_settings


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
