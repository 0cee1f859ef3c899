"""Kept features: what went in comes out, damage is absence, the limit holds, other nets find nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from georgia.files import find_cache_folder
from georgia.train.feature_cache import SUFFIX, FeatureCache, Features, digest_images


def _features(seed: int) -> Features:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, 2, 3)).astype(np.float16), rng.normal(size=5).astype(np.float32)]


def _open(folder: Path | None, limit: int = 10**9) -> FeatureCache:
    return FeatureCache(folder, limit)


def _fill(folder: Path | None, seeds: range, key: str = "net", limit: int = 10**9) -> FeatureCache:
    cache = FeatureCache(folder, limit)
    for seed in seeds:
        cache.add(key, f"image {seed}", _features(seed))
    cache.flush()
    return cache


def _same(cache: FeatureCache, seed: int, key: str = "net") -> bool:
    found = cache.read(key, f"image {seed}")
    if found is None:
        return False
    for array, expected in zip(found, _features(seed), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    return True


def _flip(file: Path, seed: int) -> bytes:
    """Return a pack's bytes with one bit of an entry's last array flipped."""
    data = bytearray(file.read_bytes())
    data[data.index(_features(seed)[1].tobytes())] ^= 1
    return bytes(data)


def test_features_are_read_by_another_process(tmp_path: Path) -> None:
    assert all(_same(_fill(tmp_path, range(5)), seed) for seed in range(5))
    later = _open(tmp_path)
    assert all(_same(later, seed) for seed in range(5))
    assert later.read("net", "image 5") is None
    assert later.read("another net", "image 0") is None


@pytest.mark.parametrize("name", ["0", "z"])
def test_damaged_entry_hides_no_good_one(tmp_path: Path, name: str) -> None:
    """Packs have random names: whichever is read first, the good entry is found."""
    _fill(tmp_path, range(3))
    (file,) = tmp_path.rglob(f"*{SUFFIX}")
    data = _flip(file, 2)
    file.unlink()
    file.with_name(f"{name}{SUFFIX}").write_bytes(data)
    _fill(tmp_path, range(2, 3))
    assert all(_same(_open(tmp_path), seed) for seed in range(3))


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "scribble", "delete"])
def test_damaged_entry_is_absent(tmp_path: Path, harm: str) -> None:
    _fill(tmp_path, range(3))
    (file,) = tmp_path.rglob(f"*{SUFFIX}")
    if harm == "delete":
        file.unlink()
    else:
        data = {"flip": _flip(file, 2), "cut": file.read_bytes()[:-1], "empty": b"", "scribble": b"x\ny"}
        file.write_bytes(data[harm])
    reopened = _open(tmp_path)
    assert [_same(reopened, seed) for seed in range(3)] == [harm == "flip"] * 2 + [False]
    reopened.add("net", "image 2", _features(2))
    reopened.flush()
    assert _same(_open(tmp_path), 2)


def test_longest_unused_packs_are_deleted(tmp_path: Path) -> None:
    for number, key in enumerate(("old", "used", "new")):
        _fill(tmp_path, range(100), key)
        for file in (tmp_path / "features" / key).glob("*"):
            os.utime(file, (number, number))
    size = sum(file.stat().st_size for file in tmp_path.rglob(f"*{SUFFIX}"))
    used = _open(tmp_path, 2 * size // 3 + 1)
    assert _same(used, 0, "used")
    used.flush()
    left = {file.parent.name for file in tmp_path.rglob(f"*{SUFFIX}")}
    assert left == {"used", "new"}
    assert _fill(tmp_path, range(3), "all", limit=0).read("all", "image 0") is None


def test_memory_cache_writes_nothing_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    size = sum(array.nbytes for array in _features(0))
    cache = _fill(None, range(3), limit=3 * size)
    assert _same(cache, 0)
    cache.add("net", "image 3", _features(3))
    assert [_same(cache, seed) for seed in range(4)] == [True, False, True, True]
    assert not list(tmp_path.iterdir())


def test_only_missing_images_are_computed() -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    asked: list[int] = []

    def run(batches: Iterable[tuple[Any, np.ndarray]]) -> Iterator[tuple[Any, Features]]:
        for token, batch in batches:
            asked.extend(int(image.flat[0]) for image in batch)
            yield token, [batch.astype(np.float32), batch[:, 0, 0].astype(np.float32)] if len(batch) else []

    cache = _open(None)
    cuts = [("first", images[1:3]), ("second", images), ("third", images[::-1])]
    found = dict(cache.stream("net", cuts, run))
    assert asked == [1, 2, 0, 3]
    assert list(found) == ["first", "second", "third"]
    for name, batch in cuts:
        for array, expected in zip(found[name], [batch, batch[:, 0, 0]], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_one_batch_is_computed_once() -> None:
    images, asked = np.arange(3, dtype=np.uint8).reshape(3, 1), []

    def compute(batch: np.ndarray) -> Features:
        asked.append(len(batch))
        return [batch.astype(np.float32)]

    cache = _open(None)
    for _ in range(2):
        np.testing.assert_array_equal(cache.get_or_compute("net", images, compute)[0], images)
    assert asked == [3]


def test_leftovers_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    _fill(tmp_path, range(1))
    leftover = tmp_path / "features" / "net" / f".abc-1{SUFFIX}"
    leftover.write_bytes(b"half")
    os.utime(leftover, (time.time() - 10**6,) * 2)
    _fill(tmp_path, range(1, 2))
    assert not leftover.exists()


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: _fill(tmp_path, range(start, start + 5)), range(0, 20, 5)))
    assert all(_same(_open(tmp_path), seed) for seed in range(20))


@pytest.mark.skipif(os.name == "nt", reason="needs a folder that is a file")
def test_unwritable_disk_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way")
    assert _fill(tmp_path, range(2)).read("net", "image 0") is None


def test_digest_depends_on_pixels_only() -> None:
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[1, 0, 0, 0] = 1
    first, other, same = digest_images(images)
    assert first == same != other


def test_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEORGIA_CACHE", "/somewhere")
    assert find_cache_folder() == Path("/somewhere")
    monkeypatch.delenv("GEORGIA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert find_cache_folder() == Path("/cache/georgia")
