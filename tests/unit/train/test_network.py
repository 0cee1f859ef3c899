"""The net: its head is the study's, and the frozen part and the head are together the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.network import SMALL

from georgia.images.preprocess import PreprocessSpec
from georgia.train.network import Network, build_network, split_frozen
from georgia.train.recipes import recipe_config

keras = pytest.importorskip("keras")
layers = keras.layers
pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.mark.slow
def test_study_head_layer_by_layer() -> None:
    config = recipe_config("georgia", {"backbone": "resnet18", "weights": "none", "size_px": 64})
    model = build_network(config, 2).model
    head = [layer for layer in model.layers if layer.name.startswith("head_")]
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == [
        "GlobalAveragePooling2D",
        "Dense",
        "BatchNormalization",
        "Dropout",
        "Dense",
        "Dropout",
        "Dense",
    ]
    assert [head[1].units, head[3].rate, head[4].units, head[5].rate, head[6].units] == [
        512,
        0.4,
        256,
        0.3,
        1,
    ]
    assert build_network(config, 3).model.output.shape == (None, 3)
    no_dropout = build_network(replace(config, dropout=()), 2).model
    assert not [layer for layer in no_dropout.layers if isinstance(layer, layers.Dropout)]


def test_frozen_part_and_head_are_whole() -> None:
    network = build_network(SMALL, 2)
    assert network.frozen is not None
    assert not network.frozen.trainable_variables
    assert len(network.head.trainable_variables) == len(network.model.trainable_variables) > 0
    batch = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    whole = network.model.predict(batch, verbose=0)
    parts = network.head.predict(network.frozen.predict(batch, verbose=0), verbose=0)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_parts_follow_trainable_fraction() -> None:
    trainable = build_network(replace(SMALL, trainable_fraction=1.0, base_norm="train"), 2)
    assert trainable.frozen is None
    assert trainable.head is trainable.model
    frozen = build_network(replace(SMALL, trainable_fraction=0.0, feature_dropout=0.1), 2)
    assert [len(v.shape) for v in frozen.head.trainable_variables] == [2, 1]
    assert any(isinstance(layer, layers.Dropout) for layer in frozen.head.layers)


def test_gradients_of_head_equal_whole() -> None:
    import tensorflow as tf

    network = build_network(replace(SMALL, dropout=()), 2)
    batch = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    target = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    features = network.frozen.predict(batch, verbose=0)
    gradients = []
    for net, given in ((network.model, batch), (network.head, features)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(target, net(given, training=True)))
        found = tape.gradient(loss, [v.value for v in net.trainable_variables])
        gradients.append({v.path: g.numpy() for v, g in zip(net.trainable_variables, found, strict=True)})
    assert gradients[0].keys() == gradients[1].keys()
    for path, value in gradients[0].items():
        np.testing.assert_allclose(gradients[1][path], value, rtol=1e-3, atol=1e-5)


def test_skip_around_the_cut_crosses() -> None:
    image = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 3, padding="same", name="first")(image)
    second = layers.Conv2D(4, 3, padding="same", name="second")(first)
    joined = layers.Add()([first, second])
    model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(joined)))
    model.get_layer("first").trainable = False
    frozen, head = split_frozen(model)
    assert [tensor.shape[-1] for tensor in frozen.outputs] == [4]
    assert {layer.name for layer in head.layers} >= {"second", joined._keras_history.operation.name}


def test_network_names_source_of_weights() -> None:
    network: Network = build_network(SMALL, 2)
    assert isinstance(network.preprocess, PreprocessSpec)
    assert network.source
    assert network.weights_sha256 is None
