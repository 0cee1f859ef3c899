"""Stored features: what went in comes out, damage is absence, the limit holds, strangers see nothing."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from georgia.files import find_cache_folder
from georgia.train.feature_store import SUFFIX, FeatureStore, digest_images


def _features(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, 2, 3)).astype(np.float16), rng.normal(size=5).astype(np.float32)]


def _fill(folder: Path, seeds: range, key: str = "net", limit: int = 10**9) -> FeatureStore:
    store = FeatureStore(folder, key, limit)
    for seed in seeds:
        store.add(f"image {seed}", _features(seed))
    store.flush()
    return store


def _same(store: FeatureStore, seed: int) -> bool:
    found = store.read(f"image {seed}")
    if found is None:
        return False
    for array, expected in zip(found, _features(seed), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    return True


def test_what_went_in_comes_out_in_another_process(tmp_path: Path) -> None:
    assert all(_same(_fill(tmp_path, range(5)), seed) for seed in range(5))
    later = FeatureStore(tmp_path, "net", 10**9)
    assert all(_same(later, seed) for seed in range(5))
    assert later.read("image 5") is None
    assert FeatureStore(tmp_path, "another net", 10**9).read("image 0") is None


@pytest.mark.parametrize("name", ["0", "z"])
def test_a_damaged_entry_hides_none_that_was_written_again(tmp_path: Path, name: str) -> None:
    """Packs have random names: whichever is read first, the good entry is found."""
    _fill(tmp_path, range(3))
    (file,) = tmp_path.rglob(f"*{SUFFIX}")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.unlink()
    file.with_name(f"{name}{SUFFIX}").write_bytes(bytes(data))
    _fill(tmp_path, range(2, 3))
    assert all(_same(FeatureStore(tmp_path, "net", 10**9), seed) for seed in range(3))


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "scribble", "delete"])
def test_damage_is_absence(tmp_path: Path, harm: str) -> None:
    _fill(tmp_path, range(3))
    (file,) = tmp_path.rglob(f"*{SUFFIX}")
    store = FeatureStore(tmp_path, "net", 10**9)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    if harm == "delete":
        file.unlink()
    else:
        file.write_bytes({"flip": bytes(data), "cut": data[:-1], "empty": b"", "scribble": b"x\ny"}[harm])
    assert [_same(store, seed) for seed in range(3)] == [harm in ("flip", "cut")] * 2 + [False]
    reopened = FeatureStore(tmp_path, "net", 10**9)
    assert reopened.read("image 2") is None
    reopened.add("image 2", _features(2))
    reopened.flush()
    assert _same(FeatureStore(tmp_path, "net", 10**9), 2)


def test_the_longest_unused_leave_above_the_limit(tmp_path: Path) -> None:
    for number, key in enumerate(("old", "used", "new")):
        _fill(tmp_path, range(100), key)
        for file in (tmp_path / "features" / key).glob("*"):
            os.utime(file, (number, number))
    size = sum(file.stat().st_size for file in tmp_path.rglob(f"*{SUFFIX}"))
    used = FeatureStore(tmp_path, "used", 2 * size // 3 + 1)
    assert _same(used, 0)
    used.flush()
    left = {file.parent.name for file in tmp_path.rglob(f"*{SUFFIX}")}
    assert left == {"used", "new"}
    assert _fill(tmp_path, range(3), "all", limit=0).read("image 0") is None


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    _fill(tmp_path, range(1))
    leftover = tmp_path / "features" / "net" / f".abc-1{SUFFIX}"
    leftover.write_bytes(b"half")
    os.utime(leftover, (time.time() - 10**6,) * 2)
    _fill(tmp_path, range(1, 2))
    assert not leftover.exists()


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: _fill(tmp_path, range(start, start + 5)), range(0, 20, 5)))
    store = FeatureStore(tmp_path, "net", 10**9)
    assert all(_same(store, seed) for seed in range(20))


@pytest.mark.skipif(os.name == "nt", reason="needs a folder that is a file")
def test_a_disk_that_takes_nothing_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way")
    assert _fill(tmp_path, range(2)).read("image 0") is None


def test_digest_is_of_the_pixels() -> None:
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[1, 0, 0, 0] = 1
    first, other, same = digest_images(images)
    assert first == same != other


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEORGIA_CACHE", "/somewhere")
    assert find_cache_folder() == Path("/somewhere")
    monkeypatch.delenv("GEORGIA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert find_cache_folder() == Path("/cache/georgia")
