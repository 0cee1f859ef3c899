"""The loop: a resumed run is the unbroken one, and the stop rules are the study's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.network import QUICK, SMALL, make_images, make_inputs, predict_validation

from georgia.errors import InputError
from georgia.report.history import TrainingHistory
from georgia.train.device import use_precision
from georgia.train.feature_cache import FeatureCache
from georgia.train.frozen import FrozenBackbone
from georgia.train.loop import compile_head, run_loop
from georgia.train.network import build_network
from georgia.train.recipes import TrainConfig
from georgia.train.state import TrainState, load_state

keras = pytest.importorskip("keras")
layers = keras.layers
pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.mark.slow
def test_frozen_batch_norm_stays_fixed(tmp_path: Path) -> None:
    inputs = make_inputs(replace(SMALL, epochs=1), tmp_path)
    norms = [layer for layer in inputs.network.model.layers if isinstance(layer, layers.BatchNormalization)]
    before = [keras.ops.convert_to_numpy(layer.moving_mean) for layer in norms]
    run_loop(replace(SMALL, epochs=1), inputs, TrainState("k"))
    for layer, mean in zip(norms, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.moving_mean), mean)


class _Killed(Exception):
    """Stands for kill -9 after an epoch was saved."""


def _run(config: TrainConfig, folder: Path, stop_after: int = 0) -> tuple[TrainingHistory, np.ndarray]:
    keras.backend.clear_session()
    inputs = make_inputs(config, folder)

    def tell(epoch: int, *_: Any) -> None:
        if epoch == stop_after:
            raise _Killed

    state = load_state(folder / "state") or TrainState("k")
    result = run_loop(config, inputs, state, on_epoch=tell)
    return result, predict_validation(inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "optimizer": "sgd",
            "head_units": (8,),
            "head_norm": True,
            "dropout": (0.4,),
            "augmentation": "none",
        },
    ],
    ids=["fresh views", "no augmentation, dropout and norm"],
)
def test_killed_run_resumes_to_same_end(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = replace(SMALL, **changes)
    whole, expected = _run(config, tmp_path / "whole")
    with pytest.raises(_Killed):
        _run(config, tmp_path / "broken", stop_after=2)
    resumed, outputs = _run(config, tmp_path / "broken")
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]
    for before, after in zip(whole.rows, resumed.rows, strict=True):
        for name in set(before) - {"seconds"}:
            assert after[name] == pytest.approx(before[name], rel=2e-3, abs=2e-4), name
    np.testing.assert_allclose(outputs, expected, atol=2e-3)


@pytest.mark.slow
def test_another_seed_gives_another_net(tmp_path: Path) -> None:
    """That the same seed learns the same is what the killed run shows."""
    first = _run(replace(SMALL, epochs=1), tmp_path / "a")[1]
    other = _run(replace(SMALL, epochs=1, seed=43), tmp_path / "b")[1]
    assert np.abs(other - first).max() > 1e-3


def test_threshold_stops_at_first_epoch(tmp_path: Path) -> None:
    config = replace(QUICK, f1_threshold=0.9)
    result = run_loop(config, make_inputs(config, tmp_path), TrainState("k"))
    assert "reached 0.9" in result.stop_reason
    assert result.kept_epoch == len(result.rows) < 40
    assert min(result.rows[-1]["0_f1"], result.rows[-1]["1_f1"]) >= 0.9
    for row in result.rows[:-1]:
        assert min(row["0_f1"], row["1_f1"]) < 0.9


def test_patience_restores_best_weights(tmp_path: Path) -> None:
    config = replace(SMALL, epochs=12, patience=2, min_delta=1e9, precision="float32")
    inputs = make_inputs(config, tmp_path)
    result = run_loop(config, inputs, TrainState("k"))
    assert len(result.rows) == 3
    assert result.kept_epoch == 1
    assert "did not fall" in result.stop_reason
    outputs = predict_validation(inputs)
    of_truth = outputs[np.arange(len(outputs)), inputs.valid.targets]
    assert float(-np.log(of_truth).mean()) == pytest.approx(result.rows[0]["valid_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 3])
def test_kept_views_are_learned_from(tmp_path: Path, n_classes: int) -> None:
    inputs = make_inputs(QUICK, tmp_path, n_classes)
    run_loop(QUICK, inputs, TrainState("k"))
    assert (predict_validation(inputs).argmax(axis=1) == inputs.valid.targets).mean() > 0.9


@pytest.mark.slow
def test_shared_views_give_the_same_history(tmp_path: Path) -> None:
    """Views that another run of a study has computed are taken from it; nothing but the time changes."""
    config, cache = replace(SMALL, epochs=2, feature_cache_gb=0.0), FeatureCache(None, 10**9)
    histories = []
    for name, shared in (("alone", None), ("first", cache), ("second", cache)):
        keras.backend.clear_session()
        inputs = replace(make_inputs(config, tmp_path / name), cache=shared)
        rows = run_loop(config, inputs, TrainState("k")).rows
        histories.append([{key: value for key, value in row.items() if key != "seconds"} for row in rows])
    for alone, first, second in zip(*histories, strict=True):
        assert first == pytest.approx(alone, rel=2e-3, abs=2e-4)
        assert second == pytest.approx(alone, rel=2e-3, abs=2e-4)


@pytest.mark.slow
def test_loop_equals_plain_keras_training(tmp_path: Path) -> None:
    plain_sgd = {"optimizer": "sgd", "schedule": "constant", "augmentation": "none", "epochs": 2}
    config = replace(SMALL, trainable_fraction=0.1, **plain_sgd)
    inputs = make_inputs(config, tmp_path)
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
            batch = order[start : start + config.batch_size]
            plain.train_on_batch(pixels[batch], truth[batch])
    valid = inputs.network.preprocess.normalize(inputs.valid.store.astype(np.float32))
    outputs = np.asarray(plain.predict(valid, verbose=0))
    of_truth = np.clip(outputs[np.arange(len(valid)), inputs.valid.targets], 1e-7, 1.0)
    assert result.rows[-1]["valid_loss"] == pytest.approx(float(-np.log(of_truth).mean()), rel=1e-2)
    if result.kept_epoch == 2:
        np.testing.assert_allclose(predict_validation(inputs), outputs, atol=1e-2)


@pytest.mark.slow
def test_standardised_features_have_unit_spread(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=1, views=1, precision="float32")
    inputs = make_inputs(config, tmp_path)
    run_loop(config, inputs, TrainState("k"))
    model = inputs.network.model
    features = keras.Model(model.input, model.get_layer("head_standardize").output)
    pixels = inputs.network.preprocess.normalize(inputs.train.store.astype(np.float32))
    values = features.predict(pixels, verbose=0)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-3)
    alive = values.std(axis=0) > 0.01
    np.testing.assert_allclose(values.std(axis=0)[alive], 1.0, atol=0.05)


@pytest.mark.slow
def test_history_counts_whole_validation_split(tmp_path: Path) -> None:
    config = replace(SMALL, epochs=1)
    inputs = make_inputs(config, tmp_path, n_classes=3, n_train=42)
    result = run_loop(config, inputs, TrainState("k"))
    predicted = predict_validation(inputs).argmax(axis=1)
    assert result.rows[0]["valid_accuracy"] == pytest.approx((predicted == inputs.valid.targets).mean())
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert header.startswith(
        "epoch,seconds,learning_rate,train_loss,train_accuracy,valid_loss,valid_accuracy,0_precision"
    )
    assert header.endswith("weighted_precision,weighted_recall,weighted_f1")


def test_mixed_precision_leaves_no_trace() -> None:
    network = build_network(SMALL, 2)
    assert any(isinstance(layer, layers.Conv2D) for layer in network.head.layers)
    features = FrozenBackbone(network.frozen, network.preprocess)(make_images(8, 2, 3).images(slice(None)))
    exact = np.asarray(network.head(features, training=False))
    with use_precision(network.head, "bfloat16"):
        rounded = np.asarray(network.head(features, training=False))
        assert {layer.compute_dtype for layer in network.head.layers} == {"bfloat16", "float32"}
        assert {variable.dtype for variable in network.head.trainable_variables} == {"float32"}
    assert 0 < np.abs(rounded - exact).max() < 0.05
    assert {layer.compute_dtype for layer in network.head.layers} == {"float32"}
    np.testing.assert_array_equal(np.asarray(network.head(features, training=False)), exact)


def test_damaged_resume_point_is_one_line(tmp_path: Path) -> None:
    TrainState("k", weights=[np.zeros(3)]).save(tmp_path)
    assert load_state(tmp_path).key == "k"  # type: ignore[union-attr]
    (tmp_path / "resume.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="Cannot resume from .*it must be whole.*Delete it to start over"):
        load_state(tmp_path)
