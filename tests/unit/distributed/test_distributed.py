"""Distributed prediction: files behind URLs, shards that are whole or absent, a cluster that loses a node."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.distributed.places import Folder, is_url, name_path, read_bytes, walk_images
from georgia.distributed.predict import is_table, list_sources
from georgia.distributed.shards import ShardFolder
from georgia.errors import InputError, MissingDependencyError
from georgia.images.depth import DepthWatch
from georgia.labels import Labels
from georgia.predict.prediction import Outcome, Prediction
from georgia.records import Failure

LABELS = Labels(("CEX", "PG"))


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in the memory file system of fsspec, as a URL."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    yield "memory://store"
    fsspec.filesystem("memory").store.clear()


def make_outcomes(names: list[str]) -> list[Outcome]:
    """Return predictions for names, and a failure for the last one."""
    outcomes: list[Outcome] = []
    for number, name in enumerate(names):
        p = number / len(names)
        label = "PG" if p > 0.5 else "CEX"
        outcomes.append(
            Prediction(name_path(name), label, max(p, 1 - p), {"CEX": 1 - p, "PG": p}, p, ("CEX",))
        )
    outcomes[-1] = Failure(name_path(names[-1]), "it is no image")
    return outcomes


def test_missing_ray_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from georgia.distributed.ray_cluster import import_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingDependencyError, match=r"Cannot use Ray: it must be installed; .*georgia\[ray\]"
    ):
        import_ray()


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a b.png",
        "s3://bucket/50%.png?endpoint_override=host:9000&scheme=http",
        "hdfs://host:9000/a.png",
        "abfs://container@account/a.png",
        "nobody-knows://this/a.png",
    ],
)
def test_url_as_path_keeps_its_text(url: str) -> None:
    path = name_path(url)
    assert (str(path), path == name_path(url), isinstance(path, Path)) == (url, True, True)


def test_drive_letter_is_no_url() -> None:
    assert not is_url("C:/a.png")


@pytest.mark.parametrize(
    ("out", "expected"),
    [("a.csv", True), ("a.PARQUET", True), ("predictions", False), ("s3://b/a.parquet", False)],
)
def test_table_is_known_by_suffix(out: str, expected: bool) -> None:
    assert is_table(out) is expected


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_folder_returns_what_was_written(kind: str, tmp_path: Path, memory: str) -> None:
    folder = Folder(str(tmp_path / "parts") if kind == "folder" else f"{memory}/parts")
    assert folder.list_names() == []
    folder.write("b", b"1")
    folder.write("a", b"2")
    folder.write("b", b"3")
    assert (folder.list_names(), folder.read("b")) == (["a", "b"], b"3")
    folder.remove()
    assert folder.list_names() == []
    folder.remove()


def test_images_behind_url_come_in_natural_order(memory: str) -> None:
    for name in ("p10.png", "p2.PNG", "more/p1.png", "notes.txt", ".hidden.png"):
        where, _, file = f"{memory}/{name}".rpartition("/")
        Folder(where).write(file, name.encode())
    found = list(walk_images(memory))
    assert [url.rpartition("store/")[2] for url in found] == ["more/p1.png", "p2.PNG", "p10.png"]
    assert read_bytes(found[1]) == b"p2.PNG"
    with pytest.raises(InputError, match="it must exist"):
        list(walk_images(f"{memory}/gone"))


def test_overlapping_sources_are_listed_once(memory: str, tmp_path: Path) -> None:
    for name in ("p1.png", "p2.png", "more/p3.png", ".cache/p4.png", "more2/p5.png"):
        where, _, file = f"{memory}/{name}".rpartition("/")
        Folder(where).write(file, b"")
    (tmp_path / "local.png").touch()
    local = str(tmp_path / "local.png")

    def list_names(*sources: str) -> list[str]:
        return [name.rpartition("/")[2] for name in list_sources(sources)]

    everything = ["p5.png", "p3.png", "p1.png", "p2.png"]
    assert list_names(memory) == everything
    # The same folder, a folder within it and one of its files, before and after it.
    assert list_names(memory, f"{memory}/", f"{memory}/more", f"{memory}/p2.png") == everything
    assert list_names(f"{memory}/p2.png", f"{memory}/more", memory) == [
        "p2.png",
        "p3.png",
        "p5.png",
        "p1.png",
    ]
    # A walk leaves hidden folders out, so that naming one adds its images; "more" is no part of "more2".
    assert list_names(memory, f"{memory}/.cache") == [*everything, "p4.png"]
    assert list_names(f"{memory}/more", f"{memory}/more2") == ["p3.png", "p5.png"]
    assert list_names(local, memory, local, str(tmp_path)) == ["local.png", *everything]


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_shards_hold_every_outcome_once_in_order(kind: str, tmp_path: Path, memory: str) -> None:
    where = str(tmp_path / "parts") if kind == "folder" else f"{memory}/parts"
    names = [f"s3://b/p{number}.png" for number in range(10)]
    shards = ShardFolder(where)
    assert shards.load_plan() is None
    plan = shards.write_plan({"engine": "none"}, iter(names), shard_files=4)
    assert shards.load_plan() == plan == {"engine": "none", "n_files": 10, "n_shards": 3}
    outcomes = {shard: make_outcomes(shards.read_list(shard)) for shard in range(3)}
    for shard in (2, 0):
        assert shards.write_outcomes(shard, outcomes[shard], LABELS) == (len(outcomes[shard]), 1)
    assert shards.find_missing(3) == [1]
    shards.write_outcomes(1, outcomes[1], LABELS)
    shards.write_outcomes(1, outcomes[1], LABELS)  # written twice, as after a lost worker
    again = [outcome for shard in range(3) for outcome in shards.read_outcomes(shard, LABELS)]
    assert again == [outcome for shard in range(3) for outcome in outcomes[shard]]
    assert shards.count_failures(1) == 1
    shards.write_outcomes(1, outcomes[1][:-1], LABELS)
    with pytest.raises(InputError, match="4 rows are needed; got 3"):
        shards.read_outcomes(1, LABELS)


def test_name_that_is_not_utf8_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"p\xff.png")
    shards = ShardFolder(str(tmp_path))
    shards.write_plan({}, [name])
    prediction = Prediction(Path(name), "PG", 1.0, {"CEX": 0.0, "PG": 1.0})
    shards.write_outcomes(0, [prediction], LABELS)
    assert shards.read_outcomes(0, LABELS) == [prediction]


@pytest.mark.slow
def test_worker_reads_and_writes_behind_urls(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from georgia.distributed.worker import ShardPredictor, WorkerSetup
    from georgia.model.load import load_bundled_model
    from georgia.predict.predictor import PredictConfig, Predictor

    bundle, rng = load_bundled_model(), np.random.default_rng(0)
    for number in range(3):
        file = tmp_path / f"p{number}.png"
        Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).save(file)
        Folder(f"{memory}/frames").write(file.name, file.read_bytes())
    shards = ShardFolder(f"{memory}/parts")
    shards.write_model(bundle.model_path.read_bytes())
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((24, 24), 4095, np.uint16)).save(deep)
    names = [
        *walk_images(f"{memory}/frames"),
        f"{memory}/frames/gone.png",
        str(tmp_path / "p1.png"),
        str(deep),
    ]
    plan = shards.write_plan({}, names, shard_files=3)
    setup = WorkerSetup(replace(bundle, model_path=Path("m.onnx")), PredictConfig(), f"{memory}/parts", "/")
    monkeypatch.setenv("GEORGIA_DEPTH", "8")  # of this machine of the cluster; the caller has none
    done = ShardPredictor(setup)({"shard": np.arange(plan["n_shards"])})
    assert (done["n_files"], done["n_failed"]) == ([3, 3], [0, 1])
    assert (done["n_deep"], done["largest"], done["fault"]) == ([0, 1], [0, 4095], ["", ""])
    depths = DepthWatch()
    assert [shards.count_failures(shard, depths) for shard in range(2)] == [0, 1]
    assert "1 file of 16 bits uses 12 bits at most" in depths.describe()
    found = [outcome for shard in range(2) for outcome in shards.read_outcomes(shard, bundle.labels)]
    assert [str(item.path if isinstance(item, Failure) else item.file) for item in found] == names
    assert isinstance(found[3], Failure)
    assert "the store cannot give it" in found[3].error
    local = list(Predictor(bundle).iterate([tmp_path / f"p{number}.png" for number in range(3)]))
    wrong = ShardPredictor(replace(setup, config=PredictConfig(engine="onnxruntime", precision="bfloat16")))
    fault = wrong({"shard": np.arange(2)})
    assert fault["n_files"] == [0, 0]
    assert "bfloat16" in fault["fault"][0]
    for item, same in zip([*found[:3], found[4]], [*local, local[1]], strict=True):
        assert isinstance(item, Prediction)
        assert isinstance(same, Prediction)
        assert item.probabilities["PG"] == pytest.approx(same.probabilities["PG"], abs=1e-6)


def test_note_of_stopped_cluster_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from georgia.distributed.ray_cluster import _is_left_over

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert not _is_left_over()
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
        assert not _is_left_over()
    assert _is_left_over()


def test_second_run_in_folder_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from georgia.distributed import predict
    from georgia.files import OutputLock
    from georgia.model.load import load_bundled_model

    monkeypatch.setattr(predict, "import_ray", lambda: None)
    lock = OutputLock(tmp_path / "parts")
    with pytest.raises(InputError, match=r"Cannot write .*parts.*one process at a time"):
        predict.predict_archive(load_bundled_model(), [tmp_path], str(tmp_path / "parts"))
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_integers_are_rejected_before_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from georgia.distributed import predict
    from georgia.model.load import load_bundled_model

    monkeypatch.setattr(predict, "import_ray", lambda: None)
    opened = SimpleNamespace(name="openvino", precision="int8")
    monkeypatch.setattr(predict, "open_served_engine", lambda *_, **__: opened)
    with pytest.raises(InputError, match="Cannot predict on Ray in int8"):
        predict.predict_archive(load_bundled_model(), [tmp_path], str(tmp_path / "parts"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of a head without processors and two nodes of one processor each."""
    pytest.importorskip("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    # A hundred calls: a node that was killed rejects them in seconds, a slow one has minutes to respond.
    patient = {"_system_config": {"health_check_period_ms": 100, "health_check_failure_threshold": 100}}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **size, **patient})
    for _ in range(2):
        made.add_node(num_cpus=1, **size)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 grey images, one of them damaged."""
    folder = tmp_path_factory.mktemp("archive") / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(240):
        grey = rng.integers(0, 256, (24, 24), np.uint8)
        Image.fromarray(grey // 2 + np.uint8(number % 128)).save(folder / f"p{number}.png")
    (folder / "p77.png").write_bytes(b"no image")
    return folder


RAY_NOISE = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.mark.slow
@RAY_NOISE
def test_table_survives_dead_node_and_equals_local(cluster: Any, archive: Path, tmp_path: Path) -> None:
    from georgia.distributed import DistributedConfig, predict_archive
    from georgia.images.listing import FoundImages
    from georgia.model.engines import Computation
    from georgia.model.load import load_bundled_model
    from georgia.predict.predictor import Predictor
    from georgia.predict.tables import write_table

    bundle = load_bundled_model()
    predictor = Predictor(bundle)
    local, there = tmp_path / "local.parquet", tmp_path / "there.parquet"
    computation = Computation(predictor.engine.name, predictor.engine.precision)
    write_table(local, predictor.iterate(FoundImages([archive])), bundle.labels, computation)

    class KillsANode:
        killed = False

        def start(self, stage: str, total: int | None) -> None: ...

        def say(self, line: str) -> None: ...

        def advance(self, count: int = 1, note: str = "") -> None:
            if count > 1 and not self.killed:
                self.killed = True
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    listener = KillsANode()
    scale = DistributedConfig(cluster.address, shard_files=24)
    result = predict_archive(bundle, [archive], str(tmp_path / "parts"), None, scale, listener)
    assert listener.killed
    assert (result.n_files, result.n_shards, result.n_failed, result.n_reused) == (240, 10, 1, 0)
    write_table(there, result.outcomes(), bundle.labels, Computation(result.engine, result.precision))
    assert there.read_bytes() == local.read_bytes()
    # After the driver died: parts that exist are kept, the others are predicted.
    shutil.rmtree(tmp_path / "parts" / "_SUCCESS", ignore_errors=True)
    kept = tmp_path / "parts" / "part-000000.parquet"
    before = kept.stat().st_mtime_ns
    (tmp_path / "parts" / "part-000003.parquet").unlink()
    again = predict_archive(
        bundle, [archive], str(tmp_path / "parts"), None, DistributedConfig(cluster.address, resume=True)
    )
    assert (again.n_files, again.n_reused, again.n_failed) == (240, 216, 1)
    assert kept.stat().st_mtime_ns == before
    assert list(again.outcomes()) == list(result.outcomes())


@pytest.mark.slow
@RAY_NOISE
def test_tasks_run_once_although_worker_dies(cluster: Any, tmp_path: Path) -> None:
    from georgia.distributed import run_tasks

    mark, folder = tmp_path / "died", str(tmp_path)

    def work(number: int) -> tuple[int, bool]:
        from pathlib import Path

        if number == 2 and not Path(mark).exists():
            Path(mark).write_text("")
            os._exit(1)
        if number == 3:
            raise ValueError("three")
        return number**2, str(Path.cwd()) == folder

    before = Path.cwd()
    os.chdir(folder)
    try:
        outcomes = dict(run_tasks(work, [0, 1, 2, 3], cluster.address))
    finally:
        os.chdir(before)
    assert [outcomes[number] for number in range(3)] == [(0, True), (1, True), (4, True)]
    assert "three" in str(outcomes[3])


def test_address_without_cluster_is_one_line() -> None:
    from georgia.distributed import open_cluster

    pytest.importorskip("ray")
    for address in ("127.0.0.1:1", "nowhere"):
        with (
            pytest.raises(InputError, match=f"Cannot join the Ray cluster at '{address}': HOST:PORT"),
            open_cluster(address),
        ):
            pass
