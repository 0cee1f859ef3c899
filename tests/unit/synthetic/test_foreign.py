"""Foreign material: same seed same bytes, every kind in both lights, halves apart."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.synthetic import CRYSTAL_KINDS, FITTED_KINDS, TESTED_KINDS, ForeignKind, Lighting, render_foreign
from georgia.synthetic.scene import CLASS_NAMES


@pytest.mark.parametrize("kind", ForeignKind)
def test_kind_renders_in_both_lights(kind: ForeignKind) -> None:
    images = [render_foreign(5, kind, (120, 140), lighting) for lighting in Lighting]
    for foreign in images:
        assert foreign.kind == kind
        assert foreign.image.shape == (120, 140, 3)
        assert foreign.image.dtype == np.uint8
        assert np.ptp(foreign.image, axis=2).max() == 0
    assert images[0].image.tobytes() != images[1].image.tobytes()


def test_same_foreign_seed_gives_same_bytes() -> None:
    first, second, other = (render_foreign(seed) for seed in (11, 11, 12))
    assert (first.kind, first.lighting) == (second.kind, second.lighting)
    assert first.image.tobytes() == second.image.tobytes()
    assert other.image.tobytes() != first.image.tobytes()


def test_size_is_sampled_like_crops() -> None:
    for seed in range(10):
        height, width = render_foreign(seed).image.shape[:2]
        assert 100 <= min(height, width) <= max(height, width) <= 260


def test_halves_of_kinds_are_apart() -> None:
    assert set(FITTED_KINDS) | set(TESTED_KINDS) == set(ForeignKind)
    assert not set(FITTED_KINDS) & set(TESTED_KINDS)
    assert set(CRYSTAL_KINDS) & set(FITTED_KINDS)
    assert set(CRYSTAL_KINDS) & set(TESTED_KINDS)
    assert not {kind.upper() for kind in ForeignKind} & set(CLASS_NAMES)


def test_bright_field_is_brighter_than_dark_field() -> None:
    bright, dark = (
        np.mean([render_foreign(seed, "prism", (96, 96), lighting).image.mean() for seed in range(30)])
        for lighting in Lighting
    )
    assert bright > dark + 20


def test_unknown_foreign_kind_suggests_nearest() -> None:
    with pytest.raises(InputError, match=r"kind is one of prism, .*; got 'prisms'\. Did you mean 'prism'\?"):
        render_foreign(1, "prisms")
    with pytest.raises(InputError, match="lighting is one of bright-field, dark-field; got 'red'"):
        render_foreign(1, "prism", lighting="red")
    with pytest.raises(InputError, match="32 px or more each way are needed"):
        render_foreign(1, "prism", (20, 100))
