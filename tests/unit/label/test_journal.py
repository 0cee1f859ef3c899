"""The journal of a labelling: on disk at once, mended after a kill, one process at a time."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from georgia.errors import InputError, UnwritableFileError
from georgia.label import journal as module
from georgia.label.journal import (
    Chosen,
    Journal,
    check_who,
    find_journal,
    make_choice_entries,
    make_name_entry,
)
from georgia.label.records import ChoiceReason, Label, check_classes


def name_entry(path: str, name: str = "PG", tab: str = "a", **others: Any) -> dict[str, Any]:
    return make_name_entry(Label(path, name, "A. Miller", "2026-01-01T00:00:00Z", tab=tab, **others))


def write_journal(out: Path, n: int = 3) -> bytes:
    with Journal(out) as journal:
        journal.begin({"root": "frames"})
        journal.set_classes(["CEX", "PG"], "A. Miller")
        for number in range(n):
            journal.append(name_entry(f"c{number}.png"))
    return find_journal(out).read_bytes()


def test_journal_keeps_lines_over_starts(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    write_journal(out)
    with Journal(out) as journal:
        assert journal.names.classes == ("CEX", "PG")
        assert [journal.names.find(f"c{n}.png").name for n in range(3)] == ["PG"] * 3  # type: ignore[union-attr]
        number = journal.append(name_entry("c0.png", "CEX"))
        assert journal.n_lines == number == 6
        assert not journal.notes
        assert not journal.failures
    with Journal(out) as journal:
        label = journal.names.find("c0.png")
        assert label is not None
        assert (label.name, label.number) == ("CEX", 6)


def test_journal_cut_anywhere_loses_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever byte a kill ends the file at, all whole lines are read and the next one is appended."""
    monkeypatch.setattr(module.os, "fsync", lambda _: None)
    out = tmp_path / "labels.csv"
    data = write_journal(out, n=1)
    last = len(data.rpartition(b'{"kind":"name"')[0])
    for end in (*range(0, last, 40), *range(last - 2, last + 3), *range(len(data) - 20, len(data))):
        find_journal(out).write_bytes(data[:end])
        n_whole = data[:end].count(b"\n")
        with Journal(out) as journal:
            # A last line that lacks its break alone is whole.
            n_lines = n_whole + (data[end : end + 1] == b"\n")
            assert journal.n_lines == n_lines
            assert bool(journal.notes) == (data[:end] != b"" and data[end - 1 : end + 1].count(b"\n") == 0)
            journal.append(name_entry("last.png"))
        with Journal(out) as journal:
            assert journal.n_lines == n_lines + 1
            assert journal.names.find("last.png") is not None
            assert not journal.notes
            assert not journal.failures


def test_journal_zeros_at_end_are_cut(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    data = write_journal(out)
    find_journal(out).write_bytes(data + b"\0" * 100)
    with Journal(out) as journal:
        assert journal.n_lines == 5
        assert "was cut off" in journal.notes[0]
    assert find_journal(out).read_bytes() == data


def test_journal_damaged_line_is_named(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    data = write_journal(out)
    find_journal(out).write_bytes(data.replace(b"c1.png", b"c7.png"))
    with Journal(out) as journal:
        assert "line 4 is damaged" in journal.failures[0].error
        assert journal.names.find("c7.png") is None
        assert journal.names.find("c2.png") is not None


def test_journal_goes_on_after_a_damaged_name_was_taken_back(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    write_journal(out)
    with Journal(out) as journal:
        journal.append({"kind": "undo", "of": 5, "at": "", "who": "A. Miller", "tab": "a"})
    data = find_journal(out).read_bytes()
    find_journal(out).write_bytes(data.replace(b"c2.png", b"c7.png"))
    with Journal(out) as journal:
        assert len(journal.failures) == 1
        assert list(journal.names.names) == ["c0.png", "c1.png"]


def test_journal_of_newer_version_stops(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    write_journal(out)
    with find_journal(out).open("ab") as stream:
        stream.write(module._format({"kind": "vote", "path": "c0.png"}))
    with pytest.raises(InputError, match="line 6 .* newer version"):
        Journal(out)
    # It let go of the lock.
    find_journal(out).unlink()
    Journal(out).close()


def test_journal_is_held_by_one(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "labels.csv"),
        pytest.raises(InputError, match=f"process {os.getpid()} on .*since"),
    ):
        Journal(tmp_path / "labels.csv")


def test_journal_full_disk_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "labels.csv"
    data = write_journal(out)
    real = os.write

    def write_half(descriptor: int, view: Any) -> int:
        if len(view) > 20:
            return real(descriptor, view[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(out) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "write", write_half)
            with pytest.raises(UnwritableFileError, match="The name was not kept"):
                journal.append(name_entry("c9.png"))
        assert journal.names.find("c9.png") is None
        assert find_journal(out).read_bytes() == data
        journal.append(name_entry("c8.png"))
    with Journal(out) as journal:
        assert journal.names.find("c8.png") is not None
        assert journal.n_lines == 6


def test_journal_never_takes_a_foreign_table(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("path,class\na.png,CEX\n")
    with pytest.raises(InputError, match="its journal .* must stand beside it"):
        Journal(out)
    assert out.read_text() == "path,class\na.png,CEX\n"
    assert not find_journal(out).exists()


def test_journal_needs_csv(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.csv"):
        Journal(tmp_path / "labels.txt")


def test_journal_paths_of_any_bytes(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    paths = ["\udcb5m.png", "=1+1.png", "a,b\n.png", "Ångström.png"]
    with Journal(out) as journal:
        for path in paths:
            journal.append(name_entry(path))
    assert find_journal(out).read_bytes().isascii()
    with Journal(out) as journal:
        assert list(journal.names.names) == paths


def test_undo_stays_in_journal(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with Journal(out) as journal:
        journal.append(name_entry("a.png", "CEX", duplicates=("b.png",)))
        number = journal.append(name_entry("a.png", "PG", duplicates=("b.png",)))
        journal.append({"kind": "undo", "of": number, "at": "", "who": "A. Miller", "tab": "a"})
        assert [journal.names.find(path).name for path in ("a.png", "b.png")] == ["CEX", "CEX"]  # type: ignore[union-attr]
        assert [label.name for label in journal.names.every] == ["CEX", "PG"]
    assert find_journal(out).read_bytes().count(b'"kind":"name"') == 2


def test_choice_is_kept_with_probability(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    chosen = Chosen(7, ChoiceReason.EVEN, 0.25, "a")
    with Journal(out) as journal:
        journal.append(*make_choice_entries([("a.png", chosen)]), sync=False)
    with Journal(out) as journal:
        assert journal.names.chosen == {"a.png": chosen}
        assert journal.names.last_order == 7


def test_classes_with_labels_must_stay(tmp_path: Path) -> None:
    with Journal(tmp_path / "labels.csv") as journal:
        journal.set_classes(["CEX", "PG"], "A. Miller")
        journal.append(name_entry("a.png", "PG"), name_entry("b.png", "unclear"))
        with pytest.raises(InputError, match="PG must be among them"):
            journal.set_classes(["CEX", "other"], "A. Miller")
        journal.set_classes(["PG", "CEX", "other"], "A. Miller")
        assert journal.names.classes == ("PG", "CEX", "other")


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["CEX"], "two classes"),
        (["CEX", "cex "], "stand once"),
        (["CEX", "Unclear"], "none may be"),
        (["CEX", "0"], "none may be"),
        (["CEX", "a|b"], "comma, bar"),
        (["CEX", "\udcb5"], "no text"),
    ],
)
def test_classes_are_checked(names: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        check_classes(names)


@pytest.mark.parametrize("who", ["", "  ", "a\nb", "x" * 101])
def test_who_must_be_a_name(who: str) -> None:
    with pytest.raises(InputError, match="name of 1 to 100 signs"):
        check_who(who)
