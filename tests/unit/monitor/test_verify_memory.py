"""What verify remembers: hashes by number, also altered ones; the last seal of each row, in a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from georgia.monitor.verify_memory import HashColumn, LastSeals


def digest(n: int) -> str:
    return f"{n:064x}"


def test_hash_column_is_like_dictionary() -> None:
    column, known = HashColumn(), {n: digest(n) for n in (1, 2, 5, 9, 2**40)}
    for number, value in known.items():
        column.add(number, value)
    assert [column.get(n) for n in (*known, 3, 0, 10)] == [*known.values(), None, None, None]
    assert (5 in column, 4 in column, len(column), column.last) == (True, False, 5, 2**40)


def test_empty_hash_column_has_no_last() -> None:
    assert (HashColumn().last, len(HashColumn()), HashColumn().get(0)) == (0, 0, None)


@pytest.mark.parametrize("altered", ["", "short", "AB" * 32, " " + "a" * 63, "ä" * 64, "ab" * 33])
def test_altered_hash_is_kept_as_it_is(altered: str) -> None:
    column = HashColumn()
    column.add(1, digest(1))
    column.add(2, altered)
    column.add(3, digest(3))
    assert [column.get(n) for n in (1, 2, 3)] == [digest(1), altered, digest(3)]
    assert (len(column), column.last) == (3, 3)


def test_hash_column_takes_numbers_out_of_order() -> None:
    column = HashColumn()
    for number in (5, 3, 7):
        column.add(number, digest(number))
    assert [column.get(n) for n in (3, 5, 7)] == [digest(3), digest(5), digest(7)]


@pytest.fixture
def last() -> Iterator[LastSeals]:
    found = LastSeals()
    yield found
    found.close()


def test_last_seal_of_row_wins(last: LastSeals) -> None:
    last.set("ledger", ("probe", "a.png", 1, 2), digest(1))
    last.set("ledger", ("probe", "a.png", 1, 2), digest(2))
    assert last.find("ledger", ("probe", "a.png", 1, 2)) == (True, digest(2))
    assert last.find("ledger", ("probe", "a.png", 1, 3)) == (False, None)
    assert last.find("alarms", ("probe", "a.png", 1, 2)) == (False, None)


def test_rows_not_met_are_left_in_order(last: LastSeals) -> None:
    for number in (3, 1, 2):
        last.set("alarms", (number,), digest(number))
    last.set("alarms", (1,), None)  # removed by rule
    last.forget("alarms", (2,))
    assert list(last.list_left("alarms")) == ["[3]"]
    assert last.find("alarms", (1,)) == (True, None)
    assert list(last.list_left("batches")) == []


def test_odd_names_are_keys_too(last: LastSeals) -> None:
    names = ("K\udcfchlung.png", "a'b;\"c\n.png", "\x00.png", "Kühlung.png")
    for number, name in enumerate(names):
        last.set("ledger", ("probe", name), digest(number))
    assert [last.find("ledger", ("probe", name))[1] for name in names] == [digest(n) for n in range(4)]
