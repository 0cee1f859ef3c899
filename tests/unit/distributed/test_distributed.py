"""Scale: places behind URLs, shards that are whole or absent, and a cluster that loses a node."""

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
from georgia.labels import Labels
from georgia.predict.prediction import Prediction
from georgia.records import Failure

LABELS = Labels(("CEX", "PG"))


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in fsspec's memory, as a URL."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    yield "memory://store"
    fsspec.filesystem("memory").store.clear()


def _answers(names: list[str]) -> list[Prediction | Failure]:
    answers: list[Prediction | Failure] = []
    for number, name in enumerate(names):
        p = number / len(names)
        label = "PG" if p > 0.5 else "CEX"
        answers.append(
            Prediction(name_path(name), label, max(p, 1 - p), {"CEX": 1 - p, "PG": p}, p, ("CEX",))
        )
    answers[-1] = Failure(name_path(names[-1]), "it is no image")
    return answers


def test_without_ray_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from georgia.distributed.cluster import import_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingDependencyError, match=r"Cannot use Ray: it must be installed; .*georgia\[ray\]"
    ):
        import_ray()


def test_urls_keep_their_slashes_and_tables_have_suffixes() -> None:
    assert str(name_path("s3://bucket/a b.png")) == "s3://bucket/a b.png"
    assert not is_url("C:/a.png")
    assert [is_table(out) for out in ("a.csv", "a.PARQUET", "answers", "s3://b/a.parquet")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_folder_gives_back_what_was_put_into_it(kind: str, tmp_path: Path, memory: str) -> None:
    folder = Folder(str(tmp_path / "answers") if kind == "folder" else f"{memory}/answers")
    assert folder.list_names() == []
    folder.write("b", b"1")
    folder.write("a", b"2")
    folder.write("b", b"3")
    assert (folder.list_names(), folder.read("b")) == (["a", "b"], b"3")
    folder.remove()
    assert folder.list_names() == []
    folder.remove()


def test_images_behind_a_url_come_in_natural_order(memory: str) -> None:
    for name in ("p10.png", "p2.PNG", "more/p1.png", "notes.txt", ".hidden.png"):
        where, _, file = f"{memory}/{name}".rpartition("/")
        Folder(where).write(file, name.encode())
    found = list(walk_images(memory))
    assert [url.rpartition("store/")[2] for url in found] == ["more/p1.png", "p2.PNG", "p10.png"]
    assert read_bytes(found[1]) == b"p2.PNG"
    assert list(list_sources([found[2], memory])) == [found[2], *found[:2]]
    with pytest.raises(InputError, match="it must exist"):
        list(walk_images(f"{memory}/gone"))


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_shards_hold_every_answer_once_in_order(kind: str, tmp_path: Path, memory: str) -> None:
    where = str(tmp_path / "answers") if kind == "folder" else f"{memory}/answers"
    names = [f"s3://b/p{number}.png" for number in range(10)]
    shards = ShardFolder(where)
    assert shards.load_plan() is None
    plan = shards.write_plan({"engine": "none"}, iter(names), shard_files=4)
    assert shards.load_plan() == plan == {"engine": "none", "n_files": 10, "n_shards": 3}
    answers = {shard: _answers(shards.read_list(shard)) for shard in range(3)}
    for shard in (2, 0):
        assert shards.write_answers(shard, answers[shard], LABELS) == (len(answers[shard]), 1)
    assert shards.find_missing(3) == [1]
    shards.write_answers(1, answers[1], LABELS)
    shards.write_answers(1, answers[1], LABELS)  # made twice, as after a lost worker
    again = [answer for shard in range(3) for answer in shards.read_answers(shard, LABELS)]
    assert again == [answer for shard in range(3) for answer in answers[shard]]
    assert shards.count_failures(1) == 1
    shards.write_answers(1, answers[1][:-1], LABELS)
    with pytest.raises(InputError, match="4 answers are needed; got 3"):
        shards.read_answers(1, LABELS)


def test_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"p\xff.png")
    shards = ShardFolder(str(tmp_path))
    shards.write_plan({}, [name])
    answer = Prediction(Path(name), "PG", 1.0, {"CEX": 0.0, "PG": 1.0})
    shards.write_answers(0, [answer], LABELS)
    assert shards.read_answers(0, LABELS) == [answer]


def test_a_worker_reads_and_writes_behind_urls(memory: str, tmp_path: Path) -> None:
    from dataclasses import replace

    from georgia.distributed.worker import ShardPredictor, WorkerSetup
    from georgia.model.load import load_bundled_model
    from georgia.predict.predictor import PredictConfig, Predictor

    bundle, rng = load_bundled_model(), np.random.default_rng(0)
    for number in range(3):
        file = tmp_path / f"p{number}.png"
        Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).save(file)
        Folder(f"{memory}/frames").write(file.name, file.read_bytes())
    shards = ShardFolder(f"{memory}/answers")
    shards.write_model(bundle.model_path.read_bytes())
    names = [*walk_images(f"{memory}/frames"), f"{memory}/frames/gone.png", str(tmp_path / "p1.png")]
    plan = shards.write_plan({}, names, shard_files=3)
    setup = WorkerSetup(replace(bundle, model_path=Path("m.onnx")), PredictConfig(), f"{memory}/answers", "/")
    done = ShardPredictor(setup)({"shard": np.arange(plan["n_shards"])})
    assert (done["n_files"], done["n_failed"]) == ([3, 2], [0, 1])
    found = [answer for shard in range(2) for answer in shards.read_answers(shard, bundle.labels)]
    assert [str(one.path if isinstance(one, Failure) else one.file) for one in found] == names
    assert isinstance(found[3], Failure)
    assert "the store cannot give it" in found[3].error
    local = list(Predictor(bundle).iterate([tmp_path / f"p{number}.png" for number in range(3)]))
    for number, one in enumerate([*found[:3], found[4]]):
        same = local[number if number < 3 else 1]
        assert isinstance(one, Prediction)
        assert isinstance(same, Prediction)
        assert one.probabilities["PG"] == pytest.approx(same.probabilities["PG"], abs=1e-6)


def test_the_note_of_a_cluster_that_is_gone_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from georgia.distributed.cluster import _is_left_over

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert not _is_left_over()
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
        assert not _is_left_over()
    assert _is_left_over()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of a head without processors and two nodes of one processor each."""
    pytest.importorskip("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **size})
    for _ in range(2):
        made.add_node(num_cpus=1, **size)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 grey images, and one that is none."""
    folder = tmp_path_factory.mktemp("archive") / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(600):
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
def test_a_node_that_dies_is_made_up_for_and_the_table_is_the_local_one(
    cluster: Any, archive: Path, tmp_path: Path
) -> None:
    from georgia.distributed import DistributedConfig, predict_archive
    from georgia.images.listing import FoundImages
    from georgia.model.load import load_bundled_model
    from georgia.predict.predictor import Predictor
    from georgia.predict.tables import write_table

    bundle = load_bundled_model()
    predictor = Predictor(bundle)
    local, there = tmp_path / "local.parquet", tmp_path / "there.parquet"
    write_table(local, predictor.iterate(FoundImages([archive])), bundle.labels, predictor.engine.name)

    class KillsANode:
        killed = False

        def start(self, stage: str, total: int | None) -> None: ...

        def say(self, line: str) -> None: ...

        def advance(self, count: int = 1, note: str = "") -> None:
            if count > 1 and not self.killed:
                self.killed = True
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    listener = KillsANode()
    scale = DistributedConfig(cluster.address, shard_files=64)
    result = predict_archive(bundle, [archive], str(tmp_path / "parts"), None, scale, listener)
    assert listener.killed
    assert (result.n_files, result.n_shards, result.n_failed, result.n_reused) == (600, 10, 1, 0)
    write_table(there, result.answers(), bundle.labels, result.engine)
    assert there.read_bytes() == local.read_bytes()
    # A driver that died is gone on with: what is there is kept, the rest is made.
    shutil.rmtree(tmp_path / "parts" / "_SUCCESS", ignore_errors=True)
    kept = tmp_path / "parts" / "part-000000.parquet"
    before = kept.stat().st_mtime_ns
    (tmp_path / "parts" / "part-000003.parquet").unlink()
    again = predict_archive(
        bundle, [archive], str(tmp_path / "parts"), None, DistributedConfig(cluster.address, resume=True)
    )
    assert (again.n_files, again.n_reused, again.n_failed) == (600, 536, 1)
    assert kept.stat().st_mtime_ns == before
    assert list(again.answers()) == list(result.answers())


@pytest.mark.slow
@RAY_NOISE
def test_tasks_end_once_each_also_where_a_worker_dies(cluster: Any, tmp_path: Path) -> None:
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


def test_no_cluster_at_an_address_is_one_line() -> None:
    from georgia.distributed import open_cluster

    pytest.importorskip("ray")
    for address in ("127.0.0.1:1", "nowhere"):
        with (
            pytest.raises(InputError, match=f"Cannot join the Ray cluster at '{address}': HOST:PORT"),
            open_cluster(address),
        ):
            pass
