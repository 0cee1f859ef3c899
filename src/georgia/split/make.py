"""Train, validation and test split of a catalog: grouped so that nothing leaks, or as the study did it.

``grouped``: no group stands in two splits, and every class comes as near to its target fraction in every
split as whole groups allow. ``name``: the study's order, files of each class sorted by name and cut with
``int()``; it leaks where duplicates have names far apart. ``given``: the splits that the source already
has. The result depends on names below the root and on the seed, not on where the folder lies.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from georgia.catalog.read import relative_name
from georgia.config import Config, at_least, between, build_config
from georgia.errors import InputError
from georgia.files import read_json, read_table, reading, write_json, write_text
from georgia.labels import Labels
from georgia.records import SPLITS, Catalog, Record, check_classes, count_by_class
from georgia.split.assign import assign_groups
from georgia.text import describe_many, format_csv, read_rows

MANIFEST_CSV = "split.csv"
MANIFEST_JSON = "split.json"


@dataclass(frozen=True)
class SplitConfig(Config):
    """Fractions of train, validation and test, the order, and the seed of the grouped order.

    Source: 70/25/5, name order and seed 42 are the study's.
    """

    fractions: Annotated[tuple[float, ...], between(0, 1)] = (0.70, 0.25, 0.05)
    order: Literal["grouped", "name", "given"] = "grouped"
    seed: Annotated[int, at_least(0)] = 42

    def find_faults(self) -> Iterable[str]:
        """Name what the fractions must be together."""
        if len(self.fractions) != 3 or not abs(sum(self.fractions) - 1) <= 1e-9 or self.fractions[0] <= 0:
            rule = "three that sum to 1, some of them train, such as 0.7,0.25,0.05"
            yield f"fractions must be {rule}; got {list(self.fractions)}"

    @property
    def targets(self) -> dict[str, float]:
        """The fractions above 0, by name of the split."""
        named = zip(SPLITS, self.fractions, strict=True)
        return {name: fraction for name, fraction in named if fraction > 0}


@dataclass(frozen=True)
class Split:
    """All images with their splits; ``config`` holds how they were assigned.

    ``groups_from`` says where the groups come from: the source, or an audit too.
    """

    root: Path
    labels: Labels
    records: tuple[Record, ...]
    config: SplitConfig
    groups_from: str = "source"

    def subset(self, name: str) -> tuple[Record, ...]:
        """Return the records of "train", "valid" or "test"."""
        return tuple(record for record in self.records if record.split == name)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images of each class in each split, zeros included."""
        return {name: count_by_class(self.subset(name), self.labels) for name in SPLITS}

    @cached_property
    def _splits_of_groups(self) -> dict[str, set[str]]:
        splits: dict[str, set[str]] = defaultdict(set)
        for record in self.records:
            splits[group_of(record, self.root)].add(record.split)
        return splits

    @property
    def n_groups(self) -> int:
        """Number of groups; an image without one counts as its own."""
        return len(self._splits_of_groups)

    @property
    def leaks(self) -> tuple[str, ...]:
        """Names of the groups that stand in more than one split."""
        return tuple(sorted(name for name, splits in self._splits_of_groups.items() if len(splits) > 1))

    @property
    def distance(self) -> dict[str, dict[str, float]]:
        """Achieved minus target fraction of each class in each split."""
        totals = count_by_class(self.records, self.labels)
        return {
            split: {name: n / max(1, totals[name]) - target for name, n in self.counts[split].items()}
            for split, target in zip(SPLITS, self.config.fractions, strict=True)
        }

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``split.json`` holds; ``leaks`` is the number of groups in two splits."""
        distance = self.distance
        return {
            **asdict(self.config),
            "root": self.root.absolute().as_posix(),
            "classes": list(self.labels.names),
            "counts": self.counts,
            "n_groups": self.n_groups,
            "groups_from": self.groups_from,
            "leaks": len(self.leaks),
            "leaking_groups": list(self.leaks),
            "distance": {
                split: {name: round(d, 6) for name, d in row.items()} for split, row in distance.items()
            },
        }

    def save(self, folder: str | Path) -> None:
        """Write the manifest: ``split.csv`` (path, class, group, part, time) and ``split.json``."""
        folder = Path(folder)
        write_text(folder / MANIFEST_CSV, self.to_csv())
        write_json(folder / MANIFEST_JSON, self.to_json_dict())

    def to_csv(self) -> str:
        """Return the rows of ``split.csv``; paths are relative to the root, with forward slashes."""
        rows = [["path", "class", "group", "part", "time"]]
        for record in self.records:
            name = relative_name(record.path, self.root)
            rows.append([name, record.class_name, record.group, record.split, record.time])
        return format_csv(rows)

    @classmethod
    def load(cls, folder: str | Path, root: Path | None = None) -> Split:
        """Read a manifest; give ``root`` where the images have moved since.

        Raises:
            InputError: a file is missing or is no such manifest.
        """
        folder = Path(folder)
        with reading(
            f"Cannot read the split in {str(folder)!r}", f"{MANIFEST_CSV} and {MANIFEST_JSON} are needed"
        ):
            info = read_json(folder / MANIFEST_JSON)
            text = read_table(folder / MANIFEST_CSV)
            base = Path(info["root"]) if root is None else root
            labels = Labels(tuple(info["classes"]))
            config = build_config(SplitConfig, {key: info[key] for key in ("fractions", "order", "seed")})
            records = tuple(
                Record(base / row["path"], row["class"], row["group"], row["part"], row["time"])
                for row in read_rows(text)
            )
            check_classes(records, labels)
            return cls(base, labels, records, config, str(info.get("groups_from", "source")))


def group_of(record: Record, root: Path) -> str:
    """Return the record's group, or its path below the root where it has none."""
    return record.group or relative_name(record.path, root)


def make_split(catalog: Catalog, config: SplitConfig | None = None) -> Split:
    """Return the catalog's images with their splits, in the catalog's order.

    Raises:
        InputError: a class has too few groups or files for the splits of a fraction above 0, or the source
            has no splits of its own to keep; the message says what is possible.
    """
    config = config or SplitConfig()
    assign: dict[str, Callable[[Catalog, SplitConfig], Sequence[str]]] = {
        "grouped": _assign_groups,
        "name": _assign_by_name,
        "given": _keep_given,
    }
    splits = assign[config.order](catalog, config)
    records = tuple(replace(record, split=name) for record, name in zip(catalog.records, splits, strict=True))
    split = Split(catalog.root, catalog.labels, records, config)
    if config.order != "given":
        _check_filled(split)
    if config.order == "grouped" and split.leaks:
        raise RuntimeError(f"Groups stand in two splits of a grouped split: {describe_many(split.leaks)}")
    return split


def kfold_split(
    catalog: Catalog, k: int = 5, seed: int = 42, valid_fraction: float = 0.0
) -> tuple[Split, ...]:
    """Return k folds, each a ``Split``, whose test splits hold each image once; grouped and stratified.

    ``valid_fraction`` of the rest, in whole groups, goes to the validation split.

    Raises:
        InputError: ``k`` is below 2, or a class has fewer than ``k`` groups.
    """
    if k < 2 or not 0 <= valid_fraction < 1:
        raise InputError(
            "Cannot make folds",
            needs="two folds or more, and a validation fraction from 0 to below 1, are needed",
            got=f"k={k}, valid_fraction={valid_fraction}",
        )
    groups = _Groups(catalog.records, catalog.root, catalog.labels)
    groups.require(k, f"each of {k} folds", "Use fewer folds or bring images of more crystals.")
    folds = groups.assign([1 / k] * k, seed)
    valid = (1 - 1 / k) * valid_fraction
    config = SplitConfig((1 - 1 / k - valid, valid, 1 / k), "grouped", seed)
    splits = []
    for fold in range(k):
        rest = [record for record, own in zip(catalog.records, folds, strict=True) if own != fold]
        split_of = dict.fromkeys((record.path for record in rest), "train")
        if valid_fraction > 0:
            inner = _Groups(rest, catalog.root, catalog.labels)
            inner.require(2, "train and valid", "Use fewer folds or no validation split.")
            assigned = inner.assign([1 - valid_fraction, valid_fraction], seed)
            split_of.update((record.path, SPLITS[at]) for record, at in zip(rest, assigned, strict=True))
        records = tuple(
            replace(record, split=split_of.get(record.path, "test")) for record in catalog.records
        )
        splits.append(Split(catalog.root, catalog.labels, records, config))
    return tuple(splits)


class _Groups:
    """Groups of records, in an order that depends on the names below the root only."""

    def __init__(self, records: Sequence[Record], root: Path, labels: Labels) -> None:
        first_file: dict[str, str] = {}
        self.keys = [group_of(record, root) for record in records]
        for record, key in zip(records, self.keys, strict=True):
            name = relative_name(record.path, root)
            first_file[key] = min(name, first_file.get(key, name))
        self.at = {key: at for at, key in enumerate(sorted(first_file, key=lambda key: first_file[key]))}
        self.counts = np.zeros((len(self.at), len(labels)), np.int64)
        for record, key in zip(records, self.keys, strict=True):
            self.counts[self.at[key], labels.index(record.class_name)] += 1
        self.labels = labels

    def require(self, n_groups: int, where: str, do: str) -> None:
        """Reject classes of fewer groups than there are splits to fill."""
        held = (self.counts > 0).sum(axis=0)
        files = self.counts.sum(axis=0)
        poor = [
            f"{name}: {held[at]} groups ({files[at]} files)"
            for at, name in enumerate(self.labels.names)
            if held[at] < n_groups
        ]
        if poor:
            raise InputError(
                "Cannot split without a leak",
                needs=f"each class needs {n_groups} groups or more, one for {where}",
                got=", ".join(poor),
                hint=do,
            )

    def assign(self, fractions: Sequence[float], seed: int) -> list[int]:
        """Return each record's split, by number."""
        splits = assign_groups(self.counts, fractions, seed)
        return [int(splits[self.at[key]]) for key in self.keys]


def _assign_groups(catalog: Catalog, config: SplitConfig) -> list[str]:
    groups = _Groups(catalog.records, catalog.root, catalog.labels)
    smallest = int((groups.counts > 0).sum(axis=0).min())
    if smallest >= 2:
        do = "Possible now: train and test only (fractions 0.7,0,0.3), or folds. Better: more crystals."
    else:
        do = "Bring images of more crystals of these classes."
    groups.require(len(config.targets), f"each of {', '.join(config.targets)}", do)
    return [SPLITS[at] for at in groups.assign(config.fractions, config.seed)]


def _assign_by_name(catalog: Catalog, config: SplitConfig) -> list[str]:
    """Cut each class, sorted by file name, with ``int()``; the rest is test. Source: the Georgia Project."""
    train, valid, test = config.fractions
    split_of: dict[Path, str] = {}
    for name in catalog.labels.names:
        own = [record for record in catalog.records if record.class_name == name]
        own.sort(key=lambda record: (record.path.name, relative_name(record.path, catalog.root)))
        n_train = int(len(own) * train)
        n_valid = int(len(own) * valid) if test > 0 else len(own) - n_train
        for at, record in enumerate(own):
            split_of[record.path] = SPLITS[(at >= n_train) + (at >= n_train + n_valid)]
    return [split_of[record.path] for record in catalog.records]


def _keep_given(catalog: Catalog, config: SplitConfig) -> list[str]:
    n_missing = sum(1 for record in catalog.records if record.split not in SPLITS)
    if n_missing:
        raise InputError(
            "Cannot split",
            needs="order 'given' needs a source whose images have a split",
            got=f"{n_missing} images without",
            hint="Use --order grouped.",
        )
    return [record.split for record in catalog.records]


def _check_filled(split: Split) -> None:
    totals = Counter(record.class_name for record in split.records)
    empty = [
        f"{filled} of {name} ({totals[name]} files)"
        for filled in split.config.targets
        for name, n in split.counts[filled].items()
        if n == 0
    ]
    if empty:
        raise InputError(
            "Cannot split",
            needs="every split needs an image of every class",
            got="none for " + ", ".join(empty),
            hint="Bring more images, or set a fraction to 0.",
        )
