"""Laws of joining images into groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from georgia.audit import AuditConfig
from georgia.audit.groups import connect, join_groups
from georgia.errors import InputError
from georgia.labels import Labels
from georgia.progress import Quiet
from georgia.records import Catalog, Record


def catalog_of(*records: Record) -> Catalog:
    names = tuple(sorted({record.class_name for record in records}))
    return Catalog(Path("data"), Labels(names), records)


def record_of(name: str, group: str = "", time: str = "") -> Record:
    return Record(Path("data") / name, name.split("/")[0], group, time=time)


def groups_of(
    catalog: Catalog, config: AuditConfig, duplicates: list[tuple[int, ...]] | None = None
) -> list[str]:
    return [record.group for record in join_groups(catalog, duplicates or [], config).records]


def test_joined_group_keeps_source_name() -> None:
    catalog = catalog_of(*map(record_of, ("a/1", "a/2", "a/3", "b/4", "b/5"), ("", "x", "x", "", "")))
    assert groups_of(catalog, AuditConfig(), [(0, 1)]) == ["x", "x", "x", "", ""]


def test_duplicates_are_named_after_first_file() -> None:
    catalog = catalog_of(*map(record_of, ("a/1", "a/2", "b/3")))
    assert groups_of(catalog, AuditConfig(), [(0, 2)]) == ["a/1", "", "a/1"]


def test_regex_groups_by_brackets_only() -> None:
    catalog = catalog_of(*map(record_of, ("a/s1_f1", "a/s1_f2", "a/s2_f1", "b/s3_f1", "b/x")))
    assert groups_of(catalog, AuditConfig(group_regex=r"s(\d+)_")) == ["a/s1_f1", "a/s1_f1", "", "", ""]


def test_time_gap_joins_close_times() -> None:
    times = ["2024-01-01T10:00:00", "2024-01-01T10:00:05", "2024-01-01T10:01:00", "2024-01-01T10:01:09"]
    catalog = catalog_of(*(record_of(f"{'ab'[n % 2]}/{n}", time=time) for n, time in enumerate(times)))
    assert groups_of(catalog, AuditConfig(time_gap_s=10)) == ["a/0", "a/0", "a/2", "a/2"]


@pytest.mark.parametrize("time", ["nan", "-inf", "1e999"])
def test_time_without_a_place_is_rejected(time: str) -> None:
    catalog = catalog_of(record_of("a/1", time="5"), record_of("a/2", time=time), record_of("b/3", time="90"))
    with pytest.raises(InputError, match=f"a/2: '{time}'"):
        groups_of(catalog, AuditConfig(time_gap_s=10))


def test_images_that_a_rule_leaves_out_are_told() -> None:
    told: list[str] = []
    listener = Quiet()
    listener.say = told.append  # type: ignore[method-assign]
    times = ("1", "2", "", "90", "")
    catalog = catalog_of(*map(record_of, ("a/s1_1", "a/s1_2", "a/x", "b/s2", "b/y"), [""] * 5, times))
    join_groups(catalog, [], AuditConfig(time_gap_s=10, group_regex=r"s(\d)"), listener)
    assert told == [
        "note: 2 of 5 images, such as 'x', do not match the group regex: that rule joins them to none",
        "note: 2 of 5 images, such as 'x', have no time: that rule joins them to none",
    ]


def test_folder_level_joins_one_folder() -> None:
    catalog = catalog_of(*map(record_of, ("a/r1/1", "a/r1/2", "a/r2/3", "b/r3/4", "b/r4/5")))
    assert groups_of(catalog, AuditConfig(folder_level=1)) == ["a/r1/1", "a/r1/1", "", "", ""]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AuditConfig(group_regex="zzz"), "must match names"),
        (AuditConfig(folder_level=1), "one group with all of a"),
        (AuditConfig(time_gap_s=5), "must be seconds or ISO 8601"),
    ],
)
def test_impossible_rule_is_rejected(config: AuditConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        join_groups(catalog_of(*map(record_of, ("a/1", "a/2", "b/3", "b/4"))), [], config)


def test_connect_ignores_order_of_links() -> None:
    links = [(0, 3), (3, 5), (1, 2), (2, 4)]
    assert connect(6, links) == connect(6, links[::-1]) == [[0, 3, 5], [1, 2, 4]]
    assert connect(6, []) == []


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"_(\d{14})", ["p_20210304123005.png", "p_20210304123009.png", "p_20210304124000.png"]),
        (
            r"(\d+)-(\d+)-(\d+)_(\d+)-(\d+)-(\d+)",
            ["2021-03-04_12-30-05.png", "2021-03-04_12-30-09.png", "2021-03-04_12-40-00.png"],
        ),
        (r"t(\d+)", ["t5.png", "t9.png", "t600.png"]),
    ],
)
def test_times_in_names_join_images(pattern: str, names: list[str]) -> None:
    catalog = catalog_of(*(record_of(f"CEX/{name}") for name in names), record_of("PG/undated.png"))
    groups = groups_of(catalog, AuditConfig(time_gap_s=10, time_regex=pattern))
    assert groups == [f"CEX/{names[0]}"] * 2 + ["", ""]


def test_time_regex_needs_gap_and_times() -> None:
    with pytest.raises(InputError, match="time_regex must be with time_gap_s"):
        AuditConfig(time_regex="x")
    with pytest.raises(InputError, match="time_regex: it must be a regular expression"):
        AuditConfig(time_regex="(", time_gap_s=1)
    catalog = catalog_of(record_of("CEX/noon.png"), record_of("PG/a.png"))
    with pytest.raises(InputError, match="'noon'"):
        groups_of(catalog, AuditConfig(time_gap_s=10, time_regex="noon"))
