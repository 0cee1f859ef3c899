"""The same steps on a Ray cluster: prediction of archives, and independent tasks such as a study's runs."""

from __future__ import annotations

from georgia.distributed.cluster import open_cluster
from georgia.distributed.predict import ArchiveResult, DistributedConfig, predict_archive
from georgia.distributed.tasks import run_tasks

__all__ = ["ArchiveResult", "DistributedConfig", "open_cluster", "predict_archive", "run_tasks"]
