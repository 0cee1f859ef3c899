"""One training run: images in, a run folder with every artifact out."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.catalog.read import read_catalog
from georgia.errors import GateError, InputError, UnreadableImageError
from georgia.export.int8 import require_nncf
from georgia.files import check_outside_data, hold_folder
from georgia.images.decode import read_info
from georgia.images.preprocess import PreprocessSpec
from georgia.metrics.classification import Metrics
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Failure, Record, fingerprint_files
from georgia.report.history import Row, TrainingHistory
from georgia.report.tables import epoch_lines
from georgia.report.training_run import Baseline, DataAudit, Refit, TrainingRun
from georgia.split.make import Split
from georgia.train.baseline import measure_baseline
from georgia.train.data_audit import audit_training_data, check_split
from georgia.train.decoded import ImageSet, load_images
from georgia.train.device import use_device
from georgia.train.finish import Tools, finish_run
from georgia.train.geometry import apply_geometry
from georgia.train.loop import LoopInputs, copy_weights, run_loop
from georgia.train.network import Network, build_network
from georgia.train.plan import (
    STATE_FOLDER,
    check_run_folder,
    list_versions,
    make_plan,
    name_time,
    open_plan,
    saying_disk_full,
    split_catalog,
    subsample_catalog,
)
from georgia.train.recipes import SMALL_SET, TrainConfig, recipe_config
from georgia.train.refit import cross_fit, needs_refit, refit_head
from georgia.train.shared import SharedWork
from georgia.train.state import Arrays, TrainState, load_state
from georgia.uncertainty.decision import Uncertainty

# Training images whose size is read; a median needs no more.
N_SIZES = 200


def train_model(
    source: Path,
    out: Path,
    config: TrainConfig | None = None,
    resume: bool = False,
    class_names: Mapping[str, str] | None = None,
    progress: Progress = QUIET,
    shared: SharedWork | None = None,
    audit: Mapping[str, Any] | None = None,
    parts: Mapping[str, str] | str | None = None,
) -> TrainingRun:
    """Train, export, evaluate the exported file, and write the report into ``out``.

    Args:
        source: anything that ``read_catalog`` reads; splits that it already has are kept.
        out: the run folder; it may not hold another run.
        resume: go on with the run in ``out`` where it stopped, or start it.
        class_names: folder → class name.
        shared: images and features that other runs on the same data use as well.
        audit: settings of the audit, such as ``group_regex``; others are its defaults.
        parts: folder → split, as ``read_catalog`` takes it.

    Raises:
        InputError: images, settings, weights or folders cannot be used.
        GateError: the audit found labels that contradict one another, or given splits that leak; or the
            exported model cannot be used: ``result`` is the run then, whose folder is whole.
        ParityError: the exported file's predictions differ from those of the trained net.
    """
    config, started = config or recipe_config("fast"), time.perf_counter()
    check_outside_data(out, source)
    with _holding(out, shared), use_device(config.device) as device:
        check_run_folder(out, resume)
        if config.int8:
            require_nncf()
        catalog = read_catalog(source, class_names=class_names, parts=parts, verify=False, progress=progress)
        progress.say(f"device: {device}")
        work = _prepare(catalog, config, out, (shared, audit), progress)
        config, network, split = work.config, work.network, work.split
        if shared is None:
            _advise(split, source, progress)
        fingerprint = fingerprint_files([record.path for record in split.records])
        plan = make_plan(config, split, fingerprint, list_versions())
        state = _open_state(out, open_plan(out, plan, resume), resume, progress)
        inputs = _choose_inputs(work, out, shared, ("train",))
        initial = copy_weights(network)
        history = _learn(config, inputs, state, progress)
        run = _make_run(work, history, (source, out), device, plan)
        progress.say(f"training {run.describe_stop()}")
        run = finish_run(run, _make_tools(work, run, shared, initial, progress))
        shutil.rmtree(out / STATE_FOLDER, ignore_errors=True)
    run = replace(run, seconds=time.perf_counter() - started)
    if run.gate:
        what = f"The quality gate failed, the model cannot be used: {run.gate}"
        raise GateError(f"{what} Report and files are in {str(out)!r}.", result=run)
    return run


@contextmanager
def _holding(out: Path, shared: SharedWork | None) -> Iterator[None]:
    """Let no other process write the run; a study holds the folder of all its runs by itself."""
    with nullcontext() if shared else hold_folder(out), saying_disk_full(f"the run in {str(out)!r}"):
        yield


@dataclass(frozen=True)
class _Prepared:
    """The settings as the audit left them, the net, the decoded images and their split."""

    config: TrainConfig
    network: Network
    images: ImageSet
    split: Split
    data_audit: DataAudit
    failures: tuple[Failure, ...]


def _prepare(
    catalog: Catalog,
    config: TrainConfig,
    out: Path,
    given: tuple[SharedWork | None, Mapping[str, Any] | None],
    progress: Progress,
) -> _Prepared:
    shared, audit = given
    if config.rehearse:
        catalog = subsample_catalog(catalog, config.seed)
    network = build_network(config, len(catalog.labels))
    progress.say(_describe_network(network, config))
    known = shared.audit_folder if shared else None
    catalog, data_audit = audit_training_data(catalog, config, out, progress, known, audit)
    network, config = apply_geometry(network, config, data_audit.audit, progress)
    catalog, images = _load_images(catalog, network.preprocess, out, shared, progress)
    split = _make_split(catalog, config)
    data_audit = replace(data_audit, is_at_one_scale=config.geometry == "scale")
    data_audit = check_split(data_audit, split, progress)
    return _Prepared(config, network, images, split, data_audit, catalog.failures)


def _make_run(
    work: _Prepared,
    history: TrainingHistory,
    places: tuple[Path, Path],
    device: str,
    plan: Mapping[str, Any],
) -> TrainingRun:
    """Return the run after its last epoch; ``places`` are the source and the run folder."""
    source, out = places
    return TrainingRun(
        folder=out,
        source=str(source),
        settings=work.config.to_dict(),
        history=history,
        created=name_time(out),
        device=device,
        versions=plan["versions"],
        backbone=work.network.describe_backbone(work.config),
        trainable_layers=work.network.trainable_layers,
        preprocess=work.network.preprocess,
        split=work.split,
        fingerprint=plan["data"],
        median_side_px=_median_side_px(work.split.subset("train")),
        data_audit=work.data_audit,
        failures=work.failures,
    )


def _choose_inputs(
    work: _Prepared, folder: Path, shared: SharedWork | None, names: Sequence[str]
) -> LoopInputs:
    """Return what the loop works on: the images of the splits ``names`` to learn from, and validation."""
    records = [record for name in names for record in work.split.subset(name)]
    train, valid = (work.images.select(chosen) for chosen in (records, work.split.subset("valid")))
    cache = shared.cache if shared else None
    return LoopInputs(work.network, train, valid, work.split.labels, folder, cache)


def _make_tools(
    work: _Prepared, run: TrainingRun, shared: SharedWork | None, initial: Arrays, progress: Progress
) -> Tools:
    def refit(n_epochs: int, before: Uncertainty) -> tuple[Network, Refit, Uncertainty] | None:
        if not needs_refit(work.config, len(work.split.records)):
            return None
        inputs = _choose_inputs(work, run.folder / STATE_FOLDER / "refit", shared, ("train", "valid"))
        found = refit_head(work.config, inputs, initial, n_epochs, progress)
        return found.network, found.made, cross_fit(found, inputs.train, work.split.labels, before)

    def compare() -> Baseline | None:
        if shared is not None:  # a study compares by itself
            return None
        split, images = work.split, work.images
        learned = images.select([*split.subset("train"), *split.subset("valid")])
        test = images.select(split.subset("test"))
        return measure_baseline(work.config, work.network, learned, test, split.labels, progress)

    return Tools(work.config, work.network, progress, refit, compare)


def _advise(split: Split, source: Path, progress: Progress) -> None:
    """Say what tells more of a small set than one split does."""
    n_images, n_test = len(split.records), len(split.subset("test"))
    if n_images < SMALL_SET:
        progress.say(
            f"note: of {n_images:,} images {n_test:,} are tested, which tells little: "
            f"georgia study {source} --folds 5 --out DIR tests each of them once."
        )


def _load_images(
    catalog: Catalog, spec: PreprocessSpec, out: Path, shared: SharedWork | None, progress: Progress
) -> tuple[Catalog, ImageSet]:
    """Return the readable images, decoded, and the catalog without the others."""
    if shared is not None:
        images, failures = shared.load_images(catalog.records, catalog.labels, spec, progress)
    else:
        memmap_path = out / STATE_FOLDER / "pictures.npy"
        images, failures = load_images(catalog.records, catalog.labels, spec, memmap_path, progress)
    return replace(catalog, records=images.records, failures=catalog.failures + failures), images


def _make_split(catalog: Catalog, config: TrainConfig) -> Split:
    split = split_catalog(catalog, config)
    empty = [name for name, counts in split.counts.items() if not sum(counts.values())]
    if empty:
        raise InputError(
            "Cannot train",
            needs="train, valid and test need images",
            got=f"no {empty[0]}",
            hint="Give fractions above 0 for all three, or put images there.",
        )
    return split


def _open_state(out: Path, key: str, resume: bool, progress: Progress) -> TrainState:
    state = load_state(out / STATE_FOLDER) if resume else None
    if state is None:
        return TrainState(key)
    if state.key != key:
        raise InputError("Cannot resume", needs="the resume point must be of this run", got="another's")
    progress.say(f"resume after epoch {state.epoch}")
    return state


def _learn(config: TrainConfig, inputs: LoopInputs, state: TrainState, progress: Progress) -> TrainingHistory:
    def tell(epoch: int, metrics: Metrics, row: Row) -> None:
        progress.say(
            f"Epoch {epoch}: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}; "
            f"validation loss {row['valid_loss']:.4f}, accuracy {row['valid_accuracy']:.4f}"
            f"  ({row['seconds']:.1f} s)"
        )
        for line in epoch_lines(metrics, epoch)[1:]:
            progress.say(f"  {line}")

    return run_loop(config, inputs, state, progress, tell)


def _describe_network(network: Network, config: TrainConfig) -> str:
    layers = network.trainable_layers
    first = next((name for name in layers if network.model.get_layer(name).trainable_variables), "none")
    return (
        f"{config.backbone} from {network.source}; {len(layers)} trainable base layers"
        + (f" from {first} on" if layers else "")
        + f"; {network.model.count_params():,} parameters"
    )


def _median_side_px(records: Sequence[Record]) -> int:
    """Return the images' median side, px: the scale at which a live probe's frames are cut."""
    sides = []
    for record in records[:: max(1, len(records) // N_SIZES)]:
        try:
            info = read_info(record.path)
        except UnreadableImageError:
            continue
        sides.append((info.width_px * info.height_px) ** 0.5)
    return round(statistics.median(sides)) if sides else 0
