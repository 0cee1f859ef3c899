"""Features of a pool's images by the frozen backbone: computed once, kept on disk, the same that train uses.

An entry of the cache is found by the pixels and by all that decides the numbers (net, weights, preprocessing,
arithmetic), so a renamed or moved image is not computed again, and one that was changed is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.images.augment import AUGMENTATIONS, augment_batch
from georgia.images.decode import iter_images
from georgia.images.symmetry import orient_images
from georgia.model.engines import Engine, Outputs
from georgia.progress import QUIET, Progress
from georgia.records import Failure
from georgia.train.device import find_precision
from georgia.train.feature_cache import FeatureCache, digest_images
from georgia.train.frozen import FROZEN_BATCH, FrozenBackbone
from georgia.train.loop import open_cache
from georgia.train.network import Network, build_network
from georgia.train.recipes import TrainConfig, recipe_config

T = TypeVar("T")
FloatArray = npt.NDArray[np.float32]
# An image as it is, as the exported file turns it before it runs, or a random view by its number from 1.
View = Literal["as is", "served"] | int
AS_IS: tuple[View, ...] = ("as is",)


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


class StoppedError(InputError):
    """A step ended because it was asked to; what it had computed by then is kept."""


@dataclass(frozen=True, eq=False)
class PoolFeatures:
    """Features ``values`` (N, V, F), float32, of N images in V views; rows that were not read are NaN.

    ``is_read`` (N,) tells which were, ``failures`` why the others were not.
    """

    values: FloatArray
    is_read: npt.NDArray[np.bool_]
    failures: tuple[Failure, ...] = ()

    @property
    def as_is(self) -> FloatArray:
        """The features (N, F) of the first view."""
        return np.asarray(self.values[:, 0])


class FeatureReader:
    """A recipe's frozen backbone with the cache of its features.

    Opening it builds the net, which takes some seconds; it serves any number of reads. One thread at a time.

    Raises:
        InputError: layers of the backbone are trained by the settings, so that it has no fixed features.
    """

    def __init__(
        self,
        config: TrainConfig | None = None,
        network: Network | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        self.config = config or recipe_config("fast")
        network = network or build_network(self.config, 2)
        if network.frozen is None or network.trainable_layers:
            raise InputError(
                "Cannot compute features once for all",
                needs="trainable_fraction must be 0",
                got=f"{self.config.trainable_fraction:g}",
            )
        self._spec = network.preprocess
        precision, on_gpu = find_precision(self.config.precision, self.config.device)
        self._frozen = FrozenBackbone(network.frozen, self._spec, precision, on_gpu)
        self._cache = cache or open_cache(self.config, self._frozen)
        name = self.config.augmentation
        self._augmentation = AUGMENTATIONS["crystal" if name == "none" else name]

    @property
    def key(self) -> str:
        """What decides the features, as a digest (hex)."""
        return self._frozen.key

    def read(
        self,
        paths: Sequence[Path],
        views: Sequence[View] = AS_IS,
        progress: Progress = QUIET,
        stop: Callable[[], bool] = never,
    ) -> PoolFeatures:
        """Return the features of image files, in order; ``stop`` is asked before each batch.

        Raises:
            StoppedError: ``stop`` said so; what was computed is in the cache.
        """
        values: FloatArray | None = None
        is_read, failures = np.zeros(len(paths), np.bool_), []
        waiting: list[tuple[int, npt.NDArray[np.uint8]]] = []
        progress.start("features", len(paths))

        def run() -> None:
            nonlocal values
            at, images = [each[0] for each in waiting], np.stack([each[1] for each in waiting])
            found = self._compute(images, views)
            if values is None:
                values = np.full((len(paths), len(views), found.shape[2]), np.nan, np.float32)
            values[at], is_read[at] = found, True
            progress.advance(len(waiting))
            waiting.clear()

        try:
            for position, result in iter_images(paths, transform=self._resize):
                if isinstance(result, Failure):
                    failures.append(result)
                    progress.advance()
                else:
                    waiting.append((position, result))
                if len(waiting) == FROZEN_BATCH:
                    if stop():
                        raise StoppedError("Stopped", needs="all features", got=f"{int(is_read.sum())}")
                    run()
            if waiting:
                run()
        finally:
            if self._cache is not None:
                self._cache.flush()
        if values is None:
            values = np.empty((len(paths), len(views), 0), np.float32)
        return PoolFeatures(values, is_read, tuple(failures))

    def remember(self, engine: Engine, n_classes: int) -> Engine:
        """Return an engine that keeps the features that it measures, and gives 0 for all logits.

        Logits are the head's, which every learning makes anew; features are the backbone's.
        """
        if self._cache is None:
            return engine
        return _RememberingEngine(engine, self._cache, self._measured_key("images"), n_classes)

    def _measured_key(self, name: str) -> str:
        return f"{self._frozen.key}-{name}-{self._spec.symmetry}"

    def recall(self, name: str, measure: Callable[[], FloatArray]) -> FloatArray:
        """Return what ``measure`` gives, or what it gave before under that name with the same backbone."""
        key = self._measured_key(name)
        known = self._cache.read(key, "all") if self._cache is not None else None
        if known is not None:
            return np.asarray(known[0], np.float32)
        measured = measure()
        if self._cache is not None:
            self._cache.add(key, "all", [measured])
        return measured

    def flush(self) -> None:
        """Write what is new to disk."""
        if self._cache is not None:
            self._cache.flush()

    def _resize(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.clip(np.rint(self._spec.resize(image)), 0, 255).astype(np.uint8)

    def _compute(self, images: npt.NDArray[np.uint8], views: Sequence[View]) -> FloatArray:
        """Return the features (n, V, F) of resized images (n, S, S, 3)."""
        rows = [self._run(self._make_view(images, view)) for view in views]
        return np.stack(rows, axis=1)

    def _make_view(self, images: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
        if view == "as is":
            return images
        if view == "served":
            return orient_images(images) if self._spec.symmetry == "canonical" else images
        # By the pixels, not by the place in the pool: more labels change no view that is known.
        keys = [(self.config.seed, int(view), int(digest[:12], 16)) for digest in digest_images(images)]
        return augment_batch(images, self._augmentation, keys)

    def _run(self, images: npt.NDArray[np.uint8]) -> FloatArray:
        if self._cache is None:
            return self._frozen(images)[0]
        return np.asarray(self._cache.get_or_compute(self._frozen.key, images, self._frozen)[0], np.float32)


class _RememberingEngine:
    """An engine whose ``picture_features`` are taken from a cache where they are known."""

    def __init__(self, engine: Engine, cache: FeatureCache, key: str, n_classes: int) -> None:
        self._engine, self._cache, self._key, self._n_classes = engine, cache, key, n_classes
        self.name, self.precision, self.device = engine.name, engine.precision, engine.device

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return self._engine.prepare(image)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        def measure(images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
            return [np.asarray(self._engine.run(list(images))["picture_features"], np.float32)]

        features = self._cache.get_or_compute(self._key, np.stack(prepared), measure)[0]
        logits = np.zeros((len(prepared), self._n_classes), np.float32)
        return {"logits": logits, "picture_features": features}

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        for token, prepared in batches:
            yield token, self.run(prepared)
