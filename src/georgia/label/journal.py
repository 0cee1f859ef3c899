"""The journal of a labelling: one JSON line for whatever a person did, on disk before it is confirmed.

``labels.csv.journal`` is the source of truth; ``labels.csv`` is written from it. Nothing is ever taken out
of it: a name that was taken back stays, with a line behind it that says so. A line carries the checksum of
its content. The last line may be cut off by a kill: it was confirmed to nobody and is left out. One process
at a time has a journal open.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from georgia.errors import InputError, UnwritableFileError
from georgia.files import DAMAGE, OutputLock, check_target, naming_full_disk
from georgia.label.records import NOT_CLASSES, ChoiceReason, Label, check_classes
from georgia.records import Failure
from georgia.text import count_noun

_CHECKSUM = "crc32"
_LONGEST_WHO = 100


class Kind(StrEnum):
    """What a line of the journal says."""

    BEGIN = "begin"
    CLASSES = "classes"
    CHOOSE = "choose"
    NAME = "name"
    UNDO = "undo"
    SKIP = "skip"


@dataclass(frozen=True)
class Chosen:
    """When, why, with which probability and for which tab an item was chosen to be labelled."""

    order: int = 0
    reason: ChoiceReason = ChoiceReason.ASKED
    probability: float | None = None
    tab: str = ""


@dataclass
class Names:
    """What the lines of a journal say together.

    ``names`` has the labels of each path that were not taken back, oldest first, those that it got as a
    duplicate included; ``by_number`` those labels by their lines, and ``every`` all that ever were.
    ``begun`` is the content of the first line.
    """

    begun: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    names: dict[str, list[Label]] = field(default_factory=dict)
    chosen: dict[str, Chosen] = field(default_factory=dict)
    skipped: dict[str, None] = field(default_factory=dict)
    by_number: dict[int, Label] = field(default_factory=dict)
    every: list[Label] = field(default_factory=list)
    last_order: int = 0

    def find(self, path: str) -> Label | None:
        """Return the label that holds for a path, None where there is none."""
        labels = self.names.get(path)
        return labels[-1] if labels else None

    def apply(self, number: int, entry: Mapping[str, Any]) -> None:
        """Take one line in.

        Raises:
            Exception: one of ``DAMAGE``; it is no such line.
        """
        kind = Kind(entry["kind"])
        if kind is Kind.BEGIN:
            self.begun = dict(entry)
        elif kind is Kind.CLASSES:
            self.classes = check_classes(entry["classes"])
        elif kind is Kind.CHOOSE:
            self._choose(entry)
        elif kind is Kind.SKIP:
            self.skipped.pop(str(entry["path"]), None)
            self.skipped[str(entry["path"])] = None
        elif kind is Kind.NAME:
            self._name(number, entry)
        else:
            self._undo(int(entry["of"]))

    def _choose(self, entry: Mapping[str, Any]) -> None:
        order = int(entry["order"])
        self.chosen[str(entry["path"])] = Chosen(
            order, ChoiceReason(entry["reason"]), _read_probability(entry["probability"]), str(entry["tab"])
        )
        self.last_order = max(self.last_order, order)

    def _name(self, number: int, entry: Mapping[str, Any]) -> None:
        label = Label(
            path=str(entry["path"]),
            name=str(entry["name"]),
            who=str(entry["who"]),
            at=str(entry["at"]),
            order=int(entry["order"]),
            reason=ChoiceReason(entry["reason"]),
            probability=_read_probability(entry["probability"]),
            tab=str(entry["tab"]),
            number=number,
            duplicates=tuple(map(str, entry["duplicates"])),
        )
        self.by_number[number] = label
        self.every.append(label)
        self.skipped.pop(label.path, None)
        for path in (label.path, *label.duplicates):
            self.names.setdefault(path, []).append(label)

    def _undo(self, number: int) -> None:
        label = self.by_number.pop(number, None)
        if label is None:
            # The line that gave the name is damaged, which is said of it.
            return
        for path in (label.path, *label.duplicates):
            self.names[path] = [other for other in self.names[path] if other.number != number]


def _read_probability(value: Any) -> float | None:
    if value is None:
        return None
    if not 0 <= float(value) <= 1:
        raise ValueError("no probability")
    return float(value)


def find_journal(out: Path) -> Path:
    """Return the journal of a table of labels.

    >>> find_journal(Path("run/labels.csv")).name
    'labels.csv.journal'
    """
    return out.with_name(out.name + ".journal")


def tell_time() -> str:
    """Return the time now, ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_who(who: str) -> str:
    """Return a person's name without blanks around it.

    Raises:
        InputError: it is empty, too long, or holds control signs.
    """
    name = who.strip()
    if not name or len(name) > _LONGEST_WHO or not name.isprintable():
        raise InputError(
            "Cannot keep who labels",
            needs=f"a name of 1 to {_LONGEST_WHO} signs is needed",
            got=repr(who[: _LONGEST_WHO + 1]),
            hint="Give it with --who.",
        )
    return name


class Journal:
    """The open journal beside a table of labels; not for two threads at once.

    ``names`` is what it says, ``notes`` what was mended at its opening, ``failures`` lines that are damaged.

    Raises:
        InputError: another process has it open, it cannot be read, or it is of a newer version.
        UnwritableFileError: its folder takes no files.
    """

    def __init__(self, out: Path) -> None:
        if out.suffix.lower() != ".csv":
            raise InputError(
                f"Cannot write labels to {str(out)!r}",
                needs="a name that ends in .csv is needed",
                got=out.suffix,
            )
        self.out, self.path = out, find_journal(out)
        check_target(out)
        check_target(self.path)
        self.names, self.notes = Names(), list[str]()
        self.failures: list[Failure] = []
        self._n_lines, self._size = 0, 0
        self._lock = OutputLock(out)
        self._descriptor = -1
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        if self.path.exists():
            self._read()
        elif self.out.exists():
            raise InputError(
                f"Cannot write labels to {str(self.out)!r}",
                needs=f"its journal {self.path.name!r} must stand beside it",
                got="a table without one",
                hint="Name another --out, and take the table's labels with --import.",
            )
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
            os.ftruncate(self._descriptor, self._size)
            if self._size:  # the break alone may have been cut off
                _write_at(self._descriptor, b"\n", self._size - 1)
            os.fsync(self._descriptor)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise UnwritableFileError(
                f"Cannot write {str(self.path)!r}", needs="it must be writable", got=error.strerror or error
            ) from error

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"Cannot read {str(self.path)!r}", needs="it must be readable", got=error.strerror or error
            ) from error
        if data and not data.endswith(b"\n"):
            data = self._mend_end(data)
        for at, line in enumerate(data.split(b"\n")[:-1], start=1):
            self._n_lines = at
            try:
                entry = _parse(line)
            except DAMAGE:
                self.failures.append(
                    Failure(self.path, f"line {at} is damaged and left out; what was said in it is lost")
                )
                continue
            self._take(at, entry)
        self._size = len(data)

    def _mend_end(self, data: bytes) -> bytes:
        """Return the lines without one that was cut off."""
        last = data.rpartition(b"\n")[2]
        try:
            _parse(last)
        except DAMAGE:
            self.notes.append(
                f"the last line of {self.path.name} was cut off and is left out: it was not confirmed"
            )
            return data[: len(data) - len(last)]
        return data + b"\n"

    def _take(self, number: int, entry: Mapping[str, Any]) -> None:
        try:
            self.names.apply(number, entry)
        except DAMAGE as error:
            raise InputError(
                f"Cannot use line {number} of {str(self.path)!r}",
                needs="a line that this version of Georgia wrote is needed",
                got=str(error) or type(error).__name__,
                hint="Was it written by a newer version?",
            ) from error

    @property
    def n_lines(self) -> int:
        """The number of lines, which is that of the last one."""
        return self._n_lines

    @property
    def seed(self) -> int:
        """The seed of the random order of the pool, that of the first start."""
        return int(self.names.begun.get("seed", 42))

    def append(self, *entries: Mapping[str, Any], sync: bool = True) -> int:
        """Write lines and take them in; return the number of the last. They are on disk when it returns.

        Without ``sync`` a machine that goes down may lose them, a process that is killed does not.

        Raises:
            UnwritableFileError: the disk is full or fails; then nothing is kept of them.
        """
        data = b"".join(_format(entry) for entry in entries)
        try:
            with naming_full_disk(self.path, "The name was not kept. Free some and give it again."):
                _write_at(self._descriptor, data, self._size)
                if sync:
                    os.fsync(self._descriptor)
        except UnwritableFileError:
            self._drop_rest()
            raise
        except OSError as error:
            self._drop_rest()
            raise UnwritableFileError(
                f"Cannot write {str(self.path)!r}",
                needs="its disk must take what is written",
                got=error.strerror or error,
                hint="The name was not kept.",
            ) from error
        self._size += len(data)
        for entry in entries:
            self._n_lines += 1
            self.names.apply(self._n_lines, entry)
        return self._n_lines

    def _drop_rest(self) -> None:
        """Cut off what a failed write left, so that the next line does not follow half a line."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            # The next write begins at the same place, and overwrites it.
            return

    def begin(self, metadata: Mapping[str, Any]) -> None:
        """Write the first line, where there is none yet."""
        if not self.names.begun:
            self.append({"kind": Kind.BEGIN, "at": tell_time(), "version": 1, **metadata})

    def set_classes(self, classes: Sequence[str], who: str) -> None:
        """Let names be of these classes; one that labels have cannot be left out.

        Raises:
            InputError: they cannot be classes, or one that labels have is missing.
        """
        wanted = check_classes(classes)
        used = {labels[-1].name for labels in self.names.names.values() if labels} - set(NOT_CLASSES)
        missing = sorted(used - set(wanted))
        if missing:
            raise InputError(
                "Cannot use the classes",
                needs=f"{', '.join(missing)} must be among them: labels in {str(self.path)!r} have that name",
                got=", ".join(wanted),
                hint=f"Give --classes {','.join([*wanted, *missing])}, or another --out.",
            )
        if wanted != self.names.classes:
            self.append({"kind": Kind.CLASSES, "at": tell_time(), "who": who, "classes": list(wanted)})

    def close(self) -> None:
        """Let another process open it; one into which nothing was written is taken away."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if not self._size:
                self.path.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> str:
        """Return in one line what was found at its opening."""
        n_labels = len(self.names.by_number)
        return f"{self.path.name}: {count_noun(n_labels, 'label')} in {count_noun(self._n_lines, 'line')}"


def make_name_entry(label: Label) -> dict[str, Any]:
    """Return the line of a label; its number is that of the line."""
    values = label.to_json_dict()
    del values["number"]
    return {"kind": Kind.NAME, **values}


def make_choice_entries(chosen: Iterable[tuple[str, Chosen]]) -> list[dict[str, Any]]:
    """Return the lines of choices."""
    return [{"kind": Kind.CHOOSE, "at": tell_time(), "path": path, **vars(choice)} for path, choice in chosen]


def _format(entry: Mapping[str, Any]) -> bytes:
    """Return a line: names of files that are no UTF-8 become escapes, so that it is ASCII."""
    text = json.dumps(dict(entry), separators=(",", ":"))
    return f'{text[:-1]},"{_CHECKSUM}":{zlib.crc32(text.encode())}}}\n'.encode()


def _parse(line: bytes) -> dict[str, Any]:
    text, mark, number = line.rpartition(f',"{_CHECKSUM}":'.encode())
    if not mark or int(number[:-1]) != zlib.crc32(text + b"}"):
        raise ValueError("its checksum is wrong")
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise TypeError("no object")
    return entry


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all bytes at a place: what a failed write left there is overwritten."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file on disk; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
