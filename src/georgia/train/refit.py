"""The head trained again on training and validation images: several times, and averaged to one.

A head on stored features takes seconds, and has errors of its own that its random start brings; the mean of
several heads' logits has fewer. The averaged head is one head of the same kind, so it ships as any other.

It has learned all images, so its temperature and prediction sets are cross-fitted: heads of the same training
without a fifth of the groups predict that fifth, five times in turn.
Source: cross-conformal prediction, Vovk 2015, doi 10.1007/s10472-013-9368-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from georgia.labels import Labels
from georgia.metrics.intervals import group_codes
from georgia.progress import QUIET, Progress
from georgia.report.training_run import Refit
from georgia.train.batches import Indices
from georgia.train.decoded import ImageSet
from georgia.train.loop import LoopInputs, set_weights, train_heads
from georgia.train.network import STANDARDIZE, Network, widen_head
from georgia.train.recipes import SMALL_SET, TrainConfig
from georgia.train.state import Arrays
from georgia.uncertainty.calibration import fit_temperature, softmax
from georgia.uncertainty.conformal import fit_conformal
from georgia.uncertainty.decision import Uncertainty

# With fewer, the heads of the folds learn from much fewer images than the one that ships.
N_FOLDS = 5


def needs_refit(config: TrainConfig, n_images: int) -> bool:
    """Tell whether the head is trained again: as asked, or by itself for small sets on a frozen backbone."""
    if config.refit != "auto":
        return config.refit == "yes"
    return n_images < SMALL_SET and not config.trainable_fraction and not config.rehearse


def count_heads(config: TrainConfig) -> int:
    """Return how many heads are averaged: those of one hidden layer at most have a mean of their kind."""
    return 1 if len(config.head_units) > 1 or config.head_norm else config.heads


@dataclass(frozen=True, eq=False)
class Refitted:
    """The net with its new head, and how that was made.

    ``logits`` (N, C) are of the images that the head was trained on, in their order, by heads that had not
    learned them; None where a class has one group.
    """

    network: Network
    made: Refit
    logits: npt.NDArray[np.float64] | None


def refit_head(
    config: TrainConfig,
    inputs: LoopInputs,
    initial: Arrays,
    n_epochs: int,
    progress: Progress = QUIET,
    is_calibrated: bool = True,
) -> Refitted:
    """Return the net with a head that ``n_epochs`` on ``inputs.train`` gave, averaged.

    The first head begins with ``initial``, the others with other random weights. The learning rate follows
    the schedule of the whole training, cut off where the first training was best. Without ``is_calibrated``
    no logits of images that were not learned are computed.
    """
    network, n_heads = inputs.network, count_heads(config)
    starts = [vary_weights(network, initial, config.seed, number) for number in range(n_heads)]
    folds = choose_folds(inputs.train, config.seed) if is_calibrated else []
    heads, logits = train_heads(config, inputs, starts, n_epochs, folds, progress)
    made = Refit(len(inputs.train), n_epochs, n_heads, len(folds))
    if n_heads == 1:
        set_weights(network, heads[0])
        return Refitted(network, made, logits)
    return Refitted(average_heads(network, config, len(inputs.labels), heads), made, logits)


def choose_folds(images: ImageSet, seed: int) -> list[Indices]:
    """Return positions of images in ``N_FOLDS`` folds or fewer: no group in two, every class in all of them.

    A class of one group has no folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    codes = group_codes([record.group for record in images.records], len(images))
    counts = [len(np.unique(codes[images.targets == target])) for target in np.unique(images.targets)]
    n_folds = min(N_FOLDS, *counts)
    if n_folds < 2:
        return []
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    return [held for _, held in splitter.split(codes, images.targets, codes)]


def cross_fit(refitted: Refitted, images: ImageSet, labels: Labels, before: Uncertainty) -> Uncertainty:
    """Return the uncertainty with temperature and limits that the logits of images not learned give."""
    if refitted.logits is None:
        return before
    groups = [record.group for record in images.records]
    calibration = fit_temperature(refitted.logits, images.targets, groups)
    probabilities = softmax(refitted.logits, calibration.temperature)
    limits = fit_conformal(probabilities, images.targets, labels, groups)
    return replace(before, calibration=calibration, conformal=limits)


def vary_weights(network: Network, initial: Arrays, seed: int, number: int) -> Arrays:
    """Return the start of head ``number``: ``initial`` for 0, else new kernels and another state of dropout.

    Kernels are uniform with Glorot's limits, as Keras' own are.
    """
    if not number:
        return initial
    rng, varied = np.random.default_rng((seed, number)), []
    trained = {variable.path for variable in network.head.trainable_variables}
    for variable, value in zip(network.head.variables, initial, strict=True):
        if variable.path in trained and value.ndim == 2:
            limit = np.sqrt(6.0 / sum(value.shape))
            varied.append(rng.uniform(-limit, limit, value.shape).astype(value.dtype))
        elif np.issubdtype(value.dtype, np.unsignedinteger):
            varied.append(value + np.asarray(number, value.dtype))
        else:
            varied.append(value)
    return varied


def average_heads(network: Network, config: TrainConfig, n_classes: int, heads: Sequence[Arrays]) -> Network:
    """Return the net whose logits are the mean of the heads' logits.

    A hidden layer has the units of all heads; the output takes 1 / n of each.
    """
    weights = []
    for head in heads:
        set_weights(network, head)
        weights.append({layer.name: layer.get_weights() for layer in network.head.layers if layer.weights})
    wide = widen_head(network, config, n_classes, len(heads))
    for layer in wide.head.layers:
        found = [head[layer.name] for head in weights if layer.name in head]
        if not found or not layer.weights:
            continue
        if layer.name == STANDARDIZE:  # measured on the same images for all
            layer.set_weights(found[0])
            continue
        kernels, biases = ([values[at] for values in found] for at in (0, 1))
        is_hidden = layer.name != "head_output"
        if is_hidden:
            layer.set_weights([np.concatenate(kernels, axis=1), np.concatenate(biases)])
        elif config.head_units:
            layer.set_weights([np.concatenate(kernels, axis=0) / len(heads), np.mean(biases, axis=0)])
        else:
            layer.set_weights([np.mean(kernels, axis=0), np.mean(biases, axis=0)])
    return wide
