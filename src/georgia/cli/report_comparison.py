"""``georgia report --compare``: batches over one another, as a page or as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.cli import console
from georgia.cli.verify import cannot_open, open_existing
from georgia.errors import InputError
from georgia.files import write_bytes
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.process.compare import BatchComparison

_PAGE = "comparison.html"


def write_comparison(store: str, wanted: Sequence[str], by: str, out: Path, as_json: bool) -> int:
    """Write the comparison of batches by the suffix of ``out``: a page, or a table.

    Raises:
        InputError: there is no such batch or choice, the suffix is another, or the file is there.
        MissingDependencyError: Parquet is wanted, and pyarrow is not installed.
    """
    from georgia.monitor.connect import name_store
    from georgia.process.compare import compare_batches
    from georgia.process.join import JOINED_SUFFIXES
    from georgia.report.batch.page import check_new
    from georgia.spotcheck.sources import choose_batch

    target = out / _PAGE if out.is_dir() or not out.suffix else out
    suffix = target.suffix.lower()
    if suffix not in (".html", *JOINED_SUFFIXES):
        needs = f"a name that ends in .html, {', '.join(JOINED_SUFFIXES)}, or a folder, is needed"
        raise InputError(f"Cannot write {str(out)!r}", needs=needs, got=repr(suffix))
    check_new(target)
    reader = open_existing(store)
    try:
        batches = reader.batches(limit=100_000)
        ids = [choose_batch(batches, name, "compare").id for name in wanted]
        found = compare_batches(reader, ids, by)
    except ConnectionError as error:
        raise cannot_open(store, error) from error
    finally:
        reader.close()
    write_bytes(target, _render(found, name_store(store), suffix))
    if as_json:
        console.show_json({"file": str(target), **found.to_json_dict()})
        return console.DONE
    for line in found.lines:
        console.show_line(f"{line.name}: {count_noun(line.n_frames, 'frame')}")
    console.show_line(f"written: {target}")
    for note in found.notes:
        console.show_note(f"{note}.")
    return console.DONE


def _render(found: BatchComparison, store: str, suffix: str) -> bytes:
    from georgia.process.compare import TABLE_COLUMNS
    from georgia.process.join import PAGES, parquet_pages
    from georgia.report.comparison_page import render_comparison

    if suffix == ".html":
        return render_comparison(found, store).encode("utf-8", "backslashreplace")
    if suffix == ".parquet":
        return b"".join(parquet_pages(TABLE_COLUMNS, found.to_rows(), ("name",), ("batch", "n")))
    return b"".join(PAGES[suffix.lstrip(".")](TABLE_COLUMNS, found.to_rows()))
