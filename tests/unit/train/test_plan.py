"""The plan of a run: what may be gone on with, and what is never overwritten."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from georgia.errors import InputError, UnwritableFileError
from georgia.files import naming_full_disk, write_json
from georgia.labels import Labels
from georgia.records import Catalog, Record
from georgia.split.make import Split, SplitConfig
from georgia.train.plan import (
    check_run_folder,
    make_plan,
    name_time,
    open_plan,
    saying_disk_full,
    split_catalog,
)
from georgia.train.recipes import TrainConfig


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("state", [(), ("state/resume.npz",), ("state/plan.json", "state/resume.npz")])
def test_finished_run_is_never_begun_again(tmp_path: Path, state: tuple[str, ...], resume: bool) -> None:
    run = fill(tmp_path, "bundle.json", "history.csv", "report.html", *state)
    with pytest.raises(InputError, match="finished run .*--resume has nothing to do"):
        check_run_folder(run, resume)


@pytest.mark.parametrize("name", ["bundle.json", "history.csv"])
def test_run_without_plan_is_left_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"got {name} without state/plan.json"):
        check_run_folder(fill(tmp_path, name, "state/resume.npz"), resume=True)


def test_stopped_run_needs_resume(tmp_path: Path) -> None:
    run = fill(tmp_path, "history.csv", "bundle.json", "state/plan.json")
    with pytest.raises(InputError, match="--resume"):
        check_run_folder(run, resume=False)
    check_run_folder(run, resume=True)
    check_run_folder(tmp_path / "new", resume=True)


@pytest.mark.parametrize(
    ("known", "is_kept"), [("2021-01-01_00-00-00", True), ("../../x", False), ("2021-13-01_00-00-00", False)]
)
def test_names_keep_time_of_first_try(tmp_path: Path, known: str, is_kept: bool) -> None:
    write_json(tmp_path / "state" / "created.json", {"created": known})
    assert (name_time(tmp_path) == known) is is_kept
    assert name_time(tmp_path) == name_time(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Can't write (errno = 28, error message = 'No space left on device')"),
    ],
)
def test_full_disk_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(UnwritableFileError, match=r"^Cannot finish the run: .*--resume"),
        saying_disk_full("the run"),
    ):
        raise error


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), saying_disk_full("the run"):
        raise ZeroDivisionError


def test_settings_of_later_versions_are_no_other_run(tmp_path: Path) -> None:
    settings = TrainConfig().to_dict()
    plan = {"settings": settings, "classes": [], "data": "d", "split": "s", "versions": {}}
    before = {
        **plan,
        "settings": {key: value for key, value in settings.items() if key not in ("refit", "heads")},
    }
    key = open_plan(tmp_path, before, resume=False)
    assert open_plan(tmp_path, plan, resume=True) == key
    assert open_plan(tmp_path, {**plan, "settings": {**settings, "refit": "no"}}, resume=True) == key
    with pytest.raises(InputError, match="refit 'yes' instead of None"):
        open_plan(tmp_path, {**plan, "settings": {**settings, "refit": "yes"}}, resume=True)


def test_resume_under_other_depth_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "GEORGIA_DEPTH"
    monkeypatch.delenv(variable, raising=False)
    split = Split(tmp_path, Labels(("A", "B")), (), SplitConfig())
    begun = make_plan(TrainConfig(), split, "d", {})
    key = open_plan(tmp_path, begun, resume=False)
    assert "depth" not in begun
    monkeypatch.setenv(variable, "12")
    with pytest.raises(InputError, match="GEORGIA_DEPTH 12 instead of none"):
        open_plan(tmp_path, make_plan(TrainConfig(), split, "d", {}), resume=True)
    other = open_plan(tmp_path, make_plan(TrainConfig(), split, "d", {}), resume=False)
    assert other != key
    monkeypatch.delenv(variable)
    with pytest.raises(InputError, match="none instead of 12"):
        open_plan(tmp_path, make_plan(TrainConfig(), split, "d", {}), resume=True)


def test_resume_in_other_precision_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEORGIA_PRECISION", "float32")
    split = Split(tmp_path, Labels(("A", "B")), (), SplitConfig())
    open_plan(tmp_path, make_plan(TrainConfig(), split, "d", {}), resume=False)
    # The environment asks for predictions, not for training.
    monkeypatch.setenv("GEORGIA_PRECISION", "bfloat16")
    open_plan(tmp_path, make_plan(TrainConfig(), split, "d", {}), resume=True)
    monkeypatch.setattr("georgia.train.plan.find_precision", lambda *_: ("bfloat16", False))
    with pytest.raises(InputError, match="precision bfloat16 instead of float32"):
        open_plan(tmp_path, make_plan(TrainConfig(), split, "d", {}), resume=True)


def test_full_disk_of_one_file_tells_to_resume(tmp_path: Path) -> None:
    with (
        pytest.raises(UnwritableFileError, match=r"a.h5.* --resume") as found,
        saying_disk_full("the run"),
        naming_full_disk(tmp_path / "a.h5"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "same command again" not in str(found.value)
    with pytest.raises(UnwritableFileError, match="^Cannot write 'x'"), saying_disk_full("the run"):
        raise UnwritableFileError("Cannot write 'x'", needs="a folder is needed", got="a file")


@pytest.mark.parametrize("n_without", [0, 1, 3])
def test_some_given_splits_are_never_dropped(tmp_path: Path, n_without: int) -> None:
    splits = ["train", "train", "valid", "test"] * 2
    splits[:n_without] = [""] * n_without
    records = [Record(tmp_path / f"{n}.png", "AB"[n // 4], split=split) for n, split in enumerate(splits)]
    catalog = Catalog(tmp_path, Labels(("A", "B")), tuple(records))
    if n_without:
        with pytest.raises(InputError, match=f"got {n_without} images without"):
            split_catalog(catalog, TrainConfig())
    else:
        assert split_catalog(catalog, TrainConfig()).records == catalog.records
