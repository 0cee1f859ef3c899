"""What the fold models of a learning say of each image, and who named it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from georgia.evaluate.out_of_fold import FoldPrediction
from georgia.label.heads import Floats, Ints
from georgia.label.records import ChoiceReason, Label
from georgia.records import Record
from georgia.split.make import Split
from georgia.text import format_csv
from georgia.uncertainty.calibration import fit_temperature, softmax


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The ``folds`` (N,) of images and the logits (N, C) of heads that learned from none of their group.

    The settings of each head were chosen anew on what it learned from.
    """

    folds: Ints
    logits: Floats
    targets: Ints
    groups: Sequence[str]

    @cached_property
    def predicted(self) -> Ints:
        """Class indices (N,)."""
        return np.asarray(self.logits.argmax(axis=1))

    @cached_property
    def probabilities(self) -> Floats:
        """Probabilities (N, C), 0–1, with one temperature for all folds."""
        fitted = fit_temperature(self.logits, self.targets, list(self.groups))
        return np.asarray(softmax(self.logits, fitted.temperature))


def list_fold_predictions(
    split: Split,
    hashes: Sequence[str],
    found: CrossValidation,
    reasons: Mapping[Path, ChoiceReason],
) -> list[FoldPrediction]:
    """Return the out-of-fold prediction of each image that has a SHA-256, with why it was chosen."""
    rows = []
    for at, (record, digest) in enumerate(zip(split.records, hashes, strict=True)):
        index = int(found.predicted[at])
        said = split.labels.name(index), float(found.probabilities[at, index])
        row = FoldPrediction(record, digest, int(found.folds[at]), *said, str(reasons[record.path]))
        if digest:
            rows.append(row)
    return rows


def find_reasons(
    names: Mapping[Path, str], labels: Sequence[Label], even: Collection[str]
) -> dict[Path, ChoiceReason]:
    """Return why each image was chosen: all of the even sample evenly, a duplicate as the one that was shown.

    ``names`` are the items' own paths by those of their images, ``even`` the paths of the even sample.
    """
    shown = {label.number: label.reason for label in labels if label.reason is not ChoiceReason.DUPLICATE}
    of_items = {
        label.path: shown.get(label.number, label.reason)
        if label.reason is ChoiceReason.DUPLICATE
        else label.reason
        for label in labels
    }
    evenly = set(even)
    return {path: ChoiceReason.EVEN if name in evenly else of_items[name] for path, name in names.items()}


def list_sources(
    records: Sequence[Record], hashes: Sequence[str], names: Mapping[Path, str], labels: Sequence[Label]
) -> str:
    """Return ``learned_from.csv``: path, class, group, SHA-256, who named it and when, why it was chosen."""
    given = {label.path: label for label in labels}
    rows = [["path", "class", "group", "sha256", "who", "at", "reason"]]
    for record, digest in zip(records, hashes, strict=True):
        label = given[names[record.path]]
        mine = [label.who, label.at, str(label.reason)]
        rows.append([label.path, record.class_name, record.group, digest, *mine])
    return format_csv(rows)
