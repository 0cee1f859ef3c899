"""The net of a run: backbone, head, what of it learns, and where it is cut in two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from georgia.backbones import build_backbone
from georgia.backbones.freeze import set_trainable_share
from georgia.preprocess import PreprocessSpec
from georgia.train.recipes import TrainConfig


@dataclass(frozen=True)
class Network:
    """A built net and its two parts.

    ``model`` is whole; ``trunk`` is its frozen beginning, None where the first layer learns;
    ``tail`` is the rest. The parts share the whole's layers, so training the tail trains the model.
    ``trainable_layers`` names the base layers that learn, in order.
    """

    model: Any
    trunk: Any | None
    tail: Any
    preprocess: PreprocessSpec
    trainable_layers: tuple[str, ...]
    source: str
    weights_sha256: str | None


def build_network(config: TrainConfig, n_classes: int) -> Network:
    """Build the net of a recipe for ``n_classes`` classes.

    Raises:
        InputError: the backbone is unknown, or its weights cannot be had or do not fit.
    """
    import keras

    keras.utils.set_random_seed(config.seed)
    backbone = build_backbone(config.backbone, config.weights, config.size_px, seed=config.seed)
    trainable = set_trainable_share(backbone.model, config.trainable_share)
    output = _add_head(backbone.model.output, config, n_classes)
    model = keras.Model(backbone.model.input, output, name=config.backbone.replace("-", "_") + "_classifier")
    trunk, tail = split_frozen(model)
    return Network(model, trunk, tail, backbone.preprocess, tuple(trainable), backbone.source, backbone.sha256)


def _add_head(features: Any, config: TrainConfig, n_classes: int) -> Any:
    """Put pooling, hidden layers and the output on a feature map.

    The study's head: Dense 512 ReLU, BatchNorm, Dropout 0.4, Dense 256 ReLU, Dropout 0.3, sigmoid.
    """
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    rates = config.dropout or (0.0,) * max(1, len(config.head_units))
    for number, units in enumerate(config.head_units):
        x = layers.Dense(units, activation="relu", name=f"head_dense_{number + 1}")(x)
        if number == 0:
            x = layers.BatchNormalization(name="head_norm")(x)
        if rates[number]:
            x = layers.Dropout(rates[number], name=f"head_dropout_{number + 1}")(x)
    if not config.head_units and rates[0]:
        x = layers.Dropout(rates[0], name="head_dropout")(x)
    if uses_sigmoid(config, n_classes):
        return layers.Dense(1, activation="sigmoid", name="head_output")(x)
    return layers.Dense(n_classes, activation="softmax", name="head_output")(x)


def uses_sigmoid(config: TrainConfig, n_classes: int) -> bool:
    """Tell whether the output is one sigmoid: for two classes, where the recipe asks for it."""
    return n_classes == 2 and config.output in ("auto", "sigmoid")


def split_frozen(model: Any) -> tuple[Any | None, Any]:
    """Cut a functional net at the last tensor that no trainable layer precedes.

    Returns (trunk, tail); the trunk is None where nothing before the first trainable layer can be
    cut off with one tensor crossing.
    """
    import keras

    cut = find_cut(model)
    if cut is None:
        return None, model
    tensor = model.get_layer(cut).output
    return keras.Model(model.input, tensor, name="trunk"), keras.Model(tensor, model.output, name="tail")


def find_cut(model: Any) -> str | None:
    """Return the name of the last layer whose output alone feeds all that learns, or None.

    A cut is clean when every layer before it has nothing left to learn and exactly one tensor
    crosses to the layers behind it.
    """
    config = model.get_config()
    order = [entry["name"] for entry in config["layers"]]
    place = {name: number for number, name in enumerate(order)}
    consumers: dict[str, int] = {}
    for entry in config["layers"]:
        for source in _sources(entry["inbound_nodes"]):
            consumers[source] = max(consumers.get(source, 0), place[entry["name"]])
    learns = [bool(model.get_layer(name).trainable_variables) for name in order]
    first = learns.index(True) if True in learns else len(order)
    best = None
    reach = 0  # the furthest layer fed by any layer before the candidate
    for number, name in enumerate(order[:first]):
        if number and reach <= number and name != order[-1]:
            best = name
        reach = max(reach, consumers.get(name, 0))
    return best


def _sources(value: Any) -> list[str]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return [value["config"]["keras_history"][0]]
        return [name for part in value.values() for name in _sources(part)]
    if isinstance(value, (list, tuple)):
        return [name for part in value for name in _sources(part)]
    return []
