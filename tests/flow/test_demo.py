"""``georgia demo``: the whole way, as small as it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("tiny_backbone")


def test_whole_way_ends_with_a_report(georgia: Any, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(
        "[demo]\nn_per_class = 24\n[demo.changes]\n"
        'weights = "none"\nbackbone = "tiny"\nsize_px = 32\nepochs = 1\n',
        encoding="utf-8",
    )
    code, result, err = georgia("demo", "--out", tmp_path / "demo", "--config", file)
    assert code == 0
    assert set(result) >= {"run", "f1", "report", "seconds"}
    assert set(result["f1"]) == {"CEX", "PG"}
    assert Path(result["report"]).is_file()
    assert (tmp_path / "demo" / "crystals" / "truth.csv").is_file()
    assert "oneDNN" not in err
    assert "Traceback" not in err
    code, _, err = georgia("demo", "--out", tmp_path / "demo", "--config", file)
    assert code == 2
    assert "new or empty folder" in err
