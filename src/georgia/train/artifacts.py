"""Everything that a finished run hands over, made from the exported file."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import georgia
from georgia.backbones import find_backbone
from georgia.config import format_toml
from georgia.errors import UnreadableImageError
from georgia.evaluate.robustness import Robustness, RobustnessConfig, measure_robustness
from georgia.evaluate.score import EVALUATION_FILE, PREDICTIONS_FILE, Evaluation, evaluate_records
from georgia.explain import explain_files
from georgia.export.hdf5 import save_hdf5
from georgia.export.onnx_file import export_onnx
from georgia.export.parity import Parity, check_parity
from georgia.files import write_text
from georgia.images.decode import read_image, read_info
from georgia.model.bundle import BUNDLE_FILE, Bundle, read_details, save_bundle
from georgia.model.load import load_bundle
from georgia.progress import Progress
from georgia.records import Failure, Record
from georgia.report.card import CARD_FILE, save_card
from georgia.report.figures import draw_confusion_matrix, draw_metrics_plot, save_figure
from georgia.report.history import TrainingHistory
from georgia.report.page import REPORT_FILE, ReportInputs, save_report
from georgia.report.tables import save_results
from georgia.split.make import Split
from georgia.train.data_audit import NO_DATA_AUDIT, DataAudit
from georgia.train.fit_uncertainty import fit_uncertainty
from georgia.train.history import HISTORY_FILE
from georgia.train.loop import LoopResult
from georgia.train.network import Network
from georgia.train.recipes import TrainConfig

SETTINGS_FILE = "settings.toml"
# Images of the test and validation parts on which the exported file must answer like Keras.
N_PARITY = 64
# Training images whose size is read; a median needs no more.
N_SIZES = 200


@dataclass(frozen=True)
class Delivery:
    """What there is once the loop has ended."""

    out: Path
    source: str
    config: TrainConfig
    network: Network
    split: Split
    failures: tuple[Failure, ...]
    learned: LoopResult
    fingerprint: str
    device: str
    soundness: DataAudit = NO_DATA_AUDIT


def deliver_run(run: Delivery, progress: Progress) -> tuple[Evaluation, dict[str, str]]:
    """Export, prove, evaluate and report; return the test figures and the files by kind.

    Raises:
        ParityError: the exported file answers differently from the trained net.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    prefix = run.config.prefix
    weights = run.out / f"{prefix}weights_{stamp}.h5"
    onnx = weights.with_suffix(".onnx")
    model, spec, labels = run.network.model, run.network.preprocess, run.split.labels
    assurance = fit_uncertainty(run.network, run.split, find_backbone(run.config.backbone).levels, progress)
    progress.start("export", None)
    save_hdf5(model, weights)
    about = _describe(run, weights.name, stamp)
    export_onnx(model, spec, labels, onnx, about, uncertainty=assurance)
    about |= {**assurance.to_dict(), "parity": _prove(run, onnx, assurance.temperature).to_dict()}
    details = {
        **about,
        "classes": list(run.split.labels.names),
        "preprocess": run.network.preprocess.to_dict(),
    }
    bundle = read_details(details, onnx, str(onnx))
    evaluation = _evaluate(run, bundle, progress)
    about["metrics"] = evaluation.metrics.to_json_dict()
    files = _write_results(run, evaluation)
    if run.config.int8:
        files |= _deliver_int8(run, onnx, evaluation, about, progress)
    robustness = _try_changes(run, bundle, progress)
    if robustness is not None:
        about["robustness"] = robustness.describe()
        files["robustness"] = robustness.save(run.out)
    save_bundle(run.out, onnx.name, run.split.labels, run.network.preprocess, about)
    files = {"weights": weights, "onnx": onnx, "bundle": run.out / BUNDLE_FILE, **files}
    if assurance.unknown is not None:
        files["reference"] = assurance.unknown.save(run.out)
    report = run.out / REPORT_FILE
    files["card"] = run.out / CARD_FILE
    inputs = _report_inputs(run, evaluation, about, tuple(files.values()))
    mistakes = [one.file for one in evaluation.misclassified[: inputs.limits.explained]]
    explained = explain_files(bundle, mistakes, progress=progress) if mistakes else None
    inputs = replace(inputs, robustness=robustness, explanations=explained)
    save_card(inputs, files["card"])
    save_report(inputs, report)
    return evaluation, {kind: str(path) for kind, path in {"report": report, **files}.items()}


def _deliver_int8(
    run: Delivery, onnx: Path, evaluation: Evaluation, about: dict[str, Any], progress: Progress
) -> dict[str, Path]:
    """Write the 8-bit file, judge it on the test part, and note the comparison; a worse one is deleted."""
    from georgia.export.int8 import N_CALIBRATION, compare_int8, quantize_model

    spec, target = run.network.preprocess, onnx.with_name(f"{onnx.stem}_int8.onnx")
    progress.start("int8", None)
    images = _read_some([*run.split.subset("valid"), *run.split.subset("train")], N_CALIBRATION)
    quantize_model(onnx, target, images)
    bundle = load_bundle(target)
    answers = evaluate_records(bundle, run.split.subset("test"), run.split.labels, progress)
    both = (evaluation.metrics, answers.metrics)
    comparison = compare_int8(onnx, target, spec, images[:N_PARITY], both)
    for line in comparison.lines():
        progress.say(line)
    about["int8"] = comparison.to_json_dict()
    if not comparison.kept:
        target.unlink()
        return {}
    return {"int8": target}


def _evaluate(run: Delivery, bundle: Bundle, progress: Progress) -> Evaluation:
    evaluation = evaluate_records(bundle, run.split.subset("test"), run.split.labels, progress)
    evaluation.save(run.out, PREDICTIONS_FILE)
    return evaluation


def _try_changes(run: Delivery, bundle: Bundle, progress: Progress) -> Robustness | None:
    if not run.config.robustness:
        return None
    config = RobustnessConfig(run.config.robustness, run.config.seed)
    return measure_robustness(bundle, run.split.subset("test"), config, progress=progress)


def _prove(run: Delivery, onnx: Path, temperature: float) -> Parity:
    images = _read_some([*run.split.subset("test"), *run.split.subset("valid")], N_PARITY)
    return check_parity(run.network.model, run.network.preprocess, onnx, images, temperature=temperature)


def _read_some(records: Sequence[Record], count: int) -> list[npt.NDArray[np.uint8]]:
    """Return the images of the first ``count`` records, without those that cannot be read."""
    images = []
    for record in records[:count]:
        try:
            images.append(read_image(record.path))
        except UnreadableImageError:
            continue
    return images


def _write_results(run: Delivery, evaluation: Evaluation) -> dict[str, Path]:
    out, prefix, title = run.out, run.config.prefix, run.config.study_name
    files = {
        "metrics_plot": out / f"{prefix}metrics_plot.png",
        "results": out / f"{prefix}FinalTestResults.txt",
        "confusion_matrix": out / f"{prefix}final_confusion_matrix.png",
        "history": out / HISTORY_FILE,
        "evaluation": out / EVALUATION_FILE,
        "predictions": out / PREDICTIONS_FILE,
        "split": out / "split.csv",
        "settings": out / SETTINGS_FILE,
    }
    history = TrainingHistory(run.learned.rows, run.learned.kept_epoch, run.learned.stopped)
    save_figure(draw_metrics_plot, history, files["metrics_plot"], title)
    save_figure(draw_confusion_matrix, evaluation, files["confusion_matrix"], title)
    save_results(evaluation, files["results"], f"{title}: final test results")
    run.split.save(out)
    write_text(files["settings"], format_toml("train", run.config.to_dict()))
    return files


def _describe(run: Delivery, weights_file: str, stamp: str) -> dict[str, Any]:
    return {
        "name": run.config.study_name,
        "created": stamp,
        "recipe": run.config.to_dict(),
        "weights_file": weights_file,
        "backbone": {
            "name": run.config.backbone,
            "source": run.network.source,
            "sha256": run.network.weights_sha256,
        },
        "trainable_base_layers": len(run.network.trainable_layers),
        "data": {
            "source": run.source,
            "sha256": run.fingerprint,
            "counts": run.split.counts,
            "median_side_px": _median_side_px(run.split.subset("train")),
        },
        "audit": run.soundness.to_json_dict(),
        "training": {
            "epochs": int(run.learned.rows[-1]["epoch"]),
            "kept_epoch": run.learned.kept_epoch,
            "stopped": run.learned.stopped,
            "device": run.device,
        },
        "versions": list_versions(),
    }


def _report_inputs(
    run: Delivery, evaluation: Evaluation, about: dict[str, Any], files: tuple[Path, ...]
) -> ReportInputs:
    return ReportInputs(
        title=run.config.study_name,
        evaluation=evaluation,
        prefix=run.config.prefix,
        model=f"{run.config.backbone}, recipe {run.config.recipe}",
        data=run.source,
        data_verdict=run.soundness.verdict,
        data_gate=run.soundness.gate,
        not_checked=run.soundness.not_checked,
        recipe=run.config.to_dict(),
        history=run.learned.rows,
        kept_epoch=run.learned.kept_epoch,
        stop_reason=run.learned.stopped,
        split_counts=run.split.counts,
        bundle={**about, "preprocess": run.network.preprocess.to_dict()},
        failures=run.failures,
        files=files,
        folder=run.out,
        created=str(about["created"]),
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


def list_versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    versions = {"georgia": georgia.__version__, "python": platform.python_version()}
    for package in ("keras", "tensorflow", "tensorflow-cpu", "numpy", "onnx", "onnxruntime", "openvino"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
