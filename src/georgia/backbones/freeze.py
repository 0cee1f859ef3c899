"""Which layers of a backbone learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from georgia.errors import InputError

if TYPE_CHECKING:
    import keras


def set_trainable_fraction(model: keras.Model, share: float, *, train_norms: bool = True) -> list[str]:
    """Let the last share of a net's layers learn, freeze the rest, and return the learners' names.

    ``share`` is a fraction in [0, 1] of ``model.layers``, rounded down: a tenth of ResNet-101's
    345 is 34, whose first weights are those of ``conv5_block1_1_conv``. A frozen batch
    normalisation stays in inference mode (Keras' rule for layers that do not learn), however the
    net is called. Set ``train_norms`` to False to freeze the learning part's normalisations too:
    better for small batches; the study trains them.

    Raises:
        InputError: the share is not in [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise InputError(
            "Cannot choose the trainable layers", needs="a share from 0 to 1 is needed", got=share
        )
    layers = model.layers
    # The small number keeps products such as 0.29 × 100 = 28.999… from losing a layer.
    n_learning = int(len(layers) * share + 1e-9)
    model.trainable = True
    learning = []
    for position, layer in enumerate(layers):
        is_norm = type(layer).__name__ == "BatchNormalization"
        layer.trainable = position >= len(layers) - n_learning and (train_norms or not is_norm)
        if layer.trainable:
            learning.append(layer.name)
    return learning
