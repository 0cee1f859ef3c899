"""Recipes: named sets of training settings, each setting changeable by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from georgia.config import build_config
from georgia.errors import InputError
from georgia.images.augment import AugmentName
from georgia.registry import find_by_name

# Source: the Georgia Project's split, and "rehearsal" mode.
FRACTIONS = (0.70, 0.25, 0.05)
REHEARSE_EPOCHS = 3
REHEARSE_SHARE = 0.10


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on, beside the images.

    ``head_features`` "levels" shows the head the means of the backbone's middle stages, "last" those
    of its last map; ``standardize`` brings each to mean 0 and spread 1 over the training images.
    ``dropout`` has one value a hidden layer of ``head_units``, or is empty for none.
    ``trainable_share`` of the backbone's layers, counted from its end, learn; 0 freezes it whole.
    ``base_norm`` "frozen" keeps the batch norms among them in inference mode: right for small sets.
    ``views`` augmented views of each image are drawn once and kept, the image itself among
    them; 0 draws a new one every epoch, as the study does.
    ``output`` "auto" is one sigmoid for two classes and softmax otherwise.
    ``geometry`` "stretch" fits each image to the square, "scale" shows the middle ``window_px`` pixels of
    all images at one scale (0: as much as nearly every image has) with more jitter of the scale, and
    "auto" does so if the audit finds that the file's size tells the class.
    ``audit`` looks at the data first; findings of the checks in ``allow`` do not stop the run.
    ``precision`` "auto" is bfloat16 where the machine computes in it; ``feature_cache_gb`` bounds what
    later runs find of the frozen part's work, 0 keeps nothing; ``int8`` exports an 8-bit file too.
    ``robustness`` test images are tried under 17 changes once the net is exported; 0 tries none.
    ``f1_threshold`` 0 trains all epochs; ``patience`` 0 never stops on the validation loss.
    """

    recipe: str = "fast"
    backbone: str = "efficientnet-lite0"
    weights: str = "imagenet"
    head_features: Literal["last", "levels"] = "levels"
    standardize: bool = True
    feature_dropout: float = 0.1
    head_units: tuple[int, ...] = (512,)
    head_norm: bool = False
    dropout: tuple[float, ...] = (0.5,)
    trainable_share: float = 0.0
    base_norm: Literal["train", "frozen"] = "frozen"
    output: Literal["auto", "sigmoid", "softmax"] = "softmax"
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.1
    schedule: Literal["constant", "cosine"] = "cosine"
    label_smoothing: float = 0.1
    class_weights: bool = True
    batch_size: int = 64
    epochs: int = 40
    augmentation: AugmentName = "crystal"
    views: int = 8
    f1_threshold: float = 0.0
    patience: int = 0
    min_delta: float = 0.0
    seed: int = 42
    size_px: int = 224
    fractions: tuple[float, ...] = FRACTIONS
    order: Literal["grouped", "name"] = "grouped"
    geometry: Literal["auto", "stretch", "scale"] = "auto"
    window_px: float = 0.0
    audit: bool = True
    allow: tuple[str, ...] = ()
    prefix: str = "GA"
    study_name: str = "Georgia"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    feature_cache_gb: float = 10.0
    int8: bool = False
    rehearse: bool = False
    robustness: int = 100

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be {rule}; got {value!r}" for name, rule, value, ok in self._rules() if not ok
        ]
        if faults:
            raise InputError(" · ".join(faults))

    def _rules(self) -> list[tuple[str, str, Any, bool]]:
        n_hidden = len(self.head_units)
        return [
            ("batch_size", "1 or more", self.batch_size, self.batch_size >= 1),
            ("epochs", "1 or more", self.epochs, self.epochs >= 1),
            ("robustness", "0 or more", self.robustness, self.robustness >= 0),
            ("learning_rate", "above 0", self.learning_rate, self.learning_rate > 0),
            ("momentum", "from 0 to below 1", self.momentum, 0 <= self.momentum < 1),
            ("trainable_share", "from 0 to 1", self.trainable_share, 0 <= self.trainable_share <= 1),
            (
                "dropout",
                "fractions from 0 to below 1",
                self.dropout,
                all(0 <= rate < 1 for rate in self.dropout),
            ),
            ("dropout", f"empty or {n_hidden} values", self.dropout, len(self.dropout) in (0, n_hidden)),
            ("head_units", "counts of 1 or more", self.head_units, all(n >= 1 for n in self.head_units)),
            ("f1_threshold", "from 0 to 1", self.f1_threshold, 0 <= self.f1_threshold <= 1),
            ("label_smoothing", "from 0 to below 1", self.label_smoothing, 0 <= self.label_smoothing < 1),
            ("views", "0 or more", self.views, self.views >= 0),
            ("feature_dropout", "from 0 to below 1", self.feature_dropout, 0 <= self.feature_dropout < 1),
            (
                "standardize",
                "off where base layers learn",
                True,
                not (self.standardize and self.trainable_share),
            ),
            ("patience", "0 or more", self.patience, self.patience >= 0),
            ("window_px", "0 or 16 and more", self.window_px, self.window_px == 0 or self.window_px >= 16),
            (
                "geometry",
                "with window_px where nothing is audited",
                self.geometry,
                self.geometry != "scale" or self.audit or self.window_px > 0,
            ),
            ("size_px", "32 or more", self.size_px, self.size_px >= 32),
            ("feature_cache_gb", "0 or more", self.feature_cache_gb, self.feature_cache_gb >= 0),
            ("seed", "0 or more", self.seed, self.seed >= 0),
            (
                "prefix",
                "letters that a file name may hold",
                self.prefix,
                not set(self.prefix) & set('/\\:*?"<>|'),
            ),
        ]

    def effective_epochs(self) -> int:
        """Return how many epochs may run: three in a rehearsal, unless fewer are asked for."""
        return min(self.epochs, REHEARSE_EPOCHS) if self.rehearse else self.epochs

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Recipe:
    """A named set of settings, with one line on what it is for."""

    name: str
    about: str
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
    "trainable_share": 0.1,
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
    "seed": 42,
}
_SALAMI: dict[str, Any] = {
    **_STUDY,
    "head_units": (),
    "head_norm": False,
    "dropout": (),
    "trainable_share": 1.0,
    "output": "softmax",
    "learning_rate": 1e-4,
    "batch_size": 32,
}
RECIPES: tuple[Recipe, ...] = (
    Recipe("fast", "EfficientNet-Lite0, offline: the default, minutes on two cores"),
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
