"""Predictions of an exported model for files."""

from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.predictions import Predictions
from georgia.predict.predictor import (
    FEW,
    Alter,
    Image,
    PredictConfig,
    Predictor,
    for_few,
    iter_predictions,
    predict_files,
)

__all__ = [
    "FEW",
    "Alter",
    "Image",
    "Outcome",
    "PredictConfig",
    "Prediction",
    "Predictions",
    "Predictor",
    "for_few",
    "iter_predictions",
    "predict_files",
]
