"""The study's split, from files on disk to folders on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from georgia.catalog.read import read_catalog
from georgia.split.make import SplitConfig, make_split
from georgia.split.materialize import materialize_split, study_names

STUDY = {"cex": ("CEX", 6860, (4802, 1715, 343)), "pg": ("PG", 6804, (4762, 1701, 341))}


@pytest.mark.slow
def test_study_split_of_13664_files_agrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiny = [cv2.imencode(".png", rng.integers(0, 256, (8, 8), np.uint8))[1].tobytes() for _ in range(50)]
    for folder, (name, n, _) in STUDY.items():
        place = tmp_path / "archive" / "cropped" / "cropped" / folder
        place.mkdir(parents=True)
        for index in range(n):
            (place / f"{name} ({index + 1}).png").write_bytes(tiny[index % 50])

    catalog = read_catalog(tmp_path / "archive", class_names={"cex": "CEX", "pg": "PG"}, verify=False)
    split = make_split(catalog, SplitConfig(order="name"))
    expected = {name: counts for name, _, counts in STUDY.values()}
    assert {name: tuple(split.counts[part][name] for part in split.counts) for name in expected} == expected

    materialize_split(split, tmp_path / "out", "link", study_names(split.labels))
    assert {
        folder: len(list((tmp_path / "out" / folder).iterdir()))
        for folder in (f"GA{part}Binary/{index}" for part in split.counts for index in "01")
    } == {
        f"GA{part}Binary/{index}": expected[name][at]
        for at, part in enumerate(split.counts)
        for index, name in enumerate(expected)
    }
