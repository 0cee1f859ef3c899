"""Which images belong together: near-duplicates, the source's own groups, and the user's rules."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import numpy as np

from georgia.audit.settings import AuditConfig
from georgia.catalog.read import relative_name
from georgia.errors import InputError
from georgia.images.listing import natural_key
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Record
from georgia.text import describe_many

ClassIndices = Sequence[int]


def join_groups(
    catalog: Catalog, duplicates: Iterable[ClassIndices], config: AuditConfig, progress: Progress = QUIET
) -> Catalog:
    """Return the catalog with one group name for all images that any link joins.

    A group is named after the source's own groups in it, else after its first file; a single image has none.
    ``progress`` is told where a rule says nothing of some images.

    Raises:
        InputError: a rule joins nothing, cannot be followed, or would join a whole class.
    """
    links = [*duplicates, *_group_by_source(catalog)]
    if config.group_regex:
        found = _group_by_regex(catalog, config.group_regex)
        _tell_rest(catalog, found, "do not match the group regex", progress)
        links += found
    if config.time_gap_s > 0:
        found = _group_by_time(catalog, config.time_gap_s, config.time_regex)
        _tell_rest(catalog, found, "have no time", progress)
        links += found
    if config.folder_level > 0:
        links += _group_by_folder(catalog, config.folder_level)
    records = list(catalog.records)
    for members in connect(len(records), links):
        name = _name_group([records[member] for member in members], catalog)
        for member in members:
            records[member] = replace(records[member], group=name)
    return replace(catalog, records=tuple(records))


def _tell_rest(catalog: Catalog, sets: list[list[int]], what: str, progress: Progress) -> None:
    told = {position for members in sets for position in members}
    rest = [record.path for position, record in enumerate(catalog.records) if position not in told]
    if rest:
        which = f"{len(rest):,} of {len(catalog.records):,} images, such as {rest[0].name!r},"
        progress.say(f"note: {which} {what}: that rule joins them to none")


def connect(n: int, links: Iterable[ClassIndices]) -> list[list[int]]:
    """Return the sets of positions below ``n`` that links join, directly or not; sets of one are left out.

    >>> connect(6, [(0, 2), (2, 5), (3, 4)])
    [[0, 2, 5], [3, 4]]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [(members[0], other) for members in links for other in members[1:]]
    if not pairs:
        return []
    ends = np.array(pairs)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    numbers = connected_components(graph, directed=False)[1]
    sets: dict[int, list[int]] = defaultdict(list)
    for position in np.unique(ends).tolist():
        sets[int(numbers[position])].append(position)
    return list(sets.values())


def _name_group(records: Sequence[Record], catalog: Catalog) -> str:
    own = sorted({record.group for record in records if record.group}, key=natural_key)
    return " + ".join(own[:3]) if own else relative_name(records[0].path, catalog.root)


def _collect(keys: Iterable[str | None]) -> list[list[int]]:
    sets: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key is not None:
            sets[key].append(position)
    return list(sets.values())


def _group_by_source(catalog: Catalog) -> list[list[int]]:
    return _collect(record.group or None for record in catalog.records)


def _group_by_regex(catalog: Catalog, pattern: str) -> list[list[int]]:
    rule = re.compile(pattern)
    keys = []
    for record in catalog.records:
        match = rule.search(relative_name(record.path, catalog.root))
        brackets = [text for text in match.groups() if text is not None] if match else []
        keys.append("\0".join(brackets) or match[0] if match else None)
    if all(key is None for key in keys):
        example = relative_name(catalog.records[0].path, catalog.root)
        raise InputError(
            "Cannot group",
            needs="the group regex must match names",
            got=repr(pattern),
            hint=f"Names look like {example!r}.",
        )
    return _reject_whole_class(catalog, _collect(keys), f"the group regex {pattern!r}")


def _group_by_time(catalog: Catalog, gap_s: float, pattern: str) -> list[list[int]]:
    moments, faults = [], []
    rule = re.compile(pattern) if pattern else None
    for position, record in enumerate(catalog.records):
        name = relative_name(record.path, catalog.root)
        match = rule.search(name) if rule else None
        text = _read_time(match) if match else record.time
        if not text:
            continue
        moment = parse_time(text)
        if moment is None:
            faults.append(f"{name}: {text!r}")
        else:
            moments.append((moment, position))
    if faults or not moments:
        raise InputError(
            "Cannot group by time",
            needs="the source's column 'time', or what the time regex finds, must be seconds or ISO 8601",
            got=describe_many(faults) or "no times",
            hint="Example: 2021-03-04T12:30:05, or --time-regex for times in names, or no time gap.",
        )
    moments.sort()
    runs: list[list[int]] = [[moments[0][1]]]
    for (before, _), (now, position) in itertools.pairwise(moments):
        if now - before > gap_s:
            runs.append([])
        runs[-1].append(position)
    return _reject_whole_class(catalog, runs, f"a time gap of {gap_s:g} s")


def _read_time(match: re.Match[str]) -> str:
    """Return the time in a name: year to second of several brackets, else one text."""
    texts = [text for text in match.groups() if text is not None]
    if len(texts) >= 3:
        day, clock = "-".join(texts[:3]), ":".join([*texts[3:6], "00"][:3] if texts[3:] else ["00"])
        return f"{day}T{clock}"
    text = texts[0] if texts else match[0]
    if len(text) == 14 and text.isascii() and text.isdigit():
        return f"{text[:8]}T{text[8:]}"
    return text


def parse_time(text: str) -> float | None:
    """Return seconds from a number or an ISO 8601 text (UTC unless it says otherwise); None if it is neither.

    >>> parse_time("12.5"), parse_time("1970-01-01T00:01:00"), parse_time("noon")
    (12.5, 60.0, None)
    """
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _group_by_folder(catalog: Catalog, level: int) -> list[list[int]]:
    names = [PurePosixPath(relative_name(record.path, catalog.root)) for record in catalog.records]
    keys = [str(name.parents[level - 1]) if level <= len(name.parents) else "." for name in names]
    return _reject_whole_class(catalog, _collect(keys), f"folder level {level}")


def _reject_whole_class(catalog: Catalog, sets: list[list[int]], what: str) -> list[list[int]]:
    totals = catalog.count_by_class()
    for members in sets:
        for name, total in totals.items():
            held = sum(catalog.records[member].class_name == name for member in members)
            if held == total > 1:
                raise InputError(
                    "Cannot group",
                    needs=f"{what} must leave each class two groups or more",
                    got=f"one group with all of {name}",
                    hint="Use a finer rule.",
                )
    return sets
