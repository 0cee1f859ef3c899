"""The files that belong to a report, with their sizes and links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from georgia.report.inputs import ReportInputs

# What a training run leaves in its folder beside the files that its report is told of.
RUN_FILES = ("evaluation.json", "split.json", "audit.html", "audit.json", "audit.csv")


@dataclass(frozen=True)
class LinkedFile:
    """One file of the run: its name, its size in words, and a link, empty if it lies elsewhere."""

    name: str
    size: str
    link: str


def link_files(run: ReportInputs) -> list[LinkedFile]:
    """Return the files of a report, linked from where the page is going to lie."""
    files = list(run.files)
    if run.history and run.folder is not None:
        beside = (run.folder / name for name in RUN_FILES)
        files += [path for path in beside if path.is_file() and path not in files]
    return [_link(path, run.folder) for path in files]


def format_size(n_bytes: int) -> str:
    """Return a file size with three digits.

    >>> format_size(950), format_size(17_300), format_size(178_000_000)
    ('950 B', '17.3 kB', '178 MB')
    """
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def _link(path: Path, folder: Path | None) -> LinkedFile:
    size = format_size(path.stat().st_size) if path.exists() else "not written"
    if folder is None or not path.absolute().is_relative_to(folder.absolute()):
        return LinkedFile(path.name, size, "")
    name = path.absolute().relative_to(folder.absolute()).as_posix()
    return LinkedFile(name, size, quote(f"./{name}"))
