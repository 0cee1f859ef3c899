"""A reactor's export as a file that may grow: what is new in it, in pieces of whole lines, nothing twice.

The bytes before the place that was read to are remembered by their sha256. A file that holds others there
was replaced: it is read from its beginning, and the store leaves out what it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from georgia.errors import InputError
from georgia.files import DAMAGE, tell_reason
from georgia.monitor.columns import iso_time
from georgia.monitor.process_record import Entry, EntryKind, Piece, VariableValues
from georgia.process.decode import Encoding, decode_lines, find_encoding, find_last_line_end
from georgia.process.dialect import NoRowsError, Rows, parse_rows
from georgia.process.reading import ParsedRows, Reading, find_reading, note_zone, parse_values
from georgia.process.settings import FileKind, ProcessConfig
from georgia.process.times import describe_zone

# Bytes that the layout is found from, bytes of one piece, and those that tell a file from another.
HEAD_BYTES, PIECE_BYTES, _PRINT_BYTES = 8 << 20, 1 << 20, 1024
# A file of so many lines and no row of data is none that is just beginning.
_MOST_HEADER_LINES = 100
# A file without a line end behind its last row is through if it is so old, s.
_SETTLED_S = 5.0
# A column of standard deviations: "PG sd" beside "PG".
_SD = re.compile(r"(?P<name>.+?)[ _]*(?:±|sd|s\.d\.|std|stdev|std\.? ?dev\.?)", re.IGNORECASE)


@dataclass(frozen=True)
class Position:
    """How far a file was read: bytes, what lies before them, and what the next row may need."""

    end_byte: int = 0
    fingerprint: str = ""
    reading: Reading | None = None
    config_key: str = ""
    last_time_s: float | None = None
    last_event: str = ""
    n_file_rows: int = 0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the part that a piece keeps as its ``reading``."""
        plain = self.reading.to_json_dict() if self.reading is not None else None
        rest = {"config": self.config_key, "last_time_s": self.last_time_s, "last_event": self.last_event}
        return {"layout": plain, **rest, "n_file_rows": self.n_file_rows}

    @classmethod
    def of_piece(cls, row: Mapping[Any, Any]) -> Position:
        """Return how far a file was read by its last piece in the store; the beginning if that is damaged."""
        try:
            told = json.loads(row["reading"])
            reading = Reading.from_json(told["layout"]) if told["layout"] is not None else None
            rest = (told["config"], told["last_time_s"], told["last_event"], int(told.get("n_file_rows", 0)))
            return cls(int(row["end_byte"]), str(row["fingerprint"]), reading, *rest)
        except DAMAGE:
            return cls()


@dataclass(frozen=True)
class Chunk:
    """What was new in a file: parsed rows, and the position behind them.

    ``was_replaced``: the file held other bytes before, and was begun anew. ``is_last``: nothing is left.
    """

    rows: ParsedRows
    first_byte: int
    position: Position
    n_rows: int
    was_replaced: bool = False
    is_last: bool = True


class ExportFile:
    """One file, read from a position on.

    Args:
        path: the file; it need not be there yet.
        config: what is known of it.
        position: where an earlier reading ended. It counts only for the same settings.
    """

    def __init__(self, path: Path, config: ProcessConfig, position: Position | None = None) -> None:
        self.path, self.config = path, config
        # What the file lacks so far, where it has no row of data yet.
        self.waits_for = ""
        self._key = key_of(config)
        is_known = position is not None and position.config_key == self._key
        self.position = position if position is not None and is_known else Position(config_key=self._key)

    def read(self, now_s: float | None = None, takes_open_end: bool = False) -> Chunk | None:
        """Return the next piece of the file, None where there is no new whole line.

        The position stays: it is the caller's to set ``position`` once the piece is written. ``now_s`` is
        given where the file is read while it is written. ``takes_open_end``: a last line without an end is
        read too, if the file has not changed for a while.

        Raises:
            InputError: the file cannot be understood; one line says what is to be said.
            OSError: it cannot be opened or read.
        """
        with self.path.open("rb") as stream:
            status = _status_of(stream)
            position, was_replaced = self.position, False
            if position.end_byte and not _is_same(stream, position):
                position, was_replaced = Position(config_key=self._key), True
            head = _read_at(stream, 0, HEAD_BYTES) if position.reading is None else b""
            start = position.end_byte if position.reading is not None else 0
            data = head[:PIECE_BYTES] if head else _read_at(stream, start, PIECE_BYTES)
            is_settled = takes_open_end and abs(time.time() - status.st_mtime) >= _SETTLED_S
            reading = position.reading or self._find_reading(head, is_settled or takes_open_end)
            if reading is None:
                return None
            encoding = Encoding(reading.encoding, reading.n_mark)
            end = find_last_line_end(data, encoding)
            is_rest = start + len(data) >= status.st_size
            if is_rest and is_settled:
                end = len(data)
            if not end and len(data) >= PIECE_BYTES:
                raise InputError(self._what, needs="lines of less than 1 MB are needed", got="a longer one")
            if not end:
                return None
            text = decode_lines(data[encoding.n_mark if not start else 0 : end], encoding)
            fingerprint = _fingerprint(stream, start + end)
        whole = parse_rows(text, reading.delimiter, position.n_file_rows if start else 0)
        rows = self._drop_header(whole, reading, is_first=not start)
        found = self._parse(rows, reading, position, now_s)
        behind = Position(
            end_byte=start + end,
            fingerprint=fingerprint,
            reading=reading,
            config_key=self._key,
            last_time_s=found.times[-1] if found.times else position.last_time_s,
            last_event=found.events[-1][1] if found.events else position.last_event,
            n_file_rows=whole[-1].number if whole else position.n_file_rows,
        )
        n_rows = sum(1 for row in rows if any(row))
        return Chunk(found, start, behind, n_rows, was_replaced, is_last=is_rest)

    @property
    def _what(self) -> str:
        return f"Cannot read {str(self.path)!r}"

    def _find_reading(self, head: bytes, is_whole: bool) -> Reading | None:
        """Return how the file is to be understood; None while it has no whole row yet."""
        try:
            encoding = find_encoding(head, self.config.encoding)
            end = find_last_line_end(head, encoding)
            if is_whole and len(head) < HEAD_BYTES:
                end = len(head)
            text = decode_lines(head[encoding.n_mark : end], encoding)
            if not text.strip() and not is_whole:
                return None
            return find_reading(text, self.config, (encoding.name, encoding.n_mark))
        except NoRowsError as error:
            self.waits_for = str(_name(self.path, error))
            if is_whole or text.count("\n") > _MOST_HEADER_LINES:
                raise InputError(self.waits_for) from error
            return None
        except InputError as error:
            raise _name(self.path, error) from error

    def _drop_header(self, rows: Rows, reading: Reading, is_first: bool) -> Rows:
        """Return rows of data: a header that is written again is none, one of other columns a fault."""
        rows = rows[reading.n_before :] if is_first else rows
        at = reading.time_columns[0]
        kept = []
        for row in rows:
            if not is_first and at < len(row) and row[at].startswith(reading.names[at]):
                names = [_begins(cell, name) for cell, name in zip(row, reading.names, strict=False)]
                if not all(names) or len(row) != len(reading.names):
                    raise InputError(
                        self._what,
                        needs="the columns that it began with are needed",
                        got=f"others: {'; '.join(row)[:80]}",
                        hint="Give the new ones a file of their own.",
                    )
                continue
            kept.append(row)
        return kept

    def _parse(self, rows: Rows, reading: Reading, position: Position, now_s: float | None) -> ParsedRows:
        try:
            found = parse_values(
                rows,
                reading,
                position.last_time_s,
                str(self.config.repeated_hour),
                now_s,
                position.last_event,
            )
        except InputError as error:
            raise _name(self.path, error) from error
        n_filled = len(found.times) + found.n_faults
        if found.n_faults > max(1, n_filled // 2):
            raise InputError(
                self._what,
                needs=f"times as in its first rows ({reading.time_format.describe()}) are needed",
                got=f"{found.n_faults} of {n_filled} rows without, such as {found.faults[0][1]!r}",
            )
        return found


def _begins(cell: str, name: str) -> bool:
    return (
        not cell or cell.startswith(name) or name.startswith("column ") or bool(re.search(r" \(\d+\)$", name))
    )


def _name(path: Path, error: InputError) -> InputError:
    return InputError(f"Cannot read {str(path)!r}: {error}")


def _status_of(stream: IO[bytes]) -> Any:
    return os.fstat(stream.fileno())


def _read_at(stream: IO[bytes], start: int, n_bytes: int) -> bytes:
    stream.seek(start)
    return stream.read(n_bytes)


def _fingerprint(stream: IO[bytes], end: int) -> str:
    """Return the sha256 of the first and of the last bytes before a place, with that place."""
    first = _read_at(stream, 0, min(_PRINT_BYTES, end))
    last = _read_at(stream, max(0, end - _PRINT_BYTES), min(_PRINT_BYTES, end))
    digest = hashlib.sha256(first + b"\0" + last).hexdigest()
    return f"{end}:{digest}"


def _is_same(stream: IO[bytes], position: Position) -> bool:
    """Tell whether a file still holds what it held before the place that was read to."""
    return _fingerprint(stream, position.end_byte) == position.fingerprint


def key_of(config: ProcessConfig) -> str:
    """Return the sha256 (hex) of the settings that change what a row means or which are read."""
    kept = ("source", "kind", "encoding", "delimiter", "decimal", "time", "time_format", "time_zone", "start")
    values = {name: str(getattr(config, name)) for name in (*kept, "columns", "units", "event_column")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def make_piece(chunk: Chunk, config: ProcessConfig, path: Path, who: str, **changes: Any) -> Piece:
    """Return what a chunk gives the store: values, events of a column, laboratory results."""
    reading, rows = chunk.position.reading, chunk.rows
    variables: list[VariableValues] = []
    entries = [
        Entry(EntryKind.EVENT, time_s, text[:120], who, source=config.source, file=str(path))
        for time_s, text in rows.events
    ]
    if reading is not None and config.kind == FileKind.LABORATORY:
        entries += _make_results(reading, rows, config, path, who)
    elif reading is not None:
        for item in reading.variables:
            values = zip(rows.times, rows.values[item.name], strict=True)
            cells = [(time_s, value, quality) for time_s, (value, quality) in values]
            variables.append(VariableValues(item.name, item.unit, cells))
    piece = Piece(
        source=config.source,
        file=str(path),
        who=who,
        variables=variables,
        entries=entries,
        n_rows=chunk.n_rows,
        first_byte=chunk.first_byte,
        end_byte=chunk.position.end_byte,
        fingerprint=chunk.position.fingerprint,
        reading=chunk.position.to_json_dict(),
        is_told=chunk.first_byte == 0,
    )
    names = ("probe", "batch_id")
    moved = {name: changes[name] for name in names if name in changes}
    return replace(piece, **changes, entries=[replace(entry, **moved) for entry in entries])


def _make_results(
    reading: Reading, rows: ParsedRows, config: ProcessConfig, path: Path, who: str
) -> Iterator[Entry]:
    names = {item.name for item in reading.variables}
    spreads = {
        match["name"].strip(): item.name
        for item in reading.variables
        if (match := _SD.fullmatch(item.name)) and match["name"].strip() in names
    }
    for item in reading.variables:
        if item.name in spreads.values():
            continue
        sds = rows.values.get(spreads.get(item.name, ""), [(None, "")] * len(rows.times))
        for time_s, (value, _), (sd, _) in zip(rows.times, rows.values[item.name], sds, strict=True):
            if value is not None:
                result = Entry(EntryKind.LABORATORY, time_s, item.name, who, value, item.unit, sd)
                yield replace(result, source=config.source, file=str(path))


# A file as a whole, before it is used


@dataclass
class ExportSummary:
    """What was found in a file, for people: before anything of it is used."""

    path: str
    reading: Reading
    n_rows: int = 0
    n_faults: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    n_backwards: int = 0
    n_repeated: int = 0
    first_time_s: float | None = None
    last_time_s: float | None = None
    step_s: float | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    n_events: int = 0
    example: str = ""
    zone_note: str = ""

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia process --json``."""
        how = self.reading
        return {
            "file": self.path,
            "kind": how.kind,
            "encoding": Encoding(how.encoding, how.n_mark).describe(),
            "delimiter": how.delimiter,
            "decimal": how.decimal,
            "header_rows": how.n_before,
            "time_column": " + ".join(how.names[at] for at in how.time_columns),
            "time_format": how.time_format.describe(),
            "time_zone": describe_zone(how.time_zone, self.first_time_s),
            "time_example": self.example,
            "first_time": iso_time(self.first_time_s),
            "last_time": iso_time(self.last_time_s),
            "step_s": self.step_s,
            "n_rows": self.n_rows,
            "n_faults": self.n_faults,
            "faults": [{"row": number, "content": content} for number, content in self.faults],
            "n_backwards": self.n_backwards,
            "n_repeated": self.n_repeated,
            "columns": self.columns,
            "texts": list(how.texts),
            "notes": [note for note in (*how.notes, self.zone_note) if note],
            "event_column": how.names[how.event_column] if how.event_column >= 0 else None,
            "n_events": self.n_events,
        }


def iter_chunks(file: ExportFile) -> Iterator[Chunk]:
    """Yield the pieces of a whole file, from its position on to the end.

    Raises:
        InputError: it cannot be read or understood.
    """
    what = f"Cannot read {str(file.path)!r}"
    try:
        while (chunk := file.read(takes_open_end=True)) is not None:
            file.position = chunk.position
            yield chunk
            if chunk.is_last:
                return
    except OSError as error:
        raise InputError(
            what, needs="a file that can be read is needed", got=tell_reason(error, file.path)
        ) from error
    if file.position.reading is None:
        raise InputError(what, needs="a row of values below a header is needed", got="none")


def summarize_export(path: Path, config: ProcessConfig) -> ExportSummary:
    """Return what is found in a file, of which nothing is used yet.

    Raises:
        InputError: it cannot be read or understood, or may mean two things.
    """
    summary: ExportSummary | None = None
    steps: list[float] = []
    numbers: dict[str, list[float]] = {}
    gaps: dict[str, Counter[str]] = {}
    for chunk in iter_chunks(ExportFile(path, config)):
        reading, rows = chunk.position.reading, chunk.rows
        if reading is None:
            continue
        summary = summary or ExportSummary(str(path), reading)
        summary.n_rows += chunk.n_rows
        summary.n_faults += rows.n_faults
        summary.faults = [*summary.faults, *rows.faults][:20]
        summary.n_backwards += rows.n_backwards
        summary.n_repeated += rows.n_repeated
        summary.n_events += len(rows.events)
        if rows.times:
            summary.first_time_s = min(rows.times + ([summary.first_time_s] if summary.first_time_s else []))
            summary.last_time_s = max(rows.times + ([summary.last_time_s] if summary.last_time_s else []))
        ordered = sorted(rows.times)
        steps += [later - earlier for earlier, later in pairwise(ordered) if later > earlier]
        for name, values in rows.values.items():
            numbers.setdefault(name, []).extend(value for value, _ in values if value is not None)
            gaps.setdefault(name, Counter()).update(rows.gaps[name])
    if summary is None:
        raise InputError(f"Cannot read {str(path)!r}", needs="a row of values is needed", got="none")
    known = [time_s for time_s in (summary.first_time_s, summary.last_time_s) if time_s is not None]
    summary.zone_note = note_zone(summary.reading, known)
    summary.step_s = round(sorted(steps)[len(steps) // 2], 3) if steps else None
    summary.columns = [
        {
            **asdict(item),
            "n_values": len(numbers[item.name]),
            "low": min(numbers[item.name], default=None),
            "high": max(numbers[item.name], default=None),
            "gaps": dict(gaps[item.name].most_common(10)),
        }
        for item in summary.reading.variables
    ]
    return summary
