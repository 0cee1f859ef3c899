"""A pool is measured by another process: what it found, what it said, how it ends."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.labelling import make_pool, open_session
from tests.helpers.patience import PATIENCE_S

from georgia.errors import InputError
from georgia.label import job_process
from georgia.label.background import Measured, MeasuringProcess, make_chooser, use_features
from georgia.label.choose import ChoiceConfig, FeatureChooser
from georgia.label.even import order_evenly
from georgia.label.settings import LabelConfig

# In place of the net: the feature of an image is its number, and the third one cannot be read.
_FAKE = """
import json, sys
import numpy as np
job = json.loads(sys.stdin.readline())
numbers = [int(path.rpartition("c")[2].split(".")[0]) for path in job["paths"]]
print(json.dumps({"event": "start", "stage": "features", "total": len(numbers)}), flush=True)
print("a library's chatter", flush=True)
print(json.dumps({"event": "advance", "count": len(numbers)}), flush=True)
values = np.array([[n, n * n] for n in numbers], np.float32)
values[np.array(numbers) == 3] = np.nan
found = {"features": values, "classes": np.array([], np.str_)}
if job["model"]:
    probabilities = np.full((len(numbers), 2), 0.5, np.float32)
    found |= {"classes": np.array(["CEX", "PG"]), "probabilities": probabilities}
np.savez(job["target"], **found)
"""
_BROKEN = "import sys; sys.stderr.write('noise\\nthe weights are not there\\n'); sys.exit(2)"
_ENDLESS = "import sys; sys.stdin.readline(); print('{}', flush=True); sys.stdin.read()"


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def start(self, stage: str, total: int | None) -> None:
        self.lines.append((stage, total or 0))

    def advance(self, count: int = 1, note: str = "") -> None:
        self.lines.append(("advance", count))

    def say(self, line: str) -> None:
        self.lines.append((line, 0))


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(job_process, "_CODE", code.replace("{", "{{").replace("}", "}}"))


def test_measured_values_stand_at_their_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, _FAKE)
    pool, heard = make_pool(tmp_path / "crops"), Heard()
    found = MeasuringProcess(pool, LabelConfig()).run(progress=heard)
    assert found is not None
    assert found.features[:, 0].tolist()[:3] == [0, 1, 2]
    assert np.isnan(found.features[3]).all()
    assert found.probabilities is None
    assert heard.lines == [("features", 6), ("advance", 6)]


def test_part_of_a_large_pool_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first items of the even order, so that the even sample is one of the whole pool, and named ones."""
    run_instead(monkeypatch, _FAKE)
    pool = make_pool(tmp_path / "crops", 20)
    order = order_evenly([item.path for item in pool.items], 42).tolist()
    found = MeasuringProcess(pool, LabelConfig(features=5)).run(named=[order[-1]])
    assert found is not None
    measured = np.flatnonzero(np.isfinite(found.features[:, 0])).tolist()
    assert measured == sorted(at for at in (*order[:5], order[-1]) if at != 3)
    assert MeasuringProcess(pool, LabelConfig(features=0)).run(named=[1]) is None


def test_measuring_tells_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, _BROKEN)
    with pytest.raises(InputError, match="their features are needed; got the weights are not there"):
        MeasuringProcess(make_pool(tmp_path / "crops"), LabelConfig()).run()


def test_measuring_stops_from_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, _ENDLESS)
    process, found = MeasuringProcess(make_pool(tmp_path / "crops"), LabelConfig()), ["nothing yet"]
    thread = threading.Thread(target=lambda: found.append(process.run()), daemon=True)
    thread.start()
    process.stop()
    thread.join(timeout=PATIENCE_S)
    assert found == ["nothing yet", None]
    assert process.run() is None


def test_session_chooses_by_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, _FAKE)
    config = LabelConfig(choice=ChoiceConfig(seed=1))
    pool = make_pool(tmp_path / "crops", 12)
    with open_session(pool, tmp_path / "labels.csv") as session:
        process = MeasuringProcess(pool, config, tmp_path / "model")
        assert use_features(session, process, config)
        items = session.tray("a", 12, is_hinting=True)
        # One that the process cannot read is not chosen.
        assert {item.path for item in items} == {f"c{number}.png" for number in range(12) if number != 3}
        assert {str(item.reason) for item in items} == {"even", "spread"}
        assert {item.suggestion for item in items} == {("CEX", 0.5)}


def test_chooser_has_the_order_of_the_even_sample(tmp_path: Path) -> None:
    pool, config = make_pool(tmp_path / "crops", 8), LabelConfig(choice=ChoiceConfig(even=1.0, seed=5))
    chooser = make_chooser(
        pool, Measured(np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)), config
    )
    assert isinstance(chooser, FeatureChooser)
    order = order_evenly([item.path for item in pool.items], 5).tolist()
    assert [choice.index for choice in chooser.next(8, {})] == order
