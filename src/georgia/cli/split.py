"""``georgia split``: train, validation and test splits, no crystal in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from georgia.cli import console
from georgia.cli.options import (
    ClassNamesOption,
    ConfigOption,
    FoldsOption,
    JsonOption,
    PartsOption,
    make_config,
    parse_folder_names,
    parse_split_folders,
    read_settings,
)
from georgia.errors import InputError, suggest
from georgia.files import hold_folder

if TYPE_CHECKING:
    from georgia.records import Catalog, Failure
    from georgia.split.make import Split, SplitConfig
    from georgia.split.materialize import MaterializedSplit, Mode

NAMINGS = ("plain", "study")
SOURCE_GROUPS = "none"
OrderOption = Annotated[
    str | None,
    typer.Option(
        help="grouped: near-duplicates stay together; name: as in the study; given: keep splits.  [grouped]"
    ),
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        help="copy, link, symlink, move; manifest (only the list), or with it boxes for coco, yolo, "
        "label-studio or cvat.  [copy; with --folds: manifest]",
        metavar="MODE",
    ),
]
AuditOption = Annotated[
    str | None,
    typer.Option(
        "--audit",
        help="Groups of this saved audit; none: only those of the source.  [search near-duplicates now]",
        metavar="DIR|none",
    ),
]


@dataclass(frozen=True)
class _Request:
    """The checked options of one call."""

    data: Path
    out: Path
    mode: str
    naming: str
    audit: str | None
    class_names: Mapping[str, str] | None
    parts: Mapping[str, str] | str | None
    config: Path | None


def run(
    data: Annotated[Path, typer.Argument(help="Folder per class, or a CSV with path,class[,group,time].")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the splits and the manifest.")],
    mode: ModeOption = None,
    order: OrderOption = None,
    fractions: Annotated[
        str | None, typer.Option(help="Fractions of train, valid and test.  [0.7,0.25,0.05]", metavar="T,V,T")
    ] = None,
    folds: FoldsOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the grouped split.  [42]")] = None,
    naming: Annotated[
        str, typer.Option(help="plain: train/CEX; study: GAtrainBinary/0.", metavar="NAMING")
    ] = "plain",
    audit: AuditOption = None,
    class_names: ClassNamesOption = None,
    parts: PartsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Split images 70/25/5 into train, validation and test; near-duplicates stay in one split.

    \b
    Examples:
      georgia split data/cropped --out data/split
      georgia split data/cropped --out data/split --order name --mode link
      georgia split data/cropped --out data/folds --folds 5
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.split.make import SplitConfig

    typed = {"fractions": fractions, "order": order, "seed": seed}
    settings = make_config(SplitConfig, config, "split", typed)
    _check(naming, folds, mode, settings)
    request = _Request(
        data,
        out,
        mode or ("manifest" if folds else "copy"),
        naming,
        audit,
        parse_folder_names(class_names),
        parse_split_folders(parts),
        config,
    )
    with console.ConsoleProgress() as progress:
        done, failures = _make_splits(request, settings, folds, progress)
    _warn_of_leaks(done[0][0])
    if as_json:
        console.show_json(_describe(done, failures, bool(folds)))
    else:
        for fold, (split, placed) in enumerate(done, start=1):
            if folds:
                console.show_line(f"fold {fold}")
            _show(split, placed)
    return console.end_with(failures)


def _make_splits(
    request: _Request, settings: SplitConfig, folds: int | None, progress: console.ConsoleProgress
) -> tuple[list[tuple[Split, MaterializedSplit]], Sequence[Failure]]:
    """Return every split with the place of its files, and the files that were left out."""
    from georgia.split.materialize import find_unfinished_move, finish_move

    # An empty folder among the images would be read as a class: there the output is held after the reading.
    is_among_images = request.out.resolve().is_relative_to(request.data.resolve())
    with ExitStack() as held:
        if not is_among_images:
            held.enter_context(hold_folder(request.out))
        if request.mode == "move" and find_unfinished_move(request.out):
            progress.say(f"Finishing the move into '{request.out}' that was interrupted.")
            return [finish_move(request.out, progress)], ()
        catalog, groups_from = _read(request, progress)
        if settings.order != "given" and any(record.split for record in catalog.records):
            progress.say("note: the splits that the data came with are made anew; --order given keeps them")
        splits = [replace(split, groups_from=groups_from) for split in _split(catalog, settings, folds)]
        if is_among_images:
            held.enter_context(hold_folder(request.out))
        numbers = [None] if folds is None else range(1, folds + 1)
        done = [_place(split, request, fold, progress) for split, fold in zip(splits, numbers, strict=True)]
    return done, catalog.failures


def _check(naming: str, folds: int | None, mode: str | None, settings: SplitConfig) -> None:
    if naming not in NAMINGS:
        raise InputError(
            "Unknown --naming",
            needs=f"it must be one of {', '.join(NAMINGS)}",
            got=repr(naming),
            hint=suggest(naming, NAMINGS).strip(),
        )
    if folds is None:
        return
    faults = [
        fault
        for fault, is_bad in (
            (f"two or more are needed; got {folds}", folds < 2),
            ("a file can move into one fold only; use --mode link or copy", mode == "move"),
            (f"they are grouped; got --order {settings.order}", settings.order != "grouped"),
        )
        if is_bad
    ]
    if faults:
        raise InputError(f"Cannot make --folds: {' · '.join(faults)}.")


def _read(request: _Request, progress: console.ConsoleProgress) -> tuple[Catalog, str]:
    """Return the images with their groups, and where the groups come from: "source" or "audit"."""
    from georgia.catalog.read import read_catalog

    read = partial(
        read_catalog,
        request.data,
        class_names=request.class_names,
        parts=request.parts,
        progress=progress,
    )
    section = read_settings(request.config, "audit", is_required=False)
    if section and request.audit is not None:
        progress.say(f"note: section [audit] is not used: --audit {request.audit} gives the groups")
    if request.audit == SOURCE_GROUPS:
        return read(), "source"
    from georgia.audit import Audit, AuditConfig, group_catalog
    from georgia.config import build_config

    catalog = read(verify=False)
    if request.audit is not None:
        return Audit.load(Path(request.audit)).group_catalog(catalog), "audit"
    return group_catalog(catalog, build_config(AuditConfig, section), progress), "audit"


def _split(catalog: Catalog, settings: SplitConfig, folds: int | None) -> Sequence[Split]:
    from georgia.split.make import kfold_split, make_split

    if folds is None:
        return [make_split(catalog, settings)]
    train, valid, _ = settings.fractions
    return kfold_split(catalog, folds, settings.seed, valid / (train + valid))


def _place(
    split: Split, request: _Request, fold: int | None, progress: console.ConsoleProgress
) -> tuple[Split, MaterializedSplit]:
    from georgia.split.materialize import materialize_split, study_names

    folders = study_names(split.labels) if request.naming == "study" else None
    dest = request.out if fold is None else request.out / f"fold-{fold}"
    return split, materialize_split(split, dest, cast("Mode", request.mode), folders, progress)


def _describe(
    done: Sequence[tuple[Split, MaterializedSplit]], failures: Sequence[Failure], has_folds: bool
) -> dict[str, Any]:
    splits = [{**split.to_json_dict(), **vars(placed)} for split, placed in done]
    whole = splits[0]
    if has_folds:
        whole = {key: whole[key] for key in ("root", "classes", "n_groups", "groups_from", "seed", "mode")}
        whole |= {"leaks": sum(fold["leaks"] for fold in splits), "folds": splits}
    return {**whole, "failed": failures}


def _warn_of_leaks(split: Split) -> None:
    if not split.leaks:
        return
    in_train = {record.group for record in split.subset("train") if record.group}
    tests = split.subset("test")
    n_known = sum(record.group in in_train for record in tests)
    console.show_note(
        f"this split leaks: {len(split.leaks):,} groups lie in more than one split, and {n_known:,} of "
        f"{len(tests):,} test images have an image of their group in train. --order grouped has no leaks."
    )


def _show(split: Split, placed: MaterializedSplit) -> None:
    classes, distance = split.labels.names, split.distance
    rows = [
        [name, *(f"{n:,} ({100 * distance[name][class_name]:+.1f} %)" for class_name, n in counts.items())]
        for name, counts in split.counts.items()
    ]
    console.show_table(["split (off the target)", *classes], rows)
    console.show_line(f"{split.n_groups:,} groups, {len(split.leaks):,} of them in more than one split")
    console.show_line(f"{placed.mode}: {placed.n_placed:,} files into {placed.dest}")
