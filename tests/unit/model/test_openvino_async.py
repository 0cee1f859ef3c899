"""Which net a stream runs on: short streams on the first, long ones measure both and keep the quicker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from georgia.model import openvino_async
from georgia.model.engines import OpenVinoEngine
from georgia.model.load import load_bundled_model
from georgia.model.openvino_async import AsyncNet, NetChoice, Rate
from georgia.synthetic import render_crop


class Clock:
    """Seconds that pass only where a net works."""

    def __init__(self) -> None:
        self.now_s = 1.0


class Net:
    def __init__(self, batch_s: float, n_threads: int = 2) -> None:
        self.batch_s, self.n_threads, self.n_at_once = batch_s, n_threads, 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("georgia.model.openvino_async.time.perf_counter", lambda: clock.now_s)
    monkeypatch.setattr(openvino_async, "Rate", lambda: Rate(lambda: clock.now_s))
    return clock


def run(choice: NetChoice, n_batches: int, clock: Clock) -> Iterator[tuple[Any, int]]:
    for net, batches, rate in choice.split(iter(range(n_batches))):
        for batch in batches:
            clock.now_s += cast(Any, net).batch_s
            rate.note(16)
            yield net, batch


def make_choice(first: Net, wide: Net | None) -> NetChoice:
    return NetChoice(cast(AsyncNet, first), None if wide is None else lambda: cast(AsyncNet, wide))


@pytest.mark.parametrize("wide_s", [0.05, 0.2])
def test_long_stream_keeps_quicker_net(wide_s: float, clock: Clock) -> None:
    first, wide = Net(0.1), Net(wide_s)
    choice = make_choice(first, wide)
    found = list(run(choice, 200, clock))
    assert [batch for _, batch in found] == list(range(200))
    assert {net for net, _ in found} == {first, wide}
    quicker = wide if wide_s < 0.1 else first
    assert found[-1][0] is quicker
    assert cast(Any, choice.chosen) is quicker
    assert {net for net, _ in run(choice, 3, clock)} == {quicker}


def test_short_stream_opens_no_second_net(clock: Clock) -> None:
    first = Net(0.1)
    choice = NetChoice(cast(AsyncNet, first), lambda: pytest.fail("opened for a short stream"))
    for n_batches in (0, 1, 15):
        assert [net for net, _ in run(choice, n_batches, clock)] == [first] * n_batches
    assert choice.chosen is None


def test_stream_that_ends_within_trial_decides_nothing(clock: Clock) -> None:
    choice = make_choice(Net(0.1), Net(0.05))
    assert [batch for _, batch in run(choice, 25, clock)] == list(range(25))
    assert choice.chosen is None


@pytest.mark.parametrize(("first", "wide"), [(Net(0.1, n_threads=1), Net(0.05)), (Net(0.1), None)])
def test_nothing_to_choose_is_not_tried(first: Net, wide: Net | None, clock: Clock) -> None:
    assert {net for net, _ in run(make_choice(first, wide), 100, clock)} == {first}


def test_wide_net_gives_equal_outputs() -> None:
    bundle = load_bundled_model()
    narrow, wide = (
        OpenVinoEngine(bundle.model_path, bundle.preprocess, is_wide=flag) for flag in (False, True)
    )
    prepared = [narrow.prepare(render_crop("PG", seed).image) for seed in range(5)]
    expected, found = narrow.run(prepared), wide.run(prepared)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
