"""Steps of the head: the same learning, whichever way they are done."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from georgia.train.head_steps import KerasSteps
from georgia.train.loop import compile_head
from georgia.train.recipes import TrainConfig

keras = pytest.importorskip("keras")
RNG = np.random.default_rng(5)
N, SIZE_PX = 24, 6


def build_head(n_outputs: int) -> Any:
    """Return a head with all that changes while it learns: weights, a batch norm, an optimiser's memory."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    maps = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(maps))
    activation = "sigmoid" if n_outputs == 1 else "softmax"
    return keras.Model([image], keras.layers.Dense(n_outputs, activation=activation)(pooled))


def learn(
    steps_of: Any, n_outputs: int, optimizer: str, weighted: bool
) -> tuple[list[Any], dict[str, float], Any]:
    """Return variables, means of the second epoch and outputs after two epochs of three batches."""
    rng = np.random.default_rng(2)
    images = rng.normal(size=(N, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
    numbers = rng.integers(0, max(2, n_outputs), N)
    targets = numbers[:, None] if n_outputs == 1 else np.eye(n_outputs)[numbers]
    weights = rng.uniform(0.5, 2, N).astype(np.float32) if weighted else None
    head = build_head(n_outputs)
    config = TrainConfig(optimizer=optimizer, label_smoothing=0.1, weight_decay=1e-2)  # type: ignore[arg-type]
    compile_head(head, config, n_outputs == 1)
    steps = steps_of(head)
    for epoch in range(2):
        steps.begin()
        for at in (0, 10, 20):
            cut = slice(at, at + 10)
            rate = 0.05 / (1 + epoch + at)
            batch_weights = None if weights is None else weights[cut]
            steps.train([images[cut]], targets[cut].astype(np.float32), batch_weights, rate)
        means = steps.means()
        steps.end()
    outputs = steps.predict_fixed(lambda: [[images[:16]], [images[16:]]])
    again = steps.predict_fixed(lambda: [[images[:16]], [images[16:]]])
    np.testing.assert_array_equal(outputs, again)
    variables = [*head.variables, *head.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(v.value)) for v in variables], means, outputs


def test_keras_steps_learn_and_tell_means() -> None:
    values, means, outputs = learn(KerasSteps, 3, "sgd", weighted=False)
    assert all(np.isfinite(value).all() for value in values)
    assert means["loss"] > 0
    assert 0 <= means["accuracy"] <= 1
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)


PROGRAM = """
from pathlib import Path
import importlib.util, sys
import numpy as np
import keras
from georgia.train.head_jax import JaxSteps
from georgia.train.head_steps import KerasSteps, make_head_steps
spec = importlib.util.spec_from_file_location("steps", sys.argv[1])
steps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(steps)
assert isinstance(make_head_steps(steps.build_head(2)), JaxSteps)
for case in ((1, "sgd", True), (3, "adamw", False)):
    kept, by_jax = (steps.learn(kind, *case) for kind in (KerasSteps, JaxSteps))
    for first, second in zip(kept[0], by_jax[0], strict=True):
        np.testing.assert_allclose(first, second, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(kept[2], by_jax[2], atol=2e-5)
    for name in kept[1]:
        assert abs(kept[1][name] - by_jax[1][name]) < 1e-5, (name, kept[1], by_jax[1])
print("equal")
"""


@pytest.mark.slow
def test_jax_steps_learn_as_keras_does() -> None:
    # Not imported here: JAX would stay in the process of other tests.
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs jax, which the extra 'gpu' brings")
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).resolve())]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]
