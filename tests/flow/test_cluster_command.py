"""``georgia cluster`` from words to tables and maps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def test_labelled_pictures_are_grouped_and_drawn(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clusters"
    code, result, _ = georgia("cluster", brightness_model, grey_pictures, "--k", "2", "--out", out)
    assert code == 0
    names = {"cluster.json", "assignments.csv", "cluster_map.png", "cluster_map.html"}
    assert {Path(file).name for file in result["files"]} == names == {path.name for path in out.iterdir()}
    assert len(result["assignments"]) == 8
    assert set(result["assignments"][0]) == {"file", "cluster", "x", "y", "label"}
    # One bright picture stands with the dark ones.
    assert result["purity"] == 7 / 8


def test_any_folder_of_pictures_will_do(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    (grey_pictures / "PG" / "empty.png").touch()
    flat = tmp_path / "flat"
    shutil.copytree(grey_pictures / "PG", flat)
    code, result, err = georgia("cluster", brightness_model, flat, "--k", "2", "--out", tmp_path / "out")
    assert code == 3
    assert (result["purity"], len(result["assignments"])) == (None, 4)
    assert "no labels are used" in err
    assert [Path(one["file"]).name for one in result["failed"]] == ["empty.png"]


def test_more_clusters_than_pictures_is_one_line(
    georgia: Any, brightness_model: Path, grey_pictures: Path, tmp_path: Path
) -> None:
    code, _, err = georgia("cluster", brightness_model, grey_pictures, "--k", "99", "--out", tmp_path / "out")
    assert code == 2
    assert "for k = 99; got 8. Lower --k" in err
