"""Runs of a study on a Ray cluster, several at a time, each in its own folder as on one machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from georgia.distributed.ray_cluster import import_ray, run_tasks
from georgia.progress import QUIET, Progress
from georgia.study.rows import StudyRow, make_failed_row
from georgia.study.run import Runner, RunTask, make_run


def run_on_ray(address: str = "auto") -> Runner:
    """Return a runner that makes runs on a cluster; all nodes must see the study's folder and the data.

    A run whose worker or node dies goes on elsewhere after its last epoch; one that dies four times
    becomes a row with its reason.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    import_ray()

    def run(tasks: Sequence[RunTask], progress: Progress = QUIET) -> Iterable[StudyRow]:
        placed = [_place(task) for task in tasks]
        use_gpu = any(task.run.config.device != "cpu" for task in tasks)
        for task, outcome in run_tasks(_make_there, placed, address, use_gpu):
            if isinstance(outcome, StudyRow):
                yield outcome
                continue
            row = make_failed_row(task.run, f"{type(outcome).__name__}: {outcome}"[:300], 0.0)
            row.save(task.folder)
            yield row

    return run


def _place(task: RunTask) -> RunTask:
    """Return a task whose paths mean the same on every node."""
    places = {name: getattr(task, name).absolute() for name in ("source", "folder", "shared")}
    return replace(task, **places)


def _make_there(task: RunTask) -> StudyRow:
    return make_run(task)
