"""Begin a labelling or go on with it: the pool as it is now, with what the journal says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.errors import GateError, InputError
from georgia.label.catalog_file import check_own_table
from georgia.label.even import choose_time_parts
from georgia.label.exchange import Imported, read_names
from georgia.label.journal import Journal
from georgia.label.learned import LearnResult
from georgia.label.pool_cache import read_known_pool
from georgia.label.records import ChoiceReason, Label, Pool, PoolKind
from georgia.label.session import LabelSession
from georgia.label.settings import LabelConfig, count_wanted
from georgia.label.sources import add_items
from georgia.progress import QUIET, Progress
from georgia.text import count_noun

# Groups that a class must have labels of, so that it can be trained and tested on different ones.
_LEAST_GROUPS = 2
# Settings that a labelling keeps from its first start on, unless others are asked for.
_KEPT = ("cut", "tile_px", "overlap", "min_detail", "near", "seed")


@dataclass(frozen=True)
class ImportResult:
    """What an import did: labels in the source, those that are new, and those that stood in the way."""

    n_labels: int
    n_new: int
    kept: tuple[Label, ...]


def recall_settings(journal: Journal) -> dict[str, Any]:
    """Return the settings with which a labelling was begun, which hold for its next starts."""
    begun = journal.names.begun
    return {name: begun[name] for name in _KEPT if name in begun}


def open_pool(
    source: Path, journal: Journal, config: LabelConfig, progress: Progress = QUIET, tile_px: int = 0
) -> Pool:
    """Return the items of a source, and those that the journal names besides; begin the journal.

    Raises:
        InputError: the source cannot be read, or is not what the labels are of; or the table of labels was
            written to by somebody else.
    """
    check_not_source(source, journal.out)
    pool = read_known_pool(source, config, progress, tile_px)
    pool = add_items(pool, journal.names.names)
    _check_same_source(pool, journal, progress)
    check_own_table(journal.out, journal.names)
    begun = {"root": os.path.abspath(pool.root), **_describe_cut(pool, config)}  # noqa: PTH100
    journal.begin({**begun, "time_parts": list(choose_time_parts(pool))})
    # A labelling that was begun without them keeps its order.
    pool = replace(pool, time_parts=tuple(map(str, journal.names.begun.get("time_parts", ()))))
    for name in ("tile_px", "overlap", "min_detail"):
        before = journal.names.begun.get(name, begun.get(name))
        if before != begun.get(name):
            progress.say(
                f"note: frames are cut otherwise than at first: {name} {begun.get(name)}, was {before}"
            )
    if journal.seed != config.choice.seed:
        raise InputError(
            f"Cannot go on with {str(journal.out)!r}",
            needs=f"the seed {journal.seed} is needed, with which it was begun",
            got=config.choice.seed,
            hint="Leave the seed out: the even sample is of one random order.",
        )
    return pool


def check_not_source(source: Path, out: Path) -> None:
    """Reject to write labels over the table that is the source.

    Raises:
        InputError: they are the same file.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(
            f"Cannot write labels to {str(out)!r}",
            needs="another file than the source is needed",
            got="the source",
            hint="Name another --out.",
        )


def _describe_cut(pool: Pool, config: LabelConfig) -> Mapping[str, Any]:
    kept: dict[str, Any] = {"near": config.near, "seed": config.choice.seed}
    if pool.kind is not PoolKind.TABLE:
        kept["cut"] = str(pool.kind)
    if pool.kind is PoolKind.FRAMES:
        kept |= {"tile_px": pool.tile_px, "overlap": config.overlap, "min_detail": config.min_detail}
    return kept


def _check_same_source(pool: Pool, journal: Journal, progress: Progress) -> None:
    named = {path for path, labels in journal.names.names.items() if labels}
    gone = sorted(named - pool.find_positions().keys())
    if not gone:
        return
    root = journal.names.begun.get("root", "")
    if len(gone) == len(named) and os.path.realpath(root) != os.path.realpath(pool.root):
        raise InputError(
            f"Cannot go on with {str(journal.out)!r}",
            needs=f"the images that it has labels of are needed, first found in {root!r}",
            got=f"{str(pool.root)!r}, which holds none of them",
            hint="Name another --out for other images.",
        )
    labels = count_noun(len(gone), "label")
    progress.say(f"note: {labels} kept, of files that are not there now, such as {gone[0]!r}")


def check_enough(session: LabelSession, config: LabelConfig) -> None:
    """Reject to learn from too few labels.

    Raises:
        GateError: it says in one line how many more of each class are needed.
    """
    labels, by_class = session.list_labels(), session.progress().by_class
    wanted = count_wanted(by_class, config.learn.least_per_class)
    missing = [f"{count:,} more of {name}" for name, count in wanted.items() if count]
    group_of = {item.path: item.group or item.path for item in session.pool.items}
    for name in session.classes:
        groups = {group_of[label.path] for label in labels if label.name == name}
        if not wanted[name] and len(groups) < _LEAST_GROUPS:
            missing.append(f"{name} in {count_noun(_LEAST_GROUPS - len(groups), 'more frame')}")
    if missing:
        raise GateError(
            "Cannot train yet",
            needs=" and ".join(missing) + " needed",
            got=", ".join(f"{name} {count:,}" for name, count in by_class.items()),
            hint="Label more.",
        )


def learn_labels(
    session: LabelSession, out: Path, config: LabelConfig, progress: Progress = QUIET
) -> LearnResult:
    """Learn a model from the labels of a session into a new folder.

    Raises:
        GateError: there are too few labels, or the model cannot be used.
        InputError: the folder cannot be used, or labels cannot be learned from otherwise.
    """
    check_enough(session, config)
    from georgia.label.learn import learn  # loads what trains

    labels, even = session.list_labels(), session.list_even()
    n_missing, learned = session.count_even_missing(), config.learn
    return learn(
        session.pool, labels, session.classes, out, learned, even, progress, n_even_missing=n_missing
    )


def choose_classes(
    journal: Journal, given: tuple[str, ...] | None, of_model: tuple[str, ...], who: str
) -> None:
    """Set the classes: those given, else those of the labelling so far, else the model's.

    Raises:
        InputError: there are none, or one that labels have is missing.
    """
    classes = given or journal.names.classes or of_model
    if not classes:
        raise InputError(
            "Cannot label",
            needs="the names of the classes are needed",
            got="none",
            hint="Give --classes CEX,PG or a model.",
        )
    journal.set_classes(classes, who)


def read_import(source: Path, pool: Pool) -> tuple[Imported, Pool]:
    """Return the labels of another program, and the pool with the items that they are of.

    Raises:
        InputError: they cannot be read; all faults at once.
    """
    found = read_names(source, pool)
    return found, add_items(pool, [path for path, _ in found.names])


def import_names(session: LabelSession, found: Imported, source: Path, who: str) -> ImportResult:
    """Take in what ``read_import`` read; what has a name already keeps it.

    Raises:
        InputError: a name is no class; nothing is taken then.
        UnwritableFileError: the disk does not take it; nothing is taken then.
    """
    n_before = len(session.journal.names.by_number)
    tab = f"import {source.name}"[:100]
    kept = session.name_many(found.names, who, tab, ChoiceReason.IMPORTED)
    n_new = len(session.journal.names.by_number) - n_before
    return ImportResult(len(found.names), n_new, tuple(kept))
