"""Fixtures of all tests: real images where they are present, synthetic ones, a tiny backbone."""

from __future__ import annotations

import functools
import gc
import os
import random
import signal
import sys
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "agg")
# Engines are compared to the fifth decimal, which bfloat16 does not have.
os.environ.setdefault("GEORGIA_PRECISION", "float32")

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # Under nohup all that tests start would ignore it, too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).parents[1]
# The generators of random numbers at the head of each file of tests, with their states after its import.
START_STATES = pytest.StashKey[dict[Path, list[tuple[Any, Any]]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Let a run of all tests in bfloat16 go on where only the notice of it would stop a test."""
    if os.environ["GEORGIA_PRECISION"] == "bfloat16":
        config.addinivalue_line("filterwarnings", "ignore:bfloat16 .*is not (shown|used)")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage as long as nearly everything that is made lives to the end, nor in that later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that none is left alone; remember where files' generators start."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
    modules = {item.path: item.module for item in items if isinstance(item, pytest.Function)}
    config.stash[START_STATES] = {path: _find_generators(module) for path, module in modules.items()}


def _find_generators(module: Any) -> list[tuple[Any, Any]]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return []
    found = [value for value in vars(module).values() if isinstance(value, numpy.random.Generator)]
    return [(generator.bit_generator, generator.bit_generator.state) for generator in found]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each test the same random numbers, whichever ran before it in this process.

    Keras takes the seeds of new weights from Python's own generator.
    """
    _start_generators(item.config.stash[START_STATES].get(item.path, ()))


def _start_generators(own: Iterable[tuple[Any, Any]], seed: int = 0) -> None:
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    for generator, state in own:
        generator.state = state


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What serves several tests is made of random numbers of its own, whichever test is the first to ask."""
    if fixturedef.scope == "function":
        return (yield)
    own = request.config.stash[START_STATES].get(request.path, [])
    kept, numpy = random.getstate(), sys.modules.get("numpy")
    kept_numpy = None if numpy is None else numpy.random.get_state()
    kept_own = [(generator, generator.state) for generator, _ in own]
    seed = zlib.crc32(fixturedef.argname.encode())
    _start_generators([(generator, type(generator)(seed).state) for generator, _ in own], seed)
    try:
        return (yield)
    finally:
        _start_generators(kept_own)
        random.setstate(kept)
        if kept_numpy is not None:
            sys.modules["numpy"].random.set_state(kept_numpy)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What training keeps for later runs stays out of the user's own cache folder."""
    os.environ["GEORGIA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def commands_put_together_once() -> Iterator[None]:
    """The command line is put together once a process, as for its user, and not for each call of a test."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real images in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def synthetic_crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder per class with 40 synthetic crops each; read only."""
    from georgia.synthetic import render_dataset

    folder = tmp_path_factory.mktemp("synthetic") / "crops"
    render_dataset(folder, n_per_class=40, seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny_backbone() -> Iterator[str]:
    """Name of a backbone with the kinds of layers of the real ones, built in a blink."""
    pytest.importorskip("keras")
    from tests.helpers.tiny_backbone import make_card

    import georgia.backbones as backbones

    card = make_card()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "BACKBONES", (*backbones.BACKBONES, card))
        yield card.name
