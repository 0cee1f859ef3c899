"""The same steps on a Ray cluster: prediction of archives, and independent tasks such as runs of a study."""

from __future__ import annotations

from georgia.distributed.predict import ArchiveResult, DistributedConfig, predict_archive
from georgia.distributed.ray_cluster import open_cluster, run_tasks

__all__ = ["ArchiveResult", "DistributedConfig", "open_cluster", "predict_archive", "run_tasks"]
