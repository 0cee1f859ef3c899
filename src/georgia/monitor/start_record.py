"""What the audit log holds of a monitor's start: model, settings, and what differs from before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import georgia
from georgia.config import flatten_config
from georgia.model.bundle import PROMOTION
from georgia.monitor.limits_in_force import StartSettings
from georgia.monitor.records import AuditAction, Batch
from georgia.monitor.settings import MonitorConfig, Windows
from georgia.monitor.store import Store
from georgia.monitor.tile import FrameAnalyzer


def describe_model(analyzer: FrameAnalyzer) -> dict[str, Any]:
    """Return what the store keeps of a model: with ``tested``, its confusion on test images, where known."""
    metrics = analyzer.bundle.metadata.get("metrics")
    if not isinstance(metrics, Mapping) or not {"classes", "confusion"} <= metrics.keys():
        return analyzer.describe()
    tested = {name: metrics[name] for name in ("classes", "confusion")}
    return {**analyzer.describe(), "tested": tested}


def record_start(
    store: Store, analyzer: FrameAnalyzer, batch: Batch, who: str, settings: StartSettings
) -> str:
    """Write the settings and the model that differ from the source's start before, then the start.

    The start is last, because the next one compares with it: a process that is killed in between leaves
    a difference that is written again, not one that is never written. Return the key of the settings in
    force.

    Raises:
        StoreAwayError: the store cannot be reached now.
    """
    new = settings.config.to_json_dict()
    settings_id = store.save_document("settings", new)
    detail = {
        "source": batch.source,
        "version": georgia.__version__,
        "engine": analyzer.engine_name,
        "precision": analyzer.precision,
        **_describe_windows(settings.config),
        "threads": analyzer.describe_threads(),
        "model": analyzer.bundle.name,
        "model_sha256": analyzer.model_sha256,
        "settings_id": settings_id,
        "given_id": store.save_document("settings", settings.given.to_json_dict()),
        **settings.to_detail(),
    }
    # What an earlier version did not have was at today's default.
    defaults, before = flatten_config(MonitorConfig()), settings.before
    old = {name: before.get(name, defaults.get(name)) for name in new}
    changes = {name: [old[name], value] for name, value in new.items() if old[name] != value}
    if before and changes:
        entry: dict[str, Any] = {"changes": changes}
        set_before = {name: asdict(change) for name, change in settings.replaced.items() if name in changes}
        entry |= {"set_before": set_before} if set_before else {}
        store.append_event(who, AuditAction.SETTINGS_CHANGED, entry, batch.id)
    if settings.model_before and settings.model_before != analyzer.model_sha256:
        swap = describe_swap(settings.model_before, analyzer, settings.config)
        store.append_event(who, AuditAction.MODEL_SWAPPED, swap, batch.id)
    store.append_event(who, AuditAction.MONITOR_STARTED, detail, batch.id)
    return settings_id


def _describe_windows(config: MonitorConfig) -> dict[str, str]:
    """Return which windows go through the net, where not all of them do."""
    windows = config.tiles.windows
    return {} if windows == Windows.ALL else {"windows": windows.describe()}


def describe_swap(before: str, analyzer: FrameAnalyzer, config: MonitorConfig) -> dict[str, Any]:
    """Return what the audit log holds of another model; limits by hand are not the model's, and stay.

    ``promotion`` is what ``georgia promote`` recorded in the model: who, when, why, and on which figures.
    """
    swap: dict[str, Any] = {"from": before, "to": analyzer.model_sha256, "model": analyzer.bundle.name}
    if config.charts.mean is not None:
        swap["limits"] = f"mean {config.charts.mean:g} and sigma {config.charts.sigma:g} by hand stay"
    promotion = analyzer.bundle.metadata.get(PROMOTION)
    if isinstance(promotion, dict):
        swap |= {"promotion": promotion, "reason": describe_promotion(promotion)}
    return swap


def describe_promotion(promotion: Mapping[str, Any]) -> str:
    """Return in one clause who let a model take another one's place, and why.

    >>> describe_promotion({"decision": "overridden", "who": "A. Miller", "reason": "new probe"})
    'overridden by A. Miller: new probe'
    """
    decision, why = str(promotion.get("decision", "")), str(promotion.get("reason", "")).strip()
    told = {"back": "brought back"}.get(decision, decision)
    return f"{told} by {promotion.get('who', '')}" + (f": {why}" if why else "")
