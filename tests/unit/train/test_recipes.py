"""Recipes: the study's settings are the study's, and unknown or impossible settings are one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from georgia.errors import InputError
from georgia.train.recipes import RECIPES, TrainConfig, recipe_config, rename_settings


def test_georgia_recipe_is_the_study() -> None:
    config = recipe_config("georgia")
    assert (config.backbone, config.head_units, config.dropout) == ("resnet101", (512, 256), (0.4, 0.3))
    assert (config.optimizer, config.learning_rate, config.momentum, config.batch_size) == (
        "sgd",
        0.1,
        0.9,
        64,
    )
    assert (config.f1_threshold, config.patience, config.min_delta, config.epochs) == (0.997, 50, 0.001, 100)
    assert (config.augmentation, config.seed, config.prefix, config.fractions) == (
        "study",
        42,
        "GA",
        (0.7, 0.25, 0.05),
    )
    assert replace(config, rehearse=True).effective_epochs() == 3


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES])
def test_recipe_takes_known_settings_only(recipe: str) -> None:
    assert recipe_config(recipe, {"seed": "7"}).seed == 7
    with pytest.raises(InputError, match="'learning_rat' is no setting. Did you mean 'learning_rate'"):
        recipe_config(recipe, {"learning_rat": 1})
    with pytest.raises(InputError, match="batch_size must be from 1 to 65536; got 0"):
        recipe_config(recipe, {"batch_size": 0})


def test_old_name_of_fraction_is_read() -> None:
    with pytest.warns(FutureWarning, match="'trainable_share' is now called 'trainable_fraction'"):
        assert recipe_config("georgia", {"trainable_share": "0.2"}).trainable_fraction == 0.2
    assert rename_settings({"trainable_share": 0.1, "seed": 1}) == {"trainable_fraction": 0.1, "seed": 1}


def test_number_stands_for_list_of_one() -> None:
    config = recipe_config("fast", {"head_units": 64, "dropout": 0.25})
    assert config == recipe_config("fast", {"head_units": "64", "dropout": "0.25"})
    assert (config.head_units, config.dropout) == ((64,), (0.25,))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dropout": (0.5, 0.5)}, r"dropout must be empty or 1 values; got \[0.5, 0.5\]"),
        ({"trainable_fraction": 0.1}, "standardize must be off where layers of the backbone are trained"),
        (
            {"momentum": 1, "seed": -1},
            "momentum must be from 0 to below 1; got 1.0 · seed must be from 0",
        ),
        ({"window_px": 8}, "window_px must be 0 or 16 and more; got 8"),
        ({"prefix": "a/b"}, "prefix must be letters that a file name may hold; got 'a/b'"),
    ],
)
def test_settings_that_clash_are_rejected(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        recipe_config("fast", changes)


def test_refit_needs_a_frozen_backbone() -> None:
    with pytest.raises(InputError, match="refit must be off"):
        recipe_config("georgia", {"refit": "yes"})
    assert recipe_config("fast", {"refit": "yes"}).refit == "yes"


def test_fast_averages_views_published_do_not() -> None:
    assert recipe_config("fast").symmetry == "canonical"
    assert {recipe_config(recipe.name).symmetry for recipe in RECIPES[1:]} == {"none"}
    # What version 0.1 wrote says nothing of it, and did nothing.
    assert TrainConfig().symmetry == "none"
