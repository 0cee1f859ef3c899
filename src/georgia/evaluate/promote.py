"""The promotion gate: a new model takes the place of the one in use only if it is shown to be not worse.

Both predict the same labelled images of groups that neither learned from. Where the new model was
cross-validated, groups that only it learned from count too, as its out-of-fold predictions are by models that
learned from none of the group (``georgia.evaluate.out_of_fold``). The unit is the group, as images
of one are not independent. "Not worse" is shown where the 95 % interval of the difference, new minus current,
lies above −``margin`` for accuracy and for macro F1 (a non-inferiority test with 2.5 % one-sided, Piaggio et
al. 2012, doi 10.1001/jama.2012.87802). Too few groups, or a model of which nobody knows what it learned from,
give "cannot say", and that is a no. A named person may override with a reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from georgia.config import Config, at_least, between
from georgia.errors import InputError
from georgia.evaluate.compare import Comparison, Difference, check_same_classes, compare_predictions
from georgia.evaluate.out_of_fold import CHOSEN_BLINDLY, find_images, read_out_of_fold
from georgia.evaluate.score import Evaluation, evaluate_records
from georgia.evaluate.unseen import find_unseen, group_of
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.classification import class_indices
from georgia.metrics.paired import SIGNIFICANCE
from georgia.model.bundle import Bundle
from georgia.model.load import load_bundle
from georgia.model.promotion import Sign, open_place, replace_model
from georgia.predict.predictor import PredictConfig
from georgia.progress import QUIET, Progress
from georgia.records import Record, Result, fingerprint_files, split_window
from georgia.text import count_noun


@dataclass(frozen=True)
class PromoteConfig(Config):
    """When a new model counts as not worse.

    ``margin``: the loss of accuracy and of macro F1 (0–1) that is still accepted. ``min_groups``: fewer
    groups cannot say; ``min_groups_per_class`` of each class.
    """

    margin: Annotated[float, between(0.0, 0.2)] = 0.02
    min_groups: Annotated[int, at_least(10)] = 30
    min_groups_per_class: Annotated[int, at_least(1)] = 5
    predict: PredictConfig = field(default_factory=PredictConfig)


class Verdict(StrEnum):
    """What the gate says; only the first opens it."""

    NOT_WORSE = "not worse"
    WORSE = "worse"
    CANNOT_SAY = "cannot say"


class Evidence(StrEnum):
    """Whose predictions were compared: the new model's own, or those of fold models that stand in for it."""

    HELD_OUT = "held out"
    OUT_OF_FOLD = "out-of-fold"
    BOTH = "held out and out-of-fold"
    NONE = "none"


@dataclass(frozen=True)
class Groups:
    """How many groups a test rests on: ``held_out`` that neither model learned from, and ``out_of_fold``.

    Left out were those that were ``learned`` by the current model (or by the new one without an out-of-fold
    prediction), and those ``in_doubt``, chosen to be named because a model was in doubt of them.
    """

    held_out: int = 0
    out_of_fold: int = 0
    learned: int = 0
    in_doubt: int = 0

    @property
    def evidence(self) -> Evidence:
        """Whose predictions are compared."""
        if self.held_out and self.out_of_fold:
            return Evidence.BOTH
        if self.out_of_fold:
            return Evidence.OUT_OF_FOLD
        return Evidence.HELD_OUT if self.held_out else Evidence.NONE

    def describe(self) -> str:
        """Return the numbers in words."""
        parts = []
        if self.held_out or not self.out_of_fold:
            parts.append(f"{count_noun(self.held_out, 'group')} that neither learned from")
        if self.out_of_fold:
            parts.append(
                f"{count_noun(self.out_of_fold, 'group')} that the current model never learned from, where "
                "models that learned from less stand in for the new one (out-of-fold)"
            )
        left = f"{self.learned:,} that one did" if self.learned else ""
        doubt = f"{self.in_doubt:,} chosen because a model was in doubt" if self.in_doubt else ""
        out = " and ".join(text for text in (left, doubt) if text)
        return " and ".join(parts) + (f" ({out} are left out)" if out else "")


@dataclass(frozen=True, repr=False)
class PromotionTest(Result):
    """What the gate found on ``n`` images of ``n_groups`` groups; ``groups`` tells of what kind they are.

    ``reasons`` say why it is not "not worse". ``comparison`` is None where nothing could be compared; its
    differences are new minus current.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    n: int
    n_groups: int
    margin: float
    comparison: Comparison | None = None
    data: str = ""
    data_sha256: str = ""
    groups: Groups = Groups()

    @property
    def n_groups_learned(self) -> int:
        """How many groups were left out because a model learned from them."""
        return self.groups.learned

    @property
    def is_open(self) -> bool:
        """Whether the new model may take the place of the current one."""
        return self.verdict is Verdict.NOT_WORSE

    def summary(self) -> str:
        """Return verdict, number of groups and the difference in one line."""
        where, found = self.groups.describe(), self.comparison
        if found is None:
            return f"{self.verdict}: {where}; {'; '.join(self.reasons)}"
        low, high = (f"{100 * value:+.1f}" for value in found.accuracy.interval)
        figures = (
            f"accuracy {100 * found.accuracy.difference:+.1f} points ({low} to {high}), "
            f"macro F1 {found.f1.difference:+.3f}"
        )
        why = f"; {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.verdict}: {figures} on {where}{why}"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row."""
        return [self.to_json_dict()]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the figures that the promoted model's ``bundle.json`` holds."""
        found = self.comparison
        return {
            "verdict": str(self.verdict),
            "reasons": list(self.reasons),
            "n": self.n,
            "n_groups": self.n_groups,
            "n_groups_learned": self.n_groups_learned,
            "evidence": str(self.groups.evidence),
            "n_groups_held_out": self.groups.held_out,
            "n_groups_out_of_fold": self.groups.out_of_fold,
            "n_groups_in_doubt": self.groups.in_doubt,
            "margin": self.margin,
            "accuracy": found.accuracy.to_json_dict() if found else None,
            "f1": found.f1.to_json_dict() if found else None,
            "n_groups_better": found.n_groups_better if found else None,
            "n_groups_worse": found.n_groups_worse if found else None,
            "data": self.data,
            "data_sha256": self.data_sha256,
        }


def assess_promotion(
    new: Bundle,
    current: Bundle,
    records: Sequence[Record],
    config: PromoteConfig | None = None,
    progress: Progress = QUIET,
    data: str = "",
    doubted: Collection[Path] = (),
) -> PromotionTest:
    """Return whether a new model is shown to be not worse than the one in use; nothing is changed.

    ``data`` says where the records come from. Without records the new model's out-of-fold predictions are
    all that can be compared. ``doubted`` are paths of records that do not count, as they were chosen to
    be named because one of the models was in doubt of them.

    Raises:
        InputError: the models have other classes, the records have classes that they do not have, or all
            images that count are unreadable.
    """
    config = config or PromoteConfig()
    check_same_classes(new.labels, current.labels)
    sample = _gather(new, current, records, set(doubted), progress)
    paths = sorted({split_window(record.path)[0] for record in sample.records})
    where = (data, fingerprint_files(paths), sample.groups)
    if not sample.records:
        reasons = (*sample.doubts, *_count_groups({}, new.labels, config))
        return PromotionTest(Verdict.CANNOT_SAY, reasons, 0, 0, config.margin, None, *where)
    comparison, classes_of, more = _compare(new, current, sample, config, progress)
    reasons = (*sample.doubts, *_count_groups(classes_of, new.labels, config), *more)
    verdict, found = give_verdict(comparison, config)
    if verdict is Verdict.NOT_WORSE and reasons:
        verdict = Verdict.CANNOT_SAY
    counts = (comparison.n, comparison.n_groups, config.margin)
    return PromotionTest(verdict, (*reasons, *found), *counts, comparison, *where)


def promote(
    new: Path,
    current: Path,
    test: PromotionTest | None,
    who: str,
    reason: str = "",
    is_overridden: bool = False,
) -> Bundle:
    """Let the model in the folder ``new`` take the place of that in ``current``; return it as opened there.

    The old one is kept and ``georgia.model.promotion.go_back`` brings it back. Who, when, why and the figures
    of ``test`` stand in ``bundle.json`` under ``promotion``.

    Raises:
        InputError: the gate is closed and nobody overrides it, an override without name or reason, or a model
            that cannot be used; nothing is changed.
    """
    is_open = test is not None and test.is_open
    if not is_open and not is_overridden:
        raise InputError(
            f"Cannot replace model {str(current)!r}",
            needs="the new model must be shown to be not worse, or a person must override the gate",
            got=test.summary() if test is not None else "no test",
            hint="Label more groups that the model in use has not learned from.",
        )
    if not who.strip() or (is_overridden and not reason.strip()):
        raise InputError(
            f"Cannot replace model {str(current)!r}",
            needs="a name is needed" + (", and a reason to override the gate" if is_overridden else ""),
            got=f"name {who!r}, reason {reason!r}",
            hint="Give --who and --reason.",
        )
    decision = "promoted" if is_open else "overridden"
    figures = test.to_json_dict() if test is not None else None
    return replace_model(new, current, Sign(who.strip(), reason.strip(), decision, figures))


def open_both(new: Path, current: Path) -> tuple[Bundle, Bundle]:
    """Open a new model and the one in use.

    Raises:
        InputError: one of them is no folder of a model, or both are the same model.
    """
    after, before = load_bundle(new), open_place(current)
    if after.sha256 == before.sha256:
        raise InputError(
            f"Cannot replace model {str(current)!r}",
            needs="the new model must be another one",
            got=f"the same file, {after.sha256[:12]}…",
        )
    return after, before


def _count_groups(
    classes_of: Mapping[str, Collection[str]], labels: Labels, config: PromoteConfig
) -> list[str]:
    """Return why groups (name → its classes) are too few."""
    reasons = []
    if len(classes_of) < config.min_groups:
        reasons.append(f"{count_noun(config.min_groups, 'group')} are needed, {len(classes_of):,} are there")
    for name in labels.names:
        n_own = sum(name in classes for classes in classes_of.values())
        if n_own < config.min_groups_per_class:
            needed = count_noun(config.min_groups_per_class, "group")
            reasons.append(f"{needed} with {name} are needed, {n_own:,} are there")
    return reasons


@dataclass(frozen=True)
class _Sample:
    """What two models are compared on: records with their ``own`` groups.

    ``stand_ins`` are the new model's out-of-fold labels by path, where these count in place of its own.
    """

    records: tuple[Record, ...]
    own: Mapping[Path, str]
    stand_ins: Mapping[Path, str]
    groups: Groups
    doubts: tuple[str, ...]


def _gather(
    new: Bundle, current: Bundle, records: Sequence[Record], doubted: Collection[Path], progress: Progress
) -> _Sample:
    """Return the images that neither model learned from, and those of the new one's out-of-fold predictions.

    Which these are is decided before any prediction of the two is compared.
    """
    rows, fault = read_out_of_fold(new)
    found = {row.record.path: row for row in find_images(rows, records)}
    held = find_unseen((new, current), [each for each in records if each.path not in doubted], progress)
    fair = [row.record for row in found.values() if row.chosen in CHOSEN_BLINDLY]
    stood = find_unseen((current,), fair, progress)
    own = dict(zip((record.path for record in held.records), held.groups, strict=True))
    stand_ins = {}
    for record, group in zip(stood.records, stood.groups, strict=True):
        if record.path not in own and group not in held.groups:
            stand_ins[record.path] = found[record.path].label
    own |= {record.path: group_of(record) for record in stood.records if record.path in stand_ins}
    every = {record.path: group_of(record) for record in records}
    every |= {path: group_of(row.record) for path, row in found.items()}
    asked = {record.path for record in fair} | {
        record.path for record in records if record.path not in doubted and record.path not in found
    }
    used, counted = set(own.values()), {every[path] for path in asked}
    groups = Groups(
        held_out=len(set(held.groups)),
        out_of_fold=len({own[path] for path in stand_ins}),
        learned=len(counted - used),
        in_doubt=len(set(every.values()) - counted - used),
    )
    # Whether the new model learned from an image does not matter where none is held out for it.
    doubts = [*(held.doubts if held.records or not stand_ins else ()), *stood.doubts, fault]
    return _Sample(
        (*held.records, *(record for record in stood.records if record.path in stand_ins)),
        own,
        stand_ins,
        groups,
        tuple(dict.fromkeys(doubt for doubt in doubts if doubt)),
    )


def _compare(
    new: Bundle, current: Bundle, sample: _Sample, config: PromoteConfig, progress: Progress
) -> tuple[Comparison, dict[str, set[str]], list[str]]:
    """Return the comparison on what both can read, the classes of each group there, and what speaks against.

    Fold models reject nothing, so on images where they stand in no rejection counts: the class of highest
    probability is compared for both models.
    """
    labels, records, own = new.labels, sample.records, sample.own
    found = [evaluate_records(bundle, records, labels, progress, config.predict) for bundle in (new, current)]
    predicted = [{item.file: item.label for item in evaluation.predictions.items} for evaluation in found]
    truth = {record.path: record.class_name for record in records}
    both = [path for path in truth if path in predicted[0] and path in predicted[1]]
    more = _compare_rejections(predicted, sample, both, config)
    predicted[0] |= sample.stand_ins
    predicted[1] |= {path: name for path, name in _best_classes(found[1]).items() if path in sample.stand_ins}
    classes_of: dict[str, set[str]] = {}
    for path in both:
        classes_of.setdefault(own[path], set()).add(truth[path])
    comparison = compare_predictions(
        labels.indices([truth[path] for path in both]),
        (
            class_indices([predicted[0][path] for path in both], labels),
            class_indices([predicted[1][path] for path in both], labels),
        ),
        labels,
        [own[path] for path in both],
        ("the new model", "the current model"),
    )
    return comparison, classes_of, more


def _best_classes(evaluation: Evaluation) -> dict[Path, str]:
    return {
        item.file: max(item.probabilities, key=item.probabilities.__getitem__)
        for item in evaluation.predictions.items
    }


def _compare_rejections(
    predicted: Sequence[Mapping[Path, str]], sample: _Sample, both: Sequence[Path], config: PromoteConfig
) -> list[str]:
    """Say where the new model rejects more of the images, even though it learned from them."""
    stood = [path for path in both if path in sample.stand_ins]
    new, current = (sum(labels[path] == UNKNOWN for path in stood) for labels in predicted)
    if not stood or (new - current) / len(stood) <= config.margin:
        return []
    return [
        f"the new model rejects {new:,} of {len(stood):,} images as unknown, the current one {current:,}; "
        "rejections are not in an out-of-fold comparison"
    ]


def give_verdict(found: Comparison, config: PromoteConfig) -> tuple[Verdict, list[str]]:
    """Return what a comparison says, and why it is not "not worse"."""
    parts = {"accuracy": found.accuracy, "macro F1": found.f1}
    worse = [
        name for name, part in parts.items() if part.difference < 0 and (part.p_value or 0.0) < SIGNIFICANCE
    ]
    if worse:
        return Verdict.WORSE, [f"{' and '.join(worse)} lower, beyond chance"]
    low = [name for name, part in parts.items() if part.interval[0] < -config.margin]
    if low:
        reach = ", ".join(f"{name} {100 * parts[name].interval[0]:+.1f} points" for name in low)
        needed = _forecast_groups(found.n_groups, [parts[name] for name in low], config.margin)
        more = (
            f"about {needed:,} groups would show it, if the difference stays what it is"
            if needed
            else "more groups make the interval narrower"
        )
        return (
            Verdict.CANNOT_SAY,
            [f"the loss could be larger than {100 * config.margin:g} points: {reach}; {more}"],
        )
    return Verdict.NOT_WORSE, []


def _forecast_groups(n_groups: int, parts: Sequence[Difference], margin: float) -> int:
    """Return about how many groups it takes until the intervals lie above −``margin``; 0: no number does.

    Half the width of an interval falls with the root of the number of groups. Two digits, rounded up.
    """
    needed = 0.0
    for part in parts:
        room = part.difference + margin
        if room <= 0:
            return 0
        needed = max(needed, n_groups * ((part.difference - part.interval[0]) / room) ** 2)
    step = 10 ** max(0, len(str(int(needed))) - 2)
    return int(-(-needed // step) * step)
