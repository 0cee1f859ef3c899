"""The files that tell of a run: text, plots and page, named as the study names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from georgia.report.figures import draw_confusion_matrix, draw_metrics_plot, save_figure
from georgia.report.history import TrainingHistory
from georgia.report.inputs import ReportInputs
from georgia.report.page import REPORT_FILE, save_report
from georgia.report.tables import save_results


def write_deliverables(run: ReportInputs, folder: Path) -> dict[str, Path]:
    """Write results, plots and report into ``folder`` and return their paths by kind.

    ``<prefix>FinalTestResults.txt``, ``<prefix>final_confusion_matrix.png``, ``report.html`` and, with
    a history, ``<prefix>metrics_plot.png``. The page links to them and to ``run.files``.

    Raises:
        InputError: the history lacks a column.
        OSError: the folder cannot be written to.
    """
    files = {
        "results": folder / f"{run.prefix}FinalTestResults.txt",
        "confusion_matrix": folder / f"{run.prefix}final_confusion_matrix.png",
    }
    save_results(run.evaluation, files["results"], f"{run.title}: final test results")
    save_figure(draw_confusion_matrix, run.evaluation, files["confusion_matrix"], run.title)
    if run.history:
        files["metrics_plot"] = folder / f"{run.prefix}metrics_plot.png"
        history = TrainingHistory(run.history, run.kept_epoch, run.stop_reason)
        save_figure(draw_metrics_plot, history, files["metrics_plot"], run.title)
    listed = sorted({*run.files, *files.values()}, key=lambda path: path.name)
    files["report"] = folder / REPORT_FILE
    save_report(replace(run, files=tuple(listed), folder=folder), files["report"])
    return files
