"""The exported file on validation images: does it accept what it states, and what would bfloat16 change?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from georgia.evaluate.assessment import Acceptance
from georgia.images.decode import iter_images
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import group_codes, group_weights
from georgia.model.bundle import Bundle
from georgia.model.engines import (
    BATCH_SIZE,
    OpenVinoEngine,
    Outputs,
    find_int8_units,
    list_capabilities,
)
from georgia.model.views_net import STEPS, ViewsNet
from georgia.predict.precision import PrecisionTrial, compare_precisions
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.predict.stepwise import ViewsTrial, try_steps
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record
from georgia.uncertainty.ood import TRUE_ACCEPTANCE

# The most images that are predicted, for time.
MAX_ACCEPTANCE, MAX_PRECISION = 1000, 400
# Two views scatter more than rounding does: of 400 synthetic crops one sample gave bands half as wide as
# another.
MAX_VIEWS_TRIAL = 1000


def prove_serving(
    bundle: Bundle,
    records: Sequence[Record],
    progress: Progress = QUIET,
    rounded: Sequence[Record] | None = None,
) -> dict[str, Any]:
    """Return what ``bundle.json`` holds under "acceptance" and "precision", from validation images.

    ``rounded`` are the images that bfloat16 is tried on, where these are others.
    """
    acceptance = measure_acceptance(bundle, records, progress)
    trial = try_bfloat16(bundle, records if rounded is None else rounded, progress)
    tried = {"bfloat16": trial.to_json_dict()}
    if bundle.preprocess.symmetry == "average":
        tried["rotations"] = try_rotations(bundle, records, progress).to_json_dict()
        tried["views"] = try_views(bundle, records).to_json_dict()
    found: dict[str, Any] = {"precision": {"served": "float32", **tried}}
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
        # Sums of weights that are not exact may come out a hair above 1.
        fraction=min(1.0, float(weights @ is_accepted / weights.sum())),
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
    low = OpenVinoEngine(bundle.model_path, bundle.preprocess, precision="bfloat16", is_emulated=is_emulated)
    return _compare(bundle, low, records, progress, is_emulated)


def try_rotations(bundle: Bundle, records: Sequence[Record], progress: Progress = QUIET) -> PrecisionTrial:
    """Return what four of a model's eight views change on validation images."""
    low = OpenVinoEngine(bundle.model_path, bundle.preprocess, precision="rotations")
    return _compare(bundle, low, records, progress)


def try_views(bundle: Bundle, records: Sequence[Record]) -> ViewsTrial:
    """Return what views as needed, of a model's eight, change on validation images."""
    net = ViewsNet(bundle.model_path, bundle.preprocess)
    engine = OpenVinoEngine(bundle.model_path, bundle.preprocess)
    found: list[list[Outputs]] = [[] for _ in range(1 + len(STEPS))]
    paths = [record.path for record in _subsample(records, MAX_VIEWS_TRIAL)]
    for start in range(0, len(paths), BATCH_SIZE):
        read = iter_images(paths[start : start + BATCH_SIZE], transform=net.prepare)
        prepared = [image for _, image in read if not isinstance(image, Failure)]
        if prepared:
            for outputs, batch in zip(found, (engine.run(prepared), *net.run_steps(prepared)), strict=True):
                outputs.append(_keep_decided(batch))
    full, *steps = (_join(outputs, len(bundle.labels)) for outputs in found)
    return try_steps(steps, full, bundle.thresholds)


def try_int8(
    bundle: Bundle, file: Path, records: Sequence[Record], progress: Progress = QUIET
) -> dict[str, Any]:
    """Return what ``bundle.json`` holds under "precision", "int8": which file, and what it changes."""
    low = OpenVinoEngine(file, bundle.preprocess, precision="int8")
    trial = _compare(bundle, low, records, progress)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return {**trial.to_json_dict(), "file": file.name, "sha256": sha256, "units": find_int8_units()}


def _compare(
    bundle: Bundle,
    low: OpenVinoEngine,
    records: Sequence[Record],
    progress: Progress,
    is_emulated: bool = False,
) -> PrecisionTrial:
    paths = [record.path for record in _subsample(records, MAX_PRECISION)]
    found: list[list[Outputs]] = [[], []]
    predictor = Predictor(bundle, PredictConfig(engine="openvino", precision="float32"))
    for outputs, engine in zip(found, (predictor.engine, low), strict=True):
        predictor.engine = engine
        for entries, batch in predictor.iterate_outputs(paths, progress):
            if any(not isinstance(entry, Failure) for entry in entries):
                outputs.append(_keep_decided(batch))
    full, rounded = (_join(outputs, len(bundle.labels)) for outputs in found)
    return compare_precisions(full, rounded, bundle.thresholds, is_emulated)


def _keep_decided(batch: Outputs) -> Outputs:
    return {key: batch[key] for key in ("probabilities", "unknown_score") if key in batch}


def _join(batches: Sequence[Outputs], n_classes: int) -> Outputs:
    if not batches:
        return {"probabilities": np.empty((0, n_classes), np.float32)}
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def _subsample(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most that many records, a fixed random sample in their order."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:most])
    return [records[index] for index in chosen]
