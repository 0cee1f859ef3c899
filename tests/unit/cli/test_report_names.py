"""Pages that leave a machine name a store without its folders, user and password."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.service import fill_store

from georgia.cli import main
from georgia.monitor.connect import name_store


def test_pages_of_a_store_hold_no_path_of_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fill_store(tmp_path / "m.db", tmp_path / "frames", n=3)
    store.begin_batch("probe", "B-2", "Ann", "PG", "tests")
    store.close()
    batch, both = tmp_path / "batch.html", tmp_path / "both.html"
    known = ["report", str(tmp_path / "m.db")]
    main([*known, "--batch", "B-1", "--frames", str(tmp_path / "gone"), "--out", str(batch)])
    main([*known, "--compare", "B-1", "--compare", "B-2", "--out", str(both)])
    for page in (batch, both):
        assert str(tmp_path) not in page.read_text(encoding="utf-8")
    assert "Of m.db, written" in both.read_text(encoding="utf-8")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/home/ann/plant/batch.db", "batch.db"),
        (r"C:\Users\Ann\batch.db", "batch.db"),
        ("sqlite:////srv/plant/line.db", "line.db"),
        ("postgresql://ann:secret@db.plant:5433/line?sslmode=require", "db.plant:5433/line"),
    ],
)
def test_store_is_named_without_folders_and_credentials(address: str, name: str) -> None:
    assert name_store(address) == name
