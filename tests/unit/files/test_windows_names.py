"""What Windows does with names and paths, simulated: long ones, kept ones, drives."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.catalog import read_catalog
from georgia.catalog.read import relative_name
from georgia.errors import InputError, UnreadableImageError, UnwritableFileError
from georgia.files import check_target, write_text
from georgia.images.decode import read_image
from georgia.images.listing import _is_link
from georgia.records import split_window
from georgia.split import materialize
from georgia.split.make import SplitConfig, make_split
from georgia.split.materialize import materialize_split, plan_targets

TOO_LONG = (
    "a path longer than the 259 characters that Windows takes unless its setting LongPathsEnabled is on"
)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> FileNotFoundError:
    """What Windows raises for a path that is too long, on a machine that claims to be Windows."""
    monkeypatch.setattr("georgia.files.targets.IS_WINDOWS", True)
    return FileNotFoundError(errno.ENOENT, "No such file or directory")


def raise_it(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_long_target_is_told(
    tmp_path: Path, missing: FileNotFoundError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("georgia.files.writing.tempfile.mkstemp", raise_it(missing))
    with pytest.raises(UnwritableFileError, match=TOO_LONG):
        write_text(tmp_path / ("a" * 120) / ("b" * 140) / "c.csv", "x")
    with pytest.raises(UnwritableFileError, match="got No such file or directory"):
        write_text(tmp_path / "c.csv", "x")


def test_long_image_is_no_missing_one(
    tmp_path: Path, missing: FileNotFoundError, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tmp_path / ("a" * 200) / ("b" * 100 + ".png"), tmp_path / "c.png"
    monkeypatch.setattr(type(paths[0]), "stat", raise_it(missing))
    for path, reason in zip(paths, (TOO_LONG, "no such file"), strict=True):
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(path)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("CEX", "PG"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            image = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8))
            image.save(tmp_path / "data" / name / f"{index}.png")
    return tmp_path / "data"


def test_long_copy_is_told(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split(read_catalog(crops), SplitConfig((0.5, 0.0, 0.5)))
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "C:/" + "x" * 260)
    monkeypatch.setattr(materialize.shutil, "copyfile", raise_it(error))
    monkeypatch.setattr(materialize, "is_path_too_long", lambda *_: True)
    with pytest.raises(InputError, match=r"takes shorter names only; got .*Rename the file"):
        materialize_split(split, tmp_path / "out", "copy")


def test_links_that_windows_forbids_are_told(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = make_split(read_catalog(crops), SplitConfig((0.5, 0.0, 0.5)))
    error = OSError(errno.EINVAL, "A required privilege is not held by the client")
    monkeypatch.setattr(error, "winerror", 1314, raising=False)
    monkeypatch.setattr(type(crops), "symlink_to", raise_it(error))
    with pytest.raises(InputError, match=r"allow this user symbolic links; got A req.*Use --mode copy"):
        materialize_split(split, tmp_path / "out", "symlink")


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[Path]]:
    """A machine that claims to be Windows, where a program holds files: the waits, and what was tried."""
    waits: list[float] = []
    tried: list[Path] = []
    for module in ("targets", "writing"):
        monkeypatch.setattr(f"georgia.files.{module}.IS_WINDOWS", True)
    monkeypatch.setattr("georgia.files.writing.time.sleep", waits.append)

    def replace(self: Path, target: Path) -> None:
        tried.append(self)
        if len(tried) <= 3 or target.name == "open.csv":
            raise PermissionError(errno.EACCES, "Access is denied")
        os.replace(self, target)  # noqa: PTH105

    monkeypatch.setattr(type(Path()), "replace", replace)
    return waits, tried


def test_scanner_of_windows_is_waited_for(tmp_path: Path, replaced: tuple[list[float], list[Path]]) -> None:
    write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "new"
    assert len(replaced[0]) == 3


def test_file_open_elsewhere_is_told(tmp_path: Path, replaced: tuple[list[float], list[Path]]) -> None:
    (tmp_path / "open.csv").write_text("old")
    with pytest.raises(
        UnwritableFileError, match=r"nor open in another program; got Access is denied\. Close"
    ):
        write_text(tmp_path / "open.csv", "new")
    assert 0 < sum(replaced[0]) < 5
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("open.csv", "old")]


def test_file_open_elsewhere_stops_before_work(
    tmp_path: Path, missing: FileNotFoundError, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "open.csv"
    check_target(target)
    target.write_text("old")
    check_target(target)
    monkeypatch.setattr(type(target), "open", raise_it(PermissionError(errno.EACCES, "Access is denied")))
    with pytest.raises(UnwritableFileError, match="nor open in another program; got one that is"):
        check_target(target)


def test_junctions_of_windows_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _is_link(tmp_path)
    plain = tmp_path.lstat()
    junction = SimpleNamespace(st_reparse_tag=0xA0000003, st_mode=plain.st_mode)
    monkeypatch.setattr(type(tmp_path), "lstat", lambda _: junction)
    assert _is_link(tmp_path)


@pytest.mark.parametrize(
    "name", ["CON", "aux", "nul.old", "COM1", "lpt9.2026", "COM¹", "conout$", "CEX.", "CEX "]
)
def test_class_that_windows_keeps_is_rejected(
    crops: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    split = make_split(
        read_catalog(crops, class_names={"CEX": name, "PG": "PG"}), SplitConfig((0.5, 0.0, 0.5))
    )
    assert materialize._find_fault(split.labels.names[0]) == ""
    with monkeypatch.context() as patch:  # no Path can be made meanwhile
        patch.setattr("georgia.split.materialize.os.name", "nt")
        fault = materialize._find_fault(name)
    assert fault == "is a name that Windows changes or keeps for itself"


@pytest.mark.parametrize("name", ["a:b", "5 µm?", "<1", "a|b", 'a"b', "a*", "a\tb"])
def test_class_with_sign_of_windows_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert materialize._find_fault(name) == ""
    with monkeypatch.context() as patch:
        patch.setattr("georgia.split.materialize.os.name", "nt")
        assert materialize._find_fault(name) == "holds a sign that Windows allows in no name"
        assert materialize._find_fault("CEX, α-Form (2)") == ""


def test_drives_of_windows_in_names() -> None:
    root = PureWindowsPath("C:/data/set")
    below: Any = PureWindowsPath(r"c:\Data\set\CEX\a.png")
    assert relative_name(below, root) == "CEX/a.png"  # type: ignore[arg-type]
    # A path of another drive stands for itself, also behind the root that a manifest names.
    other = PureWindowsPath("D:/more/b.png")
    assert not other.is_relative_to(root)
    assert root / other.as_posix() == other
    assert split_window("D:/run:1/f.png#xywh=1,2,30,40")[1] == (1, 2, 30, 40)


def test_no_drive_gets_into_a_file_name(crops: Path, tmp_path: Path) -> None:
    """Files of one name get their path as name; the drive's colon would name a stream of the file."""
    (tmp_path / "C:" / "CEX").mkdir(parents=True)
    other = tmp_path / "C:" / "CEX" / "0.png"
    Image.new("L", (8, 8), 7).save(other)
    rows = (
        "".join(f"{path},CEX\n" for path in (crops / "CEX" / "0.png", other))
        + f"{crops / 'PG' / '0.png'},PG\n"
    )
    (tmp_path / "set.csv").write_text("path,class\n" + rows, encoding="utf-8")
    split = make_split(read_catalog(tmp_path / "set.csv"), SplitConfig((1.0, 0.0, 0.0)))
    names = [target.name for _, target in plan_targets(split, Path("out"))]
    assert len(set(names)) == len(names)
    assert not any(":" in name or os.sep in name for name in names)
