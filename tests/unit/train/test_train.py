"""Training: what is cut off is frozen, a resumed run is the unbroken one, the stop rules are the study's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.images.augment import CRYSTAL
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.records import Record
from georgia.report.history import TrainingHistory
from georgia.train.batches import FixedFeatures, choose_views, prefetch
from georgia.train.decoded import ImageSet
from georgia.train.device import use_precision
from georgia.train.feature_cache import FeatureCache
from georgia.train.frozen import FrozenBackbone
from georgia.train.device import use_precision
from georgia.train.loop import LoopInputs, compile_head, run_loop
from georgia.train.network import Network, build_network, split_frozen
from georgia.train.recipes import RECIPES, TrainConfig, recipe_config
from georgia.train.state import TrainState, load_state

keras = pytest.importorskip("keras")
layers = keras.layers
pytestmark = pytest.mark.usefixtures("tiny_backbone")
SMALL = TrainConfig(
    backbone="tiny",
    weights="none",
    size_px=32,
    standardize=False,
    head_units=(),
    dropout=(),
    feature_dropout=0.0,
    trainable_fraction=0.4,
    epochs=3,
    batch_size=8,
    f1_threshold=0.0,
    views=0,
    learning_rate=1e-3,
)


def _images(n: int, n_classes: int, seed: int, size: int = 32) -> ImageSet:
    """Noise images whose class is their brightness."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    base = 40 + 160 * targets / max(1, n_classes - 1)
    store = np.clip(rng.normal(base[:, None, None, None], 25, (n, size, size, 3)), 0, 255).astype(np.uint8)
    records = tuple(Record(Path(f"{seed}-{i}.png"), str(t)) for i, t in enumerate(targets))
    return ImageSet(store, np.arange(n), targets.astype(np.int64), records)


def _inputs(config: TrainConfig, folder: Path, n_classes: int = 2, n_train: int = 40) -> LoopInputs:
    """40 images fill whole batches: Keras compiles its step for one shape only, which is quick."""
    labels = Labels(tuple(str(i) for i in range(n_classes)))
    network = build_network(config, n_classes)
    return LoopInputs(network, _images(n_train, n_classes, 1), _images(21, n_classes, 2), labels, folder)


def _predict(inputs: LoopInputs) -> np.ndarray:
    spec = inputs.network.preprocess
    return np.asarray(inputs.network.model(spec.normalize(inputs.valid.store.astype(np.float32))))


def test_the_georgia_recipe_is_the_study() -> None:
    config = recipe_config("georgia")
    assert (config.backbone, config.head_units, config.dropout) == ("resnet101", (512, 256), (0.4, 0.3))
    assert (config.optimizer, config.learning_rate, config.momentum, config.batch_size) == (
        "sgd",
        0.1,
        0.9,
        64,
    )
    assert (config.f1_threshold, config.patience, config.min_delta, config.epochs) == (0.997, 50, 0.001, 100)
    assert (config.augmentation, config.seed, config.prefix, config.fractions) == (
        "study",
        42,
        "GA",
        (0.7, 0.25, 0.05),
    )
    assert replace(config, rehearse=True).effective_epochs() == 3


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES])
def test_every_recipe_takes_changes_and_refuses_nonsense(recipe: str) -> None:
    assert recipe_config(recipe, {"seed": "7"}).seed == 7
    with pytest.raises(InputError, match="'learning_rat' is no setting. Did you mean 'learning_rate'"):
        recipe_config(recipe, {"learning_rat": 1})
    with pytest.raises(InputError, match="batch_size must be 1 or more; got 0"):
        recipe_config(recipe, {"batch_size": 0})


def test_the_head_of_the_study_layer_by_layer() -> None:
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


def test_trunk_and_tail_are_the_whole() -> None:
    network = build_network(SMALL, 2)
    assert network.frozen is not None
    assert not network.frozen.trainable_variables
    assert len(network.head.trainable_variables) == len(network.model.trainable_variables) > 0
    batch = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    whole = network.model.predict(batch, verbose=0)
    parts = network.head.predict(network.frozen.predict(batch, verbose=0), verbose=0)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_nothing_frozen_means_no_trunk_and_all_frozen_leaves_the_head() -> None:
    trainable = build_network(replace(SMALL, trainable_fraction=1.0, base_norm="train"), 2)
    assert trainable.frozen is None
    assert trainable.head is trainable.model
    frozen = build_network(replace(SMALL, trainable_fraction=0.0, feature_dropout=0.1), 2)
    assert [len(v.shape) for v in frozen.head.trainable_variables] == [2, 1]
    assert any(isinstance(layer, layers.Dropout) for layer in frozen.head.layers)


def test_gradients_of_the_tail_are_those_of_the_whole() -> None:
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


def test_a_skip_around_the_cut_crosses_too() -> None:
    image = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 3, padding="same", name="first")(image)
    second = layers.Conv2D(4, 3, padding="same", name="second")(first)
    joined = layers.Add()([first, second])
    model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(joined)))
    model.get_layer("first").trainable = False
    frozen, head = split_frozen(model)
    assert [tensor.shape[-1] for tensor in frozen.outputs] == [4]
    assert {layer.name for layer in head.layers} >= {"second", joined._keras_history.operation.name}


def test_frozen_batch_norm_stays_in_inference_mode(tmp_path: Path) -> None:
    inputs = _inputs(replace(SMALL, epochs=1), tmp_path)
    norms = [layer for layer in inputs.network.model.layers if isinstance(layer, layers.BatchNormalization)]
    before = [keras.ops.convert_to_numpy(layer.moving_mean) for layer in norms]
    run_loop(replace(SMALL, epochs=1), inputs, TrainState("k"))
    for layer, mean in zip(norms, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.moving_mean), mean)


class _Killed(Exception):
    """Stands for kill -9 right after an epoch was saved."""


def _run(config: TrainConfig, folder: Path, stop_after: int = 0) -> tuple[TrainingHistory, np.ndarray]:
    keras.backend.clear_session()
    inputs = _inputs(config, folder)

    def tell(epoch: int, *_: Any) -> None:
        if epoch == stop_after:
            raise _Killed

    state = load_state(folder / "state") or TrainState("k")
    result = run_loop(config, inputs, state, on_epoch=tell)
    return result, _predict(inputs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param(
            {
                "optimizer": "sgd",
                "head_units": (8,),
                "head_norm": True,
                "dropout": (0.4,),
                "augmentation": "none",
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=["fresh views", "no augmentation, dropout and norm"],
)
def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = replace(SMALL, **changes)
    whole, expected = _run(config, tmp_path / "whole")
    with pytest.raises(_Killed):
        _run(config, tmp_path / "broken", stop_after=2)
    resumed, answers = _run(config, tmp_path / "broken")
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]
    for before, after in zip(whole.rows, resumed.rows, strict=True):
        for name in set(before) - {"seconds"}:
            assert after[name] == pytest.approx(before[name], rel=2e-3, abs=2e-4), name
    np.testing.assert_allclose(answers, expected, atol=2e-3)


@pytest.mark.slow
def test_another_seed_learns_otherwise(tmp_path: Path) -> None:
    """That the same seed learns the same is what the killed run shows."""
    first = _run(replace(SMALL, epochs=1), tmp_path / "a")[1]
    other = _run(replace(SMALL, epochs=1, seed=43), tmp_path / "b")[1]
    assert np.abs(other - first).max() > 1e-3


QUICK = replace(
    SMALL,
    trainable_fraction=0.0,
    standardize=True,
    head_units=(32,),
    dropout=(0.3,),
    views=3,
    epochs=40,
    batch_size=20,
)


def test_threshold_stops_at_the_first_epoch_that_reaches_it(tmp_path: Path) -> None:
    config = replace(QUICK, f1_threshold=0.9)
    result = run_loop(config, _inputs(config, tmp_path), TrainState("k"))
    assert "reached 0.9" in result.stop_reason
    assert result.kept_epoch == len(result.rows) < 40
    assert min(result.rows[-1]["0_f1"], result.rows[-1]["1_f1"]) >= 0.9
    for row in result.rows[:-1]:
        assert min(row["0_f1"], row["1_f1"]) < 0.9


@pytest.mark.parametrize("n_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_kept_views_learn_what_is_there(tmp_path: Path, n_classes: int) -> None:
    inputs = _inputs(QUICK, tmp_path, n_classes)
    run_loop(QUICK, inputs, TrainState("k"))
    assert (_predict(inputs).argmax(axis=1) == inputs.valid.targets).mean() > 0.9


def test_kept_features_are_those_of_the_views_made_anew() -> None:
    network = build_network(QUICK, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), _images(9, 2, 3)
    kept = FixedFeatures(images, frozen, CRYSTAL, 3, seed=5)
    assert len(kept.targets) == 27
    part = np.array([0, 8, 9, 26, 13])
    before = kept.take(part)
    made = [np.concatenate(parts) for parts in zip(*kept.batches(), strict=True)]
    for fresh, stored, whole in zip(before, kept.take(part), made, strict=True):
        np.testing.assert_allclose(fresh, stored, atol=1e-4)
        np.testing.assert_array_equal(stored, whole[part])
    plain = FixedFeatures(images, frozen).take(np.arange(9))
    np.testing.assert_allclose(plain[0], made[0][:9], atol=1e-4)


def test_stored_features_serve_the_next_run(tmp_path: Path) -> None:
    network = build_network(SMALL, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), _images(9, 2, 3)
    cache = FeatureCache(tmp_path, 10**9)
    first = [batch[0] for batch in FixedFeatures(images, frozen, CRYSTAL, 2, cache=cache).batches()]

    class Resting(FrozenBackbone):
        def __call__(self, images: np.ndarray) -> Any:
            raise AssertionError("the frozen backbone ran again")

    again = Resting(network.frozen, network.preprocess)
    assert again.key == frozen.key
    reopened = FeatureCache(tmp_path, 10**9)
    later = FixedFeatures(images, again, CRYSTAL, 2, cache=reopened)
    for before, after in zip(first, [batch[0] for batch in later.batches()], strict=True):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(later.take(np.arange(3))[0], first[0][:3])


def test_the_end_is_that_of_plain_keras_training(tmp_path: Path) -> None:
    plain_sgd = {"optimizer": "sgd", "schedule": "constant", "augmentation": "none", "epochs": 2}
    # Every epoch counts as better, so that the last one is kept.
    config = replace(SMALL, trainable_fraction=0.1, min_delta=-1e9, **plain_sgd)
    inputs = _inputs(config, tmp_path)
    plain = build_network(config, 2).model
    for mine, theirs in zip(plain.variables, inputs.network.model.variables, strict=True):
        mine.assign(keras.ops.convert_to_numpy(theirs.value))
    result = run_loop(config, inputs, TrainState("k"))
    compile_head(plain, config, sigmoid=False)
    pixels = inputs.network.preprocess.normalize(inputs.train.store.astype(np.float32))
    truth = np.eye(2, dtype=np.float32)[inputs.train.targets]
    for epoch in (1, 2):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(pixels))
        for start in range(0, len(order), config.batch_size):
            part = order[start : start + config.batch_size]
            plain.train_on_batch(pixels[part], truth[part])
    valid = inputs.network.preprocess.normalize(inputs.valid.store.astype(np.float32))
    answers = np.asarray(plain.predict(valid, verbose=0))
    right = np.clip(answers[np.arange(len(valid)), inputs.valid.targets], 1e-7, 1.0)
    assert result.rows[-1]["valid_loss"] == pytest.approx(float(-np.log(right).mean()), rel=1e-2)
    if result.kept_epoch == 2:
        np.testing.assert_allclose(_predict(inputs), answers, atol=1e-2)


def test_other_weights_or_precision_find_nothing_stored() -> None:
    network = build_network(SMALL, 2)
    keys = [
        FrozenBackbone(network.frozen, network.preprocess).key,
        FrozenBackbone(network.frozen, network.preprocess, "bfloat16").key,
        FrozenBackbone(network.frozen, PreprocessSpec(32, "BGR")).key,
        FrozenBackbone(build_network(replace(SMALL, seed=1), 2).frozen, network.preprocess).key,
    ]
    assert len(set(keys)) == 4
    assert FrozenBackbone(build_network(SMALL, 2).frozen, network.preprocess).key == keys[0]


def test_maps_are_kept_within_their_stated_rounding() -> None:
    network = build_network(SMALL, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), _images(5, 2, 3)
    exact = frozen(images.images(slice(None)))
    assert any(tensor.ndim == 4 for tensor in exact)
    kept = FixedFeatures(images, frozen)
    for values, expected in zip(next(kept.batches()), exact, strict=True):
        np.testing.assert_allclose(values, expected, rtol=2**-11, atol=1e-6)


def test_features_too_many_for_memory_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("georgia.train.batches.KEEP_LIMIT_BYTES", 0)
    network = build_network(SMALL, 2)
    frozen, images = FrozenBackbone(network.frozen, network.preprocess), _images(9, 2, 3)
    features = FixedFeatures(images, frozen, memmap_path=tmp_path / "state" / "valid")
    first, second = ([batch[0] for batch in features.batches()] for _ in range(2))
    np.testing.assert_array_equal(np.concatenate(second), np.concatenate(first))
    assert (tmp_path / "state" / "valid.0.npy").stat().st_size > 0


def test_the_compiled_keras_trunk_is_the_engines() -> None:
    network = build_network(SMALL, 2)
    images = _images(5, 2, 3).images(slice(None))
    engine, compiled = (
        FrozenBackbone(network.frozen, network.preprocess, on_gpu=on_gpu)(images) for on_gpu in (False, True)
    )
    for mine, theirs in zip(engine, compiled, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-3, atol=1e-3)


def test_mixed_precision_answers_nearly_the_same_and_leaves_no_trace() -> None:
    network = build_network(SMALL, 2)
    assert any(isinstance(layer, layers.Conv2D) for layer in network.head.layers)
    features = FrozenBackbone(network.frozen, network.preprocess)(_images(8, 2, 3).images(slice(None)))
    exact = np.asarray(network.head(features, training=False))
    with use_precision(network.head, "bfloat16"):
        rounded = np.asarray(network.head(features, training=False))
        assert {layer.compute_dtype for layer in network.head.layers} == {"bfloat16", "float32"}
        assert {variable.dtype for variable in network.head.trainable_variables} == {"float32"}
    assert 0 < np.abs(rounded - exact).max() < 0.05
    assert {layer.compute_dtype for layer in network.head.layers} == {"float32"}
    np.testing.assert_array_equal(np.asarray(network.head(features, training=False)), exact)


def test_the_standardised_features_have_mean_0_and_spread_1(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=1, views=1)
    inputs = _inputs(config, tmp_path)
    run_loop(config, inputs, TrainState("k"))
    model = inputs.network.model
    features = keras.Model(model.input, model.get_layer("head_standardize").output)
    pixels = inputs.network.preprocess.normalize(inputs.train.store.astype(np.float32))
    values = features.predict(pixels, verbose=0)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-3)
    alive = values.std(axis=0) > 0.01
    np.testing.assert_allclose(values.std(axis=0)[alive], 1.0, atol=0.05)


def test_many_images_take_fewer_views() -> None:
    assert [choose_views(8, n) for n in (10, 2500, 9564, 10**6)] == [8, 8, 2, 1]


def test_patience_stops_and_brings_the_best_weights_back(tmp_path: Path) -> None:
    config = replace(SMALL, epochs=12, patience=2, min_delta=1e9)
    inputs = _inputs(config, tmp_path)
    result = run_loop(config, inputs, TrainState("k"))
    assert len(result.rows) == 3
    assert result.kept_epoch == 1
    assert "did not fall" in result.stop_reason
    answers = _predict(inputs)
    right = answers[np.arange(len(answers)), inputs.valid.targets]
    assert float(-np.log(right).mean()) == pytest.approx(result.rows[0]["valid_loss"], rel=1e-3)


def test_history_counts_the_whole_validation_set(tmp_path: Path) -> None:
    config = replace(SMALL, epochs=1)
    inputs = _inputs(config, tmp_path, n_classes=3, n_train=42)
    result = run_loop(config, inputs, TrainState("k"))
    predicted = _predict(inputs).argmax(axis=1)
    assert result.rows[0]["valid_accuracy"] == pytest.approx((predicted == inputs.valid.targets).mean())
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert header.startswith(
        "epoch,seconds,learning_rate,train_loss,train_accuracy,valid_loss,valid_accuracy,0_precision"
    )
    assert header.endswith("weighted_precision,weighted_recall,weighted_f1")


def test_a_damaged_resume_point_is_one_line(tmp_path: Path) -> None:
    TrainState("k", weights=[np.zeros(3)]).save(tmp_path)
    assert load_state(tmp_path).key == "k"  # type: ignore[union-attr]
    (tmp_path / "resume.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="Cannot resume from .*it must be whole.*Delete it to start over"):
        load_state(tmp_path)


def test_read_ahead_keeps_order_and_hands_errors_over() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))

    def broken() -> Any:
        yield 1
        raise ValueError("from the thread")

    with pytest.raises(ValueError, match="from the thread"):
        list(prefetch(broken()))
    for item in prefetch(iter(range(10**9))):
        if item == 3:
            break


def test_network_says_where_its_weights_come_from() -> None:
    network: Network = build_network(SMALL, 2)
    assert isinstance(network.preprocess, PreprocessSpec)
    assert network.source
    assert network.weights_sha256 is None
