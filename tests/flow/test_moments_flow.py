"""Frames of a batch that nucleates, through ``georgia monitor``, to moments and a report."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from georgia.cli import main
from georgia.monitor.queries import StoreReader
from georgia.process.moments.in_store import read_moments
from georgia.process.moments.result import Finding, MomentKind
from georgia.process.moments.settings import read_moments_settings

# Crystals appear with frame 13 of 24, counted from 1.
N_FRAMES, N_CLEAR, STEP_S, START_S = 24, 12, 30.0, 1_790_000_000.0


@pytest.mark.slow
def test_nucleation_is_dated_from_rendered_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {"clear_frames": N_CLEAR, "growth_frames": 2, "height_px": 500, "width_px": 556}
    options = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    simulated = ["simulate", "--out", "probe", "--frames", str(N_FRAMES), "--every", "0", *options]
    assert main(simulated) == 0
    for at, file in enumerate(sorted(Path("probe").glob("frame-*.png"))):
        os.utime(file, (START_S + STEP_S * at,) * 2)
    rows = []
    for at in range(-2, N_FRAMES + 2):
        moment = datetime.fromtimestamp(START_S + STEP_S * at, UTC)
        rows.append(f"{moment:%Y-%m-%dT%H:%M:%SZ},{60 - at},{50 - at}")
    Path("reactor.csv").write_text("\n".join(["time,T_r [°C],T_j [°C]", *rows, ""]), encoding="utf-8")
    Path("plant.toml").write_text(
        '[monitor]\nbatch = "B-9"\ndb = "m.db"\n[moments]\ntemperature = "T_r"\n', encoding="utf-8"
    )
    assert main(["monitor", "--watch", "probe", "--config", "plant.toml", "--once"]) == 0
    assert main(["process", "reactor.csv", "--db", "m.db"]) == 0
    store = StoreReader.open("m.db")
    found = read_moments(store, store.batch(1), read_moments_settings(Path("plant.toml")))
    store.close()
    (first,) = [each for each in found.moments if each.kind == MomentKind.FIRST_CRYSTALS]
    assert (first.finding, first.point) == (Finding.FOUND, "cloud point"), first
    assert first.low_s is not None
    assert first.high_s is not None
    # Between the last clear frame and the first one with crystals.
    assert first.low_s <= START_S + STEP_S * N_CLEAR
    assert first.high_s >= START_S + STEP_S * (N_CLEAR - 1)
    assert first.high_s - first.low_s < 6 * STEP_S
    assert first.temperature is not None
    assert first.temperature.low <= 60 - N_CLEAR + 0.5 <= first.temperature.high
    capsys.readouterr()
    assert main(["report", "m.db", "--config", "plant.toml", "--out", "B-9.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_frames"] == N_FRAMES
    page = Path("B-9.html").read_text("utf-8")
    assert "cloud point · first crystals" in page
    assert "The temperature is T_r [°C]" in page
