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


def test_found_images_equal_the_list(tree: Path) -> None:
    found = FoundImages([tree])
    assert list(found) == find_images([tree])
    assert len(found) == len(find_images([tree])) == 13


def test_found_images_yield_each_file_once(tree: Path) -> None:
    for sources in (
        [tree / "a", tree],
        [tree, tree / "a", tree / "a" / "1.png"],
        [tree / "a" / "1.png", tree / "a", f"{tree}/a/*.png"],
        [tree / "notes.txt", tree],
    ):
        assert list(FoundImages(sources)) == find_images(sources)


def test_natural_key_orders_numbers_ignores_case() -> None:
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


def test_found_images_name_all_empty_sources(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(InputError, match=r"Found no images: .*empty', '.*none\*\.png'"):
        FoundImages([tree / "empty", tree, f"{tree}/none*.png"])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that cannot be read")
def test_found_images_name_unreadable_folder(tree: Path) -> None:
    (tree / "a").chmod(0)
    with pytest.raises(InputError, match="Cannot list folder"):
        list(FoundImages([tree]))
    (tree / "a").chmod(0o755)


def make_tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_find_images_takes_files_folders_globs(tmp_path):
    make_tree(tmp_path, "a/2.png", "a/10.PNG", "a/deep/1.tif", "a/notes.txt", "a/.hidden.png", "a/Thumbs.db")
    make_tree(tmp_path, "__MACOSX/a/1.png", "b [1]/x[2].png", "c.dat")

    def names(*sources):
        return [path.relative_to(tmp_path).as_posix() for path in find_images(sources)]

    assert names(tmp_path / "a") == ["a/2.png", "a/10.PNG", "a/deep/1.tif"]
    assert names(str(tmp_path / "a" / "*.p*")) == ["a/2.png"] or names(str(tmp_path / "a" / "*.[pP]*"))
    assert names(tmp_path / "b [1]" / "x[2].png") == ["b [1]/x[2].png"]
    assert names(tmp_path / "b [1]") == ["b [1]/x[2].png"]
    assert names(tmp_path / "c.dat") == ["c.dat"]
    assert names(tmp_path / "a" / "2.png", tmp_path / "a") == ["a/2.png", "a/10.PNG", "a/deep/1.tif"]
    assert names(str(tmp_path / "**" / "*.tif")) == ["a/deep/1.tif"]


def test_find_images_names_all_empty_sources(tmp_path):
    (tmp_path / "empty").mkdir()
    sources = [tmp_path / "empty", tmp_path / "none.png", str(tmp_path / "*.xyz")]
    with pytest.raises(InputError, match=r"Found no images: .*empty'.*none\.png'.*\*\.xyz'"):
        find_images(sources)
