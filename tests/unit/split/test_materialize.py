"""Laws of placing files: sources stay, nothing is overwritten, a killed run resumes."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_S

from georgia.catalog.read import read_catalog
from georgia.errors import InputError
from georgia.records import SPLITS
from georgia.split import materialize
from georgia.split.make import Split, SplitConfig, make_split
from georgia.split.materialize import (
    find_unfinished_move,
    finish_move,
    materialize_split,
    plan_targets,
    study_names,
)


@pytest.fixture
def split(tmp_path) -> Split:
    for name in ("CEX", "PG"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(8):
            Image.new("L", (4, 4), 20 * index + len(name)).save(
                tmp_path / "data" / name / f"{name} ({index}).png"
            )
    return make_split(read_catalog(tmp_path / "data"), SplitConfig((0.5, 0.25, 0.25)))


def digest_tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def images(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in digest_tree(root).items() if name.endswith(".png")}


@pytest.mark.parametrize("mode", ["copy", "link", "symlink", "manifest"])
def test_materialize_leaves_sources_unchanged(tmp_path, split, mode):
    before = digest_tree(tmp_path / "data")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.png")}
    materialize_split(split, tmp_path / "out", mode)
    assert digest_tree(tmp_path / "data") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.png")} == times
    assert Split.load(tmp_path / "out") == split


@pytest.mark.parametrize("mode", ["copy", "link", "symlink", "move"])
def test_materialized_folders_give_the_split(tmp_path, split, mode):
    contents = sorted(images(tmp_path / "data").values())
    result = materialize_split(split, tmp_path / "out", mode)
    assert (result.n_placed, result.n_already) == (16, 0)
    catalog = read_catalog(tmp_path / "out")
    assert catalog.labels == split.labels
    assert make_split(catalog, SplitConfig((0.5, 0.25, 0.25), "given")).counts == split.counts
    assert sorted(images(tmp_path / "out").values()) == contents
    assert bool(list((tmp_path / "data").rglob("*.png"))) == (mode != "move")


@pytest.mark.parametrize("mode", ["manifest", "copy"])
def test_manifest_is_a_catalog(tmp_path, split, mode):
    materialize_split(split, tmp_path / "out", mode)
    catalog = read_catalog(tmp_path / "out" / "split.csv")
    assert (catalog.root, catalog.labels) == (split.root, split.labels)
    assert make_split(catalog, SplitConfig((0.5, 0.25, 0.25), "given")).records == split.records


def test_study_names_read_back(tmp_path, split):
    materialize_split(split, tmp_path / "out", "copy", study_names(split.labels))
    folders = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*/*"))
    assert folders == [f"GA{split}Binary/{index}" for split in sorted(SPLITS) for index in "01"]
    catalog = read_catalog(tmp_path / "out", class_names={"0": "CEX", "1": "PG"})
    assert {name: len(catalog.subset(name)) for name in SPLITS} == {"train": 8, "valid": 4, "test": 4}
    assert catalog.labels.names == ("CEX", "PG")


@pytest.mark.parametrize("mode", ["copy", "link", "symlink"])
def test_materialize_again_does_nothing(tmp_path, split, mode):
    materialize_split(split, tmp_path / "out", mode)
    before = {path: path.lstat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    result = materialize_split(split, tmp_path / "out", mode)
    assert (result.n_placed, result.n_already) == (0, 16)
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")} == before


def test_files_of_one_name_stay_separate(tmp_path):
    for folder in ("run 1", "run 2"):
        for name in ("CEX", "PG"):
            (tmp_path / "data" / name / folder).mkdir(parents=True)
            for index in range(3):
                Image.new("L", (4, 4), index).save(tmp_path / "data" / name / folder / f"{index}.png")
    split = make_split(read_catalog(tmp_path / "data"), SplitConfig((0.4, 0.3, 0.3)))
    targets = [target for _, target in plan_targets(split, tmp_path / "out")]
    assert len(set(targets)) == 12
    materialize_split(split, tmp_path / "out", "copy")
    assert len(images(tmp_path / "out")) == 12


# --- never over a file ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["copy", "link", "symlink", "move"])
def test_existing_file_stops_before_any_change(tmp_path, split, mode):
    _, target = plan_targets(split, tmp_path / "out")[5]
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    before = digest_tree(tmp_path)
    with pytest.raises(InputError, match=r"nothing was touched: '.*' is there already and is something else"):
        materialize_split(split, tmp_path / "out", mode)
    assert digest_tree(tmp_path) == before


def test_existing_split_stops_materialize(tmp_path, split):
    materialize_split(split, tmp_path / "out", "copy")
    other = make_split(read_catalog(tmp_path / "data"), SplitConfig((0.5, 0.25, 0.25), seed=1))
    before = digest_tree(tmp_path)
    with pytest.raises(InputError, match="must be new or hold the same split; got another split"):
        materialize_split(other, tmp_path / "out", "copy")
    assert digest_tree(tmp_path) == before


def test_move_onto_symlinks_loses_nothing(tmp_path, split):
    materialize_split(split, tmp_path / "out", "symlink")
    before = images(tmp_path / "data")
    with pytest.raises(InputError, match="is there already and is something else"):
        materialize_split(split, tmp_path / "out", "move")
    assert images(tmp_path / "data") == before


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_move_onto_duplicates_keeps_one(tmp_path, split, mode):
    contents = sorted(images(tmp_path / "data").values())
    materialize_split(split, tmp_path / "out", mode)
    materialize_split(split, tmp_path / "out", "move")
    assert images(tmp_path / "data") == {}
    assert sorted(images(tmp_path / "out").values()) == contents


@pytest.mark.parametrize("dest", ["data", "data/out", "data/CEX/out", "."])
def test_destination_within_data_is_rejected(tmp_path, split, dest):
    with pytest.raises(InputError, match="must not lie in the data folder"):
        materialize_split(split, tmp_path / dest, "copy")


def test_materialize_names_other_faults(tmp_path, split, monkeypatch):
    with pytest.raises(InputError, match=r"must be one of copy, link, .*got 'mvoe'\. Did you mean 'move'"):
        materialize_split(split, tmp_path / "out", "mvoe")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a folder is needed; got a file"):
        materialize_split(split, tmp_path / "file", "copy")
    with monkeypatch.context() as patch:
        patch.setattr(materialize.shutil, "disk_usage", lambda path: _Usage)
        with pytest.raises(InputError, match="bytes are needed and 7 are free; --mode link needs none"):
            materialize_split(split, tmp_path / "out", "copy")
    split.records[0].path.unlink()
    with pytest.raises(InputError, match="is gone"):
        materialize_split(split, tmp_path / "out", "copy")
    assert not (tmp_path / "out").exists()


class _Usage:
    free = 7


def test_full_disk_is_one_clause(tmp_path, split, monkeypatch):
    def fill(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(materialize.shutil, "copyfile", fill)
    with pytest.raises(InputError, match=r"it must be writable; got No space left on device\. Run the same"):
        materialize_split(split, tmp_path / "out", "copy")


# --- other disks, and kills ----------------------------------------------------------------------


def test_link_to_other_disk_is_symbolic(tmp_path, split, monkeypatch):
    def reject(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", reject)
    materialize_split(split, tmp_path / "out", "link")
    assert all(path.is_symlink() for path in (tmp_path / "out").rglob("*.png"))


def reject_other_disk(monkeypatch):
    rename = Path.rename

    def only_here(self, target):
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", only_here)


def test_move_to_other_disk_keeps_bytes(tmp_path, split, monkeypatch):
    contents = sorted(images(tmp_path / "data").values())
    reject_other_disk(monkeypatch)
    materialize_split(split, tmp_path / "out", "move")
    assert sorted(images(tmp_path / "out").values()) == contents
    assert images(tmp_path / "data") == {}


def test_move_of_links_keeps_files_reachable(tmp_path):
    (tmp_path / "store").mkdir()
    for name in ("CEX", "PG"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("L", (4, 4), index).save(tmp_path / "store" / f"{name}{index}.png")
            (tmp_path / "data" / name / f"{index}.png").symlink_to(f"../../store/{name}{index}.png")
    before = digest_tree(tmp_path / "store")
    split = make_split(read_catalog(tmp_path / "data"), SplitConfig((0.5, 0.25, 0.25)))
    materialize_split(split, tmp_path / "out", "move")
    assert read_catalog(tmp_path / "out").failures == ()
    assert len(images(tmp_path / "out")) == 8
    assert digest_tree(tmp_path / "store") == before


def test_move_of_link_killed_halfway_is_finished(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    for name in ("CEX", "PG"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("L", (4, 4), index).save(tmp_path / "store" / f"{name}{index}.png")
            (tmp_path / "data" / name / f"{index}.png").symlink_to(f"../../store/{name}{index}.png")
    split = make_split(read_catalog(tmp_path / "data"), SplitConfig((0.5, 0.25, 0.25)))

    def link_and_end(source, target):
        target.symlink_to(source.resolve())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(materialize, "_symlink", link_and_end)
        with pytest.raises(KeyboardInterrupt):
            materialize_split(split, tmp_path / "out", "move")
    assert finish_move(tmp_path / "out")[1].n_placed == 8
    assert len(images(tmp_path / "out")) == 8
    assert images(tmp_path / "data") == {}
    assert len(images(tmp_path / "store")) == 8


def test_move_out_of_protected_folder_touches_nothing(tmp_path, split, monkeypatch):
    # The rename of the first file failed, after others had been moved, and the message named the destination.
    may, closed = os.access, tmp_path / "data" / "PG"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and may(path, mode))
    with pytest.raises(InputError, match=r"nothing was touched: .*PG. is protected, so no file"):
        materialize_split(split, tmp_path / "out", "move")
    assert not (tmp_path / "out").exists()
    assert len(images(tmp_path / "data")) == 16
    assert materialize_split(split, tmp_path / "out", "copy").n_placed == 16


class _Killer:
    """A listener that stops the run after some files, as Ctrl-C would."""

    def __init__(self, n_files: int) -> None:
        self.n_left = n_files

    def start(self, stage: str, total: int | None) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def advance(self, count: int = 1, note: str = "") -> None:
        self.n_left -= 1
        if self.n_left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["copy", "link", "symlink"])
@pytest.mark.parametrize("n_files", [1, 7, 16])
def test_killed_run_resumes(tmp_path, split, mode, n_files):
    with pytest.raises(KeyboardInterrupt):
        materialize_split(split, tmp_path / "out", mode, progress=_Killer(n_files))
    result = materialize_split(split, tmp_path / "out", mode)
    assert (result.n_placed, result.n_already) == (16 - n_files, n_files)
    assert sorted(images(tmp_path / "out").values()) == sorted(images(tmp_path / "data").values())


@pytest.mark.parametrize("other_disk", [False, True])
def test_killed_move_finishes_by_manifest(tmp_path, split, monkeypatch, other_disk):
    contents = sorted(images(tmp_path / "data").values())
    if other_disk:
        reject_other_disk(monkeypatch)
    assert not find_unfinished_move(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        materialize_split(split, tmp_path / "out", "move", study_names(split.labels), progress=_Killer(7))
    everything = [*images(tmp_path / "data").values(), *images(tmp_path / "out").values()]
    assert sorted(everything) == contents
    assert find_unfinished_move(tmp_path / "out")
    loaded, result = finish_move(tmp_path / "out")
    assert loaded.counts == split.counts
    assert (result.n_placed, result.n_already) == (9, 7)
    assert sorted(images(tmp_path / "out").values()) == contents
    assert (tmp_path / "out" / "GAtrainBinary" / "0").is_dir()
    assert not find_unfinished_move(tmp_path / "out")
    with pytest.raises(InputError, match="one must have begun; got none"):
        finish_move(tmp_path / "out")


def test_move_killed_before_removal_finishes(tmp_path, split, monkeypatch):
    contents = sorted(images(tmp_path / "data").values())
    reject_other_disk(monkeypatch)
    is_same = materialize._is_same

    def die(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(materialize, "_is_same", die)
    with pytest.raises(KeyboardInterrupt):
        materialize_split(split, tmp_path / "out", "move")
    monkeypatch.setattr(materialize, "_is_same", is_same)
    assert len(images(tmp_path / "data")) == 16
    assert len(images(tmp_path / "out")) == 1
    finish_move(tmp_path / "out")
    assert images(tmp_path / "data") == {}
    assert sorted(images(tmp_path / "out").values()) == contents


@pytest.mark.slow
def test_killed_process_leaves_whole_files(tmp_path):
    for name in ("CEX", "PG"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(150):
            (tmp_path / "data" / name / f"{index}.png").write_bytes(bytes([index]) * 200_000)
    code = (
        "import sys\n"
        "from georgia.catalog import read_catalog\n"
        "from georgia.split import make_split\n"
        "from georgia.split.materialize import materialize_split\n"
        "materialize_split(make_split(read_catalog(sys.argv[1], verify=False)), sys.argv[2], 'copy')\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "data"), str(tmp_path / "out")]
    process = subprocess.Popen(arguments)
    deadline = time.monotonic() + PATIENCE_S
    while len(list((tmp_path / "out").rglob("*.png"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = images(tmp_path / "out")
    assert set(done.values()) <= set(images(tmp_path / "data").values())
    subprocess.run(arguments, check=True)
    placed = {name: digest for name, digest in images(tmp_path / "out").items() if "/." not in name}
    assert sorted(placed.values()) == sorted(images(tmp_path / "data").values())


# --- names that are no folders, and long ones ----------------------------------------------------


def split_of_class(root: Path, class_name: str):
    for index in range(4):
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), index).save(root / "images" / f"{index}.png")
    rows = [f"images/{index}.png,{'PG' if index % 2 else class_name}" for index in range(4)]
    (root / "set.csv").write_text("\n".join(["path,class", *rows]), encoding="utf-8")
    return make_split(read_catalog(root / "set.csv"), SplitConfig((0.5, 0.0, 0.5)))


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", ".", "/abs", "a\\b", ".hidden", "lost+found"])
@pytest.mark.parametrize("mode", ["copy", "link", "symlink", "move"])
def test_class_that_is_no_folder_is_rejected(tmp_path, name, mode):
    split = split_of_class(tmp_path / "data", name)
    with pytest.raises(InputError, match="each class needs a name that can be a folder's; got "):
        materialize_split(split, tmp_path / "sub" / "out", mode)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_class_that_is_no_folder_has_study_names(tmp_path):
    split = split_of_class(tmp_path / "data", "../../evil")
    materialize_split(split, tmp_path / "study", "copy", study_names(split.labels))
    assert len(images(tmp_path / "study")) == 4
    assert materialize_split(split, tmp_path / "list", "manifest").n_placed == 0


def test_longest_names_are_copied(tmp_path):
    names = ["x" * 251 + ".png", "晶" * 83 + "x.png"]
    for folder in ("run 1", "run 2"):
        for class_name in ("CEX", "PG"):
            for index, name in enumerate(names):
                path = tmp_path / "data" / class_name / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), index).save(path)
    split = make_split(read_catalog(tmp_path / "data"), SplitConfig((0.5, 0.0, 0.5)))
    assert materialize_split(split, tmp_path / "out", "copy").n_placed == 8
    assert len(images(tmp_path / "out")) == 8
    assert materialize_split(split, tmp_path / "out", "copy").n_already == 8


def test_name_too_long_says_what_to_do(tmp_path, split, monkeypatch):
    def fail(source, target):
        raise OSError(errno.ENAMETOOLONG, "File name too long", str(target))

    monkeypatch.setattr(materialize.shutil, "copyfile", fail)
    with pytest.raises(InputError, match=r"takes shorter names only; got .*\. Rename the file"):
        materialize_split(split, tmp_path / "out", "copy")


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_split_keeps_names_of_any_bytes(tmp_path):
    names = [b"\xb5m.png", b"line\nbreak.png", b"return\r.png", "\u2028.png".encode()]
    for class_name in (b"CEX", b"PG"):
        folder = os.fsencode(tmp_path) + b"/data/" + class_name
        Path(os.fsdecode(folder)).mkdir(parents=True)
        for index, name in enumerate(names):
            Image.new("L", (4, 4), index).save(Path(os.fsdecode(folder + b"/" + name)))
    split = make_split(read_catalog(tmp_path / "data"), SplitConfig((0.5, 0.0, 0.5)))
    materialize_split(split, tmp_path / "out", "copy")
    assert Split.load(tmp_path / "out").records == split.records
    assert read_catalog(tmp_path / "out" / "split.csv").records == split.records
    assert materialize_split(split, tmp_path / "out", "copy").n_already == 8
    assert {path.name for path in (tmp_path / "out").rglob("*.png")} == set(map(os.fsdecode, names))
