"""An altered record is found out wherever it was altered; a whole one never is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from tests.helpers.monitor import make_result, write_frame
from tests.helpers.subsample import every
from tests.helpers.tamper import EDITS, edit, fill

from georgia.errors import InputError
from georgia.monitor.anchors import Anchor, open_anchor
from georgia.monitor.file_names import to_text
from georgia.monitor.queries import StoreReader
from georgia.monitor.result import FileKey
from georgia.monitor.store import Store
from georgia.monitor.verify import Verification, verify_store

KEY = b"a key that is kept elsewhere"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    store = Store(str(folder / "store.db"))
    store.anchor = Anchor(folder / "anchor.jsonl", KEY)
    fill(store, folder / "images")
    store.close()
    return folder


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store.db"


def verify(file: Path, expected: str = "", **more: Any) -> Verification:
    reader = StoreReader.open(str(file))
    try:
        return verify_store(reader, expected, **more)
    finally:
        reader.close()


def run(file: Path, script: str) -> None:
    engine = create_engine(f"sqlite:///{file}")
    edit(engine, script)
    engine.dispose()


def test_untouched_record_is_whole(file: Path) -> None:
    found = verify(file)
    assert found.is_whole, found.faults
    assert (found.n_entries, found.n_frames, found.n_maps) == (19, 12, 12)
    assert found.not_covered == ()
    assert verify(file, found.head).is_whole
    assert verify(file, found.log_head).is_whole, "a head that version 0.1 printed"


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_found(file: Path, name: str) -> None:
    script, table = EDITS[name]
    run(file, script)
    found = verify(file)
    assert not found.is_whole
    assert table in {fault.table for fault in found.faults}, found.faults


@pytest.mark.parametrize("name", every(4, EDITS))
def test_edit_is_found_after_next_frame(file: Path, name: str) -> None:
    script, _ = EDITS[name]
    run(file, script)
    store = Store(str(file))
    batch = store.begin_batch("probe", "B2", "Ann", "PG", "ann@host").id
    store.record_frame(make_result(77, batch), "probe", '{"n": 7}')
    store.close()
    assert not verify(file).is_whole


def test_missing_head_file_is_found(file: Path) -> None:
    head = verify(file).head
    Path(f"{file}.head").unlink()
    found = verify(file)
    assert any("a cut end would not show" in fault.fault for fault in found.faults)
    assert verify(file, head).is_whole, "the expected head takes its place"
    assert verify(file, anchor=Anchor(file.with_name("anchor.jsonl"), KEY)).is_whole
    Store(str(file)).close()
    found = verify(file)
    assert any("the head file was not there" in fault.fault for fault in found.faults), "and it is remembered"


def test_emptied_head_file_is_found(file: Path) -> None:
    empty = {"seq": 0, "hash": "0" * 64, "frame_id": 0, "chain": "0" * 64}
    Path(f"{file}.head").write_text(json.dumps(empty), encoding="utf-8")
    assert any("is empty: a cut end" in fault.fault for fault in verify(file).faults)
    Store(str(file)).close()
    assert any("the head file was not there" in fault.fault for fault in verify(file).faults)


def test_new_store_may_be_opened_twice(tmp_path: Path) -> None:
    first = Store(str(tmp_path / "store.db"))
    empty = (tmp_path / "store.db.head").read_bytes()
    first.append_event("ann", "note", {})
    (tmp_path / "store.db.head").write_bytes(empty)  # the moment between a commit and the head file
    Store(str(tmp_path / "store.db")).close()
    assert [event.action for event in first.audit_log()] == ["note"]
    assert verify_store(first).is_whole
    first.close()


def test_older_copy_is_found_by_head(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "older.db")
    shutil.copy(f"{file}.head", tmp_path / "older.db.head")
    store = Store(str(file))
    store.append_event("ann@host", "monitor started", {"source": "probe"})
    store.close()
    head = verify(file).head
    shutil.copy(tmp_path / "older.db", file)
    assert not verify(file).is_whole, "the head file beside it names later rows"
    shutil.copy(tmp_path / "older.db.head", f"{file}.head")
    assert verify(file).is_whole, "nothing beside the store can tell"
    assert any("the expected head names" in fault.fault for fault in verify(file, head).faults)


def test_restored_copy_is_noticed_at_start(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "older.db")
    store = Store(str(file))
    store.append_event("ann@host", "note", {})
    store.close()
    shutil.copy(tmp_path / "older.db", file)
    Store(str(file)).close()
    assert any("was not the one noted beside it" in fault.fault for fault in verify(file).faults)


def test_anchor_holds_signed_heads(file: Path) -> None:
    path = file.with_name("anchor.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    begun = ["batch began", "monitor started"]
    assert [json.loads(line)["event"] for line in lines] == [*begun, *begun, "monitor stopped"]
    assert verify(file, anchor=Anchor(path, KEY)).is_whole
    unchecked = verify(file, anchor=Anchor(path))
    assert unchecked.is_whole
    assert "no --key was given" in unchecked.not_covered[0]
    assert not verify(file, anchor=Anchor(path, b"another key of enough bytes")).is_whole
    other = json.loads(lines[0])
    other["head"] = verify(file).head
    path.write_text("\n".join([json.dumps(other), *lines[1:]]), encoding="utf-8")
    faults = verify(file, anchor=Anchor(path, KEY)).faults
    assert [fault.table for fault in faults] == ["anchor"]


def test_anchor_finds_rewritten_record(file: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "images")
    for name in ("store.db", "store.db.head"):
        (tmp_path / name).unlink()
    store = Store(str(file))
    fill(store)
    store.close()
    assert verify(file).is_whole
    faults = verify(file, anchor=Anchor(tmp_path / "anchor.jsonl", KEY)).faults
    assert len(faults) == 5


def test_short_key_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short\n")
    with pytest.raises(InputError, match="14 bytes or more are needed; got 5"):
        open_anchor(str(tmp_path / "a"), str(tmp_path / "key"))
    with pytest.raises(InputError, match="a file with a secret is needed"):
        open_anchor(str(tmp_path / "a"), str(tmp_path / "none"))
    (tmp_path / "a").write_text("no line of ours")
    with pytest.raises(InputError, match="Cannot read the anchor"):
        list(open_anchor(str(tmp_path / "a")).notes())


def test_images_are_compared(file: Path) -> None:
    images = file.with_name("images")
    assert verify(file, images=images).n_images == 12
    (images / "f11.png").write_bytes((images / "f12.png").read_bytes())
    (images / "f13.png").unlink()
    (images / "more.png").write_bytes(b"x")
    found = verify(file, images=images)
    assert [fault.fault for fault in found.faults] == [
        "its image 'f11.png' is not the one that was analysed",
        "its image 'f13.png' is missing",
    ]
    assert found.n_images == 10
    assert "1 images in" in found.not_covered[0]
    with pytest.raises(InputError, match="a folder of images is needed"):
        verify(file, images=images / "none")


def test_image_with_odd_name_is_compared(tmp_path: Path) -> None:
    name = os.fsdecode(b"probe/K\xfchl.png")
    path = write_frame(tmp_path / "images" / name, 3)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    store = Store(str(tmp_path / "store.db"))
    batch = store.begin_batch("probe", "B1", "Ann", "PG", "ann").id
    store.record_frame(make_result(1, batch, key=FileKey(to_text(name), 1, 1, sha256)), "probe", "{}")
    found = verify_store(store, images=tmp_path / "images")
    assert (found.is_whole, found.n_images, found.not_covered) == (True, 1, ())


def test_retention_is_no_fault(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store.db"), clock=lambda: 86_400.0 * 100)
    batch = store.begin_batch("probe", "B1", "Ann", "PG", "ann").id
    for number in range(5):
        store.record_frame(make_result(number, batch, judged_at_s=86_400.0 * 20 * number), "probe", "{}")
    store.remove_old("ann", keep_frames_days=45)
    assert store.count_frames() == 2
    assert verify_store(store).is_whole
    store.record_frame(make_result(9, batch, judged_at_s=86_400.0 * 99), "probe", "{}")
    store.remove_old("ann", keep_frames_days=0.5)
    assert store.count_frames() == 0
    last = store.record_frame(make_result(10, batch), "probe", "{}")
    assert last.frame_id == 7, "numbers are not given twice"
    found = verify_store(store)
    assert found.is_whole, found.faults


def test_removed_maps_are_no_fault(template: Path, tmp_path: Path) -> None:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    store = Store(str(tmp_path / "store.db"))
    assert store.remove_old("ann", keep_maps_days=0.001) == (12, 0)
    assert store.audit_log(limit=1)[0].action == "maps removed"
    found = verify_store(store)
    assert found.is_whole, found.faults
    assert found.n_maps == 0


def test_malformed_head_is_rejected(file: Path) -> None:
    with pytest.raises(InputError, match="NUMBER:HASH is needed"):
        verify(file, "17")


def test_store_without_seals_says_so(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript("DROP TABLE seals")
    connection.close()
    Path(f"{file}.head").unlink()
    found = verify(file)
    assert not found.is_whole


@pytest.mark.parametrize(
    "rows",
    ['[["frames", [1], ["x"], true]]', '[[{}, [1], "x", true]]', '[["frames", 1, "x", true]]', "[1]", "{"],
)
def test_seal_of_other_entries_is_named(file: Path, rows: str) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE seals SET rows = ? WHERE seq = 2", (rows,))
    connection.commit()
    connection.close()
    found = verify(file)
    faults = [fault.fault for fault in found.faults if (fault.table, fault.row) == ("seals", 2)]
    assert any("cannot be read" in fault for fault in faults), found.faults
