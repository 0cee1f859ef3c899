"""Can the class be told from what is not the crystal? File properties and image statistics on trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from georgia.audit.check import Check, Finding, Observed
from georgia.audit.examples import Example, ExampleImage, draw_texture, draw_textures
from georgia.audit.measurements import PROPERTIES, Kind, Property
from georgia.audit.predictability import Floats, ProbeData, cut_bins, make_probe_set, try_each, try_together
from georgia.audit.rules import Rule, find_exact_rule, find_rule

# Where classes have fewer groups than a test against chance needs, so many of one class must agree exactly.
_GROUPS_OF_EXACT_RULE = 3
# Several properties together are worth a line of their own if they tell so much more than the best of them.
_GAIN_TOGETHER = 0.1


@dataclass(frozen=True)
class Shortcut:
    """One property's power: ``skill`` is 0 for guessing, 1 for always right; ``p`` is None without a test."""

    entry: Property
    balanced_accuracy: float
    skill: float
    p: float | None
    rule: Rule


@dataclass(frozen=True, eq=False)
class Power:
    """What every property tells alone, and each kind of property together (balanced accuracy, p-value)."""

    alone: tuple[Shortcut, ...]
    together: dict[Kind, tuple[float, float]]
    chance: float
    n_groups: int


# Two checks ask for the same figures of the same data.
_POWERS: WeakKeyDictionary[Observed, Power | None] = WeakKeyDictionary()


def measure_power(seen: Observed) -> Power | None:
    """Return the power of all properties; None where no class or only one has images."""
    if seen not in _POWERS:
        _POWERS[seen] = _measure_power(seen)
    return _POWERS[seen]


def _measure_power(seen: Observed) -> Power | None:
    labels, groups = seen.labels, seen.groups
    if len(np.unique(labels)) < 2:
        return None
    varied = [entry for entry in PROPERTIES if len(np.unique(seen.columns[entry.name])) > 1]
    n_classes = len(seen.catalog.labels)
    probe = make_probe_set(labels, groups, n_classes, seen.config.seed)
    chance = 1 / len(np.unique(labels))
    alone = _try_alone(seen, varied, probe, chance)
    together: dict[Kind, tuple[float, float]] = {}
    if probe is not None:
        for kind in ("file", "picture"):
            own = [entry for entry in varied if entry.kind == kind]
            if len(own) > 1:
                together[kind] = _try_kind(seen, own, probe, alone)
    return Power(tuple(alone), together, chance, len(np.unique(groups)))


def _try_alone(
    seen: Observed, entries: Sequence[Property], probe: ProbeData | None, chance: float
) -> list[Shortcut]:
    if not entries:
        return []
    labels, classes, config = seen.labels, seen.catalog.labels.names, seen.config
    accuracies, p_values = np.full(len(entries), chance), np.ones(len(entries))
    if probe is not None:
        bins = [
            cut_bins(seen.columns[entry.name], probe.groups, entry.is_exact or entry.is_word)
            for entry in entries
        ]
        accuracies, p_values = try_each(bins, probe, config.n_permutations, config.seed)
    shortcuts = []
    for entry, accuracy, p in zip(entries, accuracies, p_values, strict=True):
        values = seen.columns[entry.name]
        rule, tested = find_rule(entry, values, labels, classes), float(p)
        exact = (
            find_exact_rule(values, labels, seen.groups, _GROUPS_OF_EXACT_RULE)
            if entry.is_exact or entry.is_word
            else None
        )
        if exact is not None and tested > config.alpha and len(classes) == 2:
            shortcuts.append(Shortcut(entry, 1.0, 1.0, None, rule))
        else:
            skill = (float(accuracy) - chance) / (1 - chance)
            shortcuts.append(Shortcut(entry, float(accuracy), skill, tested, rule))
    return shortcuts


def _try_kind(
    seen: Observed, entries: Sequence[Property], probe: ProbeData, alone: Sequence[Shortcut]
) -> tuple[float, float]:
    best = max(one.balanced_accuracy for one in alone if one.entry.kind == entries[0].kind)
    least = best + _GAIN_TOGETHER * (1 - probe.chance)
    matrix = np.column_stack([_as_numbers(seen.columns[entry.name]) for entry in entries])
    return try_together(matrix, probe, seen.config.n_permutations, seen.config.seed, least)


def _as_numbers(values: Any) -> Floats:
    if values.dtype.kind == "O":
        return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.float64)
    return np.asarray(values, np.float64)


def list_power(seen: Observed) -> tuple[dict[str, Any], ...]:
    """Return what every property that varies tells of the class, as plain values, the strongest first."""
    power = measure_power(seen)
    if power is None:
        return ()
    rows = [
        {
            "property": one.entry.name,
            "kind": one.entry.kind,
            "balanced_accuracy": round(one.balanced_accuracy, 4),
            "chance": round(power.chance, 4),
            "skill": round(one.skill, 4),
            "p": None if one.p is None else round(one.p, 4),
        }
        for one in power.alone
    ]
    return tuple(sorted(rows, key=lambda row: -float(str(row["skill"]))))


class _ShortcutCheck(Check):
    kind: ClassVar[Kind]
    # From this skill on the property alone goes half the way from guessing to always right.
    strong: ClassVar[float] = 0.5

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding for each property that tells the class, the strongest first."""
        power = measure_power(seen)
        if power is None:
            return []
        own = [
            one for one in power.alone if one.entry.kind == self.kind and self.tells(one, seen.config.alpha)
        ]
        own.sort(key=lambda one: -one.balanced_accuracy)
        found = [self._report(one, power) for one in own]
        return found + self._report_together(power, own, seen)

    def tells(self, one: Shortcut, alpha: float) -> bool:
        """Whether a property tells more than chance and than the margin."""
        return one.skill >= self.threshold and (one.p is None or one.p <= alpha)

    def severity_of(self, skill: float) -> Any:
        """Return the severity of a property of some skill."""
        return self.severity if self.severity == "warning" or skill >= self.strong else "warning"

    def _report(self, one: Shortcut, power: Power) -> Finding:
        test = f"every file of that class and no other; {power.n_groups} groups are too few for a test"
        if one.p is not None:
            test = f"p = {one.p:.3g} over {power.n_groups:,} groups"
        accuracy = f"balanced accuracy {one.balanced_accuracy:.2f} (chance {power.chance:.2f}; {test})"
        words = f"{one.rule.words}: {accuracy}"
        evidence = {
            "property": one.entry.name,
            "rule": one.rule.words,
            "sign": one.rule.sign,
            "value": one.rule.value,
            "class": one.rule.class_name,
            "balanced_accuracy": round(one.balanced_accuracy, 4),
            "chance": round(power.chance, 4),
            "skill": round(one.skill, 4),
            "p": None if one.p is None else round(one.p, 4),
            "n_groups": power.n_groups,
        }
        return self.found(words, evidence, severity=self.severity_of(one.skill))

    def _report_together(self, power: Power, own: Sequence[Shortcut], seen: Observed) -> list[Finding]:
        if self.kind not in power.together:
            return []
        accuracy, p = power.together[self.kind]
        skill = (accuracy - power.chance) / (1 - power.chance)
        best = max((one.skill for one in own), default=0.0)
        # Two kinds are tried together, each at half the level.
        if p > seen.config.alpha / 2 or skill < self.threshold or skill < best + _GAIN_TOGETHER:
            return []
        names = [one.entry.words for one in power.alone if one.entry.kind == self.kind]
        words = (
            f"{', '.join(names)} together tell the class (a tree of three questions): "
            f"balanced accuracy {accuracy:.2f} (chance {power.chance:.2f}; p = {p:.3g})"
        )
        evidence = {
            "property": "together",
            "properties": names,
            "balanced_accuracy": round(accuracy, 4),
            "chance": round(power.chance, 4),
            "skill": round(skill, 4),
            "p": round(p, 4),
            "n_groups": power.n_groups,
        }
        return [self.found(words, evidence, severity=self.severity_of(skill))]

    def good_example(self) -> Example:
        """Return textures that only their folder tells apart."""
        return draw_textures(16)


class FileShortcut(_ShortcutCheck):
    """A property of the file or of the way it was taken gives the class away."""

    name = "file-shortcut"
    severity = "error"
    kind = "file"
    rule = "skill (balanced accuracy from 0, guessing, to 1, always right) of one property over groups, from"
    threshold = 0.2
    source = (
        "a margin on top of the test, by 200 clean drawn sets of 30 to 600 crops; "
        "an error from 0.5 on: half the way from guessing to always right"
    )
    todo = (
        "A model can score without looking at a crystal. Bring images of all classes that were taken, "
        "cut and saved in one way. Where a size is an error, train shows all images at one scale by "
        "itself (geometry=scale)."
    )

    def bad_example(self) -> Example:
        """Return textures of which one class is exactly 48×48."""
        good = draw_textures(16)
        return Example(
            tuple(
                ExampleImage(
                    one.name,
                    draw_texture(at, 48, 48)
                    if one.class_name == "CEX"
                    else draw_texture(at, 52, 50 + at % 7),
                )
                for at, one in enumerate(good.images)
            )
        )


class ImageShortcut(_ShortcutCheck):
    """A plain statistic of the pixels tells the class."""

    name = "picture-shortcut"
    severity = "warning"
    kind = "picture"
    rule = "skill (balanced accuracy from 0, guessing, to 1, always right) of one statistic over groups, from"
    threshold = 0.3
    source = (
        "a margin on top of the test, by 200 clean drawn sets of 30 to 600 crops; "
        "wider than for files, as real classes may look different for a good reason"
    )
    todo = (
        "It may be the crystals themselves, or lamp, focus and gain. Check: were the classes taken in other "
        "batches or on other days? Compare images of both side by side, and test the model on a batch "
        "that it has not seen."
    )

    def bad_example(self) -> Example:
        """Return textures of which one class is brighter."""
        good = draw_textures(16)
        return Example(
            tuple(
                ExampleImage(
                    one.name,
                    one.image + np.uint8(40)
                    if one.class_name == "CEX" and one.image is not None
                    else one.image,
                )
                for one in good.images
            )
        )
