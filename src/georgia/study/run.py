"""Run a study: one split, every run in a folder of its own, tables of all of them at the end."""

from __future__ import annotations

import gc
import hashlib
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.audit import Audit, AuditConfig
from georgia.catalog.read import read_catalog
from georgia.errors import GateError, GeorgiaError, InputError
from georgia.evaluate.score import Evaluation
from georgia.files import (
    check_outside_data,
    hold_folder,
    read_json,
    read_table,
    reading,
    write_json,
    write_text,
)
from georgia.images.preprocess import PreprocessSpec
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Failure, fingerprint_files
from georgia.report.history import HISTORY_FILE, read_history
from georgia.split.make import MANIFEST_CSV, Split, kfold_split
from georgia.study.compare import compare_variants, list_missed, summarize_variants
from georgia.study.files import save_study
from georgia.study.plan import PlannedRun, StudyConfig, plan_runs
from georgia.study.result import Study
from georgia.study.rows import StudyRow, load_row, make_failed_row, make_row
from georgia.train.data_audit import audit_training_data, choose_audit
from georgia.train.geometry import tells_by_size
from georgia.train.plan import (
    STATE_FOLDER,
    compare_arithmetic,
    is_finished,
    list_arithmetic,
    saying_disk_full,
    split_catalog,
    subsample_catalog,
)
from georgia.train.recipes import DRY_RUN_EPOCHS, TrainConfig, without_added
from georgia.train.run import train_model
from georgia.train.shared import SharedWork

PLAN_FILE, RUNS_FOLDER, SHARED_FOLDER, ERROR_FILE = "plan.json", "runs", "shared", "error.txt"


@dataclass(frozen=True)
class RunTask:
    """One run that is to be made: on which split, into which folder, with what shared folder."""

    run: PlannedRun
    source: Path
    folder: Path
    shared: Path
    is_dry_run: bool = False


# Makes runs and yields their rows as they end, in any order.
Runner = Callable[[Sequence[RunTask], Progress], Iterable[StudyRow]]


def run_study(
    source: Path,
    out: Path,
    config: StudyConfig | None = None,
    changes: Mapping[str, Any] | None = None,
    class_names: Mapping[str, str] | None = None,
    progress: Progress = QUIET,
    runner: Runner | None = None,
    audit: Mapping[str, Any] | None = None,
    parts: Mapping[str, str] | str | None = None,
) -> Study:
    """Train and test every run of a study into ``out/runs``, and compare the variants.

    The same call goes on with a study that was stopped: a run that has ended is not run again, one that
    was under way goes on after its last epoch, and more repeats or variants join those that are there.
    A run that fails becomes a row with its reason, and is tried again by the next call.

    Args:
        source: anything that ``read_catalog`` reads; splits that it already has are kept.
        out: the study's folder.
        config: what to compare.
        changes: training settings for all runs, on top of the recipe's.
        class_names: folder → class name.
        progress: shows every run.
        runner: makes the runs; ``run_here`` one after the other in this process.
        audit: settings of the audit, such as ``group_regex``; others are its defaults.
        parts: folder → split, as ``read_catalog`` takes it.

    Raises:
        InputError: images, settings or folders cannot be used, or ``out`` holds a study on other data.
        GateError: the audit found labels that contradict one another, or given splits that leak.
    """
    config, started = config or StudyConfig(), time.perf_counter()
    runs, is_dry_run = _shorten_dry_runs(plan_runs(config, changes))
    check_outside_data(out, source)
    with (
        hold_folder(out),
        saying_disk_full(f"the study in {str(out)!r}", "Make room and give the same command."),
    ):
        catalog = read_catalog(source, class_names=class_names, parts=parts, verify=False, progress=progress)
        if is_dry_run:
            catalog = subsample_catalog(catalog, runs[0].config.seed)
        _open_study(out, catalog, runs[0].config)
        catalog = _decode_once(catalog, runs, out / SHARED_FOLDER, audit, progress)
        _save_splits(_make_splits(catalog, config, runs[0].config), out, config)
        tasks = [_make_task(run, out, is_dry_run) for run in runs]
        rows = {row.run_name: row for row in map(_find_row, tasks) if row is not None and row.is_done}
        missing = _order([task for task in tasks if task.run.name not in rows])
        if rows:
            progress.say(f"{len(rows)} of {len(tasks)} runs are there already")
        progress.start("study", len(missing))
        for row in (runner or run_here)(missing, progress):
            rows[row.run_name] = row
            progress.say(_describe_row(row))
            progress.advance()
        ordered = tuple(rows[run.name] for run in runs)
        study = _conclude(ordered, out, str(source), config, catalog.failures)
        study = replace(study, seconds=time.perf_counter() - started, n_started=len(missing))
        save_study(study, out)
    return study


def run_here(tasks: Sequence[RunTask], progress: Progress = QUIET) -> Iterable[StudyRow]:
    """Make runs one after the other in this process; features of a frozen backbone are computed once."""
    shared: dict[Path, SharedWork] = {}
    for task in tasks:
        own = shared.setdefault(task.shared, SharedWork(task.shared))
        yield make_run(task, own, progress)


def make_run(task: RunTask, shared: SharedWork | None = None, progress: Progress = QUIET) -> StudyRow:
    """Train and test one run, write its row into its folder and return it; a fault becomes the reason."""
    import keras

    keras.backend.clear_session()
    gc.collect()
    spent, started = _spent_before(task.folder), time.perf_counter()
    try:
        if not is_finished(task.folder):
            _train(task, shared or SharedWork(task.shared), progress)
        row = make_row(task.run, task.folder, spent + time.perf_counter() - started, task.is_dry_run)
    except Exception as error:  # whatever stops one run must not stop the others
        reason = str(error) if isinstance(error, GeorgiaError) else f"{type(error).__name__}: {error}"
        task.folder.mkdir(parents=True, exist_ok=True)
        write_text(task.folder / ERROR_FILE, traceback.format_exc())
        row = make_failed_row(task.run, reason, spent + time.perf_counter() - started)
    else:
        (task.folder / ERROR_FILE).unlink(missing_ok=True)
        shutil.rmtree(task.folder / STATE_FOLDER, ignore_errors=True)
    row.save(task.folder)
    return row


def _train(task: RunTask, shared: SharedWork, progress: Progress) -> None:
    """Train a run to its end; one whose quality gate fails is finished too, and its row says so."""
    inside = _Inside(progress, task.run.name)
    try:
        train_model(task.source, task.folder, task.run.config, resume=True, progress=inside, shared=shared)
    except GateError as error:
        if error.result is None:
            raise


class _Inside:
    """Turns what one run says into notes beside the study's bar."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def start(self, stage: str, total: int | None) -> None:
        self._progress.advance(0, f"{self._name}: {stage}")

    def advance(self, count: int = 1, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        self._progress.advance(0, f"{self._name}: {line.strip()[:70]}")


def _shorten_dry_runs(runs: Sequence[PlannedRun]) -> tuple[tuple[PlannedRun, ...], bool]:
    """Return runs that do not subsample the images themselves: all of them must see the same ones."""
    if not runs[0].config.rehearse:
        return tuple(runs), False
    configs = [
        replace(run.config, rehearse=False, epochs=min(run.config.epochs, DRY_RUN_EPOCHS)) for run in runs
    ]
    return tuple(replace(run, config=config) for run, config in zip(runs, configs, strict=True)), True


def _decode_once(
    catalog: Catalog,
    runs: Sequence[PlannedRun],
    folder: Path,
    audit: Mapping[str, Any] | None,
    progress: Progress,
) -> Catalog:
    """Audit and decode the images for all runs; return the readable ones, with the audit's groups.

    Raises:
        GateError: the audit found labels that contradict one another, or given splits that leak.
    """
    shared, training = SharedWork(folder), runs[0].config
    known = shared.audit_folder if _is_known(shared.audit_folder, choose_audit(training, audit)) else None
    catalog, data_audit = audit_training_data(catalog, training, shared.audit_folder, progress, known, audit)
    by_size = tells_by_size(data_audit.audit)
    # At one scale the window comes with the run; the first of them decodes for all.
    plain = {run.config.size_px for run in runs if run.config.geometry == "stretch" or not by_size}
    for size_px in sorted(plain or {training.size_px}):
        spec = PreprocessSpec(size_px)
        images, failures = shared.load_images(catalog.records, catalog.labels, spec, progress)
        catalog = replace(catalog, records=images.records, failures=catalog.failures + failures)
    return catalog


def _is_known(folder: Path, config: AuditConfig) -> bool:
    """Tell whether an audit with these settings is there; the plan has said that the images are the same.

    One that another version wrote is as good as none.
    """
    try:
        audit = Audit.load(folder)
    except InputError:
        return False
    return bool(audit.verdict) and audit.config == config


def _make_splits(catalog: Catalog, config: StudyConfig, training: TrainConfig) -> Sequence[Split]:
    """Return the one split of all runs, or the k of the folds."""
    if not config.folds:
        return [split_catalog(catalog, training)]
    train, valid, _ = training.fractions
    return kfold_split(catalog, config.folds, training.seed, valid / (train + valid))


def _save_splits(splits: Sequence[Split], out: Path, config: StudyConfig) -> None:
    """Write the splits where the runs read them.

    Raises:
        InputError: the folder holds a study on another split.
    """
    for number, split in enumerate(splits):
        folder = _split_folder(out, number + 1 if config.folds else 0)
        file = folder / MANIFEST_CSV
        if file.exists() and read_table(file) != split.to_csv():
            raise InputError(
                f"Cannot go on with the study in {str(out)!r}",
                needs="the split must be the one that it began with",
                got="another split",
                hint="Give the same data, seed and fractions, or another --out.",
            )
        split.save(folder)


def _split_folder(out: Path, fold: int) -> Path:
    return out / "folds" / str(fold) if fold else out


def _open_study(out: Path, catalog: Catalog, training: TrainConfig) -> None:
    """Write down the images that the study stands on, or compare them with those that it began with.

    Raises:
        InputError: the folder holds a study on other images, or on their pixels read in another way, or
            cannot be read.
    """
    labelled = "\n".join(sorted(f"{record.path.name}\t{record.class_name}" for record in catalog.records))
    plan = {
        "data": fingerprint_files([record.path for record in catalog.records]),
        "labels": hashlib.sha256(labelled.encode("utf-8", "surrogateescape")).hexdigest(),
        **list_arithmetic(training),
    }
    file = out / PLAN_FILE
    if file.exists():
        with reading(f"Cannot read {str(file)!r}", "it must be whole"):
            before = dict(read_json(file))
        if before != plan:
            raise InputError(
                f"Cannot go on with the study in {str(out)!r}",
                needs="the images and their classes must be those that it began with",
                got="; ".join(compare_arithmetic(before, plan)) or "others",
                hint="Give the same data, or another --out.",
            )
    write_json(file, plan, indent=1)


def _make_task(run: PlannedRun, out: Path, is_dry_run: bool) -> RunTask:
    source = _split_folder(out, run.fold) / MANIFEST_CSV
    return RunTask(run, source, out / RUNS_FOLDER / run.name, out / SHARED_FOLDER, is_dry_run)


def _find_row(task: RunTask) -> StudyRow | None:
    """Return the row of a run that has ended with the same settings, or None.

    Raises:
        InputError: a run of that name has other settings.
    """
    row = load_row(task.folder)
    if row is None or not row.is_done:
        return None
    now, before = without_added(task.run.config.to_dict()), without_added(row.settings)
    names = [name for name in now | before if name != "device" and now.get(name) != before.get(name)]
    if names:
        raise InputError(
            f"Cannot go on with run {row.run_name!r}",
            needs="settings must be those that it began with",
            got="; ".join(f"{name} {now.get(name)!r} instead of {before.get(name)!r}" for name in names),
            hint="Give the same settings, or another --out.",
        )
    return row


def _order(tasks: Sequence[RunTask]) -> list[RunTask]:
    """Put runs with the same features beside one another: same seed and split, then same frozen part."""

    def key(task: RunTask) -> tuple[Any, ...]:
        config = task.run.config
        frozen = (
            config.backbone,
            config.weights,
            config.size_px,
            config.head_features,
            config.trainable_fraction,
        )
        return (task.run.repeat, task.run.fold, *map(str, frozen))

    return sorted(tasks, key=key)


def _spent_before(folder: Path) -> float:
    """Return the seconds of the epochs that a stopped run has behind it."""
    try:
        return sum(row["seconds"] for row in read_history(folder / HISTORY_FILE))
    except InputError:
        return 0.0


def _describe_row(row: StudyRow) -> str:
    if not row.is_done:
        return f"{row.run_name}: failed: {row.reason}"
    return (
        f"{row.run_name}: {row.test_missed} of {row.n_test} missed, F1 {row.f1:.4f}, "
        f"{row.epochs} epochs, {row.seconds:.0f} s"
        + (f"; quality gate failed: {row.gate}" if row.gate else "")
    )


def _conclude(
    rows: tuple[StudyRow, ...], out: Path, source: str, config: StudyConfig, failures: tuple[Failure, ...]
) -> Study:
    done = [row for row in rows if row.is_done]
    evaluations = {row.run_name: Evaluation.load(out / RUNS_FOLDER / row.run_name) for row in done}
    variants = summarize_variants(rows, evaluations)
    comparisons = compare_variants(variants, rows, evaluations)
    missed = list_missed(rows, evaluations)
    return Study(out, source, config, rows, variants, comparisons, failures, missed)
