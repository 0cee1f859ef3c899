"""Predictions for other class frequencies than the model was fitted with: ``georgia.uncertainty.prior``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from georgia.files import OutputLock
from georgia.labels import UNKNOWN
from georgia.model.bundle import Bundle
from georgia.model.engines import Computation
from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.predictor import Predictor
from georgia.predict.tables import check_table_path, write_table
from georgia.progress import QUIET, Progress
from georgia.uncertainty.prior import ESTIMATE, Prior, estimate_prior, find_fitted_frequencies, read_prior


def predict_with_prior(
    predictor: Predictor,
    paths: Iterable[Path],
    text: str,
    target: Path | None = None,
    progress: Progress = QUIET,
) -> tuple[list[Outcome], dict[str, Any]]:
    """Return all outcomes, corrected, and what is to be said of the prior; write them into ``target``.

    All are in memory: frequencies are estimated from all of them before the first can be corrected.

    Raises:
        InputError: the prior or the model cannot be used, or another run is writing the table.
    """
    bundle = predictor.bundle
    if text.strip().lower() != ESTIMATE:
        make_prior(text, bundle, ())  # a wrong text is told before any image is read
    else:
        find_fitted_frequencies(bundle.labels, bundle.metadata)
    if target is not None:
        check_table_path(target)
    lock = OutputLock(target) if target is not None else None
    try:
        raw = list(predictor.iterate(paths, progress))
        prior = make_prior(text, bundle, raw)
        progress.say(f"note: {prior.describe()}")
        outcomes = [correct_outcome(outcome, prior) for outcome in raw]
        metadata = {"prior": prior.to_json_dict()}
        if target is not None:
            details = {**predictor.describe(), **metadata}
            write_table(target, outcomes, bundle.labels, Computation.of(predictor.engine), details)
    finally:
        if lock is not None:
            lock.release()
    return outcomes, metadata


def make_prior(text: str, bundle: Bundle, outcomes: Sequence[Outcome]) -> Prior:
    """Return the prior that ``text`` states, or the one that it asks to estimate from accepted images.

    Raises:
        InputError: the text or the model cannot be used, or no image was accepted.
    """
    fitted = find_fitted_frequencies(bundle.labels, bundle.metadata)
    if text.strip().lower() != ESTIMATE:
        return read_prior(text, bundle.labels, fitted)
    accepted = [each for each in outcomes if isinstance(each, Prediction) and each.label != UNKNOWN]
    rows = [[each.probabilities[name] for name in bundle.labels.names] for each in accepted]
    return estimate_prior(np.array(rows).reshape(len(rows), len(bundle.labels)), bundle.labels, fitted)


def correct_outcome(outcome: Outcome, prior: Prior) -> Outcome:
    """Return a prediction for the prior; rejected images stay rejected, and prediction sets as they are.

    The sets hold for each class alone, so they are as valid for other frequencies.
    """
    if not isinstance(outcome, Prediction):
        return outcome
    names = prior.labels.names
    row = prior.correct(np.array([[outcome.probabilities[name] for name in names]]))[0]
    probabilities = {name: float(value) for name, value in zip(names, row, strict=True)}
    if outcome.label == UNKNOWN:
        return replace(outcome, probabilities=probabilities)
    label = names[int(row.argmax())]
    return replace(outcome, label=label, probability=probabilities[label], probabilities=probabilities)
