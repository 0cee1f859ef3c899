"""Laws of augmentation: no augmentation is the identity, a key gives one view, bytes stay bytes."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.images.augment import (
    AUGMENTATIONS,
    CRYSTAL,
    NONE,
    STUDY,
    AugmentConfig,
    apply_view,
    augment_batch,
    sample_view,
)
from georgia.images.symmetry import SYMMETRIES

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
KEYS = [(42, 1, i) for i in range(6)]


def test_augment_none_is_identity() -> None:
    view = sample_view(NONE, 64, np.random.default_rng(1))
    np.testing.assert_array_equal(apply_view(IMAGES[0], view), IMAGES[0])
    np.testing.assert_array_equal(augment_batch(IMAGES, NONE, KEYS), IMAGES)


@pytest.mark.parametrize("name", ["study", "crystal"])
def test_augment_batch_equals_single_images(name: str) -> None:
    config = AUGMENTATIONS[name]
    whole = augment_batch(IMAGES, config, KEYS)
    single = [augment_batch(IMAGES[i : i + 1], config, KEYS[i : i + 1])[0] for i in reversed(range(6))][::-1]
    np.testing.assert_array_equal(whole, np.stack(single))
    assert whole.dtype == np.uint8
    assert not np.array_equal(whole, IMAGES)


def test_augment_flips_give_eight_symmetries() -> None:
    config = AugmentConfig(flip=True, right_angles=True)
    image = IMAGES[0]
    views = (sample_view(config, 64, np.random.default_rng(seed)) for seed in range(200))
    found = {apply_view(image, view).tobytes() for view in views}
    assert found == {symmetry.apply(image).tobytes() for symmetry in SYMMETRIES}


def test_augment_study_stays_in_range() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        view = sample_view(STUDY, 224, rng)
        scale = np.sqrt(abs(np.linalg.det(view.matrix[:, :2])))
        assert 1 / 1.3 - 1e-9 <= scale <= 1 / 0.7 + 1e-9
        centre = view.matrix @ [111.5, 111.5, 1.0]
        assert np.abs(centre - 111.5).max() <= 0.2 * 224 + 1e-6
        assert (view.contrast, view.brightness, view.gamma, view.blur) == (1.0, 0.0, 1.0, 0.0)


def test_augment_light_keeps_grey_order() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    ramp = np.repeat(ramp, 256, axis=0)
    light = AugmentConfig(contrast=CRYSTAL.contrast, brightness=CRYSTAL.brightness, gamma=CRYSTAL.gamma)
    for seed in range(20):
        row = apply_view(ramp, sample_view(light, 256, np.random.default_rng(seed)))[0, :, 0].astype(int)
        assert (np.diff(row) >= 0).all()
