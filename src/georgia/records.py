"""The frozen things that steps hand to one another: records of images, and what failed.

An image is known by its path. A window of a frame is an image too: its path is the frame's with the box
behind it, ``frame.png#xywh=10,20,64,64`` (left, top, width and height in px of the upright frame), so that
tables, manifests and journals hold it like any other. Only what opens files splits the two.
Source: W3C, Media Fragments URI 1.0 (2012), section 4.2.2.
"""

from __future__ import annotations

import hashlib
import html
import importlib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from georgia.errors import MissingDependencyError
from georgia.labels import Labels

SPLITS = ("train", "valid", "test")
# Left, top, width and height, px.
Box = tuple[int, int, int, int]
_WINDOW_MARK = "#xywh="
_WINDOW = re.compile(_WINDOW_MARK + "(?:pixel:)?" + ",".join(["([0-9]{1,9})"] * 4))


def format_window(file: str | Path, box: Box | None) -> str:
    """Return the path of a window of a frame; without a box that of the frame.

    >>> format_window("f.png", (10, 0, 64, 64))
    'f.png#xywh=10,0,64,64'
    """
    return str(file) if box is None else f"{file}{_WINDOW_MARK}{','.join(map(str, box))}"


def split_window(path: str | Path) -> tuple[Path, Box | None]:
    """Return the file of an image, and its box where it is a window of that file.

    A file that is really called so is that file, and no window.

    >>> split_window("no/such/f.png#xywh=10,0,64,64")[1], split_window("f.png")[1]
    ((10, 0, 64, 64), None)
    """
    path = Path(path)
    name, mark, _ = path.name.rpartition(_WINDOW_MARK)
    found = _WINDOW.fullmatch(path.name, len(name)) if mark and name else None
    if found is None or os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name too long
        return path, None
    left, top, width, height = map(int, found.groups())
    return path.with_name(name), (left, top, width, height)


class Result:
    """Base of what a step returns: one line as text, a table in a notebook, a data frame on request.

    A result class says ``summary`` and ``to_rows``; as a dataclass it needs ``repr=False``.
    """

    MOST_ROWS: ClassVar[int] = 20

    def summary(self) -> str:
        """Return what was found in one line."""
        raise NotImplementedError

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the result as rows of a table: column → plain value."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise MissingDependencyError(
                "Cannot make a data frame", needs="pandas is needed", got=error, hint="pip install pandas."
            ) from error
        return pandas.DataFrame(self.to_rows())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def _repr_html_(self) -> str:
        rows = self.to_rows()
        heads = "".join(f"<th>{html.escape(str(name))}</th>" for name in (rows[0] if rows else {}))
        cells = ("".join(f"<td>{html.escape(_cell(value))}</td>" for value in row.values()) for row in rows)
        body = "".join(f"<tr>{line}</tr>" for line, _ in zip(cells, range(self.MOST_ROWS), strict=False))
        more = len(rows) - self.MOST_ROWS
        note = f"<p>{more:,} more rows: <code>.to_pandas()</code></p>" if more > 0 else ""
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        return f"<p><b>{type(self).__name__}</b>: {html.escape(self.summary())}</p>{table}{note}"


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


@dataclass(frozen=True)
class Record:
    """One labelled image: a file, or a window of one (see the top of this file).

    ``group`` names the crystal or frame that it belongs to: no group may stand in two splits.
    ``split`` is "train", "valid" or "test" where the source is already split. ``time`` is the
    text given by the user's CSV.
    """

    path: Path
    class_name: str
    group: str = ""
    split: str = ""
    time: str = ""


@dataclass(frozen=True)
class Failure:
    """One file that was left out, and why (one clear clause, no traceback)."""

    path: Path
    error: str

    def to_json_dict(self) -> dict[str, str]:
        """Return the public form, an element of ``failed``."""
        return {"file": str(self.path), "error": self.error}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, str]) -> Failure:
        """Read the public form."""
        return cls(Path(values["file"]), str(values["error"]))


@dataclass(frozen=True)
class Catalog:
    """All labelled images of one source, in path order, with what could not be read."""

    root: Path
    labels: Labels
    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()

    def count_by_class(self) -> dict[str, int]:
        """Return the number of images of each class, in label order."""
        return count_by_class(self.records, self.labels)

    def subset(self, name: str) -> tuple[Record, ...]:
        """Return the records of one split of a source that is already split."""
        return tuple(record for record in self.records if record.split == name)


def count_by_class(records: Sequence[Record], labels: Labels) -> dict[str, int]:
    """Return the number of records of each class, in label order, zeros included."""
    counts = dict.fromkeys(labels.names, 0)
    for record in records:
        counts[record.class_name] += 1
    return counts


def check_classes(records: Iterable[Record], labels: Labels) -> None:
    """Reject records of a table whose class is none of ``labels``, or whose split is none.

    Raises:
        ValueError: one has such a class or split.
    """
    for record in records:
        if record.class_name not in labels.names or record.split not in (*SPLITS, ""):
            raise ValueError(f"{record.split!r}, {record.class_name!r} of {record.path.name!r}")


def hash_file(path: Path) -> str | None:
    """Return the sha256 (hex) of a file's content; None where it is no regular file or cannot be read.

    That of a window is made of its frame's and the box: two windows of a frame are not the same content.
    """
    return hash_files([path])[0]


def hash_files(paths: Iterable[Path]) -> list[str | None]:
    """Return ``hash_file`` of each path; a frame is read once for all its windows."""
    frames: dict[Path, str | None] = {}
    digests = []
    for path in paths:
        file, box = split_window(path)
        if box is None:
            digests.append(_hash_content(file))
            continue
        if file not in frames:
            frames[file] = _hash_content(file)
        content = frames[file]
        window = None if content is None else hashlib.sha256(format_window(content, box).encode())
        digests.append(window.hexdigest() if window is not None else None)
    return digests


def _hash_content(path: Path) -> str | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def fingerprint_files(paths: Sequence[Path]) -> str:
    """Return a sha256 (hex) over the contents of files; neither names nor order change it.

    What cannot be read, or is a pipe or a device and may give bytes without end, counts as such.
    """
    digests = [digest or "unreadable" for digest in hash_files(paths)]
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
