"""The trainable head's steps with JAX: none waits for the one before, so that a GPU always has the next.

Keras' ``train_on_batch`` fetches the loss of each step, and the GPU is idle meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.train.feature_cache import Features

Outputs = npt.NDArray[np.float32]
# Of a GPU's memory, what fixed head inputs may take; the rest is the net's.
KEPT_PART = 0.25
# Steps that may wait for the GPU: each holds the head inputs of its batch there.
STEPS_AHEAD = 4


class JaxSteps:
    """A head's variables as JAX's arrays, and compiled functions of them; see ``HeadSteps``.

    Compiled anew for each number of images in a batch. They compute in the precision that the head's layers
    had at the first call (``use_precision``).
    """

    def __init__(self, head: Any) -> None:
        import jax

        self._head = head
        self._step = jax.jit(self._trace_step)
        self._outputs = jax.jit(self._trace_outputs)
        self._state: tuple[Any, ...] | None = None
        self._kept: list[list[Any]] | None = None
        self._is_too_large = False
        self._under_way: deque[Any] = deque()
        self._n_done = 0

    def _trace_step(self, state: Any, rate: Any, features: Any, targets: Any, weights: Any) -> Any:
        """Return the state after a step, with the sums of loss and of right predictions over images."""
        import jax
        import keras

        head, (trainable, others, optimizer, sums) = self._head, state

        def compute_loss(trainable: Any) -> Any:
            outputs, others_after, losses = head.stateless_call(
                trainable, others, features, training=True, return_losses=True
            )
            return head.loss(targets, outputs, sample_weight=weights) + sum(losses), (outputs, others_after)

        (loss, (outputs, others)), slopes = jax.value_and_grad(compute_loss, has_aux=True)(trainable)
        optimizer = [
            rate if variable is head.optimizer.learning_rate else value
            for variable, value in zip(head.optimizer.variables, optimizer, strict=True)
        ]
        trainable, optimizer = head.optimizer.stateless_apply(optimizer, slopes, trainable)
        is_sigmoid = targets.shape[-1] == 1
        accuracy = keras.metrics.binary_accuracy if is_sigmoid else keras.metrics.categorical_accuracy
        n_right = keras.ops.sum(accuracy(targets, outputs))
        return trainable, others, optimizer, (sums[0] + loss * len(targets), sums[1] + n_right)

    def _trace_outputs(self, trainable: Any, others: Any, features: Any) -> Any:
        return self._head.stateless_call(trainable, others, features, training=False)[0]

    def _groups(self) -> tuple[Any, Any, Any]:
        head = self._head
        return head.trainable_variables, head.non_trainable_variables, head.optimizer.variables

    def begin(self) -> None:
        """Start an epoch with the head's variables as they are."""
        self._state, self._n_done = None, 0
        self._under_way.clear()

    def train(self, features: Features, targets: Outputs, weights: Outputs | None, rate: float) -> None:
        """Learn from a batch; returns before it has been learned from."""
        if self._state is None:
            self._head.optimizer.build(self._head.trainable_variables)
            groups = ([variable.value for variable in group] for group in self._groups())
            self._state = (*groups, (np.float32(0), np.float32(0)))
        self._state = self._step(self._state, np.float32(rate), features, targets, weights)
        self._n_done += len(targets)
        self._under_way.append(self._state[-1][0])
        if len(self._under_way) > STEPS_AHEAD:
            self._under_way.popleft().block_until_ready()

    def means(self) -> dict[str, float]:
        """Return mean loss and accuracy over the images since ``begin``."""
        loss, n_right = self._state[-1] if self._state else (0.0, 0.0)
        n_done = max(1, self._n_done)
        return {"loss": float(loss) / n_done, "accuracy": float(n_right) / n_done}

    def end(self) -> None:
        """Give the head's variables their new values."""
        if self._state is None:
            return
        for group, values in zip(self._groups(), self._state[:3], strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        self._state = None

    def predict(self, batches: Iterable[Features]) -> Outputs:
        """Return the outputs for all images; each batch travels while the GPU computes the one before."""
        return _fetch(self._run(batches))

    def _run(self, batches: Iterable[Features]) -> list[Any]:
        trainable = [variable.value for variable in self._head.trainable_variables]
        others = [variable.value for variable in self._head.non_trainable_variables]
        made: list[Any] = []
        for features in batches:
            made.append(self._outputs(trainable, others, features))
            if len(made) > STEPS_AHEAD:
                made[-1 - STEPS_AHEAD].block_until_ready()
        return made

    def predict_fixed(self, batches: Callable[[], Iterable[Features]]) -> Outputs:
        """Return the outputs for batches that are the same at every call; they stay on a GPU with room."""
        if self._kept is not None:
            return self.predict(self._kept)
        if self._is_too_large:
            return self.predict(batches())
        limit, kept, n_bytes = _find_room_bytes(), list[list[Any]](), 0

        def keep() -> Iterable[Features]:
            import jax

            nonlocal n_bytes
            for features in batches():
                n_bytes += sum(tensor.nbytes for tensor in features)
                if n_bytes > limit:
                    kept.clear()
                    yield features
                    continue
                kept.append([jax.device_put(tensor) for tensor in features])
                yield kept[-1]

        outputs = self.predict(keep())
        self._is_too_large = n_bytes > limit
        self._kept = None if self._is_too_large else kept
        return outputs


def _fetch(made: list[Any]) -> Outputs:
    return np.concatenate([np.asarray(outputs, np.float32) for outputs in made])


def _find_room_bytes() -> float:
    """Return how many bytes may stay on the GPU; none on a processor, whose memory has them already."""
    import jax

    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return 0.0
    statistics = device.memory_stats() or {}
    return KEPT_PART * float(statistics.get("bytes_limit", 0))
