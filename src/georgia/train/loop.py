"""The training loop: epochs, one pass over the whole validation set each, stop rules, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.files import find_cache_folder
from georgia.images.augment import AUGMENTATIONS
from georgia.images.symmetry import Symmetry
from georgia.labels import Labels, outputs_to_probabilities
from georgia.metrics.classification import Metrics, epoch_metrics
from georgia.progress import QUIET, Progress
from georgia.report.history import TrainingHistory, save_history
from georgia.train.batches import (
    FixedFeatures,
    Indices,
    choose_views,
    fixed_batches,
    prefetch,
    training_batches,
)
from georgia.train.decoded import ImageSet
from georgia.train.device import find_precision, list_gpus, use_precision
from georgia.train.feature_cache import FeatureCache
from georgia.train.frozen import FROZEN_BATCH, FrozenBackbone
from georgia.train.head_steps import make_head_steps
from georgia.train.network import STANDARDIZE, Network, uses_sigmoid
from georgia.train.recipes import TrainConfig
from georgia.train.state import Arrays, StopReason, TrainState

# Probabilities are kept this far from 0 and 1 in the loss. Source: Keras' own epsilon.
EPSILON = 1e-7
# How often the loss is told within an epoch, seconds.
TELL_S = 0.5


@dataclass(frozen=True)
class LoopInputs:
    """What a loop works on; ``folder`` takes history and resume point.

    ``cache`` holds features that the runs of one study have in common.
    """

    network: Network
    train: ImageSet
    valid: ImageSet
    labels: Labels
    folder: Path
    cache: FeatureCache | None = None


EpochListener = Callable[[int, Metrics, dict[str, float]], None]


def run_loop(
    config: TrainConfig,
    inputs: LoopInputs,
    state: TrainState,
    progress: Progress = QUIET,
    on_epoch: EpochListener | None = None,
) -> TrainingHistory:
    """Train from ``state`` on until a stop rule holds; the net keeps the chosen weights.

    Stop rules of the study: the first epoch whose validation F1 reaches the threshold for every
    class keeps its own weights; ``patience`` epochs without a validation loss lower by
    ``min_delta``, or the last epoch, keep those of the lowest validation loss.
    """
    loop = _Loop(config, inputs, progress)
    with use_precision(inputs.network.head, loop.precision):
        if not state.stopped:
            loop.prepare()
        loop.restore(state)
        while not state.stopped:
            state.epoch += 1
            metrics, row = loop.run_epoch(state.epoch)
            state.rows.append(row)
            _note_epoch(config, state, row["valid_loss"], metrics, loop)
            loop.capture(state)
            save_history(inputs.folder, state.rows)
            state.save(inputs.folder / "state")
            if on_epoch:
                on_epoch(state.epoch, metrics, row)
        kept = loop.keep(state)
    return TrainingHistory(tuple(state.rows), kept, describe_stop(state.stopped, config))


def copy_weights(network: Network) -> Arrays:
    """Return all variables of the head as they are now."""
    return _copy(network.head.variables)


def set_weights(network: Network, weights: Arrays) -> None:
    """Give the head's variables the values that ``copy_weights`` returned."""
    _assign(network.head.variables, weights)


def train_heads(
    config: TrainConfig,
    inputs: LoopInputs,
    starts: Sequence[Arrays],
    n_epochs: int,
    held_out: Sequence[Indices] = (),
    progress: Progress = QUIET,
) -> tuple[list[Arrays], npt.NDArray[np.float64] | None]:
    """Return the head's weights after ``n_epochs`` on ``inputs.train`` from each of ``starts``.

    Features are computed once, and nothing is validated; each head sees the batches in another order.
    ``held_out`` are folds of the images (positions). For each fold, as many heads are trained without it; the
    second value holds the mean of their logits (N, C) for the images that they have not learned; None without
    folds.
    """
    loop, found = _Loop(config, inputs, progress), []
    head, everything = inputs.network.head, np.arange(len(inputs.train))
    logits = np.zeros((len(everything), len(inputs.labels))) if len(held_out) else None
    with use_precision(head, loop.precision):
        loop.prepare()
        head.optimizer.build(head.trainable_variables)
        fresh = _copy(head.optimizer.variables)
        progress.start("refit", (len(held_out) + 1) * len(starts) * n_epochs * loop.n_batches)
        for fold in (everything[:0], *held_out):
            loop.learn_from(np.setdiff1d(everything, fold))
            for number, start in enumerate(starts):
                _assign(head.variables, start)
                _assign(head.optimizer.variables, fresh)
                loop.standardize()
                loop.seed = config.seed + number
                for epoch in range(1, n_epochs + 1):
                    loop.train_epoch(epoch)
                if logits is not None and len(fold):
                    logits[fold] += loop.compute_logits(fold) / len(starts)
                else:
                    found.append(copy_weights(inputs.network))
    return found, logits


def _note_epoch(config: TrainConfig, state: TrainState, loss: float, metrics: Metrics, loop: _Loop) -> None:
    if state.best_loss - loss > config.min_delta or not state.best_weights:
        state.best_loss, state.best_epoch, state.waited = loss, state.epoch, 0
        state.best_weights = loop.weights()
    else:
        state.waited += 1
    lowest = min(row.f1 for row in metrics.per_class.values())
    if config.f1_threshold and lowest >= config.f1_threshold:
        state.stopped = StopReason.F1_REACHED
    elif config.patience and state.waited >= config.patience:
        state.stopped = StopReason.NO_BETTER_LOSS
    elif state.epoch >= config.effective_epochs():
        state.stopped = StopReason.ALL_EPOCHS


def describe_stop(reason: StopReason, config: TrainConfig) -> str:
    """Return why a training ended, as history and ``bundle.json`` say it."""
    return {
        StopReason.NOT_YET: "",
        StopReason.F1_REACHED: f"validation F1 of every class reached {config.f1_threshold:g}",
        StopReason.NO_BETTER_LOSS: f"validation loss did not fall by {config.min_delta:g} "
        f"for {config.patience} epochs",
        StopReason.ALL_EPOCHS: "all epochs done",
    }[reason]


class _Loop:
    """The moving parts of one run: frozen backbone, compiled head, batches."""

    def __init__(self, config: TrainConfig, inputs: LoopInputs, progress: Progress) -> None:
        network = inputs.network
        self._config, self._inputs, self._progress = config, inputs, progress
        self._head = network.head
        self.seed = config.seed
        self._sigmoid = uses_sigmoid(config, len(inputs.labels))
        self.precision, on_gpu = find_precision(config.precision, config.device)
        self._frozen = FrozenBackbone(network.frozen, network.preprocess, self.precision, on_gpu)
        cache, folder = open_cache(config, self._frozen) or inputs.cache, inputs.folder / "state"
        self._valid = FixedFeatures(inputs.valid, self._frozen, cache=cache, memmap_path=folder / "valid")
        self._augmentation = AUGMENTATIONS[config.augmentation]
        # Without augmentation every view is the image itself: one is enough.
        target = 1 if config.augmentation == "none" else config.views
        n_views = choose_views(target, len(inputs.train)) if target else 1
        self._kept = FixedFeatures(
            inputs.train, self._frozen, self._augmentation, n_views, config.seed, cache, folder / "train"
        )
        self._uses_kept = target > 0
        self.learn_from(np.arange(len(inputs.train)))
        compile_head(self._head, config, self._sigmoid)
        self._steps = make_head_steps(self._head)

    def learn_from(self, positions: Indices) -> None:
        """Train on some of the images of ``inputs.train`` from now on."""
        config, images = self._config, self._inputs.train
        learned = [images.records[position] for position in positions]
        self._learned = images if len(learned) == len(images) else images.select(learned)
        self._rows = self._kept.rows_of(positions)
        self._class_weights = (
            _class_weights(self._learned, len(self._inputs.labels)) if config.class_weights else None
        )
        self.n_batches = math.ceil(
            (len(self._rows) if self._uses_kept else len(positions)) / config.batch_size
        )

    def prepare(self) -> None:
        """Run the frozen part over everything that will not change, and measure the features."""
        for features, stage in ((self._valid, "validation features"), (self._kept, "training features")):
            if features is self._kept and not self._uses_kept:
                continue
            self._progress.start(stage, len(features.targets))
            for batch in features.batches():
                self._progress.advance(len(batch[0]))
        self.standardize()

    def standardize(self) -> None:
        """Measure the training features, where the settings ask for it."""
        if self._config.standardize:
            standardize_features(self._head, self._kept, self._rows)

    def compute_logits(self, positions: Indices) -> npt.NDArray[np.float64]:
        """Return logits (N, C) of some images of ``inputs.train``, but for a number added to a whole row.

        Where the exported file averages over views of an image, so does this.
        """
        averages = self._inputs.network.preprocess.symmetry == "average"
        views = list(Symmetry) if averages else [Symmetry.IDENTITY]
        total = np.zeros((len(positions), len(self._inputs.labels)))
        for view in views:
            for at in range(0, len(positions), FROZEN_BATCH):
                rows = slice(at, at + FROZEN_BATCH)
                if view is Symmetry.IDENTITY:  # the first view that is kept
                    features = self._kept.take(positions[rows])
                else:
                    images = self._inputs.train.images(positions[rows])
                    features = self._frozen(np.stack([view.apply(image) for image in images]))
                outputs = np.asarray(self._head.predict_on_batch(features))
                probabilities = outputs_to_probabilities(outputs).astype(np.float64)
                total[rows] += np.log(np.clip(probabilities, EPSILON, 1.0)) / len(views)
        return total

    def run_epoch(self, epoch: int) -> tuple[Metrics, dict[str, float]]:
        """Train one epoch and validate; return the validation metrics and the row of ``history.csv``."""
        started = time.perf_counter()
        self._progress.start(f"epoch {epoch}/{self._config.effective_epochs()}", self.n_batches)
        train = self.train_epoch(epoch)
        valid_loss, metrics = self.validate()
        row = {
            "epoch": float(epoch),
            "seconds": time.perf_counter() - started,
            "learning_rate": self.learning_rate(epoch),
            "train_loss": train["loss"],
            "train_accuracy": train["accuracy"],
            "valid_loss": valid_loss,
            "valid_accuracy": metrics.accuracy,
        }
        return metrics, {**row, **metrics.to_history_row()}

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Run all batches of an epoch; return mean loss and accuracy over its images."""
        steps, told_at = self._steps, -math.inf
        steps.begin()
        for step, (features, targets) in enumerate(prefetch(self._batches(epoch))):
            weights = None if self._class_weights is None else self._class_weights[targets]
            steps.train(features, self._encode(targets), weights, self.learning_rate(epoch, step))
            is_due = time.monotonic() - told_at >= TELL_S  # a GPU is waited for
            told_at = time.monotonic() if is_due else told_at
            self._progress.advance(1, _describe(steps.means()) if is_due else "")
        means = steps.means()
        steps.end()
        self._progress.advance(0, _describe(means))
        return means

    def validate(self) -> tuple[float, Metrics]:
        """Return loss and metrics over the whole validation split, from one pass."""
        outputs = self._steps.predict_fixed(self._valid.batches)
        probabilities = outputs_to_probabilities(outputs).astype(np.float64)
        targets = self._inputs.valid.targets
        of_truth = np.clip(probabilities[np.arange(len(targets)), targets], EPSILON, 1.0)
        metrics = epoch_metrics(targets, probabilities.argmax(axis=1), self._inputs.labels)
        return float(-np.log(of_truth).mean()), metrics

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
        """Return all variables of the head, copied, in Keras' order."""
        return _copy(self._head.variables)

    def capture(self, state: TrainState) -> None:
        """Put the current variables into the state."""
        state.weights = self.weights()
        state.optimizer = _copy(self._head.optimizer.variables)

    def restore(self, state: TrainState) -> None:
        """Take the variables back out of a saved state."""
        if state.epoch:
            self._head.optimizer.build(self._head.trainable_variables)
            _assign(self._head.variables, state.weights)
            _assign(self._head.optimizer.variables, state.optimizer)

    def keep(self, state: TrainState) -> int:
        """Leave the chosen weights in the net and return their epoch."""
        if state.stopped is StopReason.F1_REACHED:
            return state.epoch
        _assign(self._head.variables, state.best_weights)
        return state.best_epoch

    def _batches(self, epoch: int) -> Iterator[Any]:
        config, epoch_seed = self._config, (self.seed, epoch)
        if self._uses_kept:
            return fixed_batches(self._kept, config.batch_size, epoch_seed, self._rows)
        images, cache = self._learned, self._inputs.cache
        return training_batches(
            images, self._frozen, self._augmentation, config.batch_size, epoch_seed, cache
        )

    def _encode(self, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self._sigmoid:
            return targets.astype(np.float32)[:, None]
        return np.eye(len(self._inputs.labels), dtype=np.float32)[targets]


def _describe(means: dict[str, float]) -> str:
    return f"loss {means['loss']:.4f}  accuracy {means['accuracy']:.4f}"


def compile_head(head: Any, config: TrainConfig, sigmoid: bool) -> None:
    """Give the trainable head its optimiser and loss."""
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
    head.compile(optimizer=optimizer, loss=loss, metrics=[accuracy], jit_compile=jit)


def open_cache(config: TrainConfig, frozen: FrozenBackbone) -> FeatureCache | None:
    """Return the features that earlier runs left on disk, or None where nothing is to be kept."""
    if not frozen.is_frozen or not config.feature_cache_gb:
        return None
    return FeatureCache(find_cache_folder(), int(config.feature_cache_gb * 1e9))


def standardize_features(head: Any, features: FixedFeatures, rows: Indices) -> None:
    """Measure mean and variance of some pooled features and write them into the standardising layer."""
    values = np.concatenate([batch[0] for batch in features.batches()])[rows].astype(np.float64)
    layer = head.get_layer(STANDARDIZE)
    layer.moving_mean.assign(values.mean(axis=0).astype(np.float32))
    layer.moving_variance.assign(values.var(axis=0).astype(np.float32))


def _class_weights(images: ImageSet, n_classes: int) -> npt.NDArray[np.float32]:
    """Return weights (C,) that let every class count alike, mean 1 over the images."""
    counts = np.bincount(images.targets, minlength=n_classes)
    return np.asarray(len(images) / (n_classes * np.maximum(counts, 1)), dtype=np.float32)


def _copy(variables: Any) -> list[npt.NDArray[Any]]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]


def _assign(variables: Any, values: list[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
