"""Learn a model from labels: a linear head on the frozen backbone, with cross-validated figures.

The result is an ordinary model folder. It has no test split, as few labels can spare none: its figures are
cross-validated over groups, with the settings chosen anew in each fold, and it says so. ``learned_from.csv``
names the images with their hashes and ``split.csv`` their parts, so that later figures on them are known as
overlap.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from georgia.audit.checks.features import LabelSuspect, find_suspects
from georgia.backbones import find_backbone
from georgia.config import format_toml
from georgia.errors import GateError, InputError
from georgia.evaluate.assessment import Acceptance, Orientation, assess
from georgia.evaluate.out_of_fold import OUT_OF_FOLD, OUT_OF_FOLD_FILE, format_out_of_fold
from georgia.evaluate.training_hashes import save_training_hashes
from georgia.files import check_outside_data, hold_folder, write_json, write_text
from georgia.label.cross_validation import CrossValidation, find_reasons, list_fold_predictions, list_sources
from georgia.label.curve import LEAST_SCORED, measure_curve
from georgia.label.features import FeatureReader, StoppedError, View, never
from georgia.label.heads import (
    Flags,
    Floats,
    HeadConfig,
    HeadData,
    LinearHead,
    choose_head,
    fit_head,
    make_folds,
    make_head_data,
    predict_folds,
)
from georgia.label.learned import LearnedRun, LearnResult, SuspectedName
from georgia.label.records import NEITHER, UNCLEAR, ChoiceReason, Label, Pool
from georgia.label.report_run import LearnedFrom, report_learning
from georgia.label.settings import LearnConfig, count_wanted
from georgia.labels import Labels
from georgia.metrics.classification import Metrics, compute_metrics
from georgia.model.engines import Engine
from georgia.progress import QUIET, Progress
from georgia.records import (
    Catalog,
    Record,
    fingerprint_files,
    format_window,
    hash_files,
)
from georgia.report.history import TrainingHistory
from georgia.report.training_run import DataAudit
from georgia.split.make import Split, SplitConfig
from georgia.train.data_audit import audit_training_data
from georgia.train.device import use_device
from georgia.train.finish import SETTINGS_FILE, STEPS, Tools
from georgia.train.fit_uncertainty import fit_uncertainty
from georgia.train.geometry import apply_geometry
from georgia.train.network import STANDARDIZE, Network, build_network
from georgia.train.plan import STATE_FOLDER, list_versions, name_time, saying_disk_full
from georgia.train.recipes import TrainConfig, recipe_config
from georgia.uncertainty.calibration import fit_temperature, softmax
from georgia.uncertainty.conformal import fit_conformal

LEARNED_FILE, SOURCES_FILE = "learned.json", "learned_from.csv"
# Marks a folder as long as its model is not whole; the lock is that of ``hold_folder``.
UNFINISHED_FILE, _LOCK = "unfinished.txt", ".lock"
# Images on which exported file and net must agree: Keras takes most of the time of a retraining for more.
_N_PARITY = 24
# So many names at most are said to be looked at again, the least likely first.
MOST_SUSPECTED = 50
_DEFAULTS = LearnConfig()
# What a linear head changes of a recipe's settings.
_LINEAR: dict[str, Any] = {
    "head_units": (),
    "dropout": (),
    "feature_dropout": 0.0,
    "head_norm": False,
    "standardize": True,
    "trainable_fraction": 0.0,
    "output": "softmax",
    "refit": "no",
    "robustness": 0,
}


def make_train_config(config: LearnConfig) -> TrainConfig:
    """Return the settings of the recipe with a linear head.

    Raises:
        InputError: there is no such recipe, or it cannot have one.
    """
    mine = {"seed": config.seed, "views": config.views, "audit": config.audit, "allow": config.allow}
    return recipe_config(config.recipe, _LINEAR, mine)


def learn(
    pool: Pool,
    labels: Sequence[Label],
    classes: Sequence[str],
    out: Path,
    config: LearnConfig = _DEFAULTS,
    even: Collection[str] = (),
    progress: Progress = QUIET,
    stop: Callable[[], bool] = never,
    n_even_missing: int = 0,
) -> LearnResult:
    """Learn from the labels of a pool's items; write the model into ``out``, whole or not at all.

    Args:
        labels: those that hold; names that are no class are not learned, unreadable images are listed.
        even: paths of the evenly sampled items (``LabelSession.list_even``).
        stop: asked between steps; after it said so, nothing is left in ``out``.
        n_even_missing: items of the even sample that have no name; said with the figures.

    Raises:
        InputError: a class has too few labels or groups, or the settings or the folder cannot be used.
        GateError: labels contradict one another, and ``out`` holds the audit; or the model rejects its own
            images, ``result`` is what was learned, and the folder is whole.
        StoppedError: ``stop`` said so.
        ParityError: the exported file's predictions differ from those of the net.
    """
    check_outside_data(out, pool.root)
    catalog, names = _make_catalog(pool, labels, classes, config)
    with hold_folder(out), saying_disk_full(f"the model in {str(out)!r}", "Make room and learn again."):
        _open_folder(out)
        watch = _Stopwatch(stop)
        try:
            with use_device("auto") as device:
                work = _Work(catalog, names, config, out, device, _Watched(progress, watch.check), watch)
                result = work.run(labels, even, n_even_missing)
        except GateError:
            raise  # its message names the audit's page, which stays until the next learning
        except BaseException:
            _clear(out)
            raise
        (out / UNFINISHED_FILE).unlink(missing_ok=True)
    if result.gate:
        what = f"The quality gate failed, the model cannot be used: {result.gate}"
        raise GateError(f"{what} Its files are in {str(out)!r}.", result=result)
    return result


def _make_catalog(
    pool: Pool, labels: Sequence[Label], classes: Sequence[str], config: LearnConfig
) -> tuple[Catalog, dict[Path, str]]:
    """Return the labelled images, and the items' own paths by those of their images."""
    items = {item.path: item for item in pool.items}
    names, records = {}, []
    for label in labels:
        if label.name in classes and label.path in items:
            item = items[label.path]
            path = Path(format_window(item.file, item.box))
            names[path] = label.path
            records.append(Record(path, label.name, item.group or label.path))
    counts = Counter(record.class_name for record in records)
    wanted = count_wanted({name: counts[name] for name in classes}, config.least_per_class)
    groups = {name: len({r.group for r in records if r.class_name == name}) for name in classes}
    faults = [f"{count} more of {name}" for name, count in wanted.items() if count]
    faults += [f"{name} in two groups or more" for name, n in groups.items() if n == 1 and not wanted[name]]
    if faults:
        raise InputError(
            "Cannot learn yet",
            needs=f"{config.least_per_class} labels of each class, from two groups: " + ", ".join(faults),
            got=", ".join(f"{name} {counts[name]}" for name in classes),
            hint="Label more, or leave a class out.",
        )
    in_order = tuple(sorted(records, key=lambda record: str(record.path)))
    return Catalog(pool.root, Labels(tuple(classes)), in_order), names


class _Watched:
    """A listener that asks between any two images whether to stop."""

    def __init__(self, inner: Progress, check: Callable[[], None]) -> None:
        self._inner, self._check = inner, check
        self.say = inner.say

    def start(self, stage: str, total: int | None) -> None:
        self._check()
        self._inner.start(stage, total)

    def advance(self, count: int = 1, note: str = "") -> None:
        self._check()
        self._inner.advance(count, note)


class _Stopwatch:
    """Asks between steps whether to stop, and notes how long each took."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.asks_to_stop = stop
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def check(self) -> None:
        if self.asks_to_stop():
            raise StoppedError("Stopped", needs="all steps", got="a request to stop")

    def note(self, step: str) -> None:
        self.check()
        now = time.perf_counter()
        self.seconds[step] = now - self._last
        self._last = now


@dataclass
class _Work:
    """One learning, step by step; ``names`` are the items' own paths by those of their images."""

    catalog: Catalog
    names: Mapping[Path, str]
    config: LearnConfig
    out: Path
    device: str
    progress: Progress
    watch: _Stopwatch
    reader: FeatureReader | None = None

    def run(self, labels: Sequence[Label], even: Collection[str], n_even_missing: int) -> LearnResult:
        train = make_train_config(self.config)
        catalog, audit = audit_training_data(self.catalog, train, self.out, self.progress)
        self.watch.note("audit")
        network = build_network(train, len(catalog.labels))
        network, train = apply_geometry(network, train, audit.audit, self.progress)
        catalog, data = self._read(catalog, network, train)
        self.watch.note("features")
        folds = make_folds(data, self.config.seed, self.config.folds)
        if folds is None:
            raise InputError(
                "Cannot learn yet",
                needs="each class in two groups or more that can be read, in every fold",
                got=f"{data.count_groups().tolist()} groups",
                hint="Label items of other frames.",
            )
        self.progress.start("cross-validation", None)
        is_even = np.array([self.names[record.path] in set(even) for record in catalog.records])
        found = self._cross_validate(data, folds, is_even, catalog)
        found = replace(found, reasons=find_reasons(self.names, labels, even))
        network = _with_head(network, fit_head(data, found.head))
        run = self._make_run(catalog, network, train, audit, found, folds, labels)
        self.watch.note("head")
        tools = Tools(train, network, self.progress, _do_nothing, _do_nothing)
        run = self._finish(run, tools, data, found)
        without_class = [label for label in labels if label.path in set(even) and not label.is_class]
        result = replace(
            found.result,
            folder=self.out,
            failures=run.failures,
            n_even_without_class=len(without_class),
            n_even_missing=n_even_missing,
        )
        return self._save(run, tools, result, found, labels)

    def _read(self, catalog: Catalog, network: Network, train: TrainConfig) -> tuple[Catalog, HeadData]:
        views: list[View] = ["served", "as is", *range(1, self.config.views)]
        self.reader = reader = FeatureReader(train, network)
        paths = [record.path for record in catalog.records]
        features = reader.read(paths, views, self.progress, self.watch.asks_to_stop)
        kept = features.is_read
        records = tuple(record for record, is_kept in zip(catalog.records, kept, strict=True) if is_kept)
        catalog = replace(catalog, records=records, failures=catalog.failures + features.failures)
        targets = catalog.labels.indices([record.class_name for record in records])
        groups = [record.group or str(record.path) for record in records]
        values = features.values[kept]
        return catalog, make_head_data(values[:, 1:], values[:, 0], targets, groups, len(catalog.labels))

    def _cross_validate(self, data: HeadData, folds: Any, is_even: Flags, catalog: Catalog) -> _Found:
        seed, stop = self.config.seed, self.watch.check
        head = choose_head(data, seed + 1, stop=stop)
        self.watch.note("settings")
        logits = predict_folds(data, folds, lambda part: choose_head(part, seed + 2, stop=stop))
        # Heads of one kind have logits of one scale, as a temperature needs: those of the settings that ship.
        shipped = predict_folds(data, folds, lambda _: head)
        self.watch.note("cross-validation")
        groups = [record.group for record in catalog.records]
        metrics = _score(logits, data, catalog.labels, groups, np.ones(len(folds), np.bool_))
        even = None
        if int(is_even.sum()) >= LEAST_SCORED:
            even = _score(logits, data, catalog.labels, groups, is_even)
        curve = measure_curve(data, folds, head, seed, is_even, stop)
        self.watch.note("learning curve")
        result = LearnResult(self.out, catalog.labels, metrics, even, curve, head, len(folds))
        cross = CrossValidation(folds, logits, data.targets, groups)
        result = replace(result, suspected=self._suspect(data, catalog))
        return _Found(result, shipped, groups, cross)

    def _suspect(self, data: HeadData, catalog: Catalog) -> tuple[SuspectedName, ...]:
        """Return the names that the images contradict, by the rule of ``georgia audit --deep``."""
        check, names, records = LabelSuspect, catalog.labels.names, catalog.records
        limits = (data.n_classes, self.config.seed, check.threshold)
        with threadpool_limits(1):
            found = find_suspects(data.served, data.targets, data.codes, *limits)
        self.watch.note("suspected names")
        suspects = zip(found.positions, found.looks_like, found.scores, strict=True)
        return tuple(
            SuspectedName(
                self.names[records[at].path], records[at].class_name, names[index], round(float(score), 4)
            )
            for at, index, score in list(suspects)[:MOST_SUSPECTED]
        )

    def _make_run(
        self,
        catalog: Catalog,
        network: Network,
        train: TrainConfig,
        audit: DataAudit,
        found: _Found,
        folds: Any,
        labels: Sequence[Label],
    ) -> LearnedRun:
        records = tuple(
            replace(record, split="valid" if fold == 0 else "train")
            for record, fold in zip(catalog.records, folds, strict=True)
        )
        paths = [record.path for record in records]
        names = Counter(label.name for label in labels)
        content = fingerprint_files(paths)
        split = Split(catalog.root, catalog.labels, records, SplitConfig((0.8, 0.2, 0.0)))
        hashes = tuple(digest or "" for digest in hash_files(paths))
        rows = list_fold_predictions(split, hashes, found.cross, found.reasons)
        table, told = format_out_of_fold(rows, catalog.root)
        learned = _describe_learning(found, folds, names, content, len(records))
        nothing = {"epoch": 0.0, "train_loss": 0.0, "train_accuracy": 0.0}
        history = TrainingHistory(({**nothing, "valid_loss": 0.0, "valid_accuracy": 0.0},), 0, "no epochs")
        sides = [float(min(item)) for item in _list_sides(audit)] or [0.0]
        return LearnedRun(
            folder=self.out,
            source=str(catalog.root),
            settings=train.to_dict(),
            history=history,
            created=name_time(self.out),
            device=self.device,
            versions=list_versions(),
            backbone=network.describe_backbone(train),
            trainable_layers=(),
            preprocess=network.preprocess,
            split=split,
            fingerprint=content,
            median_side_px=round(float(np.median(sides))),
            data_audit=audit,
            failures=catalog.failures,
            learned={**learned, OUT_OF_FOLD: told},
            out_of_fold=table,
            hashes=hashes,
        )

    def _finish(self, run: LearnedRun, tools: Tools, data: HeadData, found: _Found) -> LearnedRun:
        """Fit uncertainty as a training does, but the temperature on all labels, cross-validated."""
        levels = find_backbone(tools.config.backbone).levels
        foreign_material, reader = tools.config.foreign_material, self.reader

        def recall(measure: Callable[[], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
            return measure() if reader is None else reader.recall("material", measure)

        def remember(engine: Engine) -> Engine:
            return engine if reader is None else reader.remember(engine, data.n_classes)

        network, split, progress = tools.network, run.split, tools.progress
        # Of few images the algebra is small: several threads would wait for one another.
        with threadpool_limits(1):
            fitted = fit_uncertainty(network, split, levels, progress, foreign_material, recall, remember)
        if reader is not None:
            reader.flush()
        calibration = fit_temperature(found.logits, data.targets, found.groups)
        probabilities = softmax(found.logits, calibration.temperature)
        conformal = fit_conformal(probabilities, data.targets, run.split.labels, found.groups)
        run = replace(run, uncertainty=replace(fitted, calibration=calibration, conformal=conformal))
        self.watch.note("unknown score")
        run = self._do("export", run, tools)
        few = replace(run.split, records=run.split.subset("valid")[:_N_PARITY])
        run = replace(run, parity=self._do("prove parity", replace(run, split=few), tools).parity)
        return self._do("prove serving", run, tools)

    def _do(self, name: str, run: LearnedRun, tools: Tools) -> LearnedRun:
        """Return the run after a step of a training."""
        run = STEPS[name](run, tools)  # type: ignore[assignment]
        self.watch.note(name)
        return run

    def _save(
        self, run: LearnedRun, tools: Tools, result: LearnResult, found: _Found, labels: Sequence[Label]
    ) -> LearnResult:
        assessment = assess(
            result.metrics,
            None,
            Acceptance.from_metadata(run.serving),
            Orientation.from_metadata(run.serving),
        )
        gate = " ".join(reason.text for reason in assessment.stopping)
        result = replace(result, gate=gate)
        run.split.save(self.out)
        write_text(self.out / SETTINGS_FILE, format_toml("train", run.settings))
        write_text(self.out / SOURCES_FILE, list_sources(run.split.records, run.hashes, self.names, labels))
        write_text(self.out / OUT_OF_FOLD_FILE, run.out_of_fold)
        save_training_hashes(self.out, run.split.records, run.fingerprint)
        report_learning(run, result, found.cross, LearnedFrom(labels, self.names, found.reasons))
        self.watch.note("report")
        result = replace(result, seconds=self.watch.seconds)
        write_json(self.out / LEARNED_FILE, result.to_json_dict())
        # The description is written last: a folder without it is no model.
        STEPS["bundle"](run, tools)
        shutil.rmtree(self.out / STATE_FOLDER, ignore_errors=True)
        return result


@dataclass(frozen=True, eq=False)
class _Found:
    """What cross-validation gave: the figures and ``cross``, by settings chosen anew in each fold.

    ``logits`` (N, C) are by heads of the settings that ship, which did not learn the image's group.
    ``reasons`` tell why each image was chosen.
    """

    result: LearnResult
    logits: Floats
    groups: list[str]
    cross: CrossValidation
    reasons: Mapping[Path, ChoiceReason] = field(default_factory=dict)

    @property
    def head(self) -> HeadConfig:
        return self.result.head


def _describe_learning(
    found: _Found, folds: Any, names: Mapping[str, int], content: str, n_images: int
) -> dict[str, Any]:
    """Return what ``bundle.json`` holds of a learning; ``names`` counts the labels of each name."""
    even = found.result.even
    learned = {
        "head": asdict(found.head),
        "test": {"split": "none", "figures": "cross-validated over groups", "folds": int(folds.max()) + 1},
        "cross_validation": found.result.metrics.to_json_dict(),
        "cross_validation_evenly_sampled": even.to_json_dict() if even else None,
        "learned_from": {
            "file": SOURCES_FILE,
            "n_images": n_images,
            "n_neither": names[NEITHER],
            "n_unclear": names[UNCLEAR],
            "sha256": content,
        },
        "note": "Learned from labels; no test split: figures are cross-validated over groups.",
    }
    return {name: value for name, value in learned.items() if value is not None}


def _do_nothing(*_: Any) -> None:
    """Train no head again, and compare with no other classifier: the head is one, fitted on all labels."""


def _score(logits: Floats, data: HeadData, labels: Labels, groups: Sequence[str], scored: Flags) -> Metrics:
    own = [group for group, is_scored in zip(groups, scored, strict=True) if is_scored]
    return compute_metrics(data.targets[scored], logits[scored].argmax(axis=1), labels, own)


def _with_head(network: Network, head: LinearHead) -> Network:
    """Give the Keras net the numbers of the fitted head."""
    layer = network.model.get_layer(STANDARDIZE)
    layer.set_weights([head.mean.astype(np.float32), (head.variance - layer.epsilon).astype(np.float32)])
    network.model.get_layer("head_output").set_weights(
        [head.weights.astype(np.float32), head.bias.astype(np.float32)]
    )
    return network


def _list_sides(audit: DataAudit) -> list[tuple[float, float]]:
    if audit.audit is None:
        return []
    columns = audit.audit.columns
    return list(zip(columns["width_px"].tolist(), columns["height_px"].tolist(), strict=True))


def _open_folder(out: Path) -> None:
    """Mark the folder as one that a learning writes; what one left that was killed is taken away.

    Raises:
        InputError: it holds something else.
    """
    held = sorted(path.name for path in out.iterdir() if path.name != _LOCK)
    if held and UNFINISHED_FILE not in held:
        raise InputError(
            f"Cannot write the model to {str(out)!r}",
            needs="a new or empty folder is needed",
            got=held[0],
            hint="Models are kept: choose another folder.",
        )
    _clear(out)
    write_text(out / UNFINISHED_FILE, "A learning writes this folder; if none runs, it was killed.\n")


def _clear(out: Path) -> None:
    """Take away what a learning that did not end has left in its folder; the mark of it goes last."""
    for path in sorted(out.iterdir(), key=lambda path: path.name == UNFINISHED_FILE):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink(missing_ok=True)
