"""Values of an OPC UA node: which time they stand at, what is no number, when a name begins a batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from georgia.errors import InputError
from georgia.monitor.store import Store
from georgia.process.batch_node import NO_BATCH, BatchNode, clean_batch_name, find_applied
from georgia.process.opcua_client import find_password
from georgia.process.opcua_values import NodeValues, Sample, read_sample
from georgia.process.settings import NodeSetting, OpcuaSourceConfig, ProcessConfig, make_process_settings

NOW = 1_800_000_000.0


def number(
    value: float | None, at_s: float | None = NOW, quality: str = "good", server_s: float | None = None
) -> Sample:
    return Sample(value, quality, "Double", str(value), at_s, server_s)


def test_values_stand_at_their_own_time_once() -> None:
    values = NodeValues()
    assert values.take(number(1.0, NOW - 2), NOW) == (NOW - 2, 1.0, "good")
    assert values.take(number(1.0, NOW - 2), NOW) is None, "a duplicate"
    assert values.take(number(2.0, NOW - 9), NOW) == (NOW - 9, 2.0, "good"), "a late one"
    assert (values.newest_s, values.n_late, values.n_repeated) == (NOW - 2, 1, 1)
    assert values.take(number(3.0, NOW - 2), NOW) == (NOW, 3.0, "good"), "two values of one time"


def test_time_of_a_clock_never_set_is_the_server_s() -> None:
    for at_s in (None, 0.0, -11_644_473_600.0, NOW + 1e9):
        assert NodeValues().take(number(1.0, at_s, server_s=NOW - 1), NOW) == (NOW - 1, 1.0, "good")
        assert NodeValues().take(number(1.0, at_s), NOW) == (NOW, 1.0, "good")


def test_value_that_does_not_change_is_confirmed() -> None:
    values = NodeValues()
    values.take(number(1.0), NOW)
    assert values.confirm(number(1.0), NOW + 1, 2.5) is None
    assert values.confirm(number(1.0), NOW + 5, 2.5) == (NOW + 5, 1.0, "good")
    assert values.confirm(number(1.0, quality="BadSensorFailure"), NOW + 5.1, 2.5) == (
        NOW + 5.1,
        1.0,
        "BadSensorFailure",
    )
    assert values.confirm(number(7.0, NOW + 6), NOW + 6.5, 2.5) == (NOW + 6, 7.0, "good"), "a change"


def test_lost_connection_is_one_gap_behind_the_newest() -> None:
    values = NodeValues()
    assert values.end("no connection", NOW) is None, "nothing was there"
    values.take(number(1.0, NOW + 3), NOW)
    assert values.end("no connection", NOW) == (NOW + 3.001, None, "no connection")
    assert values.end("no connection", NOW + 60) is None
    assert values.confirm(number(1.0, NOW + 3), NOW + 60, 2.5) == (NOW + 60, 1.0, "good")


def test_gaps_of_one_reason_are_one() -> None:
    values, text = NodeValues(), Sample(None, "good", "String", "warm", NOW)
    assert values.take(text, NOW) is None, "no variable before it is a number"
    values.take(number(1.0), NOW)
    assert values.confirm(text, NOW + 1, 2.5) == (NOW + 1, None, "not a number")
    assert values.confirm(text, NOW + 9, 2.5) is None


def test_kinds_of_values_are_told_apart() -> None:
    ua = pytest.importorskip("asyncua").ua

    def sample(value: object, kind: str, status: int = 0) -> Sample:
        return read_sample(
            ua.DataValue(ua.Variant(value, ua.VariantType[kind]), ua.StatusCode(ua.UInt32(status)))
        )

    assert (sample(3, "Int32").value, sample(3, "Int32").is_number) == (3.0, True)
    for value, kind in ((True, "Boolean"), ("3.0", "String"), ([1.0, 2.0], "Double"), (None, "Null")):
        assert (sample(value, kind).value, sample(value, kind).is_number) == (None, False)
    nan = sample(math.nan, "Double")
    assert (nan.value, nan.quality) == (None, "not a number")
    assert sample(1.0, "Double", 0x40900000).quality == "UncertainLastUsableValue"
    assert (sample(1.0, "Double", 0x480).quality, sample(1.0, "Double", 0x480).has_overflow) == ("good", True)


def test_settings_say_what_is_wrong_with_a_server() -> None:
    assert NodeSetting.parse("T r (degC)=nsu=http://x/y;s=a=b;c") == NodeSetting(
        "T r", "°C", "nsu=http://x/y;s=a=b;c"
    )
    faults = {
        "T_r=ns=2": "NAME .UNIT.=NODE",
        "=ns=2;i=1": "NAME .UNIT.=NODE",
        "ns=2;i=1": "NAME .UNIT.=NODE",
        "T=ns=2;i=x": "NAME .UNIT.=NODE",
    }
    for text, fault in faults.items():
        with pytest.raises(InputError, match=fault):
            OpcuaSourceConfig(opcua="opc.tcp://h:1", nodes=(text,))
    for settings, fault in (
        ({"opcua": "http://h"}, "opc.tcp://HOST"),
        ({"opcua": "opc.tcp://ann:secret@h:1"}, "without a user"),
        ({"opcua": "opc.tcp://h:1"}, "nodes are needed; got none. See georgia process opc.tcp://h:1"),
        ({"opcua": "opc.tcp://h:1", "nodes": ["a=i=1", "a=i=2"]}, "'a' twice"),
        (
            {"opcua": "opc.tcp://h:1", "nodes": ["a=i=1"], "user": "ann"},
            "sign or encrypt is needed with user",
        ),
        ({"opcua": "opc.tcp://h:1", "nodes": ["a=i=1"], "policy": "encrypt"}, "certificate and private_key"),
        ({"poll_s": 9}, "file or opcua is needed"),
    ):
        with pytest.raises(InputError, match=fault):
            make_process_settings({"dcs": settings})
    found = make_process_settings(
        {"time_zone": "UTC", "dcs": {"opcua": "opc.tcp://h:1", "nodes": ["a=i=1"]}, "r": {"file": "r.csv"}}
    )
    assert [type(each) for each in found] == [OpcuaSourceConfig, ProcessConfig]
    for settings, fault in (
        ({"flie": "r.csv"}, "flie"),
        ({"nodes": ["a=i=1"]}, "opcua is needed with nodes"),
        ({"file": "r.csv", "opcua": "opc.tcp://h:1", "nodes": ["a=i=1"]}, "a table each is needed|both"),
    ):
        with pytest.raises(InputError, match=fault):
            make_process_settings(settings)
    # A server needs no table of its own.
    (alone,) = make_process_settings({"opcua": "opc.tcp://h:1", "nodes": ["a=i=1"], "source": "dcs"})
    assert (type(alone), alone.source) == (OpcuaSourceConfig, "dcs")
    both = {name: {"opcua": f"opc.tcp://{name}:1", "batch_node": "i=1"} for name in "ab"}
    with pytest.raises(InputError, match="one batch_node is needed"):
        make_process_settings(both)


def test_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_password("dcs-2") == ""
    monkeypatch.setenv("GEORGIA_OPCUA_PASSWORD", "of all")
    assert find_password("dcs-2") == "of all"
    monkeypatch.setenv("GEORGIA_OPCUA_PASSWORD_DCS_2", "its own")
    assert find_password("dcs-2") == "its own"


class Name:
    """A batch node with a clock, and the names that began a batch."""

    def __init__(self, applied: str | None = None) -> None:
        self.now_s, self.begun = 0.0, list[str]()
        self.node = BatchNode(
            "ns=2;s=Batch", lambda name, _: self.begun.append(name), 5.0, applied, lambda: self.now_s
        )

    def hear(self, text: str, seconds: float = 6.0, kind: str = "String", quality: str = "good") -> list[str]:
        self.node.take(Sample(None, quality, kind, text, NOW))
        self.now_s += seconds
        self.node.check()
        return self.begun


def test_name_that_lasts_begins_a_batch_once() -> None:
    name = Name()
    assert name.hear("B", 1.0) == []
    assert name.hear("B-1", 1.0) == [], "typed letter by letter"
    assert name.hear("B-1") == ["B-1"]
    assert name.hear("B-1") == ["B-1"]
    assert name.hear("", 1.0) == ["B-1"], "empty for a moment"
    assert name.hear("B-1") == ["B-1"]
    assert name.hear("  ") == ["B-1", NO_BATCH]
    assert name.hear("7", kind="Int32") == ["B-1", NO_BATCH, "7"]
    assert name.hear("B-2", quality="BadNotConnected") == ["B-1", NO_BATCH, "7"]
    assert name.hear("True", kind="Boolean") == name.hear("1.5", kind="Double") == ["B-1", NO_BATCH, "7"]
    assert Name("B-1").hear("B-1") == [], "as before the restart"


def test_names_no_file_could_have_stay_apart() -> None:
    assert clean_batch_name("A/B:*?\n\x07C\u2028D") == "A/B:*? C D"
    assert clean_batch_name("../../etc") == "../../etc"
    long = [clean_batch_name("x" * 200 + end) for end in "ab"]
    assert len({*long}) == 2
    assert {len(each) for each in long} == {120}


def test_applied_name_is_that_of_the_running_batch(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    assert find_applied(store, "probe") is None
    note = BatchNode("i=1", lambda *_: None).describe(Sample(None, "good", source_s=NOW))
    assert note.endswith("since 2027-01-15T08:00:00.000Z")
    for name in ("B-1", "B-2", "B-1"):
        store.begin_batch("probe", name, "Ann", "PG", "dcs", note)
    assert find_applied(store, "probe") == "B-1", "not 'B-1 (2)'"
    person = store.begin_batch("probe", "trial", "Ann", "PG", "Ann")
    assert find_applied(store, "probe") == "B-1", "a person's batch stays until the node changes"
    store.end_batch(person.id, "Ann")
    assert find_applied(store, "probe") is None
