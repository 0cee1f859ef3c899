"""``georgia monitor --commission``: frames of the right kind and of another, with one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from georgia.cli.app import main
from georgia.synthetic import render_foreign, render_frame

pytestmark = pytest.mark.slow


def commission(folder: Path, frames: list[np.ndarray]) -> int:
    watched = folder / "probe"
    watched.mkdir()
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels).save(watched / f"{number}.png")
    (watched / "zz.png").write_bytes(b"no image")
    arguments = ["monitor", "--watch", watched, "--db", folder / "m.db", "--commission", "--once"]
    return main([str(each) for each in (*arguments, "--out", folder / "out")])


def test_crystals_pass_unreadable_frame_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [render_frame(seed, pg_fraction=0.05).image for seed in range(4)]
    assert commission(tmp_path, frames) == 3
    assert "left out 'zz.png'" in capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "commissioning.json").read_text())
    assert found["verdict"] in ("ok", "caution")
    assert "Frames unreadable" in (tmp_path / "out" / "commissioning.html").read_text()


def test_foreign_crystals_do_not_pass(tmp_path: Path) -> None:
    frames = [render_foreign(seed, "cube", (600, 700), "bright-field").image for seed in range(4)]
    assert commission(tmp_path, frames) == 4
