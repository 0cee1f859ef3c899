"""Files one by one are the files of the list: same ones, same order, each once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.helpers.patience import PATIENCE_S
from tests.helpers.rights import without_rights

from georgia.errors import InputError
from georgia.images.listing import (
    FoundImages,
    Links,
    find_images,
    is_system_name,
    natural_key,
    walk_files,
)


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


@pytest.mark.slow
def test_found_images_name_unreadable_folder(tree: Path) -> None:
    code = "import sys; from georgia.images.listing import FoundImages; list(FoundImages([sys.argv[1]]))"
    command = [*without_rights(), sys.executable, "-c", code, str(tree)]
    (tree / "a").chmod(0)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    finally:
        (tree / "a").chmod(0o755)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("georgia.errors.InputError: Cannot list folder"), done.stderr


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


# --- links ---------------------------------------------------------------------------------------


def make_linked(root: Path) -> Path:
    """A folder with images, one linked folder from elsewhere, and links that run in circles."""
    make_tree(root, "k/CEX/1.png", "k/CEX/2.png", "k/PG/3.png", "far/4.png", "far/deep/5.png")
    links = {"run2": root / "far", "up": "..", "top": "../..", "self": ".", "same": root / "far"}
    for name, target in links.items():
        (root / "k" / "CEX" / name).symlink_to(target)
    (root / "k" / "PG" / "twin").symlink_to("../CEX")
    return root / "k"


def test_linked_folders_are_walked_once(tmp_path):
    root = make_linked(tmp_path)
    links = Links(root)
    files = [path.relative_to(root).as_posix() for path in walk_files(root, links=links)]
    assert files == ["CEX/1.png", "CEX/2.png", "CEX/run2/4.png", "CEX/run2/deep/5.png", "PG/3.png"]
    assert {path.name for path in links.passed} == {"up", "top", "self", "same", "twin"}
    assert [path.name for path in find_images([root])] == ["1.png", "2.png", "4.png", "5.png", "3.png"]


def test_links_into_each_other_end(tmp_path):
    make_tree(tmp_path, "k/1.png", "a/2.png", "b/3.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    (tmp_path / "k" / "out").symlink_to(tmp_path / "a")
    assert sorted(path.name for path in walk_files(tmp_path / "k")) == ["1.png", "2.png", "3.png"]


def test_wider_link_does_not_repeat_inner_one(tmp_path):
    make_tree(tmp_path, "k/1.png", "far/2.png", "far/deep/3.png")
    (tmp_path / "k" / "a").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "k" / "b").symlink_to(tmp_path / "far")
    assert sorted(path.name for path in walk_files(tmp_path / "k")) == ["1.png", "2.png", "3.png"]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("**/*.png", 5),
        ("**", 5),
        ("CEX/**/*.png", 4),
        ("**/CEX/**/*.png", 4),
        ("*/**/3.png", 1),
        ("**/*/", 5),
    ],
)
def test_globs_with_circular_links_end(tmp_path, pattern, count):
    root = make_linked(tmp_path)
    files = find_images([f"{root}/{pattern}"])
    assert len({os.path.realpath(path) for path in files}) == len(files) == count


def test_globs_below_current_folder_are_relative(tmp_path, monkeypatch):
    make_tree(tmp_path, "a/1.png", "2.png", ".hidden/3.png", "__MACOSX/4.png", "a [1]/5.png")
    monkeypatch.chdir(tmp_path)
    assert sorted(map(str, find_images(["**/*.png"]))) == ["2.png", "a [1]/5.png", "a/1.png"]


@pytest.mark.parametrize(
    "name",
    [
        "lost+found",
        "System Volume Information",
        "#recycle",
        "$RECYCLE.BIN",
        "@Recycle",
        "#Snapshot",
        ".Trash-0",
    ],
)
def test_folders_of_systems_are_passed_over(tmp_path, name):
    make_tree(tmp_path, f"{name}/1.png", "2.png")
    assert is_system_name(name)
    assert [path.name for path in find_images([tmp_path])] == ["2.png"]


# --- files of other kinds ----------------------------------------------------------------------------


def test_found_images_count_other_files(tmp_path):
    make_tree(tmp_path, "a/1.png", "a/2.mp4", "a/b/3.mp4", "a/b/x.zip", "a/b/5.png", "a/scan")
    make_tree(tmp_path, "a/when 12.30 h")
    make_tree(tmp_path, "a/1.json", "a/1.XML", "a/notes.txt", "a/README", "a/Thumbs.db", "a/.DS_Store")
    said = "5 files of other kinds (.mp4 2, .zip 1, of other names 1, without suffix 1)"
    for sources in ([tmp_path / "a"], [tmp_path / "a", tmp_path / "a" / "b"], [f"{tmp_path}/a"]):
        found = FoundImages(sources)
        assert [path.name for path in found] == [path.name for path in found] == ["1.png", "5.png"]
        assert found.others.describe() == said
        assert found.others.tell().startswith(f"not read: {said}; images are PNG, JPEG,")
    globbed = FoundImages([f"{tmp_path}/a/**/*"])
    assert len(globbed) == 2
    assert globbed.others.describe() == said


def test_found_images_say_nothing_of_sidecars(tmp_path):
    make_tree(tmp_path, "1.png", "1.json", "notes.txt", "README", "t.csv", "Thumbs.db", "1.png.xmp")
    found = FoundImages([tmp_path])
    assert len(found) == 1
    assert found.others.tell() == ""


def test_folder_without_images_tells_what_it_holds(tmp_path):
    make_tree(tmp_path, "a/1.mp4", "a/2.mp4")
    with pytest.raises(InputError, match=r"a' with 2 files of other kinds \(\.mp4 2\)"):
        FoundImages([tmp_path / "a"])
    with pytest.raises(InputError, match=r"mp4' with 2 files of other kinds"):
        FoundImages([f"{tmp_path}/a/*.mp4"])


@pytest.mark.parametrize("suffix", ["dcm", "CZI", "lif", "nd2", "oib", "fits", "CR2", "dng", "heic", "avif"])
def test_images_of_other_formats_are_found(tmp_path, suffix):
    # What is found and cannot be read is listed as left out, and the exit code is 3.
    make_tree(tmp_path, f"a.{suffix}", "b.png")
    assert [path.name for path in find_images([tmp_path])] == [f"a.{suffix}", "b.png"]
