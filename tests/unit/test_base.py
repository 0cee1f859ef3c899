"""Errors, registry and whole-file writes."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from georgia.errors import GateError, GeorgiaError, InputError, MissingDependencyError, UnreadableImageError
from georgia.files import (
    atomic_path,
    check_outside_data,
    read_json,
    read_table,
    write_json,
    write_text,
)
from georgia.records import fingerprint_files, hash_file
from georgia.registry import find_by_name
from georgia.text import format_csv


@dataclass(frozen=True)
class Thing:
    """Something with a name."""

    name: str


def test_exit_codes_are_public() -> None:
    assert (GeorgiaError.exit_code, InputError.exit_code, GateError.exit_code) == (1, 2, 4)
    assert issubclass(UnreadableImageError, OSError)
    assert issubclass(MissingDependencyError, ImportError)
    assert issubclass(InputError, ValueError)


def test_registry_rejects_twins() -> None:
    things = (Thing("fast"), Thing("georgia"))
    assert find_by_name("recipe", "fast", things).name == "fast"
    with pytest.raises(
        InputError, match=r"Unknown recipe: it must be one of fast, georgia; got 'gorgia'. Did you"
    ):
        find_by_name("recipe", "gorgia", things)
    with pytest.raises(TypeError, match="have the same name"):
        find_by_name("recipe", "fast", (Thing("fast"), Thing("fast")))


def test_failed_write_leaves_old_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="stop"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_written_file_has_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_fingerprint_depends_on_content_only(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    for number, file in enumerate(files):
        file.write_text(str(number))
    plain = fingerprint_files(files)
    assert fingerprint_files(files[::-1]) == plain
    files[0].rename(tmp_path / "z")
    assert fingerprint_files([tmp_path / "z", *files[1:]]) == plain
    (tmp_path / "z").write_text("other")
    assert fingerprint_files([tmp_path / "z", *files[1:]]) != plain


@pytest.mark.parametrize("name", ["file.txt/table.csv", "x" * 300 + "/table.csv"])
def test_unwritable_folder_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("no folder")
    with pytest.raises(InputError, match=r"Cannot write '.*table\.csv': its folder must take files; got "):
        write_text(tmp_path / name, "a")


NAME = "needle_\udcb5m.png"


def test_text_keeps_bytes_of_names_in_tables(tmp_path):
    write_text(tmp_path / "a.csv", f"path\n{NAME}\n")
    assert (tmp_path / "a.csv").read_bytes() == b"path\nneedle_\xb5m.png\n"
    assert read_table(tmp_path / "a.csv") == f"path\n{NAME}\n"
    write_text(tmp_path / "a.html", NAME)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == r"needle_\udcb5m.png"


def test_json_gives_back_names_of_any_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"file": NAME, "µ": "晶😀"})
    assert read_json(tmp_path / "a.json") == {"file": NAME, "µ": "晶😀"}
    (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("cell", ["a\rb", "a\nb", "a\r\nb", '"', "a\u2028b\x0b", ",", " a ", NAME])
def test_csv_gives_back_every_cell(tmp_path, cell):
    write_text(tmp_path / "a.csv", format_csv([[cell, "x"], ["y", cell]]))
    rows = csv.reader(io.StringIO(read_table(tmp_path / "a.csv"), newline=""))
    assert list(rows) == [[cell, "x"], ["y", cell]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_fingerprint_reads_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"x")
    paths = [tmp_path / name for name in ("pipe", "zero", "file", "gone")]
    assert fingerprint_files(paths) == fingerprint_files(paths[::-1]) != fingerprint_files(paths[2:3])
    assert hash_file(tmp_path / "pipe") is None


@pytest.mark.parametrize("name", ["audit.csv", "split.csv"])
def test_output_never_replaces_its_source(tmp_path, name):
    (tmp_path / name).write_text("path,class")
    with pytest.raises(InputError, match=f"{name}, which is read, must not be replaced"):
        check_outside_data(tmp_path / "x" / "..", tmp_path / name)
    check_outside_data(tmp_path / "x", tmp_path / name)
