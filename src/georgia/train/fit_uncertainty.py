"""Fit what makes a trained net's answers trustworthy, on what the exported file itself says.

The net is exported once as it is; that file is run on training and validation images, from disk to
answer as in serving, and temperature, unknown score and conformal limits are fitted on what comes out.
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
from georgia.labels import Labels
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


def fit_uncertainty(
    network: Network, split: Split, layers: Sequence[str], progress: Progress = QUIET
) -> Uncertainty:
    """Return temperature, unknown score and conformal limits of a trained net.

    ``layers`` names the layers that the unknown score looks at.
    """
    model, spec, labels = network.model, network.preprocess, split.labels
    with tempfile.TemporaryDirectory(prefix="georgia-") as folder:
        probe = Path(folder) / "probe.onnx"
        export_onnx(model, spec, labels, probe, {}, measured_layers=layers)
        engine = open_engine(probe, spec, precision="float32")
        train = _measure(engine, _thin(split.subset("train"), MAX_TRAIN), "measure training images", progress)
        valid = _measure(engine, _thin(split.subset("valid"), MAX_VALID), "measure validation", progress)
    widths = {LIGHT: N_LIGHT + count_scales(spec.size_px)}
    widths |= {name: int(model.get_layer(name).output.shape[-1]) for name in layers}
    return fit_assurance(train, valid, labels, widths)


@dataclass(frozen=True, eq=False)
class Answers:
    """What the exported file said: ``logits`` (N, C) and ``features`` (N, D), with the records, in order."""

    logits: FloatArray
    features: FloatArray
    records: tuple[Record, ...]

    @property
    def groups(self) -> list[str]:
        """The images' groups."""
        return [record.group for record in self.records]


def fit_assurance(train: Answers, valid: Answers, labels: Labels, widths: dict[str, int]) -> Uncertainty:
    """Fit all three; what there are too few images for is left out."""
    if not valid.records:
        return Uncertainty()
    truth = labels.indices([record.class_name for record in valid.records])
    calibration = fit_temperature(valid.logits, truth, valid.groups)
    probabilities = softmax(valid.logits, calibration.temperature)
    unknown = None
    if train.records:
        unknown = fit_ood_detector(
            Measured(train.features, train.groups), Measured(valid.features, valid.groups), widths
        )
    return Uncertainty(calibration, unknown, fit_conformal(probabilities, truth, labels, valid.groups))


def _thin(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most that many records, spread evenly by a fixed draw, in their order."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:most])
    return [records[position] for position in chosen]


def _measure(engine: Engine, records: Sequence[Record], stage: str, progress: Progress) -> Answers:
    progress.start(stage, len(records))
    kept: list[Record] = []
    outputs: dict[str, list[FloatArray]] = {"logits": [], "picture_features": []}
    waiting: list[npt.NDArray[np.generic]] = []

    def run() -> None:
        if waiting:
            answer = engine.run(waiting)
            for name, parts in outputs.items():
                parts.append(answer[name])
        waiting.clear()

    paths = [record.path for record in records]
    for position, result in iter_images(paths, transform=engine.prepare):
        progress.advance()
        if isinstance(result, Failure):
            continue
        kept.append(records[position])
        waiting.append(result)
        if len(waiting) == BATCH_SIZE:
            run()
    run()
    logits, features = (
        np.concatenate(parts) if parts else np.empty((0, 0), np.float32) for parts in outputs.values()
    )
    return Answers(logits, features, tuple(kept))
