"""One training run: images in, a run folder with every deliverable out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.catalog.read import read_catalog
from georgia.errors import InputError
from georgia.evaluate.score import Evaluation
from georgia.metrics.classification import Metrics
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Failure, fingerprint_files
from georgia.report.tables import epoch_lines
from georgia.split.make import Split
from georgia.train.artifacts import Delivery, deliver_run, list_versions
from georgia.train.data_audit import audit_training_data, check_split
from georgia.train.decoded import ImageSet, load_images
from georgia.train.device import use_device
from georgia.train.geometry import apply_geometry
from georgia.train.history import Row
from georgia.train.loop import LoopInputs, LoopResult, run_loop
from georgia.train.network import Network, build_network
from georgia.train.plan import (
    STATE_FOLDER,
    check_run_folder,
    make_plan,
    open_plan,
    split_catalog,
    subsample_catalog,
)
from georgia.train.recipes import TrainConfig
from georgia.train.shared import SharedWork
from georgia.train.state import TrainState, load_state


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, figures of the exported file on the test part, and its files."""

    run: Path
    recipe: str
    epochs: int
    seconds: float
    evaluation: Evaluation
    files: dict[str, str]
    failures: tuple[Failure, ...] = ()

    @property
    def metrics(self) -> Metrics:
        """The figures of the test part."""
        return self.evaluation.metrics

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia train --json`` prints."""
        return {
            "run": str(self.run),
            "recipe": self.recipe,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "metrics": self.evaluation.to_json_dict(),
            "files": self.files,
            "failed": [failure.to_json_dict() for failure in self.failures],
        }


def train_model(
    source: Path,
    out: Path,
    config: TrainConfig | None = None,
    resume: bool = False,
    class_names: Mapping[str, str] | None = None,
    progress: Progress = QUIET,
    shared: SharedWork | None = None,
) -> TrainResult:
    """Train, export, evaluate the exported file, and write the report into ``out``.

    Args:
        source: anything that ``read_catalog`` reads; parts that it already has are kept.
        out: the run folder; it may not hold another run.
        resume: go on with the run in ``out`` where it stopped, or start it.
        class_names: folder → class name.
        shared: images and features that other runs on the same data use as well.

    Raises:
        InputError: images, settings, weights or folders cannot be used.
        GateError: the audit found labels that contradict one another, or given parts that leak.
        ParityError: the exported file answers differently from the trained net.
    """
    config = config or TrainConfig()
    check_run_folder(out, resume)
    started = time.perf_counter()
    with use_device(config.device) as device:
        progress.say(f"device: {device}")
        return _train(_Run(source, out, config, resume, device, started, shared), class_names, progress)


@dataclass(frozen=True)
class _Run:
    source: Path
    out: Path
    config: TrainConfig
    resume: bool
    device: str
    started: float
    shared: SharedWork | None = None


def _train(run: _Run, class_names: Mapping[str, str] | None, progress: Progress) -> TrainResult:
    config = run.config
    catalog = read_catalog(run.source, class_names=class_names, verify=False)
    if config.rehearse:
        catalog = subsample_catalog(catalog, config.seed)
    network = build_network(config, len(catalog.labels))
    progress.say(_describe_network(network, config))
    known = run.shared.audit_folder if run.shared else None
    catalog, soundness = audit_training_data(catalog, config, run.out, progress, known)
    network, config = apply_geometry(network, config, soundness.audit, progress)
    soundness = replace(soundness, is_at_one_scale=config.geometry == "scale")
    run = replace(run, config=config)
    images, failures = _load_images(run, catalog, network, progress)
    catalog = replace(catalog, records=images.records, failures=catalog.failures + failures)
    split = _split(catalog, config)
    soundness = check_split(soundness, split, progress)
    fingerprint = fingerprint_files([record.path for record in split.records])
    key = open_plan(run.out, make_plan(config, split, fingerprint, list_versions()), run.resume)
    inputs = LoopInputs(
        network,
        images.select(split.subset("train")),
        images.select(split.subset("valid")),
        split.labels,
        run.out,
        run.shared.memory if run.shared else None,
    )
    result = _learn(run, inputs, key, progress)
    delivery = Delivery(
        run.out,
        str(run.source),
        config,
        network,
        split,
        catalog.failures,
        result,
        fingerprint,
        run.device,
        soundness,
    )
    evaluation, files = deliver_run(delivery, progress)
    seconds = time.perf_counter() - run.started
    shutil.rmtree(run.out / STATE_FOLDER, ignore_errors=True)
    epochs = int(result.rows[-1]["epoch"])
    return TrainResult(run.out, config.recipe, epochs, seconds, evaluation, files, catalog.failures)


def _load_images(
    run: _Run, catalog: Catalog, network: Network, progress: Progress
) -> tuple[ImageSet, tuple[Failure, ...]]:
    spec = network.preprocess
    if run.shared is not None:
        return run.shared.load_images(catalog.records, catalog.labels, spec, progress)
    spill = run.out / STATE_FOLDER / "pictures.npy"
    return load_images(catalog.records, catalog.labels, spec, spill, progress)


def _split(catalog: Catalog, config: TrainConfig) -> Split:
    split = split_catalog(catalog, config)
    empty = [part for part, counts in split.counts.items() if not sum(counts.values())]
    if empty:
        raise InputError(
            "Cannot train",
            needs="train, valid and test need images",
            got=f"no {empty[0]}",
            hint="Give fractions above 0 for all three, or put images there.",
        )
    return split


def _learn(run: _Run, inputs: LoopInputs, key: str, progress: Progress) -> LoopResult:
    def tell(epoch: int, metrics: Metrics, row: Row) -> None:
        progress.say(
            f"Epoch {epoch}: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}; "
            f"validation loss {row['valid_loss']:.4f}, accuracy {row['valid_accuracy']:.4f}"
            f"  ({row['seconds']:.1f} s)"
        )
        for line in epoch_lines(metrics, epoch)[1:]:
            progress.say(f"  {line}")

    state = load_state(run.out / STATE_FOLDER) if run.resume else None
    if state is not None and state.key != key:
        raise InputError("Cannot resume", needs="the resume point must be of this run", got="another's")
    if state is not None:
        progress.say(f"resume after epoch {state.epoch}")
    return run_loop(run.config, inputs, state or TrainState(key), progress, tell)


def _describe_network(network: Network, config: TrainConfig) -> str:
    learning = network.trainable_layers
    first = next((name for name in learning if network.model.get_layer(name).trainable_variables), "none")
    return (
        f"{config.backbone} from {network.source}; {len(learning)} trainable base layers"
        + (f" from {first} on" if learning else "")
        + f"; {network.model.count_params():,} parameters"
    )
