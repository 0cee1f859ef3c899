"""Studies: variants × repeats on one split or on folds, their table, and tests between them."""

from __future__ import annotations

from georgia.study.plan import StudyConfig, plan_runs
from georgia.study.result import Study
from georgia.study.run import run_study

__all__ = ["Study", "StudyConfig", "plan_runs", "run_study"]
