"""The frames of a live probe as a table: CSV, JSON or Parquet, one row a frame, oldest first."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError, suggest
from georgia.files import atomic_path
from georgia.monitor.columns import TABLE, Kind
from georgia.monitor.records import ALL_FRAMES, FrameFilter, find_meant, tell_batches
from georgia.monitor.result import FrameResult, State
from georgia.predict.tables import check_table_path
from georgia.text import RowWriter

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch
    from georgia.spotcheck.by_frame import CheckedFrames

TABLE_SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")
COLUMNS = [column.public for column in TABLE]
# Parquet has each time as a timestamp besides, in UTC.
TIMESTAMPS = {f"{column.public}_utc": column for column in TABLE if column.kind is Kind.TIME}
# Rows of a Parquet file that are held at a time, and lines of CSV.
_ROWS_AT_ONCE = 5000
_LINES_AT_ONCE = 200


def export_frames(
    store: StoreReader,
    target: Path,
    batch_id: int | None = None,
    wanted: FrameFilter = ALL_FRAMES,
) -> int:
    """Write a table of all frames, or of those wanted, by the suffix; return the number of rows.

    Times are ISO 8601 in UTC; ``classes`` holds each class's fraction as ``name=0.25`` with ``|`` between.
    JSON has the frames as ``georgia monitor --json`` prints them, in one array, or one a line in ``.jsonl``.
    Parquet has times as timestamps too. A hundred thousand frames need no more memory than a few thousand.
    Where people have checked a batch, columns behind the others say what they found (``spotcheck.by_frame``).

    Raises:
        InputError: the suffix is none of those.
        MissingDependencyError: Parquet is requested and pyarrow is not installed.
        StoreAwayError: the store cannot be reached.
    """
    check_table_path(target, TABLE_SUFFIXES)
    checked = read_checked(store, batch_id if batch_id is not None else wanted.batch_id)
    with atomic_path(target) as temporary:
        return _WRITERS[target.suffix.lower()](temporary, store.iter_frames(batch_id, wanted), checked)


def read_checked(store: StoreReader, batch_id: int | None) -> CheckedFrames | None:
    """Return what spot checks say of the frames of a batch, or of all; None without any."""
    from georgia.spotcheck.by_frame import CheckedFrames

    return CheckedFrames.read(store, batch_id)


def make_filter(
    since: str | None = None, until: str | None = None, states: tuple[str, ...] = ()
) -> FrameFilter:
    """Return which frames are wanted, of times in ISO 8601 and names of states.

    Raises:
        InputError: a time or a state cannot be understood.
    """
    known = [str(state) for state in State]
    for state in states:
        if state not in known:
            raise InputError(
                "Cannot choose frames",
                needs="a state must be one of " + ", ".join(known),
                got=repr(state),
                hint=suggest(state, known).strip(),
            )
    return FrameFilter(None, parse_time(since), parse_time(until), states)


def parse_time(text: str | None) -> float | None:
    """Return seconds since 1970 of a time in ISO 8601; without a zone it is this machine's.

    >>> parse_time("1970-01-01T00:01Z"), parse_time("1970-01-01T01:00+01:00"), parse_time(None)
    (60.0, 0.0, None)
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            "Cannot choose frames",
            needs="a time such as 2026-03-01, 2026-03-01T06:00 or 2026-03-01T06:00Z is needed",
            got=repr(text),
        ) from error


def frame_row(frame: FrameResult) -> dict[str, Any]:
    """Return a frame as one flat row."""
    row = {column.public: column.read_public(frame) for column in TABLE}
    return {**row, "classes": "|".join(f"{item.name}={item.fraction:.6f}" for item in frame.classes)}


def find_batch(store: StoreReader, wanted: str) -> Batch:
    """Return the batch that a text means: see ``find_meant``.

    Raises:
        InputError: there is none, or it means several.
    """
    batches = store.batches(limit=100_000)
    found = find_meant(batches, wanted)
    if len(found) == 1:
        return found[0]
    hint = suggest(wanted, [batch.name for batch in batches]).strip()
    raise InputError(
        "Cannot find the batch",
        needs="its number or name must be in the store",
        got=f"{wanted!r}, which means {tell_batches(found)}" if found else repr(wanted),
        hint=f"Say {' or '.join(f'#{batch.id}' for batch in found[:5])}." if found else hint,
    )


def csv_pages(frames: Iterable[FrameResult], checked: CheckedFrames | None = None) -> Iterator[str]:
    """Yield a CSV table of frames, its header first, in pieces of up to 200 rows."""
    stream = io.StringIO()
    writer, columns = RowWriter(stream), [*COLUMNS, *_checked_columns(checked)]
    writer.write_row(columns)
    for number, frame in enumerate(frames, 1):
        row = {**frame_row(frame), **_find_checked(checked, frame)}
        values = (row.get(name, "") for name in columns)
        writer.write_row(f"{value:.6f}" if isinstance(value, float) else value for value in values)
        if number % _LINES_AT_ONCE == 0:
            yield stream.getvalue()
            stream.seek(0)
            stream.truncate()
    yield stream.getvalue()


def _checked_columns(checked: CheckedFrames | None) -> tuple[str, ...]:
    return checked.columns if checked is not None else ()


def _find_checked(checked: CheckedFrames | None, frame: FrameResult) -> Mapping[str, float | None]:
    return checked.find(frame) if checked is not None else {}


def json_pages(frames: Iterable[FrameResult], checked: CheckedFrames | None = None) -> Iterator[str]:
    """Yield one JSON array of frames, a piece a frame."""
    opening = "[\n"
    for frame in frames:
        yield opening + _json(frame, checked)
        opening = ",\n"
    yield "\n]\n" if opening == ",\n" else "[]\n"


def json_lines(frames: Iterable[FrameResult], checked: CheckedFrames | None = None) -> Iterator[str]:
    """Yield a JSON object for each frame, each on a line."""
    for frame in frames:
        yield _json(frame, checked) + "\n"


def parquet_pages(frames: Iterable[FrameResult], checked: CheckedFrames | None = None) -> Iterator[bytes]:
    """Yield a Parquet file in pieces: nothing is kept on a disk.

    Raises:
        MissingDependencyError: pyarrow is not installed; at once, before the first piece.
    """
    check_table_path(Path("frames.parquet"), TABLE_SUFFIXES)
    return _iter_parquet(iter(frames), checked)


def _iter_parquet(frames: Iterator[FrameResult], checked: CheckedFrames | None) -> Iterator[bytes]:
    written: list[bytes] = []
    for _ in _write_tables(_Pieces(written), frames, checked):
        yield b"".join(written)
        written.clear()
    yield b"".join(written)


class _Pieces(io.RawIOBase):
    """A file whose content is taken away piece by piece as it is written."""

    def __init__(self, written: list[bytes]) -> None:
        self._written, self._n = written, 0

    def writable(self) -> bool:
        """Return True: it is written only."""
        return True

    def tell(self) -> int:
        """Return the number of bytes so far."""
        return self._n

    def write(self, data: Any) -> int:
        """Take some bytes."""
        content = bytes(data)
        self._written.append(content)
        self._n += len(content)
        return len(content)


def _write_csv(target: Path, frames: Iterator[FrameResult], checked: CheckedFrames | None) -> int:
    counted = count()
    with target.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(csv_pages((frame for frame, _ in zip(frames, counted, strict=False)), checked))
    return next(counted)


def _write_json(target: Path, frames: Iterator[FrameResult], checked: CheckedFrames | None) -> int:
    counted = count()
    with target.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(json_pages((frame for frame, _ in zip(frames, counted, strict=False)), checked))
    return next(counted)


def _write_json_lines(target: Path, frames: Iterator[FrameResult], checked: CheckedFrames | None) -> int:
    counted = count()
    with target.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(json_lines((frame for frame, _ in zip(frames, counted, strict=False)), checked))
    return next(counted)


def _json(frame: FrameResult, checked: CheckedFrames | None) -> str:
    return json.dumps({**frame.to_json_dict(), **_find_checked(checked, frame)}, ensure_ascii=False)


def _write_parquet(target: Path, frames: Iterator[FrameResult], checked: CheckedFrames | None) -> int:
    return sum(_write_tables(target, frames, checked))


def _write_tables(
    target: Path | _Pieces, frames: Iterator[FrameResult], checked: CheckedFrames | None
) -> Iterator[int]:
    """Write a Parquet file, and yield the number of rows of each table of it, once that is written."""
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    names = [(column.public, types[column.public_type]) for column in TABLE]
    times = ((name, pyarrow.timestamp("us", tz="UTC")) for name in TIMESTAMPS)
    schema = pyarrow.schema(
        [*names, *times, *((name, pyarrow.float64()) for name in _checked_columns(checked))]
    )
    n_tables = 0
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        while page := [
            {**frame_row(frame), **_moments(frame), **_find_checked(checked, frame)}
            for frame in islice(frames, _ROWS_AT_ONCE)
        ]:
            writer.write_table(pyarrow.Table.from_pylist(page, schema=schema))
            n_tables += 1
            yield len(page)
        if not n_tables:
            writer.write_table(pyarrow.Table.from_pylist([], schema=schema))


def _moments(frame: FrameResult) -> dict[str, datetime | None]:
    seconds = {name: column.read(frame) for name, column in TIMESTAMPS.items()}
    return {name: None if at is None else datetime.fromtimestamp(at, UTC) for name, at in seconds.items()}


_WRITERS: dict[str, Callable[[Path, Iterator[FrameResult], CheckedFrames | None], int]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}
