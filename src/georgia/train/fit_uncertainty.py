"""Fit what tells how far a trained net's predictions can be trusted, on the outputs of the exported file.

The net is exported once as it is; that file is run on training and validation images, from disk to
prediction as in serving, and temperature, unknown score and conformal limits are fitted on its outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.export.onnx_file import export_onnx
from georgia.images.decode import iter_images
from georgia.model.engines import BATCH_SIZE, Engine, open_engine
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record
from georgia.split.make import Split
from georgia.train.network import Network
from georgia.uncertainty.calibration import fit_temperature, softmax
from georgia.uncertainty.conformal import fit_conformal
from georgia.uncertainty.decision import Uncertainty
from georgia.uncertainty.ood import LIGHT, N_LIGHT, Measured, count_scales, fit_ood_detector

# The most images that are measured, for time: about ten a number of the widest part of a small net,
# and 40 above the limit of the last per cent.
MAX_TRAIN, MAX_VALID = 2000, 4000
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Outputs:
    """Outputs of the exported file: ``logits`` (N, C), ``features`` (N, D), with the records, in order."""

    logits: FloatArray
    features: FloatArray
    records: tuple[Record, ...]

    @property
    def measured(self) -> Measured:
        return Measured(self.features, self.groups)

    @property
    def groups(self) -> list[str]:
        return [record.group for record in self.records]


def fit_uncertainty(
    network: Network, split: Split, layers: Sequence[str], progress: Progress = QUIET
) -> Uncertainty:
    """Return temperature, unknown score and conformal limits; what there are too few images for is left out.

    ``layers`` names the layers that the unknown score reads.
    """
    model, spec, labels = network.model, network.preprocess, split.labels
    with tempfile.TemporaryDirectory(prefix="georgia-") as folder:
        file = Path(folder) / "measured.onnx"
        export_onnx(model, spec, labels, file, {}, measured_layers=layers)
        engine = open_engine(file, spec, precision="float32")
        records = _subsample(split.subset("train"), MAX_TRAIN)
        train = _measure(engine, records, "measure training images", progress)
        valid = _measure(engine, _subsample(split.subset("valid"), MAX_VALID), "measure validation", progress)
    if not valid.records:
        return Uncertainty()
    truth = labels.indices([record.class_name for record in valid.records])
    calibration = fit_temperature(valid.logits, truth, valid.groups)
    probabilities = softmax(valid.logits, calibration.temperature)
    widths = {LIGHT: N_LIGHT + count_scales(spec.size_px)}
    widths |= {name: int(model.get_layer(name).output.shape[-1]) for name in layers}
    detector = fit_ood_detector(train.measured, valid.measured, widths) if train.records else None
    return Uncertainty(calibration, detector, fit_conformal(probabilities, truth, labels, valid.groups))


def _subsample(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most that many records, a fixed random sample in their order."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:most])
    return [records[index] for index in chosen]


def _measure(engine: Engine, records: Sequence[Record], stage: str, progress: Progress) -> _Outputs:
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
    for position, result in iter_images(paths, transform=engine.prepare):
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
