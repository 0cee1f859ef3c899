"""What a model's own test images say of its errors: the least that they explain."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.helpers.monitor import BrightnessAnalyzer, make_result, write_frame

from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig, TileConfig
from georgia.monitor.store import Store
from georgia.process.moments.false_rate import read_card_rate
from georgia.process.moments.impurity import HighestLevel, Rise, find_rise

CONFUSION = {"classes": ["CEX", "PG"], "confusion": [[92, 8], [5, 95]]}


def make_store(folder: Path, documents: dict[str, dict[str, Any]]) -> tuple[Store, Any]:
    """Return a store with a batch of one frame by each model, and what it keeps of each."""
    store = Store(str(folder / "m.db"))
    batch = store.begin_batch("probe", "B-1", "Ann", "PG", "tests")
    for number, (sha256, content) in enumerate(documents.items(), 1):
        store.save_document("model", content, sha256)
        store.record_frame(make_result(number, batch.id, model_sha256=sha256), "probe", "{}")
    return store, batch


def test_card_rate_is_the_upper_limit_of_the_worst_model(tmp_path: Path) -> None:
    better = {"classes": ["PG", "CEX"], "confusion": [[95, 5], [1, 99]]}
    documents = {"a" * 64: {"tested": CONFUSION}, "b" * 64: {"tested": better}}
    store, batch = make_store(tmp_path, documents)
    assert 0.13 < read_card_rate(store, batch) < 0.16, "8 of 100 CEX; PG's own errors are none of CEX"
    store.close()


@pytest.mark.parametrize(
    "content",
    [
        {"name": "of an earlier version"},
        {"tested": None},
        {"tested": {"classes": ["CEX", "PG"], "confusion": [[1, 2]]}},
        {"tested": {"classes": ["CEX", "other"], "confusion": [[1, 2], [3, 4]]}},
        {"tested": {"classes": ["CEX", "PG"], "confusion": [[0, 0], [5, 95]]}},
        {"tested": {"classes": ["CEX", "PG"], "confusion": "no table"}},
    ],
)
def test_store_that_does_not_know_says_nothing(tmp_path: Path, content: dict[str, Any]) -> None:
    store, batch = make_store(tmp_path, {"c" * 64: content})
    assert read_card_rate(store, batch) == 0
    store.close()


def test_monitor_keeps_the_confusion_of_its_model(tmp_path: Path) -> None:
    write_frame(tmp_path / "probe" / "a.png", 4)
    bundle = SimpleNamespace(name="brightness", metadata={"metrics": {**CONFUSION, "accuracy": 0.9}})
    store = Store(str(tmp_path / "m.db"))
    config = MonitorConfig(
        watch=tmp_path / "probe", poll_interval_s=0.05, source="probe", tiles=TileConfig(min_judged=1)
    )
    analyzer = BrightnessAnalyzer(bundle=bundle)
    Monitor(analyzer, config, store).run(once=True)
    assert store.document(analyzer.model_sha256)["tested"] == CONFUSION
    assert read_card_rate(store, store.batches()[0]) > 0.1
    store.close()


def test_level_that_the_card_explains_is_no_impurity() -> None:
    times, windows = np.arange(80.0), np.full(80, 40.0)
    fraction = np.where(times < 30, 0.02, 0.1)
    without, with_card = (find_rise(times, fraction, windows, least=least) for least in (0.0, 0.15))
    assert isinstance(without, Rise)
    assert isinstance(with_card, HighestLevel)
    assert with_card.explained == 0.15
    much = find_rise(times, np.where(times < 30, 0.02, 0.6), windows, least=0.15)
    assert isinstance(much, Rise)
    assert much.onset is not None
    assert 29 <= much.onset.low_s < much.onset.high_s <= 30
