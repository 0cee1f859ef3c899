"""A training history: read from its file, checked, without holes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.training import make_rows

from georgia.errors import InputError
from georgia.report.history import TrainingHistory, read_history


def test_history_round_trip(tmp_path: Path) -> None:
    rows = make_rows(3)
    text = [",".join(rows[0]), *(",".join(map(repr, row.values())) for row in rows)]
    (tmp_path / "history.csv").write_text("\n".join(text), encoding="utf-8")
    assert read_history(tmp_path / "history.csv") == rows
    with pytest.raises(InputError, match="Cannot read the history"):
        read_history(tmp_path / "none.csv")
    with pytest.raises(InputError, match="got none of epoch, train_accuracy, train_loss, valid_loss"):
        TrainingHistory(({"valid_accuracy": 1.0},))
    with pytest.raises(InputError, match="got no row"):
        TrainingHistory(())
