"""A simulated batch: known truth, written whole, PG growing in at the chosen pace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from georgia.errors import InputError
from georgia.images.decode import read_image
from georgia.synthetic.simulate import TRUTH_FILE, SimulateConfig, simulate_batch

SMALL = {"height_px": 120, "width_px": 140, "every_s": 0.0, "coverage": 0.5}


def test_fraction_stays_then_rises_to_top() -> None:
    config = SimulateConfig(frames=9, clean_frames=3, start=0.1, rise=0.1, top=0.4)
    assert [config.fraction_at(index) for index in range(9)] == [0.1, 0.1, 0.1, 0.2, 0.3, *[0.4] * 4]


def test_solution_is_clear_before_and_after_crystals(tmp_path: Path) -> None:
    steps = {"clear_frames": 2, "growth_frames": 2, "dissolve_from": 5, "dissolve_frames": 2}
    config = SimulateConfig(frames=7, start=0.5, **SMALL, **steps)  # type: ignore[arg-type]
    simulation = simulate_batch(tmp_path, config)
    assert simulation.coverages == (0.0, 0.0, 0.25, 0.5, 0.25, 0.0, 0.0)
    assert [fraction > 0 for fraction in simulation.fractions] == [
        bool(each) for each in simulation.coverages
    ]


def test_frames_and_truth_agree(tmp_path: Path) -> None:
    config = SimulateConfig(frames=3, clean_frames=1, start=0.0, rise=0.5, top=1.0, **SMALL)
    simulation = simulate_batch(tmp_path, config)
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == list(simulation.files)
    assert read_image(tmp_path / simulation.files[0]).shape == (120, 140, 3)
    assert simulation.fractions[0] == 0.0
    assert simulation.fractions[2] == 1.0
    truth = json.loads((tmp_path / TRUTH_FILE).read_text())
    assert truth["fractions"] == list(simulation.fractions)
    assert truth["settings"]["rise"] == 0.5


def test_pieces_give_the_same_bytes(tmp_path: Path) -> None:
    parts: list[float] = []
    for name in ("whole", "pieces"):
        config = SimulateConfig(frames=1, write=name, **SMALL)  # type: ignore[arg-type]
        simulate_batch(tmp_path / name, config, sleep=parts.append)
    first, second = ((tmp_path / name / "frame-00001.png").read_bytes() for name in ("whole", "pieces"))
    assert first == second
    assert len(parts) > 4, "it does not wait between the pieces"


def test_simulate_keeps_an_earlier_batch(tmp_path: Path) -> None:
    config = SimulateConfig(frames=1, **SMALL)
    simulate_batch(tmp_path, config)
    with pytest.raises(InputError, match=r"without frames of an earlier batch"):
        simulate_batch(tmp_path, config)


def test_wrong_settings_are_reported_together() -> None:
    with pytest.raises(InputError, match=r"frames must be from 1 to 1000000.*rise must be from 0 to 1"):
        SimulateConfig(frames=0, rise=2.0)
