"""Recipes: named sets of training settings, each setting changeable by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from georgia.config import Config, Rule, Seed, above, at_least, between, build_config
from georgia.images.augment import AugmentName
from georgia.images.symmetry import SymmetryMode
from georgia.registry import find_by_name

# Source: the Georgia Project's split, and its "rehearsal" mode.
FRACTIONS = (0.70, 0.25, 0.05)
DRY_RUN_EPOCHS = 3
DRY_RUN_FRACTION = 0.10
# Below so many images folds are advised, as 5 % of them are too few test images, and ``refit`` is on.
SMALL_SET = 1000


Fraction = Annotated[float, between(0, 1)]
# A rate such as dropout: all of it would leave nothing.
Rate = Annotated[float, Rule("from 0 to below 1", lambda value: 0 <= value < 1)]
AtLeast0 = Annotated[int, at_least(0)]
AtLeast1 = Annotated[int, at_least(1)]


@dataclass(frozen=True)
class TrainConfig(Config):
    """Everything that a training run depends on, beside the images.

    ``head_features`` "levels" shows the head the means of the backbone's middle stages, "last" those
    of its last map; ``standardize`` brings each to mean 0 and spread 1 over the training images.
    ``dropout`` has one value a hidden layer of ``head_units``, or is empty for none.
    ``trainable_fraction`` of the backbone's layers, counted from its end, are trained; 0 freezes it whole.
    ``base_norm`` "frozen" keeps the batch norms among them in inference mode: best for small sets.
    ``views`` augmented views of each image are made once and kept, the image itself among
    them; 0 makes a new one every epoch, as the study does.
    ``output`` "auto" is one sigmoid for two classes and softmax otherwise.
    ``geometry`` "stretch" fits each image to the square, "fit" keeps its aspect and pads it, "scale" shows
    the middle ``window_px`` pixels of all images at one scale (0: as much as nearly every image has) with
    more jitter of the scale. "auto" fits crops cut tightly around particles, else shows one scale if the
    audit finds that the file's size tells the class, else stretches.
    ``symmetry`` "average" makes predictions equal for all rotations by 90° and reflections of an image: the
    shipped net runs on all eight and averages, eight times the cost of a prediction. "canonical" does so in
    one run, on an orientation that each image's light decides; "none" leaves it to the augmentation.
    ``audit`` examines the data first; findings of the checks in ``allow`` do not stop the run.
    ``precision`` "auto" is float32, "bfloat16" needs a machine that computes in it; ``feature_cache_gb``
    bounds the features kept for later runs, 0 keeps none; ``int8`` exports an 8-bit file too.
    ``robustness`` test images are tried under 17 perturbations once the net is exported; 0 tries none.
    ``foreign_material`` "rendered" fits the unknown score against rendered crystals of other kinds, bubbles,
    fibres and empty grounds too, which may then be none of the classes; "auto" does so for CEX and PG.
    ``f1_threshold`` 0 trains all epochs; ``patience`` 0 never stops on the validation loss.
    ``refit`` trains the head once more, from the start and for as many epochs as were kept, on training and
    validation images together, ``heads`` times, and averages the heads to one; thresholds stay those of the
    first net, which had not learned the latter. "auto" does so below 1,000 images, on a frozen backbone.
    """

    renamed: ClassVar[Mapping[str, str]] = {"trainable_share": "trainable_fraction"}

    recipe: str = "fast"
    backbone: str = "efficientnet-lite0"
    weights: str = "imagenet"
    head_features: Literal["last", "levels"] = "levels"
    standardize: bool = True
    feature_dropout: Rate = 0.1
    head_units: Annotated[tuple[int, ...], between(1, 65_536)] = (512,)
    head_norm: bool = False
    dropout: Annotated[tuple[float, ...], Rule("from 0 to below 1", lambda value: 0 <= value < 1)] = (0.5,)
    trainable_fraction: Fraction = 0.0
    base_norm: Literal["train", "frozen"] = "frozen"
    output: Literal["auto", "sigmoid", "softmax"] = "softmax"
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, above(0)] = 1e-3
    momentum: Rate = 0.9
    weight_decay: Annotated[float, at_least(0)] = 0.1
    schedule: Literal["constant", "cosine"] = "cosine"
    label_smoothing: Rate = 0.1
    class_weights: bool = True
    batch_size: Annotated[int, between(1, 65_536)] = 64
    epochs: AtLeast1 = 40
    augmentation: AugmentName = "crystal"
    views: Annotated[int, between(0, 1000)] = 8
    f1_threshold: Fraction = 0.0
    patience: AtLeast0 = 0
    min_delta: Annotated[float, at_least(0)] = 0.0
    refit: Literal["auto", "yes", "no"] = "auto"
    # More than 32 bring nothing that the first 8 do not.
    heads: Annotated[int, between(1, 32)] = 4
    seed: Seed = 42
    # No backbone here was trained above 600 px; more than 2,048 is taken for a typing error.
    size_px: Annotated[int, between(32, 2048)] = 224
    fractions: Annotated[tuple[float, ...], between(0, 1)] = FRACTIONS
    order: Literal["grouped", "name"] = "grouped"
    geometry: Literal["auto", "stretch", "fit", "scale"] = "auto"
    window_px: Annotated[float, Rule("0 or 16 and more", lambda value: value == 0 or value >= 16)] = 0.0
    symmetry: SymmetryMode = "none"
    foreign_material: Literal["auto", "rendered", "none"] = "auto"
    audit: bool = True
    allow: tuple[str, ...] = ()
    prefix: Annotated[
        str, Rule("letters that a file name may hold", lambda text: not set(text) & set('/\\:*?"<>|'))
    ] = "GA"
    study_name: str = "Georgia"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    feature_cache_gb: Annotated[float, at_least(0)] = 10.0
    int8: bool = False
    rehearse: bool = False
    robustness: AtLeast0 = 100

    def find_faults(self) -> Iterator[str]:
        """Yield one line for each pair of settings that do not go together."""
        n_hidden = len(self.head_units)
        if len(self.dropout) not in (0, n_hidden):
            yield f"dropout must be empty or {n_hidden} values; got {list(self.dropout)!r}"
        if self.standardize and self.trainable_fraction:
            yield "standardize must be off where layers of the backbone are trained; got True"
        if self.refit == "yes" and self.trainable_fraction:
            yield "refit must be off where layers of the backbone are trained; got 'yes'"
        if self.geometry == "scale" and not self.audit and not self.window_px:
            yield "geometry must be with window_px where nothing is audited; got 'scale'"

    def effective_epochs(self) -> int:
        """Return how many epochs may run: three in a dry run, unless fewer are asked for."""
        return min(self.epochs, DRY_RUN_EPOCHS) if self.rehearse else self.epochs

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


# Settings of later versions: left out, each at its default does what an earlier version did, up to the last
# epoch.
ADDED_SETTINGS = ("refit", "heads", "symmetry", "foreign_material")


def rename_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return training settings that version 0.1 may have written, under their present names."""
    return {TrainConfig.renamed.get(name, name): value for name, value in settings.items()}


def without_added(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, to compare them, without those of later versions at their recipe's defaults."""
    recipe = next((recipe for recipe in RECIPES if recipe.name == settings.get("recipe")), RECIPES[0])
    default = {**TrainConfig().to_dict(), **recipe.settings}
    is_plain = {name for name in ADDED_SETTINGS if settings.get(name) == default[name]}
    if settings.get("refit") == "no":  # as all earlier versions did
        is_plain.add("refit")
    return {name: value for name, value in settings.items() if name not in is_plain}


@dataclass(frozen=True)
class Recipe:
    """A named set of settings; ``summary`` says in one line what it is for."""

    name: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)


# Source: DOMAIN facts of the Georgia Project (Keras 2.10 code of 2025) and of Salami et al. 2021,
# doi 10.1021/acs.oprd.1c00136; what neither states is Keras' default.
_STUDY: dict[str, Any] = {
    "backbone": "resnet101",
    "head_features": "last",
    "standardize": False,
    "feature_dropout": 0.0,
    "head_units": (512, 256),
    "head_norm": True,
    "dropout": (0.4, 0.3),
    "trainable_fraction": 0.1,
    "base_norm": "train",
    "output": "auto",
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "constant",
    "label_smoothing": 0.0,
    "class_weights": False,
    "batch_size": 64,
    "epochs": 100,
    "augmentation": "study",
    "geometry": "stretch",
    "views": 0,
    "f1_threshold": 0.997,
    "patience": 50,
    "min_delta": 0.001,
    "refit": "no",
    "seed": 42,
}
_SALAMI: dict[str, Any] = {
    **_STUDY,
    "head_units": (),
    "head_norm": False,
    "dropout": (),
    "trainable_fraction": 1.0,
    "output": "softmax",
    "learning_rate": 1e-4,
    "batch_size": 32,
}
RECIPES: tuple[Recipe, ...] = (
    # The published recipes stay as published. One canonical orientation costs nothing; averaging makes every
    # prediction eight times as slow: docs/measurements/symmetry.md.
    Recipe(
        "fast", "EfficientNet-Lite0, offline: the default, minutes on two cores", {"symmetry": "canonical"}
    ),
    Recipe("georgia", "the Georgia Project: ResNet-101, last tenth trainable, SGD 0.1", _STUDY),
    Recipe("salami-18", "Salami et al. 2021: ResNet-18, SGDM 1e-4", {**_SALAMI, "backbone": "resnet18"}),
    Recipe("salami-50", "Salami et al. 2021: ResNet-50, SGDM 1e-4", {**_SALAMI, "backbone": "resnet50"}),
)


def recipe_config(name: str, *changes: Mapping[str, Any]) -> TrainConfig:
    """Return a recipe's settings with changes on top, the last layer winning.

    Raises:
        InputError: no recipe has that name, or a setting is unknown or wrong.
    """
    recipe = find_by_name("recipe", name, RECIPES)
    return build_config(
        TrainConfig, recipe.settings, *changes, {"recipe": recipe.name}, where="the training settings"
    )
