"""One step of the trainable head after another: learn from a batch, or give its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from georgia.train.feature_cache import Features

Outputs = npt.NDArray[np.float32]


class HeadSteps(Protocol):
    """How a compiled head is trained and run; between ``begin`` and ``end`` it has the newest weights."""

    def begin(self) -> None:
        """Start an epoch with the head's variables as they are."""
        ...

    def train(self, features: Features, targets: Outputs, weights: Outputs | None, rate: float) -> None:
        """Learn from a batch: head inputs (N, …), encoded targets (N, C), weights of images (N,) or None."""
        ...

    def means(self) -> dict[str, float]:
        """Return mean "loss" and "accuracy" over the images since ``begin``; on a GPU this waits for it."""
        ...

    def end(self) -> None:
        """Give the head's variables their new values."""
        ...

    def predict(self, batches: Iterable[Features]) -> Outputs:
        """Return the outputs (N, C) for all images of one batch or more."""
        ...

    def predict_fixed(self, batches: Callable[[], Iterable[Features]]) -> Outputs:
        """Return the outputs (N, C) for batches that are the same at every call; a GPU may keep them."""
        ...


class KerasSteps:
    """Keras' own calls, which return when their result is there."""

    def __init__(self, head: Any) -> None:
        self._head = head
        self.begin()

    def begin(self) -> None:
        """Start an epoch."""
        self._sums = {"loss": 0.0, "accuracy": 0.0}
        self._n_done = 0

    def train(self, features: Features, targets: Outputs, weights: Outputs | None, rate: float) -> None:
        """Learn from a batch."""
        self._head.optimizer.learning_rate.assign(rate)
        logs = self._head.train_on_batch(features, targets, weights, return_dict=True)
        self._sums = {name: total + float(logs[name]) * len(targets) for name, total in self._sums.items()}
        self._n_done += len(targets)

    def means(self) -> dict[str, float]:
        """Return mean loss and accuracy over the images since ``begin``."""
        return {name: total / self._n_done for name, total in self._sums.items()}

    def end(self) -> None:
        """Do nothing: each step has written the variables."""

    def predict(self, batches: Iterable[Features]) -> Outputs:
        """Return the outputs for all images."""
        return np.concatenate([np.asarray(self._head.predict_on_batch(features)) for features in batches])

    def predict_fixed(self, batches: Callable[[], Iterable[Features]]) -> Outputs:
        """Return the outputs for all images."""
        return self.predict(batches())


def make_head_steps(head: Any) -> HeadSteps:
    """Return the steps of a compiled head for the backend that Keras runs on."""
    import keras

    if keras.backend.backend() == "jax":
        from georgia.train.head_jax import JaxSteps

        return JaxSteps(head)
    return KerasSteps(head)
