"""Several probes: their settings, and what each must have for itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from georgia.errors import InputError
from georgia.monitor.probes import Probe, make_probes


def make(tables: dict[str, Any], **common: Any) -> tuple[Probe, ...]:
    return make_probes({"monitor": common, "probes": tables}, {})


def test_probe_overrides_what_holds_for_all() -> None:
    process = {"file": "r.csv", "columns": ["T"]}
    one, other = make_probes(
        {
            "monitor": {"limit": 0.1, "db": "plant/p.db", "anchor": "a.json", "mqtt_topic": "hall"},
            "process": {"time_zone": "UTC"},
            "moments": {"temperature": "T", "least_impurity": 0.1},
            "probes": {
                "r-1": {"watch": "a", "limit": 0.2, "model": "runs/x", "weight": 2, "process": process},
                "r-2": {"watch": "b", "db": "own.db", "mqtt_topic": "mine", "moments": {"temperature": "U"}},
            },
        },
        {"no_frames_s": "9"},
        "A. Miller",
    )
    assert (one.monitor.charts.limit, other.monitor.charts.limit) == (0.2, 0.1)
    assert (one.monitor.db, other.monitor.db) == (str(Path("plant/p-r-1.db")), "own.db")
    assert (one.monitor.anchor, other.monitor.anchor) == ("a-r-1.json", "a-r-2.json")
    assert (one.monitor.mqtt.mqtt_topic, other.monitor.mqtt.mqtt_topic) == ("hall/r-1", "mine")
    assert (one.config.model, one.config.weight, other.config.model) == (Path("runs/x"), 2.0, None)
    assert (one.monitor.no_frames_s, one.monitor.operator) == (9.0, "A. Miller")
    assert [each.time_zone for each in one.process] == ["UTC"]
    assert not other.process
    assert [(each.moments.temperature, each.moments.least_impurity) for each in (one, other)] == [
        ("T", 0.1),
        ("U", 0.1),
    ]
    with pytest.raises(InputError, match=r"'probes\.a\.moments'.*'temprature'"):
        make({"a": {"watch": "a", "moments": {"temprature": "T"}}})


@pytest.mark.parametrize(
    "names",
    [["a/b"], ["a,b"], ["a b"], [""], ["-a"], ["ä"], ["a" * 41], ["a.b"], ["..", "a"], ["=x"], ["a\n"]],
)
def test_name_that_no_address_takes_is_rejected(names: list[str]) -> None:
    with pytest.raises(InputError, match="names of 1 to 40 letters"):
        make({name: {"watch": str(at)} for at, name in enumerate(names)})


def test_names_that_differ_in_case_are_rejected() -> None:
    with pytest.raises(InputError, match="differ in more than their case.*'R1' and 'r1'"):
        make({"R1": {"watch": "a"}, "r1": {"watch": "b"}})


def test_shared_folder_or_store_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "one.db").touch()
    os.link(tmp_path / "one.db", tmp_path / "two.db")
    for second in (folder, tmp_path / "link", folder / "below", tmp_path, folder / ".." / "frames"):
        with pytest.raises(InputError, match="'a' and 'b': a folder of its own"):
            make({"a": {"watch": str(folder)}, "b": {"watch": str(second)}})
    postgres = "postgresql://x:{}@127.0.0.1/plant"
    for stores in (
        ("one.db", "./one.db"),
        (str(tmp_path / "one.db"), str(tmp_path / "two.db")),
        (postgres.format(1), postgres.format(2).replace("127.0.0.1", "localhost:5432")),
    ):
        tables = {name: {"watch": name, "db": db} for name, db in zip("ab", stores, strict=True)}
        with pytest.raises(InputError, match="'a' and 'b': a store of its own"):
            make(tables)
    topics = {name: {"watch": name, "mqtt_topic": "t"} for name in "ab"}
    with pytest.raises(InputError, match="a mqtt_topic of its own"):
        make(topics, mqtt="mqtt://broker")


@pytest.mark.parametrize(
    ("tables", "common", "told"),
    [
        ({"a": {}}, {}, "'probes.a'.*watch, the probe's folder"),
        ({"a": {"watch": "x", "lmit": 1}}, {}, "'probes.a'.*'lmit' is no setting.*limit"),
        ({"a": {"watch": "x", "opcua": "opc.tcp://h:1/"}}, {}, "'probes.a'.*one server shows all"),
        ({"a": {"watch": "x"}}, {"watch": "y"}, "watch is needed in each probe's table"),
        ({"a": {"watch": "x"}}, {"db": "postgresql://h/plant"}, "a database of its own"),
        ({"a": {"watch": "x", "process": 3}}, {}, "'process' must be a table"),
        ({"a": 3}, {}, "a table for each probe"),
    ],
)
def test_setting_that_cannot_be_is_told(tables: Any, common: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make(tables, **common)
