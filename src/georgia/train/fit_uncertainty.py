"""Fit what tells how far a trained net's predictions can be trusted, on the outputs of the exported file.

The net is exported once as it is; that file is run on training and validation images, from disk to
prediction as in serving, and temperature, unknown score and conformal limits are fitted on its outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.export.onnx_file import export_onnx
from georgia.images.decode import iter_images, read_image
from georgia.labels import Labels
from georgia.model.engines import BATCH_SIZE, Engine, open_engine
from georgia.monitor.appearance import describe_known, measure_appearance
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record
from georgia.split.make import Split
from georgia.synthetic import FITTED_KINDS, render_empty, render_foreign
from georgia.synthetic.scene import CLASS_NAMES
from georgia.train.network import Network
from georgia.uncertainty.calibration import Calibration, fit_temperature, softmax
from georgia.uncertainty.conformal import ConformalLimits, fit_conformal
from georgia.uncertainty.decision import Uncertainty
from georgia.uncertainty.fit_ood import Measured, fit_ood_detector
from georgia.uncertainty.known_views import make_known_view
from georgia.uncertainty.ood import LIGHT, N_LIGHT, count_scales

# The most images that are measured, for time: about ten a number of the widest part of a small net,
# and 40 above the limit of the last per cent.
MAX_TRAIN, MAX_VALID = 2000, 4000
# Training images from which on every second one is measured as a view of itself, not as it is as well. Where
# the net runs eight times an image, so many are measured in one run, and set no limit.
ENOUGH_TRAIN = 800
# Net runs for views of validation images. Rendered images of other material, and of empty fields: beside
# fewer than ENOUGH_TRAIN training images, and beside more.
MAX_VIEW_RUNS = 2000
N_MATERIAL, N_EMPTY = (360, 1200), (40, 120)
# Validation images whose light, detail and structure are described, for commissioning.
MAX_DESCRIBED = 500
FloatArray = npt.NDArray[np.float32]
# Gives what a function measures, or what it measured before.
Recall = Callable[[Callable[[], FloatArray]], FloatArray]


@dataclass(frozen=True, eq=False)
class _Outputs:
    """Outputs of the exported file: ``logits`` (N, C), ``features`` (N, D), with the records, in order."""

    logits: FloatArray
    features: FloatArray
    records: tuple[Record, ...]

    @property
    def groups(self) -> list[str]:
        return [record.group for record in self.records]


def fit_uncertainty(
    network: Network,
    split: Split,
    layers: Sequence[str],
    progress: Progress = QUIET,
    foreign_material: str = "auto",
    recall: Recall = lambda measure: measure(),
    wrap: Callable[[Engine], Engine] = lambda engine: engine,
) -> Uncertainty:
    """Return temperature, unknown score and conformal limits; what there are too few images for is left out.

    ``layers`` names the layers that the unknown score reads; ``foreign_material`` is the recipe's setting.
    ``recall`` may keep the features of rendered material, which the net's head and the images do not change;
    ``wrap`` may give an engine that keeps those of images.
    """
    model, spec, labels = network.model, network.preprocess, split.labels
    material = None
    with tempfile.TemporaryDirectory(prefix="georgia-") as folder:
        file = Path(folder) / "measured.onnx"
        export_onnx(model, spec, labels, file, {}, measured_layers=layers)
        engine = wrap(open_engine(file, spec, precision="float32"))
        valid = _measure(engine, _subsample(split.subset("valid"), MAX_VALID), "measure validation", progress)
        if not valid.records:
            return Uncertainty()
        views = _subsample(valid.records, MAX_VIEW_RUNS // spec.n_views)
        known = [valid, _measure(engine, views, "measure views", progress, make_known_view)]
        records = _subsample(split.subset("train"), MAX_TRAIN)
        is_alike = spec.n_views == 1 or len(records) < ENOUGH_TRAIN
        if not is_alike:
            once = replace(spec, symmetry="none")
            export_onnx(model, once, labels, file, {}, measured_layers=layers)
            engine = wrap(open_engine(file, once, precision="float32"))
        step = 2 if len(records) >= ENOUGH_TRAIN or spec.n_views > 1 else 1
        train = [
            _measure(engine, records[::step], "measure training images", progress),
            _measure(engine, records[step - 1 :: step], "measure views", progress, make_known_view),
        ]
        if _is_rendered(foreign_material, labels):
            material = recall(lambda: _measure_material(engine, len(records) >= ENOUGH_TRAIN, progress))
    widths = {LIGHT: N_LIGHT + count_scales(spec.size_px)}
    widths |= {name: int(model.get_layer(name).output.shape[-1]) for name in layers}
    detector = None
    if any(outputs.records for outputs in train):
        detector = fit_ood_detector(
            _join(train, labels),
            _join(known, labels),
            widths,
            material=material,
            is_frozen=is_alike and not network.trainable_layers,
        )
    if detector is not None:
        numbers: dict[str, Any] = {"n_train": len(records), "n_valid": len(valid.records)}
        described = _subsample(valid.records, MAX_DESCRIBED)
        appearances = [measure_appearance(read_image(record.path)) for record in described]
        numbers["validation"] = describe_known(detector.score(valid.features), appearances)
        detector = replace(detector, metadata={**detector.metadata, **numbers})
    calibration, limits = _calibrate(valid, {record.group for record in split.subset("train")}, labels)
    return Uncertainty(calibration, detector, limits)


def _calibrate(
    valid: _Outputs, learned: Collection[str], labels: Labels
) -> tuple[Calibration, ConformalLimits]:
    """Return temperature and limits, fitted on the images of groups that the net has not learned.

    A split that leaks has others too: their probabilities are too good for those of a new group. If it has
    only such, the temperature is theirs, and every class is in every set.
    """
    truth = labels.indices([record.class_name for record in valid.records])
    is_new = np.array([not group or group not in learned for group in valid.groups])
    chosen = is_new if is_new.any() else np.ones_like(is_new)
    groups = [group for group, is_chosen in zip(valid.groups, chosen, strict=True) if is_chosen]
    calibration = fit_temperature(valid.logits[chosen], truth[chosen], groups)
    probabilities = softmax(valid.logits[is_new], calibration.temperature)
    new = groups if is_new.any() else []
    return calibration, fit_conformal(probabilities, truth[is_new], labels, new)


def _join(found: Sequence[_Outputs], labels: Labels) -> Measured:
    found = [outputs for outputs in found if outputs.records]
    records = [record for outputs in found for record in outputs.records]
    return Measured(
        np.concatenate([outputs.features for outputs in found]),
        # Without a group, an image and its view are one group.
        [record.group or str(record.path) for record in records],
        labels.indices([record.class_name for record in records]),
    )


def _is_rendered(foreign_material: str, labels: Labels) -> bool:
    """Tell whether foreign material is rendered: where asked for, or where no class can be of its kinds."""
    return foreign_material == "rendered" or (
        foreign_material == "auto" and set(labels.names) == set(CLASS_NAMES)
    )


def _measure_material(engine: Engine, is_large: bool, progress: Progress) -> FloatArray:
    """Return the features of rendered foreign material of the fitted kinds, and of empty fields."""
    n_material, n_empty = N_MATERIAL[is_large], N_EMPTY[is_large]
    progress.start("measure foreign material", n_material + n_empty)
    seeds = np.random.SeedSequence(0).spawn(n_material + n_empty)
    found = []
    for start in range(0, len(seeds), BATCH_SIZE):
        images = [
            render_foreign(seed, FITTED_KINDS[at % len(FITTED_KINDS)]).image
            if at < n_material
            else render_empty(seed).image
            for at, seed in enumerate(seeds[start : start + BATCH_SIZE], start)
        ]
        found.append(engine.run([engine.prepare(image) for image in images])["picture_features"])
        progress.advance(len(images))
    return np.concatenate(found)


def _subsample(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most that many records, a fixed random sample in their order.

    Records stand class after class: the first of them would be of one class.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:most])
    return [records[index] for index in chosen]


def _measure(
    engine: Engine,
    records: Sequence[Record],
    stage: str,
    progress: Progress,
    change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] | None = None,
) -> _Outputs:
    """Run the engine on images, each changed first where ``change`` is given."""

    def prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
        return engine.prepare(change(image) if change else image)

    progress.start(stage, len(records))
    kept: list[Record] = []
    outputs: dict[str, list[FloatArray]] = {"logits": [], "picture_features": []}
    batch: list[npt.NDArray[np.generic]] = []

    def run() -> None:
        if batch:
            found = engine.run(batch)
            for name, arrays in outputs.items():
                arrays.append(found[name])
        batch.clear()

    paths = [record.path for record in records]
    for position, result in iter_images(paths, transform=prepare):
        progress.advance()
        if isinstance(result, Failure):
            continue
        kept.append(records[position])
        batch.append(result)
        if len(batch) == BATCH_SIZE:
            run()
    run()
    logits, features = (
        np.concatenate(arrays) if arrays else np.empty((0, 0), np.float32) for arrays in outputs.values()
    )
    return _Outputs(logits, features, tuple(kept))
