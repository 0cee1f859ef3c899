"""Batches: features are the same kept, cached, in files or computed anew, and prefetched in order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.network import QUICK, SMALL, make_images

from georgia.images.augment import CRYSTAL
from georgia.images.preprocess import PreprocessSpec
from georgia.images.symmetry import Symmetry
from georgia.train.batches import FixedFeatures, choose_views, prefetch
from georgia.train.feature_cache import FeatureCache
from georgia.train.frozen import FrozenBackbone
from georgia.train.network import build_network

pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("tiny_backbone")


def test_kept_features_equal_new_ones() -> None:
    network = build_network(QUICK, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), make_images(9, 2, 3)
    kept = FixedFeatures(images, frozen, CRYSTAL, 3, seed=5)
    assert len(kept.targets) == 27
    indices = np.array([0, 8, 9, 26, 13])
    before = kept.take(indices)
    made = [np.concatenate(tensors) for tensors in zip(*kept.batches(), strict=True)]
    for fresh, stored, whole in zip(before, kept.take(indices), made, strict=True):
        np.testing.assert_allclose(fresh, stored, atol=1e-4)
        np.testing.assert_array_equal(stored, whole[indices])
    plain = FixedFeatures(images, frozen).take(np.arange(9))
    np.testing.assert_allclose(plain[0], made[0][:9], atol=1e-4)


def test_cached_features_serve_next_run(tmp_path: Path) -> None:
    network = build_network(SMALL, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), make_images(9, 2, 3)
    cache = FeatureCache(tmp_path, 10**9)
    first = [batch[0] for batch in FixedFeatures(images, frozen, CRYSTAL, 2, cache=cache).batches()]

    class Resting(FrozenBackbone):
        def stream(self, batches: Any) -> Any:
            for token, images in batches:
                assert not len(images), "the frozen backbone ran again"
                yield token, []

    again = Resting(network.frozen, network.preprocess)
    assert again.key == frozen.key
    reopened = FeatureCache(tmp_path, 10**9)
    later = FixedFeatures(images, again, CRYSTAL, 2, cache=reopened)
    for before, after in zip(first, [batch[0] for batch in later.batches()], strict=True):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(later.take(np.arange(3))[0], first[0][:3])


def test_validation_features_need_one_pass() -> None:
    """The engine is given each image once per run, the next batch while one is taken, whatever the epochs."""
    network, images = build_network(SMALL, 2), make_images(70, 2, 3)
    ahead: list[int] = []

    class Counting(FrozenBackbone):
        def stream(self, batches: Any) -> Any:
            def count() -> Any:
                for token, batch in batches:
                    ahead.append(len(batch))
                    yield token, batch

            return super().stream(count())

    features = FixedFeatures(images, Counting(network.frozen, network.preprocess))
    first = features.batches()
    kept = [next(first)[0]]
    assert len(ahead) > 1
    kept += [batch[0] for batch in first]
    again = [batch[0] for _ in range(3) for batch in features.batches()]
    assert sum(ahead) == 70
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(3 * kept))


def test_maps_keep_eleven_bits() -> None:
    network = build_network(SMALL, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), make_images(5, 2, 3)
    exact = frozen(images.images(slice(None)))
    assert any(tensor.ndim == 4 for tensor in exact)
    kept = FixedFeatures(images, frozen)
    for values, expected in zip(next(kept.batches()), exact, strict=True):
        np.testing.assert_allclose(values, expected, rtol=2**-11, atol=1e-6)


def test_large_features_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("georgia.train.batches.KEEP_LIMIT_BYTES", 0)
    network = build_network(SMALL, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), make_images(9, 2, 3)
    features = FixedFeatures(images, frozen, memmap_path=tmp_path / "state" / "valid")
    first, second = ([batch[0] for batch in features.batches()] for _ in range(2))
    np.testing.assert_array_equal(np.concatenate(second), np.concatenate(first))
    assert (tmp_path / "state" / "valid.0.npy").stat().st_size > 0


def test_key_depends_on_weights_and_precision() -> None:
    network = build_network(SMALL, 2)
    keys = [
        FrozenBackbone(network.frozen, network.preprocess).key,
        FrozenBackbone(network.frozen, network.preprocess, "bfloat16").key,
        FrozenBackbone(network.frozen, PreprocessSpec(32, "BGR")).key,
        FrozenBackbone(build_network(replace(SMALL, seed=1), 2).frozen, network.preprocess).key,
    ]
    assert len(set(keys)) == 4
    assert FrozenBackbone(build_network(SMALL, 2).frozen, network.preprocess).key == keys[0]


def test_compiled_backbone_equals_openvino() -> None:
    network = build_network(SMALL, 2)
    images = make_images(5, 2, 3).images(slice(None))
    engine, compiled = (
        FrozenBackbone(network.frozen, network.preprocess, on_gpu=on_gpu)(images) for on_gpu in (False, True)
    )
    for mine, theirs in zip(engine, compiled, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-3, atol=1e-3)


def test_net_without_frozen_part_gets_the_same_input_on_a_gpu() -> None:
    images = make_images(5, 2, 3).images(slice(None))
    for spec in (build_network(SMALL, 2).preprocess, PreprocessSpec(images.shape[1], "BGR", (3.0, 5.0, 7.0))):
        [mine], [theirs] = (FrozenBackbone(None, spec, on_gpu=on_gpu)(images) for on_gpu in (False, True))
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-4)


def test_training_sees_images_in_their_own_orientation() -> None:
    networks = [build_network(replace(SMALL, symmetry=mode), 2) for mode in ("none", "canonical")]
    images = make_images(3, 2, 3).images(np.arange(3))
    rotated = np.stack([Symmetry.ROTATE_90.apply(image) for image in images])
    plain = FrozenBackbone(networks[0].frozen, networks[0].preprocess)
    spec = networks[1].preprocess
    assert {
        FrozenBackbone(networks[0].frozen, replace(spec, symmetry=s)).key for s in ("average", "canonical")
    } == {plain.key}
    canonical = FrozenBackbone(networks[0].frozen, spec)
    for tensor, found, other in zip(plain(images), canonical(images), canonical(rotated), strict=True):
        np.testing.assert_array_equal(found, tensor)
        assert np.abs(other - tensor).max() > 1e-3


def test_many_images_take_fewer_views() -> None:
    assert [choose_views(8, n) for n in (10, 2500, 9564, 10**6)] == [8, 8, 2, 1]


def test_prefetch_keeps_order_and_raises() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))

    def broken() -> Any:
        yield 1
        raise ValueError("from the thread")

    with pytest.raises(ValueError, match="from the thread"):
        list(prefetch(broken()))
    for item in prefetch(iter(range(10**9))):
        if item == 3:
            break
