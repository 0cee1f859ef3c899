"""What is to be predicted: images, folders and globs, and tables that list images or windows of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from georgia.catalog.box_files import BOX_SUFFIXES, read_box_file
from georgia.catalog.csv_file import read_csv
from georgia.errors import InputError
from georgia.images.containers import find_format
from georgia.images.listing import FoundImages
from georgia.text import describe_many

TABLE_SUFFIXES = (".csv", *BOX_SUFFIXES)


def is_table(source: str | Path) -> bool:
    """Tell whether a source is a table of images: a CSV or box file, which is no image by its content."""
    path = Path(source)
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as stream:
        return find_format(stream.read(12)) is None


def find_sources(sources: Sequence[str | Path]) -> FoundImages:
    """Return the images that files, folders, globs and tables name, found anew at each pass.

    Raises:
        InputError: a source names nothing, or a table cannot be read.
    """
    return FoundImages(expand_tables(sources))


def expand_tables(sources: Sequence[str | Path]) -> list[str | Path]:
    """Return the sources, each table replaced by the images that it names; it needs no classes.

    Raises:
        InputError: a table cannot be read, or names what is not there; all its faults in one line.
    """
    expanded: list[str | Path] = []
    for source in sources:
        if not is_table(source):
            expanded.append(source)
            continue
        path = Path(source)
        is_csv = path.suffix.lower() == ".csv"
        found = read_csv(path, needs_class=False) if is_csv else read_box_file(path)
        if not found.faults and not found.records:
            found.faults.append("it names no images")
        if found.faults:
            raise InputError(f"Cannot read images from {str(source)!r}: {describe_many(found.faults)}.")
        expanded += [record.path for record in found.records]
    return expanded
