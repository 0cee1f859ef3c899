"""What a frame as a whole shows: light, focus, noise, and what does not move."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.monitor.tile import place_windows
from georgia.monitor.visibility import StillWindows, View, find_fine, find_view, measure_cover, to_grey
from georgia.synthetic import render_frame
from georgia.synthetic.fields import render_empty
from georgia.synthetic.scenes import SceneKind, foul, render_scene

VIEWS = {
    "uneven": View.CLEAR,
    "noise": View.NOISE,
    "dark": View.DARK,
    "saturated": View.SATURATED,
    "unfocused": View.UNFOCUSED,
}


@pytest.mark.parametrize(("kind", "view"), VIEWS.items())
def test_field_without_crystals_is_named(kind: str, view: View) -> None:
    for seed in range(5):
        assert find_view(to_grey(render_empty(seed, (300, 340), kind).image)) is view


@pytest.mark.parametrize("coverage", [0.0, 0.05, 0.4])
def test_frame_is_a_good_view(coverage: float) -> None:
    for seed in range(4):
        frame = render_frame(100 + seed, (300, 340), 0.2, coverage)
        assert find_view(to_grey(frame.image)) is View.GOOD


def test_clear_solution_is_clear_at_any_light() -> None:
    for seed in range(10):
        assert find_view(to_grey(render_scene(seed, SceneKind.CLEAR, (300, 340)))) is View.CLEAR


def test_only_fouling_stands_still() -> None:
    boxes = place_windows(300, 340, 160, 0.25)
    moving, still = StillWindows(), StillWindows()
    for seed in range(4):
        frame = render_frame(seed, (300, 340), 0.2, 0.4).image
        n_moving = moving.update(to_grey(frame), boxes)
        n_still = still.update(to_grey(foul(frame)), boxes)
    assert n_moving.max() == 0
    assert np.median(n_still) == 3


def test_other_size_begins_anew() -> None:
    windows = StillWindows()
    frame = render_frame(1, (300, 340), 0.2, 0.4).image
    for shape in ((300, 340), (300, 340), (200, 200)):
        grey = to_grey(frame[: shape[0], : shape[1]])
        counts = windows.update(grey, place_windows(*shape, 100, 0.0))
    assert counts.max() == 0


def test_cover_tells_crystals_from_ground() -> None:
    frame = render_frame(3, (500, 500), pg_fraction=0.3, coverage=0.3)
    boxes = place_windows(500, 500, 100, 0.0)
    covers = measure_cover(find_fine(to_grey(frame.image)), boxes)
    masks = frame.mask_cex | frame.mask_pg
    truth = np.array([masks[top : top + 100, left : left + 100].mean() for left, top, _, _ in boxes])
    assert np.all((covers >= 0) & (covers <= 1))
    assert covers[truth > 0.4].mean() > 2 * covers[truth < 0.05].mean()
    assert np.corrcoef(covers, truth)[0, 1] > 0.5


@pytest.mark.parametrize("level", [0, 90, 255])
def test_plain_field_has_no_cover(level: int) -> None:
    boxes = place_windows(200, 300, 100, 0.25)
    assert not measure_cover(find_fine(np.full((200, 300), level, np.float32)), boxes).any()
