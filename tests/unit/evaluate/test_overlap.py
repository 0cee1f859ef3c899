"""Training overlap: images of the model's own run are found by path and by content."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.evaluate.overlap import (
    SPLIT_FILE,
    NearOverlap,
    describe_training_overlap,
    find_near_overlap,
    find_training_overlap,
)
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.progress import Quiet
from georgia.records import SPLITS, Record
from georgia.synthetic import render_crop


def save_image(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A model whose run was trained on one image of each split."""
    rows = []
    for number, split in enumerate(SPLITS):
        file = save_image(tmp_path / "data" / f"{split}.png", number)
        rows.append({"file": str(file), "class": ("CEX", "PG")[number % 2], "split": split})
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / SPLIT_FILE).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["file", "class", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return Bundle(tmp_path / "run" / "model.onnx", Labels(("CEX", "PG")), PreprocessSpec(32))


def find(bundle: Bundle, *paths: Path) -> tuple[Path, ...]:
    return find_training_overlap(bundle, [Record(path, "CEX") for path in paths])


def test_training_and_validation_images_are_found(bundle: Bundle, tmp_path: Path) -> None:
    train, valid, test = (tmp_path / "data" / f"{split}.png" for split in SPLITS)
    assert find(bundle, test, valid, train) == (valid, train)


def test_overlap_is_found_by_content(bundle: Bundle, tmp_path: Path) -> None:
    duplicate = tmp_path / "elsewhere.png"
    duplicate.write_bytes((tmp_path / "data" / "train.png").read_bytes())
    new = save_image(tmp_path / "new.png", 99)
    assert find(bundle, new, duplicate) == (duplicate,)


def test_overlap_is_found_through_links(bundle: Bundle, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "data" / "train.png")
    assert find(bundle, link) == (link,)


def test_missing_files_are_no_overlap(bundle: Bundle, tmp_path: Path) -> None:
    assert find(bundle, tmp_path / "gone.png") == ()
    (tmp_path / "data" / "train.png").unlink()
    assert find(bundle, save_image(tmp_path / "new.png", 99)) == ()


@pytest.mark.parametrize("text", [None, "", "no table", "file,class,split\ngone.png,CEX,train\n"])
def test_unusable_split_table_finds_nothing(bundle: Bundle, tmp_path: Path, text: str | None) -> None:
    table = tmp_path / "run" / SPLIT_FILE
    table.unlink()
    if text is not None:
        table.write_text(text, encoding="utf-8")
    assert find(bundle, save_image(tmp_path / "new.png", 99)) == ()


def test_overlap_is_described_with_counts() -> None:
    assert describe_training_overlap(1200, 3000).startswith("1,200 of 3,000 images are in")


class Listener(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_devices_are_not_read(bundle: Bundle, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert find(bundle, tmp_path / "pipe.png", tmp_path / "zero.png") == ()
    (tmp_path / "data" / "train.png").unlink()
    os.mkfifo(tmp_path / "data" / "train.png")
    assert find(bundle, tmp_path / "pipe.png", tmp_path / "zero.png") == ()


def test_missing_training_images_are_told(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data" / "train.png").unlink()
    valid, listener = tmp_path / "data" / "valid.png", Listener()
    assert find_training_overlap(bundle, [Record(valid, "PG")], listener) == (valid,)
    assert "1 rows of the run's split.csv cannot be compared" in listener.lines[0]


def test_unreadable_split_table_is_told(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "run" / SPLIT_FILE).write_text("no table", encoding="utf-8")
    listener = Listener()
    assert find_training_overlap(bundle, [Record(tmp_path / "data" / "train.png", "PG")], listener) == ()
    assert "is not known" in listener.lines[0]


def replace_image(path: Path, seed: int) -> np.ndarray:
    """Write a synthetic crop in place of an image, and return it."""
    image = render_crop("PG", seed, (110, 120)).image
    Image.fromarray(image).save(path)
    return image


def find_near(bundle: Bundle, *paths: Path) -> NearOverlap:
    return find_near_overlap(bundle, [Record(path, "CEX") for path in paths])


def test_near_duplicates_of_training_are_found(bundle: Bundle, tmp_path: Path) -> None:
    image = replace_image(tmp_path / "data" / "train.png", 1)
    replace_image(tmp_path / "data" / "test.png", 2)
    other, near, rotated = (tmp_path / name for name in ("other.png", "near.jpg", "rotated.png"))
    replace_image(other, 3)
    Image.fromarray(image[8:, :-9]).save(near, quality=80)
    Image.fromarray(np.rot90(image)).save(rotated)
    found = find_near(bundle, other, rotated, near, tmp_path / "data" / "test.png")
    train = tmp_path / "data" / "train.png"
    assert found.matches == {near: train, rotated: train}
    assert found.describe(4).startswith(
        "2 of 4 images are near-duplicates of images that the model was trained"
    )
    assert found.to_json_dict()["n_near_training"] == 2


def test_files_of_training_are_not_named_twice(bundle: Bundle, tmp_path: Path) -> None:
    train = tmp_path / "data" / "train.png"
    found = find_near_overlap(bundle, [Record(train, "CEX")], overlap=(train,))
    assert found.is_checked
    assert found.describe(1) == ""


def test_near_overlap_says_not_checked(bundle: Bundle, tmp_path: Path) -> None:
    new = save_image(tmp_path / "new.png", 99)
    (tmp_path / "data" / "train.png").unlink()
    partly = find_near(bundle, new)
    assert (
        partly.describe(1) == "1 of 2 training and validation images are not at hand and were not compared."
    )
    (tmp_path / "run" / SPLIT_FILE).unlink()
    found = find_near(bundle, new)
    assert not found.is_checked
    assert "not checked" in found.describe(1)
    assert found.to_json_dict() == {"n_near_training": None, "near_training": []}
