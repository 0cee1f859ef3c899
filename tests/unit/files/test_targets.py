"""Where results may lie: not among the images, and in a folder that nobody else writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from georgia.errors import InputError
from georgia.files import check_new_folder, check_outside_data, hold_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "CEX").mkdir(parents=True)
    return tmp_path / "data"


@pytest.mark.parametrize("below", [".", "why", "CEX/why", "a/b/c", "CEX/../why"])
def test_output_in_data_is_rejected(data: Path, below: str) -> None:
    with pytest.raises(InputError, match="must not lie in the data folder"):
        check_outside_data(data / below, data)


def test_output_reached_by_link_is_rejected(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data, target_is_directory=True)
    for out, source in ((tmp_path / "link" / "why", data), (data / "why", tmp_path / "link")):
        with pytest.raises(InputError, match="must not lie in the data folder"):
            check_outside_data(out, source)


def test_relative_output_in_data_is_rejected(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    with pytest.raises(InputError, match="must not lie in the data folder"):
        check_outside_data(Path("why"), Path())


def test_output_below_recursive_glob_is_rejected(data: Path) -> None:
    with pytest.raises(InputError, match="must not lie in the data folder"):
        check_outside_data(data / "why", f"{data}/**/*.png")


def test_output_elsewhere_is_allowed(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    table.touch()
    check_outside_data(tmp_path / "data-2", data, table, tmp_path / "nothing", f"{data}/**/*.png")
    check_outside_data(tmp_path, data)
    check_outside_data(data / "why", f"{data}/*.png")


def test_folder_is_held_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with hold_folder(out):
        with pytest.raises(InputError, match=f"got process {os.getpid()} on"), hold_folder(out):
            pass
        (out / "history.csv").touch()
    assert [path.name for path in out.iterdir()] == ["history.csv"]


def test_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_folder(tmp_path / "a" / "run"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with hold_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir()


def test_file_as_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match="a folder is needed; got a file"), hold_folder(tmp_path / "run"):
        pass


def test_new_folder_may_hold_own_files(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "demo")
    check_new_folder(tmp_path)
    (tmp_path / "probe").mkdir()
    check_new_folder(tmp_path, "probe", "monitor.db")
    (tmp_path / "CEX").mkdir()
    with pytest.raises(InputError, match="new or empty folder is needed; got CEX"):
        check_new_folder(tmp_path, "probe")
