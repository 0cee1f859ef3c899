"""Views that a model must accept: the same crystal in another place, size, light or noise."""

from __future__ import annotations

import numpy as np

from georgia.images.symmetry import SYMMETRIES
from georgia.synthetic import render_crop
from georgia.uncertainty.known_views import make_known_view


def test_same_image_gives_same_view() -> None:
    image = render_crop("PG", 3).image
    assert make_known_view(image).tobytes() == make_known_view(image.copy()).tobytes()
    assert make_known_view(image).dtype == np.uint8
    assert sorted(make_known_view(image).shape) == sorted(image.shape)


def test_views_show_the_crystal_in_some_orientation() -> None:
    """Moved by a twentieth and scaled by a quarter, it still correlates with one of the eight."""
    for seed in range(12):
        image = render_crop("PG", seed, (128, 128)).image[:, :, 0]
        view = make_known_view(np.repeat(image[:, :, None], 3, axis=2))[:, :, 0]
        own = max(np.corrcoef(one.apply(image).ravel(), view.ravel())[0, 1] for one in SYMMETRIES)
        assert own > 0.35


def test_light_of_views_stays_within_range() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    image[20:40, 20:40] = 140
    factors = []
    for level in range(60):
        changed = image + np.uint8(level % 20)
        factors.append(make_known_view(changed).mean() / changed.mean())
    assert 0.78 < min(factors) < 0.9
    assert 1.1 < max(factors) < 1.27
