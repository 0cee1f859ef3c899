"""Files one by one are the files of the list: same ones, same order, each once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from georgia.errors import InputError
from georgia.images.listing import FoundImages, find_images, natural_key


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = (
        "b (10).png b (2).PNG B (3).png a-1.png a/1.png a/10.tif a/2.png a/b/x.webp a.b/0.png"
        " 10/a.png 9/a.png"
        " .hidden/a.png notes.txt a/Thumbs.db 007.png 7.png"
    )
    for name in names.replace("b (", "b_(").split():
        path = tmp_path / name.replace("_", " ")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    return tmp_path


def test_order_and_files_are_those_of_the_list(tree: Path) -> None:
    found = FoundImages([tree])
    assert list(found) == find_images([tree])
    assert len(found) == len(find_images([tree])) == 13


def test_each_file_comes_once_from_overlapping_sources(tree: Path) -> None:
    for sources in (
        [tree / "a", tree],
        [tree, tree / "a", tree / "a" / "1.png"],
        [tree / "a" / "1.png", tree / "a", f"{tree}/a/*.png"],
        [tree / "notes.txt", tree],
    ):
        assert list(FoundImages(sources)) == find_images(sources)


def test_natural_key_counts_numbers_and_ignores_case() -> None:
    ordered = [
        "",
        "9",
        "0009a",
        "9a",
        "10",
        "a9b99",
        "a10b2",
        "a10b10",
        "a-1",
        "a/1",
        "b",
        "B (2)",
        "b (10)",
        "é",
    ]
    for names in (ordered, ordered[::-1]):
        assert sorted(names, key=natural_key) == ordered


def test_sources_without_images_are_all_named_first(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(InputError, match=r"Found no images: .*empty', '.*none\*\.png'"):
        FoundImages([tree / "empty", tree, f"{tree}/none*.png"])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that cannot be read")
def test_a_folder_that_cannot_be_read_is_said(tree: Path) -> None:
    (tree / "a").chmod(0)
    with pytest.raises(InputError, match="Cannot list folder"):
        list(FoundImages([tree]))
    (tree / "a").chmod(0o755)
