"""Training: recipes, the loop, and the run folder with all its deliverables."""

from __future__ import annotations

from georgia.train.recipes import RECIPES, Recipe, TrainConfig, recipe_config
from georgia.train.run import TrainResult, train_model

__all__ = ["RECIPES", "Recipe", "TrainConfig", "TrainResult", "recipe_config", "train_model"]
