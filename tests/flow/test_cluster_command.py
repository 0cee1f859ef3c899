"""``georgia cluster`` from arguments to tables and maps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


def test_cluster_writes_tables_and_maps(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clusters"
    code, result, _ = georgia("cluster", brightness_model, grey_images, "--k", "2", "--out", out)
    assert code == 0
    names = {"cluster.json", "assignments.csv", "cluster_map.png", "cluster_map.html"}
    assert {Path(file).name for file in result["files"]} == names == {path.name for path in out.iterdir()}
    assert len(result["assignments"]) == 8
    assert set(result["assignments"][0]) == {"file", "cluster", "x", "y", "label"}
    # One bright image stands with the dark ones.
    assert result["purity"] == 7 / 8


@pytest.mark.slow
def test_cluster_accepts_unlabelled_folder(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    (grey_images / "PG" / "empty.png").touch()
    flat = tmp_path / "flat"
    shutil.copytree(grey_images / "PG", flat)
    code, result, err = georgia("cluster", brightness_model, flat, "--k", "2", "--out", tmp_path / "out")
    assert code == 3
    assert (result["purity"], len(result["assignments"])) == (None, 4)
    assert "flat: the images have no labels, so purity is not given. For labels: one folder per class" in err
    assert "Cannot read" not in err
    assert [Path(failure["file"]).name for failure in result["failed"]] == ["empty.png"]


def test_images_beside_class_folders_are_explained(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    shutil.copy(next((grey_images / "PG").iterdir()), grey_images / "stray.png")
    code, result, err = georgia("cluster", brightness_model, grey_images, "--k", "2", "--out", tmp_path / "o")
    assert (code, result["purity"]) == (0, None)
    assert "no labels, so purity is not given. They lie in several folders, but not as classes do" in err
    assert "'stray.png'" in err
    assert "Cannot read" not in err


def test_duplicates_form_one_cluster_with_reason(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path, capsys: Any
) -> None:
    from georgia.cli import main

    image = next((grey_images / "PG").iterdir())
    folder = tmp_path / "duplicates"
    folder.mkdir()
    for number in range(6):
        shutil.copy(image, folder / f"{number}.png")
    args = ["cluster", str(brightness_model), str(folder), "--k", "4", "--out", str(tmp_path / "out")]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "6 images in 1 cluster of 6: only 1 distinct image, so 1 cluster instead of 4." in out
    code, result, _ = georgia(*args)
    assert (code, result["k"], len(result["clusters"])) == (0, 4, 1)


def test_more_clusters_than_images_is_rejected(
    georgia: Any, brightness_model: Path, grey_images: Path, tmp_path: Path
) -> None:
    code, _, err = georgia("cluster", brightness_model, grey_images, "--k", "99", "--out", tmp_path / "out")
    assert code == 2
    assert "for k = 99; got 8. Lower --k" in err
