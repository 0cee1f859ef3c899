"""Which runs a study is made of: variants × grid × repeats × folds, each with its training settings."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from georgia.config import Config, Rule, at_least, parse_assignments
from georgia.errors import InputError, suggest
from georgia.train.recipes import RECIPES, TrainConfig, recipe_config

# Source: the Georgia Project's ablation: dropout none or 0.4 and 0.3, last 0 or 10 % trainable, five runs.
DROPOUT, TRAINABLE_FRACTION, REPEATS = (0.4, 0.3), 0.1, 5
LETTERS: dict[str, tuple[bool, float]] = {
    "A": (False, 0.0),
    "B": (False, TRAINABLE_FRACTION),
    "C": (True, 0.0),
    "D": (True, TRAINABLE_FRACTION),
}
# Short names for settings on a grid.
ALIASES = {"lr": "learning_rate"}
# What a letter decides by itself, and what a study decides for all of its runs.
_OF_LETTERS = ("dropout", "trainable_fraction")
_OF_STUDY = ("seed", "fractions", "order", "rehearse", "prefix", "study_name")


@dataclass(frozen=True)
class StudyConfig(Config):
    """What to compare, and how often.

    ``variants`` are the letters A to D of the source study (dropout none or 0.4 and 0.3, last 0 or 10 %
    of the base trainable), names of recipes, each as it is, or empty: A to D, or the recipe as it is
    where a grid or folds are asked for. ``repeats`` 0 is 5, or 1 with folds. ``folds`` 0 keeps one
    split; k tests every image once, in k runs. ``grid`` holds axes such as ``lr=0.1,0.01``, whose
    values are all combined; several numbers of one value are written ``0.4/0.3``.
    """

    recipe: str = "fast"
    variants: tuple[str, ...] = ()
    repeats: Annotated[int, at_least(0)] = 0
    folds: Annotated[int, Rule("0, or 2 or more", lambda value: value == 0 or value >= 2)] = 0
    grid: tuple[str, ...] = ()

    def find_faults(self) -> Sequence[str]:
        """Return a line if a variant stands twice."""
        if len(set(self.variants)) == len(self.variants):
            return ()
        return (f"variants must be different; got {', '.join(self.variants)}",)

    @property
    def n_repeats(self) -> int:
        """How often each variant runs."""
        return self.repeats or (1 if self.folds else REPEATS)

    @property
    def chosen_variants(self) -> tuple[str, ...]:
        """The variants asked for, or those that stand for none."""
        if self.variants:
            return self.variants
        return (self.recipe,) if self.grid or self.folds else tuple(LETTERS)


@dataclass(frozen=True)
class PlannedRun:
    """One run: ``variant`` names its settings, ``repeat`` (from 1) its seed, ``fold`` (from 1) its split."""

    variant: str
    repeat: int
    fold: int
    config: TrainConfig

    @property
    def name(self) -> str:
        """The run's name, which is also its folder's, such as ``D-3`` or ``fast-1-fold2``."""
        fold = f"-fold{self.fold}" if self.fold else ""
        return f"{self.variant.replace('/', '+').replace(' ', '_')}-{self.repeat}{fold}"


def plan_runs(study: StudyConfig, changes: Mapping[str, Any] | None = None) -> tuple[PlannedRun, ...]:
    """Return all runs of a study, variant after variant; ``changes`` are training settings for all.

    Repeat r takes the seed plus r − 1: same split, other weights, order and views.

    >>> [run.name for run in plan_runs(StudyConfig(variants=("A", "D"), repeats=2))]
    ['A-1', 'A-2', 'D-1', 'D-2']

    Raises:
        InputError: variants, grid or settings cannot be used; all faults of the grid's points at once.
    """
    given = dict(changes or {})
    axes = parse_grid(study.grid)
    _check_settings(study, given, axes)
    runs = []
    for variant, point in itertools.product(study.chosen_variants, _combine(axes)):
        label, config = _settle(study, variant, given, point)
        for repeat in range(1, study.n_repeats + 1):
            seeded = dataclasses.replace(config, seed=config.seed + repeat - 1)
            runs += [PlannedRun(label, repeat, fold, seeded) for fold in _folds(study)]
    names = [run.name for run in runs]
    if len(set(names)) != len(names):
        raise InputError(
            "Cannot plan the study", needs="each value of a grid may stand once", got=", ".join(names)
        )
    return tuple(runs)


def parse_grid(axes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each axis by setting, from texts such as ``lr=0.1,0.01 backbone=a,b``.

    Names of version 0.1 stay as they are given: runs that it named so are found again.

    >>> parse_grid(["lr=0.1,0.01 epochs=3"])
    {'learning_rate': ('0.1', '0.01'), 'epochs': ('3',)}

    Raises:
        InputError: a text has no ``=``, names no setting, or one that a study fixes for all runs.
    """
    known = {field.name for field in dataclasses.fields(TrainConfig)} - set(_OF_STUDY)
    found: dict[str, tuple[str, ...]] = {}
    faults = []
    for key, text in parse_assignments(item for axis in axes for item in axis.split()).items():
        name = ALIASES.get(key, key.replace("-", "_"))
        values = tuple(value.strip() for value in text.split(",") if value.strip())
        if name in _OF_STUDY:
            faults.append(f"{key!r} is the same for all runs of a study")
        elif _setting_of(name) not in known:
            faults.append(f"{key!r} is no setting.{suggest(key, known)}")
        elif not values or _setting_of(name) in map(_setting_of, found):
            faults.append(f"{key!r} needs values, in one word")
        found[name] = values
    if faults:
        hint = "Example: --grid lr=1e-1,1e-2 --grid backbone=efficientnet-lite0,efficientnet-lite1."
        raise InputError(f"Cannot use the grid: {' · '.join(faults)}. {hint}")
    return found


def _setting_of(name: str) -> str:
    return TrainConfig.renamed.get(name, name)


def describe_dropout(config: TrainConfig) -> str:
    """Return the table's text for a run's dropout layers, such as ``0.4, 0.3`` or ``none``."""
    rates = [*([config.feature_dropout] if config.feature_dropout else []), *filter(None, config.dropout)]
    return ", ".join(f"{rate:g}" for rate in rates) or "none"


def _combine(axes: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _folds(study: StudyConfig) -> range:
    return range(1, study.folds + 1) if study.folds else range(1)


def _settle(
    study: StudyConfig, variant: str, given: Mapping[str, Any], point: Mapping[str, str]
) -> tuple[str, TrainConfig]:
    """Return a variant's label and its training settings at one point of the grid."""
    settings: dict[str, Any] = {key: _read_value(key, value) for key, value in point.items()}
    recipe = str(settings.pop("recipe", study.recipe if variant in LETTERS else variant))
    config = recipe_config(recipe, given, settings)
    if variant in LETTERS:
        config = recipe_config(recipe, given, settings, _letter_settings(config, variant))
    short = {name: alias for alias, name in ALIASES.items()}
    assignments = [f"{short.get(key, key)}={value}" for key, value in point.items()]
    bare = not study.variants and bool(assignments)
    return " ".join([*([] if bare else [variant]), *assignments]), config


def _letter_settings(base: TrainConfig, letter: str) -> dict[str, Any]:
    with_dropout, fraction = LETTERS[letter]
    settings: dict[str, Any] = {"trainable_fraction": fraction}
    if base.refit == "auto":
        # It needs a frozen backbone: A and C would differ from B and D in it too.
        settings["refit"] = "no"
    if fraction:
        settings["standardize"] = False
    if not with_dropout:
        return {**settings, "dropout": (), "feature_dropout": 0.0}
    n_hidden = len(base.head_units)
    if not n_hidden:
        raise InputError(
            f"Cannot make variant {letter}",
            needs=f"dropout follows hidden layers of the head, and recipe {base.recipe!r} must have some",
            got="none",
            hint="Choose --variants A,B, or --set head_units=512,256.",
        )
    return {**settings, "dropout": (*DROPOUT, *DROPOUT[-1:] * n_hidden)[:n_hidden]}


def _read_value(key: str, text: str) -> Any:
    """Return a grid's value: lists are written with slashes, an empty list as none."""
    kind = typing.get_type_hints(TrainConfig).get(_setting_of(key))
    if typing.get_origin(kind) is not tuple:
        return text
    return [] if text.lower() == "none" else text.split("/")


def _check_settings(study: StudyConfig, changes: Mapping[str, Any], axes: Mapping[str, Any]) -> None:
    names = {recipe.name for recipe in RECIPES}
    faults = [
        f"{variant!r} is no variant.{suggest(variant, [*LETTERS, *names])}"
        for variant in study.chosen_variants
        if variant not in names and variant not in LETTERS
    ]
    letters = [variant for variant in study.chosen_variants if variant in LETTERS]
    given = {_setting_of(key) for key in changes}
    clash = [key for key in _OF_LETTERS if letters and key in given.union(map(_setting_of, axes))]
    faults += [f"{key!r} is what the variants {', '.join(letters)} differ in" for key in clash]
    faults += [
        f"{ALIASES.get(key, key)!r} is set and on the grid"
        for key in axes
        if _setting_of(key) in map(_setting_of, given)
    ]
    if faults:
        rule = f"Variants are {', '.join(LETTERS)} and the recipes {', '.join(sorted(names))}."
        raise InputError(f"Cannot plan the study: {' · '.join(faults)}. {rule}")
