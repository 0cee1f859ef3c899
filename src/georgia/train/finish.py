"""The steps after the last epoch: from the trained net to a finished run folder.

Each step takes the run and returns it with what it found; ``STEPS`` is their order.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.backbones import find_backbone
from georgia.config import format_toml
from georgia.errors import UnreadableImageError
from georgia.evaluate.assessment import Orientation
from georgia.evaluate.robustness import RobustnessConfig, measure_robustness
from georgia.evaluate.score import EVALUATION_FILE, PREDICTIONS_FILE, evaluate_records
from georgia.evaluate.serving import prove_serving, try_int8
from georgia.evaluate.training_hashes import save_training_hashes
from georgia.explain import explain_files
from georgia.export.hdf5 import save_hdf5
from georgia.export.onnx_file import export_onnx
from georgia.export.parity import check_parity
from georgia.files import write_text
from georgia.images.decode import read_image
from georgia.model.bundle import BUNDLE_FILE, Bundle, save_bundle
from georgia.model.load import load_bundle
from georgia.predict.predictor import PredictConfig
from georgia.progress import Progress
from georgia.records import Record
from georgia.report.card import CARD_FILE, save_card
from georgia.report.figures import draw_confusion_matrix, draw_metrics_plot, save_figure
from georgia.report.history import HISTORY_FILE, TrainingHistory
from georgia.report.inputs import ReportInputs, ReportLimits
from georgia.report.page import REPORT_FILE, save_report
from georgia.report.tables import save_results
from georgia.report.training_run import Baseline, Refit, TrainingRun
from georgia.split.make import MANIFEST_CSV
from georgia.train.data_audit import list_audit_settings
from georgia.train.fit_uncertainty import fit_uncertainty
from georgia.train.network import Network
from georgia.train.recipes import TrainConfig
from georgia.uncertainty.calibration import Calibration
from georgia.uncertainty.decision import Uncertainty

SETTINGS_FILE = "settings.toml"
# Images of the test and validation splits on which the exported file must agree with Keras.
N_PARITY = 64
# What fits, proves and evaluates uses the precision that serves, whatever the environment asks for.
SERVED = PredictConfig(precision="float32")


@dataclass
class Tools:
    """What steps need beside the run, and no report sees: settings, the Keras net, the progress display.

    ``refit`` returns the net after another training, of so many epochs, and its uncertainty in place of that
    of ``network``, or None where none is asked for. ``measure_baseline`` tests a simpler classifier.
    """

    config: TrainConfig
    network: Network
    progress: Progress
    refit: Callable[[int, Uncertainty], tuple[Network, Refit, Uncertainty] | None]
    measure_baseline: Callable[[], Baseline | None]


Step = Callable[[TrainingRun, Tools], TrainingRun]


def finish_run(run: TrainingRun, tools: Tools) -> TrainingRun:
    """Run all steps; return the run with everything that they found, and say how long each took.

    Raises:
        ParityError: the exported file's predictions differ from those of the trained net.
    """
    times = []
    for name, step in STEPS.items():
        started = time.perf_counter()
        run = step(run, tools)
        if (seconds := time.perf_counter() - started) >= 0.05:
            times.append(f"{name} {seconds:.1f} s")
    tools.progress.say("after training: " + ", ".join(times))
    return run


def _fit_uncertainty(run: TrainingRun, tools: Tools) -> TrainingRun:
    levels = find_backbone(tools.config.backbone).levels
    fitted = fit_uncertainty(tools.network, run.split, levels, tools.progress, tools.config.foreign_material)
    found = measure_orientation(run.preprocess.symmetry, fitted.calibration, run.history)
    serving = {} if found is None else {"orientation": found.to_json_dict()}
    return replace(run, uncertainty=fitted, serving=serving)


def measure_orientation(
    symmetry: str, calibration: Calibration | None, history: TrainingHistory
) -> Orientation | None:
    """Return what the validation images lose where the exported file orients them, before any refit.

    An epoch's accuracy is of the images as they are, and the temperature was fitted on the exported file.
    None where the file takes images as they are, or nothing was fitted.
    """
    if symmetry == "none" or calibration is None:
        return None
    kept = history.column("valid_accuracy")[history.epochs.index(history.marked_epoch)]
    bins = calibration.after
    exported = float(bins.n @ np.nan_to_num(bins.fraction_correct) / bins.n.sum())
    return Orientation(kept, exported, calibration.n_groups)


def _refit(run: TrainingRun, tools: Tools) -> TrainingRun:
    found = tools.refit(run.history.marked_epoch, run.uncertainty)
    if found is None:
        return run
    tools.network, refit, uncertainty = found
    tools.progress.say(refit.describe())
    return replace(run, refit=refit, uncertainty=uncertainty)


def _export(run: TrainingRun, tools: Tools) -> TrainingRun:
    weights = run.folder / f"{tools.config.prefix}weights_{run.created}.h5"
    onnx = weights.with_suffix(".onnx")
    run = _with_files(run, weights=weights, onnx=onnx, bundle=run.folder / BUNDLE_FILE)
    if limits := run.uncertainty.conformal:
        for sentence in limits.describe_too_few([limits.error_rate]):
            tools.progress.say(f"prediction sets: {sentence}")
    tools.progress.start("export", None)
    for unfinished in run.folder.glob(f".{glob.escape(weights.stem)}-*"):  # of a try that was killed
        unfinished.unlink(missing_ok=True)
    save_hdf5(tools.network.model, weights)
    labels, metadata = run.split.labels, run.metadata
    export_onnx(tools.network.model, run.preprocess, labels, onnx, metadata, uncertainty=run.uncertainty)
    return run


def _prove_parity(run: TrainingRun, tools: Tools) -> TrainingRun:
    images = _read_some([*run.split.subset("test"), *run.split.subset("valid")], N_PARITY)
    temperature = run.uncertainty.temperature
    parity = check_parity(
        tools.network.model, run.preprocess, run.files["onnx"], images, temperature=temperature
    )
    if parity.notice:
        tools.progress.say(parity.notice)
    return replace(run, parity=parity.to_dict())


def _prove_serving(run: TrainingRun, tools: Tools) -> TrainingRun:
    valid = run.split.subset("valid")
    # A net that has learned the validation images is surer of them: rounding is tried on the others too.
    tried = [*run.split.subset("test"), *valid] if run.refit else valid
    proved = prove_serving(_open_bundle(run), valid, tools.progress, tried)
    return replace(run, serving={**run.serving, **proved})


def _evaluate(run: TrainingRun, tools: Tools) -> TrainingRun:
    records = run.split.subset("test")
    evaluation = evaluate_records(_open_bundle(run), records, run.split.labels, tools.progress, SERVED)
    evaluation.save(run.folder, PREDICTIONS_FILE)
    return replace(run, evaluation=evaluation)


def _compare_baseline(run: TrainingRun, tools: Tools) -> TrainingRun:
    baseline = tools.measure_baseline()
    if baseline is not None:
        tools.progress.say(baseline.describe())
    return replace(run, baseline=baseline)


def _write_results(run: TrainingRun, tools: Tools) -> TrainingRun:
    out, prefix, title = run.folder, tools.config.prefix, tools.config.study_name
    run = _with_files(
        run,
        metrics_plot=out / f"{prefix}metrics_plot.png",
        results=out / f"{prefix}FinalTestResults.txt",
        confusion_matrix=out / f"{prefix}final_confusion_matrix.png",
        history=out / HISTORY_FILE,
        evaluation=out / EVALUATION_FILE,
        predictions=out / PREDICTIONS_FILE,
        split=out / MANIFEST_CSV,
        settings=out / SETTINGS_FILE,
    )
    save_figure(draw_metrics_plot, run.history, run.files["metrics_plot"], title)
    save_figure(draw_confusion_matrix, run.tested, run.files["confusion_matrix"], title)
    save_results(run.tested, run.files["results"], f"{title}: final test results")
    run.split.save(out)
    settings, audit = format_toml("train", run.settings), list_audit_settings(run.data_audit, tools.config)
    if audit:
        settings += "\n" + format_toml("audit", audit)
    write_text(run.files["settings"], settings)
    hashes = save_training_hashes(out, run.split.records, run.fingerprint)
    return run if hashes is None else _with_files(run, trained_on=hashes)


def _export_int8(run: TrainingRun, tools: Tools) -> TrainingRun:
    """Write the 8-bit file, test it, and note the comparison; one that is worse is deleted."""
    if not tools.config.int8:
        return run
    from georgia.export.int8 import N_CALIBRATION, compare_int8, quantize_model

    tools.progress.start("int8", None)
    onnx = run.files["onnx"]
    target = onnx.with_name(f"{onnx.stem}_int8.onnx")
    images = _read_some([*run.split.subset("valid"), *run.split.subset("train")], N_CALIBRATION)
    quantize_model(onnx, target, images)
    records, labels = run.split.subset("test"), run.split.labels
    tested = evaluate_records(load_bundle(target), records, labels, tools.progress, SERVED)
    comparison = compare_int8(onnx, target, run.preprocess, images[:N_PARITY], (run.metrics, tested.metrics))
    for line in comparison.lines():
        tools.progress.say(line)
    if comparison.kept:
        run = _with_files(run, int8=target)
        tried = try_int8(_open_bundle(run), target, run.split.subset("valid"), tools.progress)
        precision = {**run.serving.get("precision", {}), "int8": tried}
        run = replace(run, serving={**run.serving, "precision": precision})
    else:
        target.unlink()
    return replace(run, int8=comparison.to_json_dict())


def _test_robustness(run: TrainingRun, tools: Tools) -> TrainingRun:
    if not tools.config.robustness:
        return run
    config = RobustnessConfig(tools.config.robustness, tools.config.seed)
    records = run.split.subset("test")
    robustness = measure_robustness(_open_bundle(run), records, config, SERVED, tools.progress)
    return replace(_with_files(run, robustness=robustness.save(run.folder)), robustness=robustness)


def _save_bundle(run: TrainingRun, tools: Tools) -> TrainingRun:
    save_bundle(run.folder, run.files["onnx"].name, run.split.labels, run.preprocess, run.metadata)
    detector = run.uncertainty.unknown
    return run if detector is None else _with_files(run, reference=detector.save(run.folder))


def _explain(run: TrainingRun, tools: Tools) -> TrainingRun:
    files = [item.file for item in run.tested.misclassified[: ReportLimits().explained]]
    if not files:
        return run
    return replace(run, explanations=explain_files(_open_bundle(run), files, progress=tools.progress))


def _report(run: TrainingRun, tools: Tools) -> TrainingRun:
    run = _with_files(run, card=run.folder / CARD_FILE)
    report = run.folder / REPORT_FILE
    inputs = ReportInputs.of_run(run)
    save_card(inputs, run.files["card"])
    save_report(inputs, report)
    return replace(run, files={"report": report, **run.files})


STEPS: dict[str, Step] = {
    "fit uncertainty": _fit_uncertainty,
    "refit": _refit,
    "export": _export,
    "prove parity": _prove_parity,
    "prove serving": _prove_serving,
    "evaluate": _evaluate,
    "baseline": _compare_baseline,
    "write results": _write_results,
    "int8": _export_int8,
    "robustness": _test_robustness,
    "bundle": _save_bundle,
    "explain": _explain,
    "report": _report,
}


def _with_files(run: TrainingRun, **files: Path) -> TrainingRun:
    return replace(run, files={**run.files, **files})


def _open_bundle(run: TrainingRun) -> Bundle:
    return Bundle(run.files["onnx"], run.split.labels, run.preprocess, run.metadata)


def _read_some(records: Sequence[Record], count: int) -> list[npt.NDArray[np.uint8]]:
    """Return the images of the first ``count`` records, without those that cannot be read."""
    images = []
    for record in records[:count]:
        try:
            images.append(read_image(record.path))
        except UnreadableImageError:
            continue
    return images
