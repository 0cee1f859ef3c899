"""``georgia split``: train, validation and test parts, no crystal on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from georgia.cli import console
from georgia.cli.options import ClassNamesOption, ConfigOption, JsonOption, make_config, parse_folder_names
from georgia.errors import InputError, suggest

if TYPE_CHECKING:
    from georgia.records import Catalog, Failure
    from georgia.split.make import Split, SplitConfig
    from georgia.split.materialize import Mode, Placement

NAMINGS = ("plain", "study")
SOURCE_GROUPS = "none"
OrderOption = Annotated[
    str | None,
    typer.Option(
        help="grouped: a crystal's copies stay together; name: the study's cut; given: keep parts.  [grouped]"
    ),
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        help="copy, link, symlink, move, or manifest (the list only).  [copy; with --folds manifest]",
        metavar="MODE",
    ),
]
AuditOption = Annotated[
    str | None,
    typer.Option(
        "--audit",
        help="Groups of this saved audit; none: those of the source only.  [copies are looked for now]",
        metavar="DIR|none",
    ),
]


@dataclass(frozen=True)
class _Wish:
    """What was asked for, checked."""

    data: Path
    out: Path
    mode: str
    naming: str
    audit: str | None
    class_names: Mapping[str, str] | None
    config: Path | None


def run(
    data: Annotated[Path, typer.Argument(help="Folder per class, or a CSV with path,class[,group,time].")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the parts and the manifest.")],
    mode: ModeOption = None,
    order: OrderOption = None,
    fractions: Annotated[
        str | None, typer.Option(help="Shares of train, valid and test.  [0.7,0.25,0.05]", metavar="T,V,T")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Make so many splits, in which each image is tested once.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, another grouped split.  [42]")] = None,
    naming: Annotated[
        str, typer.Option(help="plain: train/CEX; study: GAtrainBinary/0.", metavar="NAMING")
    ] = "plain",
    audit: AuditOption = None,
    class_names: ClassNamesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Split images 70/25/5 into train, validation and test parts, copies of one crystal together.

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
    wish = _Wish(
        data,
        out,
        mode or ("manifest" if folds else "copy"),
        naming,
        audit,
        parse_folder_names(class_names),
        config,
    )
    with console.ConsoleProgress() as progress:
        done, failures = _do(wish, settings, folds, progress)
    _tell_leaks(done[0][0])
    if as_json:
        console.show_json(_describe(done, failures, bool(folds)))
    else:
        for fold, (split, placement) in enumerate(done, start=1):
            if folds:
                console.show_line(f"fold {fold}")
            _show(split, placement)
    return console.end_with(failures)


def _do(
    wish: _Wish, settings: SplitConfig, folds: int | None, progress: console.ConsoleProgress
) -> tuple[list[tuple[Split, Placement]], Sequence[Failure]]:
    """Return every split with where its files lie now, and the files that were left out."""
    from georgia.split.materialize import find_unfinished_move, finish_move

    if wish.mode == "move" and find_unfinished_move(wish.out):
        progress.say(f"Finishing the move into '{wish.out}' that was begun before.")
        return [finish_move(wish.out, progress)], ()
    catalog, groups_from = _read(wish, progress)
    splits = [replace(split, groups_from=groups_from) for split in _split(catalog, settings, folds)]
    numbers = [None] if folds is None else range(1, folds + 1)
    done = [_place(split, wish, fold, progress) for split, fold in zip(splits, numbers, strict=True)]
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


def _read(wish: _Wish, progress: console.ConsoleProgress) -> tuple[Catalog, str]:
    """Return the images with their groups, and who knew the groups."""
    from georgia.catalog.read import read_catalog

    if wish.audit == SOURCE_GROUPS:
        return read_catalog(wish.data, class_names=wish.class_names, progress=progress), "source"
    from georgia.audit import Audit, AuditConfig, group_catalog
    from georgia.config import build_config, read_toml_section

    catalog = read_catalog(wish.data, class_names=wish.class_names, verify=False, progress=progress)
    if wish.audit is not None:
        return Audit.load(Path(wish.audit)).group_catalog(catalog), "audit"
    section = {} if wish.config is None else read_toml_section(wish.config, "audit")
    return group_catalog(catalog, build_config(AuditConfig, section), progress), "audit"


def _split(catalog: Catalog, settings: SplitConfig, folds: int | None) -> Sequence[Split]:
    from georgia.split.make import kfold_split, make_split

    if folds is None:
        return [make_split(catalog, settings)]
    train, valid, _ = settings.fractions
    return kfold_split(catalog, folds, settings.seed, valid / (train + valid))


def _place(
    split: Split, wish: _Wish, fold: int | None, progress: console.ConsoleProgress
) -> tuple[Split, Placement]:
    from georgia.split.materialize import materialize_split, study_names

    folders = study_names(split.labels) if wish.naming == "study" else None
    dest = wish.out if fold is None else wish.out / f"fold-{fold}"
    return split, materialize_split(split, dest, cast("Mode", wish.mode), folders, progress)


def _describe(
    done: Sequence[tuple[Split, Placement]], failures: Sequence[Failure], has_folds: bool
) -> dict[str, Any]:
    described = [{**split.to_json_dict(), **vars(placement)} for split, placement in done]
    whole = described[0]
    if has_folds:
        whole = {key: whole[key] for key in ("root", "classes", "n_groups", "groups_from", "seed", "mode")}
        whole |= {"leaks": sum(one["leaks"] for one in described), "folds": described}
    return {**whole, "failed": console.list_failures(failures)}


def _tell_leaks(split: Split) -> None:
    if not split.leaks:
        return
    parts: dict[str, set[str]] = {}
    for record in split.records:
        parts.setdefault(record.group, set()).add(record.split)
    n_known = sum(
        record.split == "test" and bool(record.group) and "train" in parts[record.group]
        for record in split.records
    )
    console.show_note(
        f"this split leaks: {len(split.leaks):,} groups stand in more than one part, and {n_known:,} of "
        f"{len(split.subset('test')):,} test images have a sibling in train. --order grouped has none."
    )


def _show(split: Split, placement: Placement) -> None:
    classes, distance = split.labels.names, split.distance
    rows = [
        [part, *(f"{n:,} ({100 * distance[part][name]:+.1f} %)" for name, n in counts.items())]
        for part, counts in split.counts.items()
    ]
    console.show_table(["part (off the wish)", *classes], rows)
    console.show_line(f"{split.n_groups:,} groups, {len(split.leaks):,} of them in more than one part")
    console.show_line(f"{placement.mode}: {placement.n_placed:,} files into {placement.dest}")
