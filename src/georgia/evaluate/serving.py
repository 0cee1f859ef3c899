"""The exported file on validation images: does it accept what it states, and what would bfloat16 change?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from georgia.evaluate.assessment import Acceptance
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import group_codes, group_weights
from georgia.model.bundle import Bundle
from georgia.model.engines import OpenVinoEngine, Outputs, list_capabilities
from georgia.predict.precision import PrecisionTrial, compare_precisions
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record
from georgia.uncertainty.ood import TRUE_ACCEPTANCE

# The most images that are predicted, for time.
MAX_ACCEPTANCE, MAX_PRECISION = 1000, 200


def prove_serving(bundle: Bundle, records: Sequence[Record], progress: Progress = QUIET) -> dict[str, Any]:
    """Return what ``bundle.json`` holds under "acceptance" and "precision", from validation images."""
    acceptance, trial = measure_acceptance(bundle, records, progress), try_bfloat16(bundle, records, progress)
    found: dict[str, Any] = {"precision": {"served": "float32", "bfloat16": trial.to_json_dict()}}
    return found if acceptance is None else {"acceptance": acceptance.to_json_dict(), **found}


def measure_acceptance(
    bundle: Bundle, records: Sequence[Record], progress: Progress = QUIET
) -> Acceptance | None:
    """Return how many validation images the exported file accepts, each group with weight 1.

    None where the model rejects nothing, or no image can be read.
    """
    if bundle.thresholds.threshold is None:
        return None
    chosen = _subsample(records, MAX_ACCEPTANCE)
    predictor = Predictor(bundle, PredictConfig(precision="float32"))
    predictions = predictor.predict([record.path for record in chosen], progress)
    if not predictions.items:
        return None
    lost = {failure.path for failure in predictions.failed}
    codes = group_codes(
        [record.group for record in chosen if record.path not in lost], len(predictions.items)
    )
    weights = group_weights(codes)
    is_accepted = np.array([item.label != UNKNOWN for item in predictions.items])
    unknown = bundle.metadata.get("unknown") or {}
    return Acceptance(
        fraction=float(weights @ is_accepted / weights.sum()),
        stated=float(unknown.get("true_acceptance", TRUE_ACCEPTANCE)),
        n=len(predictions.items),
        n_groups=len(np.unique(codes)),
    )


def try_bfloat16(
    bundle: Bundle,
    records: Sequence[Record],
    progress: Progress = QUIET,
    is_emulated: bool | None = None,
) -> PrecisionTrial:
    """Return what bfloat16 changes on validation images; emulated where the processor does not have it."""
    if is_emulated is None:
        is_emulated = "BF16" not in list_capabilities()
    paths = [record.path for record in _subsample(records, MAX_PRECISION)]
    low = OpenVinoEngine(bundle.model_path, bundle.preprocess, precision="bfloat16", is_emulated=is_emulated)
    found: list[list[Outputs]] = [[], []]
    predictor = Predictor(bundle, PredictConfig(engine="openvino", precision="float32"))
    for outputs, engine in zip(found, (predictor.engine, low), strict=True):
        predictor.engine = engine
        for entries, batch in predictor.iterate_outputs(paths, progress):
            if any(not isinstance(entry, Failure) for entry in entries):
                outputs.append(
                    {key: batch[key] for key in ("probabilities", "unknown_score") if key in batch}
                )
    full, rounded = (_join(outputs, len(bundle.labels)) for outputs in found)
    return compare_precisions(full, rounded, bundle.thresholds, is_emulated)


def _join(batches: Sequence[Outputs], n_classes: int) -> Outputs:
    if not batches:
        return {"probabilities": np.empty((0, n_classes), np.float32)}
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def _subsample(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most that many records, a fixed random sample in their order."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:most])
    return [records[index] for index in chosen]
