"""Training: recipes, the loop, and the run folder with all its artifacts."""

from __future__ import annotations

from georgia.report.training_run import TrainingRun
from georgia.train.recipes import RECIPES, Recipe, TrainConfig, recipe_config
from georgia.train.run import train_model

# The name of version 0.1.
TrainResult = TrainingRun

__all__ = ["RECIPES", "Recipe", "TrainConfig", "TrainResult", "TrainingRun", "recipe_config", "train_model"]
