"""What the trail says when a monitor starts: who started what, and what differs from the start before."""

from __future__ import annotations

import georgia
from georgia.monitor.records import Batch
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.tile import FrameAnalyzer


def write_start(
    store: Store, who: str, batch: Batch, judge: FrameAnalyzer, config: MonitorConfig, settings_id: str
) -> None:
    """Write the start, and changed settings or another model since the last one, into the trail."""
    detail = {
        "source": batch.source,
        "version": georgia.__version__,
        "engine": judge.engine_name,
        "model": judge.bundle.name,
        "model_sha256": judge.model_sha256,
        "settings_id": settings_id,
    }
    before = store.last_start(batch.source)
    store.append_trail(who, "monitor started", detail, batch.id)
    if before and before["settings_id"] != settings_id:
        old, new = store.document(before["settings_id"]), config.to_json_dict()
        changes = {key: [old.get(key), value] for key, value in new.items() if old.get(key) != value}
        store.append_trail(who, "settings changed", {"changes": changes}, batch.id)
    if before and before["model_sha256"] != judge.model_sha256:
        swap = {"from": before["model_sha256"], "to": judge.model_sha256, "model": judge.bundle.name}
        store.append_trail(who, "model swapped", swap, batch.id)
