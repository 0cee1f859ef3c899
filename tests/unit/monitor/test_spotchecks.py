"""Spot checks in the record: who named what, in which order, and that every edit of it is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from tests.helpers.spotcheck import EDITS, PLAN, fill_checks
from tests.helpers.tamper import edit

from georgia.errors import InputError
from georgia.monitor.queries import StoreReader
from georgia.monitor.spotchecks import NameConflictError, find_standing, hash_plan
from georgia.monitor.store import Store
from georgia.monitor.verify import Verification, verify_store

KEPT = Path(__file__).parents[2] / "kept" / "v0.1"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    store = Store(str(folder / "store.db"))
    fill_checks(store)
    store.close()
    return folder


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    store = Store(str(file))
    yield store
    store.close()


def verify(file: Path, expected: str = "") -> Verification:
    reader = StoreReader.open(str(file))
    try:
        return verify_store(reader, expected)
    finally:
        reader.close()


def named(store: StoreReader, check_id: int) -> list[tuple[str, str]]:
    return [(row.name, row.who) for row in find_standing(store.spotcheck_names(check_id))]


def test_names_are_kept_with_who_and_when(store: Store, file: Path) -> None:
    assert named(store, 1) == [("PG", "Ann"), ("CEX", "Bob"), ("unclear", "Bob"), ("CEX", "Bob")]
    said = store.spotcheck_names(1)
    assert [(row.number, row.position, row.name) for row in said][:3] == [
        (1, 1, "PG"),
        (2, 2, "CEX"),
        (3, 2, ""),
    ]
    assert all(row.at_s > 1e9 for row in said)
    (check,) = store.spotchecks(1)
    assert (check.seed, check.n_sampled, check.planned_by, check.body["names"]) == (
        7,
        4,
        "Ann",
        PLAN["names"],
    )
    assert verify(file).is_whole


def test_audit_log_holds_plan_end_and_withdrawal(store: Store) -> None:
    actions = [event.action for event in reversed(store.audit_log(batch_id=1)) if "batch" not in event.action]
    assert actions == ["spot check planned", "name withdrawn", "spot check complete"]
    planned = store.audit_log(action="spot check planned", batch_id=1)[0]
    assert (planned.who, planned.detail["plan_sha256"]) == ("Ann", hash_plan(store.spotcheck(1).plan))
    assert store.audit_log(action="name withdrawn", batch_id=1)[0].detail["name"] == "CEX"


def test_same_name_said_twice_counts_once(store: Store) -> None:
    assert store.name_window(2, 4, "PG", "Ann") == 4
    assert store.name_window(2, 4, "PG", "Ann") == 4
    assert len(store.spotcheck_names(2)) == 6


@pytest.mark.parametrize(
    ("position", "name", "who", "text"),
    [
        (1, "CEX", "Bob", "needed; got 'PG' by 'Ann'"),
        (1, "PG", "Bob", "needed; got 'PG' by 'Ann'"),
        (5, "PG", "Bob", "windows are named in their order, of 4"),
        (0, "PG", "Bob", "windows are named in their order"),
        (4, "salt", "Bob", "one of CEX, PG, neither, unclear is needed"),
        (4, "", "Bob", "one of CEX, PG, neither, unclear is needed"),
        (4, "PG", "  ", "the name of a person is needed"),
    ],
)
def test_other_names_are_rejected(store: Store, position: int, name: str, who: str, text: str) -> None:
    before = store.spotcheck_names(2)
    with pytest.raises(InputError, match=text):
        store.name_window(2, position, name, who)
    assert store.spotcheck_names(2) == before


def test_only_last_name_is_taken_back(store: Store, file: Path) -> None:
    with pytest.raises(NameConflictError, match="only the last name can be taken back"):
        store.withdraw_name(2, 1, "Ann")
    assert store.withdraw_name(2, 3, "Ann") == 2
    assert named(store, 2) == [("PG", "Ann"), ("CEX", "Bob")]
    with pytest.raises(NameConflictError, match="got 2 named"):
        store.withdraw_name(2, 3, "Ann")
    assert store.name_window(2, 3, "PG", "Cy") == 3
    assert store.withdraw_name(1, 4, "Ann") == 3, "that of a complete check, too"
    assert verify(file).is_whole


def test_another_check_needs_a_reason(store: Store, file: Path) -> None:
    with pytest.raises(NameConflictError, match="a reason is needed, which the audit log holds"):
        store.plan_spotcheck(1, PLAN, "Ann")
    assert store.plan_spotcheck(1, PLAN, "Ann", "the batch went on") == 3
    assert [check.id for check in store.spotchecks(1)] == [3, 1]
    assert store.audit_log(action="spot check planned")[0].detail["reason"] == "the batch went on"
    with pytest.raises(InputError, match="a batch of the store is needed"):
        store.plan_spotcheck(99, PLAN, "Ann")
    assert verify(file).is_whole


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_found(file: Path, name: str) -> None:
    script, table = EDITS[name]
    engine = create_engine(f"sqlite:///{file}")
    edit(engine, script)
    engine.dispose()
    found = verify(file)
    assert table in {fault.table for fault in found.faults}, found.faults


@pytest.mark.parametrize("name", ["name altered", "plan altered", "count altered"])
def test_edit_is_found_after_next_name(file: Path, name: str) -> None:
    engine = create_engine(f"sqlite:///{file}")
    edit(engine, EDITS[name][0])
    engine.dispose()
    store = Store(str(file))
    store.name_window(2, 4, "PG", "Ann")
    store.close()
    assert not verify(file).is_whole


def test_cut_end_is_found_by_head(file: Path) -> None:
    whole = verify(file).head
    store = Store(str(file))
    store.name_window(2, 4, "PG", "Ann")
    store.close()
    later = verify(file).head
    with sqlite3.connect(file) as connection:
        seq = int(later.partition(":")[0])
        connection.execute("DELETE FROM spotcheck_names WHERE spotcheck_id = 2 AND number = 6")
        connection.execute("UPDATE spotchecks SET n_entries = 5 WHERE id = 2")
        connection.execute("DELETE FROM seals WHERE seq = ?", (seq,))
        connection.execute("DELETE FROM trail WHERE seq = (SELECT max(seq) FROM trail)")
    connection.close()
    assert verify(file, whole).faults, "the head file beside the store names later rows"
    assert any("the expected head names" in fault.fault for fault in verify(file, later).faults)


def test_old_store_gets_the_tables(tmp_path: Path) -> None:
    for name in ("store.db", "store.db.head"):
        shutil.copy(KEPT / name, tmp_path / name)
    file = tmp_path / "store.db"
    reader = StoreReader.open(str(file))
    assert (reader.spotchecks(1), reader.spotcheck_names(1)) == ([], [])
    with pytest.raises(InputError, match="Cannot show spot check 1"):
        reader.spotcheck(1)
    reader.close()
    store = Store(str(file))
    check = store.plan_spotcheck(1, PLAN, "Ann")
    store.name_window(check, 1, "PG", "Ann")
    store.close()
    assert verify(file).is_whole


def test_sealed_store_without_the_tables_is_whole(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    store = Store(str(other))
    store.begin_batch("probe", "B1", "Ann", "PG", "ann@host")
    store.close()
    with sqlite3.connect(other) as connection:
        connection.executescript("DROP TABLE spotcheck_names; DROP TABLE spotchecks")
    connection.close()
    assert verify(other).is_whole, "an earlier version sealed it"
    store = Store(str(other))
    store.name_window(store.plan_spotcheck(1, PLAN, "Ann"), 1, "CEX", "Ann")
    store.close()
    assert verify(other).is_whole
