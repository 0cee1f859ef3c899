"""The training loop: epochs, one pass over the whole validation set each, stop rules, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.files import find_cache_folder
from georgia.images.augment import AUGMENTATIONS
from georgia.labels import Labels, outputs_to_probabilities
from georgia.metrics.classification import Metrics, compute_metrics
from georgia.progress import QUIET, Progress
from georgia.train.batches import FixedFeatures, choose_views, fixed_batches, read_ahead, training_batches
from georgia.train.decoded import ImageSet
from georgia.train.device import list_gpus
from georgia.train.feature_store import FeatureStore
from georgia.train.frozen import Trunk, TrunkMemory
from georgia.train.history import make_row, save_history
from georgia.train.network import STANDARDIZE, Network, uses_sigmoid
from georgia.train.precision import choose_train_precision, use_precision
from georgia.train.recipes import TrainConfig
from georgia.train.state import TrainState

# Probabilities are kept this far from 0 and 1 in the loss. Source: Keras' own epsilon.
EPSILON = 1e-7


@dataclass(frozen=True)
class LoopInputs:
    """What a loop works on; ``folder`` takes history and resume point.

    ``memory`` is what the frozen part remembers where runs share it.
    """

    network: Network
    train: ImageSet
    valid: ImageSet
    labels: Labels
    folder: Path
    memory: TrunkMemory | None = None


@dataclass(frozen=True)
class LoopResult:
    """History rows, why it stopped, and which epoch's weights the net holds now."""

    rows: tuple[dict[str, float], ...]
    stopped: str
    kept_epoch: int


EpochListener = Callable[[int, Metrics, dict[str, float]], None]


def run_loop(
    config: TrainConfig,
    inputs: LoopInputs,
    state: TrainState,
    progress: Progress = QUIET,
    on_epoch: EpochListener | None = None,
) -> LoopResult:
    """Train from ``state`` on until a stop rule holds; the net keeps the chosen weights.

    Stop rules of the study: the first epoch whose validation F1 reaches the threshold for every
    class keeps its own weights; ``patience`` epochs without a validation loss lower by
    ``min_delta``, or the last epoch, keep those of the lowest validation loss.
    """
    loop = _Loop(config, inputs, progress)
    with use_precision(inputs.network.tail, loop.precision):
        return _run(loop, config, inputs, state, on_epoch)


def _run(
    loop: _Loop,
    config: TrainConfig,
    inputs: LoopInputs,
    state: TrainState,
    on_epoch: EpochListener | None,
) -> LoopResult:
    if not state.stopped:
        loop.prepare()
    loop.restore(state)
    while not state.stopped:
        epoch = state.epoch + 1
        started = time.perf_counter()
        train = loop.train_epoch(epoch)
        valid_loss, metrics = loop.validate()
        row = make_row(
            epoch, time.perf_counter() - started, loop.learning_rate(epoch), train, valid_loss, metrics
        )
        state.epoch = epoch
        state.rows.append(row)
        _note_epoch(config, state, valid_loss, metrics, loop)
        loop.capture(state)
        save_history(inputs.folder, state.rows)
        state.save(inputs.folder / "state")
        if on_epoch:
            on_epoch(epoch, metrics, row)
    kept = loop.keep(state)
    return LoopResult(tuple(state.rows), state.stopped, kept)


def _note_epoch(config: TrainConfig, state: TrainState, loss: float, metrics: Metrics, loop: _Loop) -> None:
    if state.best_loss - loss > config.min_delta or not state.best_weights:
        state.best_loss, state.best_epoch, state.waited = loss, state.epoch, 0
        state.best_weights = loop.weights()
    else:
        state.waited += 1
    lowest = min(figures.f1 for figures in metrics.per_class.values())
    if config.f1_threshold and lowest >= config.f1_threshold:
        state.stopped = f"validation F1 of every class reached {config.f1_threshold:g}"
    elif config.patience and state.waited >= config.patience:
        state.stopped = f"validation loss did not fall by {config.min_delta:g} for {config.patience} epochs"
    elif state.epoch >= config.effective_epochs():
        state.stopped = "all epochs done"


class _Loop:
    """The moving parts of one run: trunk, compiled tail, feeds."""

    def __init__(self, config: TrainConfig, inputs: LoopInputs, progress: Progress) -> None:
        self._config, self._inputs, self._progress = config, inputs, progress
        self._tail = inputs.network.tail
        self._sigmoid = uses_sigmoid(config, len(inputs.labels))
        on_gpu = config.device != "cpu" and bool(list_gpus())
        self.precision = choose_train_precision(config.precision, on_gpu)
        network = inputs.network
        self._trunk = Trunk(network.trunk, network.preprocess, self.precision, on_gpu, inputs.memory)
        store = open_store(config, self._trunk)
        spill = inputs.folder / "state"
        self._valid = FixedFeatures(inputs.valid, self._trunk, store=store, spill=spill / "valid")
        self._augmentation = AUGMENTATIONS[config.augmentation]
        # Without augmentation every view is the image itself, so one is all.
        wanted = 1 if config.augmentation == "none" else config.views
        n_views = choose_views(wanted, len(inputs.train)) if wanted else 1
        self._kept = FixedFeatures(
            inputs.train, self._trunk, self._augmentation, n_views, config.seed, store, spill / "train"
        )
        self._uses_kept = wanted > 0
        self._class_weights = (
            _class_weights(inputs.train, len(inputs.labels)) if config.class_weights else None
        )
        n_examples = len(self._kept.targets) if self._uses_kept else len(inputs.train)
        self.n_batches = math.ceil(n_examples / config.batch_size)
        compile_tail(self._tail, config, self._sigmoid)

    def prepare(self) -> None:
        """Run the frozen part over everything that will not change, and measure the features."""
        for features, stage in ((self._valid, "validation features"), (self._kept, "training features")):
            if features is self._kept and not self._uses_kept:
                continue
            self._progress.start(stage, len(features.targets))
            for batch in features.batches():
                self._progress.advance(len(batch[0]))
        if self._config.standardize:
            standardize_features(self._tail, self._kept)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Run all batches of an epoch; return mean loss and accuracy over its images."""
        self._progress.start(f"epoch {epoch}/{self._config.effective_epochs()}", self.n_batches)
        sums = {"loss": 0.0, "accuracy": 0.0}
        seen = 0
        for step, (features, targets) in enumerate(read_ahead(self._batches(epoch))):
            self._tail.optimizer.learning_rate.assign(self.learning_rate(epoch, step))
            weights = None if self._class_weights is None else self._class_weights[targets]
            answer = self._tail.train_on_batch(features, self._encode(targets), weights, return_dict=True)
            sums = {name: sums[name] + float(answer[name]) * len(targets) for name in sums}
            seen += len(targets)
            note = f"loss {sums['loss'] / seen:.4f}  accuracy {sums['accuracy'] / seen:.4f}"
            self._progress.advance(1, note)
        return {name: total / seen for name, total in sums.items()}

    def validate(self) -> tuple[float, Metrics]:
        """Return loss and figures over the whole validation set, from one pass."""
        outputs = [np.asarray(self._tail.predict_on_batch(features)) for features in self._valid.batches()]
        probabilities = outputs_to_probabilities(np.concatenate(outputs)).astype(np.float64)
        targets = self._inputs.valid.targets
        right = np.clip(probabilities[np.arange(len(targets)), targets], EPSILON, 1.0)
        metrics = compute_metrics(targets, probabilities.argmax(axis=1), self._inputs.labels, n_bootstrap=0)
        return float(-np.log(right).mean()), metrics

    def learning_rate(self, epoch: int, step: int = 0) -> float:
        """Return the rate at a step (from 0) of an epoch (from 1)."""
        base = self._config.learning_rate
        if self._config.schedule == "constant":
            return base
        total = self._config.effective_epochs() * self.n_batches
        done = (epoch - 1) * self.n_batches + step
        warm = max(1, round(0.05 * total))
        if done < warm:
            return base * (done + 1) / warm
        return base * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, total - warm))))

    def weights(self) -> list[npt.NDArray[Any]]:
        """Return copies of all variables of the tail, in Keras' order."""
        return _copy(self._tail.variables)

    def capture(self, state: TrainState) -> None:
        """Put the current variables into the state."""
        state.weights = self.weights()
        state.optimizer = _copy(self._tail.optimizer.variables)

    def restore(self, state: TrainState) -> None:
        """Take the variables back out of a saved state."""
        if state.epoch:
            self._tail.optimizer.build(self._tail.trainable_variables)
            _assign(self._tail.variables, state.weights)
            _assign(self._tail.optimizer.variables, state.optimizer)

    def keep(self, state: TrainState) -> int:
        """Leave the chosen weights in the net and return their epoch."""
        if state.stopped.startswith("validation F1"):
            return state.epoch
        _assign(self._tail.variables, state.best_weights)
        return state.best_epoch

    def _batches(self, epoch: int) -> Iterator[Any]:
        config, pictures = self._config, self._inputs.train
        if self._uses_kept:
            return fixed_batches(self._kept, config.batch_size, config.seed, epoch)
        return training_batches(
            pictures, self._trunk, self._augmentation, config.batch_size, config.seed, epoch
        )

    def _encode(self, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self._sigmoid:
            return targets.astype(np.float32)[:, None]
        return np.eye(len(self._inputs.labels), dtype=np.float32)[targets]


def compile_tail(tail: Any, config: TrainConfig, sigmoid: bool) -> None:
    """Give the learning part its optimiser and loss."""
    import keras

    rate = config.learning_rate
    if config.optimizer == "sgd":
        decay = config.weight_decay or None
        optimizer = keras.optimizers.SGD(rate, momentum=config.momentum, nesterov=False, weight_decay=decay)
    elif config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate)
    else:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    smoothing = config.label_smoothing
    if sigmoid:
        loss = keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        accuracy = keras.metrics.BinaryAccuracy(name="accuracy")
    else:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    # XLA on a processor takes longer to compile than it saves; JAX is nothing without it.
    jit: Any = "auto" if keras.backend.backend() == "jax" or list_gpus() else False
    tail.compile(optimizer=optimizer, loss=loss, metrics=[accuracy], jit_compile=jit)


def open_store(config: TrainConfig, trunk: Trunk) -> FeatureStore | None:
    """Return the features that earlier runs kept of this trunk, or None where nothing is to be kept."""
    if not trunk.is_frozen or not config.feature_cache_gb:
        return None
    return FeatureStore(find_cache_folder(), trunk.key, int(config.feature_cache_gb * 1e9))


def standardize_features(tail: Any, features: FixedFeatures) -> None:
    """Measure mean and variance of the pooled features and write them into the standardising layer."""
    values = np.concatenate([batch[0] for batch in features.batches()]).astype(np.float64)
    layer = tail.get_layer(STANDARDIZE)
    layer.moving_mean.assign(values.mean(axis=0).astype(np.float32))
    layer.moving_variance.assign(values.var(axis=0).astype(np.float32))


def _class_weights(pictures: ImageSet, n_classes: int) -> npt.NDArray[np.float32]:
    """Return weights (C,) that let every class count alike, mean 1 over the images."""
    counts = np.bincount(pictures.targets, minlength=n_classes)
    return np.asarray(len(pictures) / (n_classes * np.maximum(counts, 1)), dtype=np.float32)


def _copy(variables: Any) -> list[npt.NDArray[Any]]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]


def _assign(variables: Any, values: list[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
