"""A real OPC UA server that is killed, stopped, changed and protected while its values are read."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame
from tests.helpers.opcua_server import ServerProcess
from tests.helpers.patience import PATIENCE_S

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.process.follow import ProcessFollower, following_process
from georgia.process.opcua_source import OpcuaSource
from georgia.process.queries import read_batch_process
from georgia.process.settings import OpcuaSourceConfig

pytestmark = pytest.mark.slow
pytest.importorskip("asyncua")
QUICK = {"source": "dcs", "interval_s": 0.05, "refresh_s": 0.3, "timeout_s": 20.0, "poll_s": 0.05}
# Where a server is stopped: a slow machine may be taken for one that hangs, until it responds.
IMPATIENT = {"timeout_s": 1.0}
T_R, T_J = "T_r=nsu=urn:test:reactor;s=Reactor.T_r", "T_j [°C]=ns=2;s=Reactor.T_j"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("georgia.process.opcua_source._FIRST_WAIT_S", 0.1)
    monkeypatch.setattr("georgia.process.opcua_source._LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr("georgia.process.follow._TELL_S", 0.05)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    process = ServerProcess()
    yield process
    process.close()


class Reader:
    """A source that is followed into a store, with what was told of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.store = Store(str(folder / "m.db"))
        self.batch = self.store.begin_batch("probe", "B-1", "Ann", "PG", "Ann")
        self.source = OpcuaSource(OpcuaSourceConfig(**{**QUICK, **settings}), self.store, "probe", "ann")
        self.told = [""]
        self.follower = ProcessFollower([(self.source, 0.05)], self.store, self.told.append)
        self.follower.start()

    def rows(self, name: str) -> list[tuple[float, float | None, str]]:
        variables, values = tables.process_variables, tables.process_values.c
        query = (
            select(values.time_s, values.value, values.quality)
            .join(variables)
            .where(variables.c.name == name)
        )
        with self.store.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(values.time_s))]

    def newest(self, name: str) -> tuple[float | None, str]:
        rows = self.rows(name)
        return rows[-1][1:] if rows else (None, "")

    def wait(self, is_so: Callable[[], bool]) -> None:
        wait_for(is_so)


@pytest.fixture
def reading(tmp_path: Path, server: ServerProcess) -> Iterator[Callable[..., Reader]]:
    opened: list[Reader] = []

    def read(**settings: Any) -> Reader:
        opened.append(Reader(tmp_path, **{"opcua": server.url, "nodes": (T_R, T_J), **settings}))
        return opened[-1]

    yield read
    for reader in opened:
        reader.follower.close()
        reader.store.close()


def are_current(reader: Reader) -> list[bool]:
    now_s = time.time()
    found = read_batch_process(reader.store, reader.batch.id, now_s=now_s)
    return [variable.is_current(now_s) for variable in found.variables]


def test_killed_and_stopped_server_leaves_gaps(reading: Callable[..., Reader], server: ServerProcess) -> None:
    reader = reading(**IMPATIENT)
    reader.wait(lambda: reader.newest("T_r") == (20.0, "good"))
    server.set("T_r", 25.5)
    reader.wait(lambda: reader.newest("T_r") == (25.5, "good") and reader.newest("T_j") == (15.0, "good"))
    server.kill()
    for node in ("T_r", "T_j"):
        reader.wait(lambda node=node: reader.newest(node) == (None, "no connection"))
    reader.wait(lambda: reader.told[-1].endswith("is away: nothing listens there"))
    # A gap stands at the server's time, which is a little later than this machine's where messages take long.
    reader.wait(lambda: are_current(reader) == [False, False])
    server.start()
    reader.wait(lambda: reader.newest("T_r") == (20.0, "good") and reader.told[-1] == "")
    server.send(signal.SIGSTOP)
    reader.wait(lambda: reader.newest("T_j") == (None, "no connection"))
    reader.wait(lambda: "does not respond" in reader.told[-1])
    server.send(signal.SIGCONT)
    reader.wait(lambda: reader.newest("T_j") == (15.0, "good") and reader.told[-1] == "")
    server.set("T_j", 30.0)
    reader.wait(lambda: reader.newest("T_j") == (30.0, "good"))
    reader.follower.close()
    reader.wait(lambda: reader.newest("T_j") == (None, "no connection"))  # from the end on
    found = read_batch_process(reader.store, reader.batch.id)
    assert [item.title for item in found.variables] == ["T_j [°C]", "T_r [°C]"], "the unit is the server's"
    assert verify_store(reader.store).is_whole


def test_kinds_and_qualities_cost_no_other_node(
    reading: Callable[..., Reader], server: ServerProcess
) -> None:
    nodes = (T_R, T_J, "Valve=ns=2;s=Reactor.Valve", "T_x=ns=2;s=Reactor.T_rr")
    reader = reading(nodes=nodes)
    reader.wait(lambda: reader.newest("T_r")[0] == 20.0 and "T_rr" in reader.told[-1])
    assert "'T_x': the server has no node ns=2;s=Reactor.T_rr; near it: ns=2;s=Reactor.T_r" in reader.told[-1]
    assert "'Valve' is of type Boolean, which is no number" in reader.told[-1]
    for value, kind, told in (
        ("warm", "String", "String"),
        ([1.0, 2.0], "Double", "array of Double"),
        (True, "Boolean", "Boolean"),
    ):
        server.set("T_r", value, kind)
        reader.wait(lambda told=told: f"'T_r' is of type {told}, which" in reader.told[-1])
    reader.wait(lambda: reader.newest("T_r") == (None, "not a number"))
    server.set("T_r", 21, "Int32")
    reader.wait(lambda: reader.newest("T_r") == (21.0, "good"))
    reader.wait(lambda: len(reader.rows("T_j")) > 2)
    server.set("T_j", 99.0, status="UncertainLastUsableValue")
    reader.wait(lambda: reader.newest("T_j") == (99.0, "UncertainLastUsableValue"))
    reader.wait(lambda: "'T_j' is UncertainLastUsableValue" in reader.told[-1])
    server.set("T_j", 0.0, "Double", status="BadSensorFailure")
    reader.wait(lambda: reader.newest("T_j") == (None, "BadSensorFailure"))
    series = {each.variable.name: each for each in read_batch_process(reader.store, reader.batch.id).series}
    assert {value for value in series["T_j"].value if value is not None} == {15.0}
    assert {*series["T_j"].suspect_value} == {99.0}
    assert "Valve" not in series


def test_late_and_repeated_values_are_kept_once(
    reading: Callable[..., Reader], server: ServerProcess
) -> None:
    reader = reading(nodes=(T_J,), refresh_s=3600.0)
    reader.wait(lambda: bool(reader.rows("T_j")))
    now_s = time.time()
    for value, at_s in ((40.0, now_s - 5), (41.0, now_s - 9), (41.0, now_s - 9), (42.0, now_s - 1)):
        server.set("T_j", value, source_s=at_s)
    reader.wait(lambda: 42.0 in [row[1] for row in reader.rows("T_j")])
    found = [
        (round(at_s - now_s), value) for at_s, value, _ in reader.rows("T_j") if value in (40.0, 41.0, 42.0)
    ]
    assert found == [(-9, 41.0), (-5, 40.0), (-1, 42.0)]
    server.set("T_j", 43.0, source_s=now_s - 3600)
    reader.wait(lambda: "the times of 'T_j' are" in reader.told[-1])


def test_clock_of_server_is_told(tmp_path: Path) -> None:
    process = ServerProcess(clock_ahead_s=60.0)
    reader = Reader(tmp_path, opcua=process.url, nodes=(T_R,))
    try:
        reader.wait(lambda: "60 s ahead of this machine's" in reader.told[-1])
    finally:
        reader.follower.close()
        process.close()


def _make_certificate(folder: Path, name: str, uri: str) -> None:
    from asyncua.crypto import cert_gen, uacrypto
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = cert_gen.generate_private_key()
    names = cert_gen.x509.UniformResourceIdentifier(uri)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = cert_gen.generate_self_signed_app_certificate(key, name, {}, [names], usages, 2)
    (folder / f"{name}.der").write_bytes(uacrypto.der_from_x509(certificate))
    plain = serialization.NoEncryption()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.pem").write_bytes(key.private_bytes(*form))


def test_protected_server_wants_certificate_and_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("server", "client", "other"):
        _make_certificate(tmp_path, name, f"urn:test:{name}")
    process = ServerProcess(folder=tmp_path)
    files = {"certificate": str(tmp_path / "client.der"), "private_key": str(tmp_path / "client.pem")}
    access = {
        "policy": "encrypt",
        "user": "ann",
        **files,
        "opcua": process.url,
        "nodes": (T_R,),
    }
    monkeypatch.setenv("GEORGIA_OPCUA_PASSWORD", "wrong")
    reader = Reader(tmp_path, **access)
    try:
        reader.wait(lambda: "the user or the password is wrong" in reader.told[-1])
        monkeypatch.setenv("GEORGIA_OPCUA_PASSWORD_DCS", "secret")
        reader.wait(lambda: reader.newest("T_r") == (20.0, "good"))
        reader.follower.close()
        for changes, fault in (
            ({"server_certificate": str(tmp_path / "other.der")}, "is away"),
            ({"policy": "sign"}, "one of the policies"),
            ({"certificate": str(tmp_path / "none.der")}, "Cannot use certificate"),
        ):
            (tmp_path / fault).mkdir()
            other = Reader(tmp_path / fault, **{**access, **changes})
            other.wait(lambda other=other, fault=fault: fault in other.told[-1])
            other.follower.close()
            assert other.rows("T_r") == []
    finally:
        process.close()


def test_node_names_the_batches_of_a_monitor(tmp_path: Path, server: ServerProcess) -> None:
    server.set("Batch", "A/1")
    store = Store(str(tmp_path / "m.db"))
    settings = OpcuaSourceConfig(
        **{**QUICK, "opcua": server.url, "batch_node": "ns=2;s=Reactor.Batch", "batch_hold_s": 0.2}
    )
    config = MonitorConfig(watch=tmp_path / "probe", poll_interval_s=0.05, source="probe")

    def run(work: Callable[[Monitor], None]) -> None:
        monitor = Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]
        with following_process((settings,), store, monitor), running(monitor):
            wait_for(lambda: monitor.status().is_running)
            work(monitor)

    def name_next(monitor: Monitor) -> None:
        assert monitor.status().batch_name == "A/1", "from the first frame on"
        server.kill()
        wait_for(lambda: "nothing listens" in monitor.status().reason)
        assert monitor.status().batch_name == "A/1"
        server.start()
        server.set("Batch", "A/2")  # while nobody heard
        wait_for(lambda: monitor.status().batch_name == "A/2")
        server.set("Batch", "")
        wait_for(lambda: monitor.status().batch_name == "no batch")
        server.set("Batch", "A/3")
        wait_for(lambda: monitor.status().batch_name == "A/3")

    write_frame(tmp_path / "probe" / "1.png", 1)
    run(name_next)
    run(lambda monitor: wait_for(lambda: monitor.status().batch_name == "A/3"))
    server.set("Batch", "A/4")  # while no monitor runs
    run(lambda monitor: wait_for(lambda: monitor.status().batch_name == "A/4"))
    names = [batch.name for batch in store.batches()][::-1]
    assert names == ["A/1", "A/2", "no batch", "A/3", "A/4"]
    assert all("named by OPC UA node ns=2;s=Reactor.Batch" in batch.note for batch in store.batches())
    both = Monitor(BrightnessAnalyzer(), MonitorConfig(watch=tmp_path, batch="B"), store)  # type: ignore[arg-type]
    with (
        pytest.raises(InputError, match="batch or batch_node is needed"),
        following_process((settings,), store, both),
    ):
        pass


def test_nodes_name_the_batches_of_two_probes(tmp_path: Path, server: ServerProcess) -> None:
    server.set("Batch", "A/1")
    monitors, stores = [], []
    with ExitStack() as opened:
        for name, node in (("one", "Batch"), ("two", "Stirrer")):
            store = Store(str(tmp_path / f"{name}.db"))
            opened.callback(store.close)
            write_frame(tmp_path / name / "1.png", 1)
            own = {"opcua": server.url, "batch_node": f"ns=2;s=Reactor.{node}", "batch_hold_s": 0.05}
            config = MonitorConfig(watch=tmp_path / name, poll_interval_s=0.05, source=name)
            monitor = Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]
            settings = OpcuaSourceConfig(**{**QUICK, **own})
            opened.enter_context(following_process((settings,), store, monitor))
            opened.enter_context(running(monitor))
            monitors.append(monitor)
            stores.append(store)
        one, two = monitors
        wait_for(lambda: (one.status().batch_name, two.status().batch_name) == ("A/1", "100"))
        server.set("Stirrer", 200)
        wait_for(lambda: two.status().batch_name == "200")
        server.set("Batch", "A/2")
        wait_for(lambda: one.status().batch_name == "A/2")
        assert [[batch.name for batch in store.batches()][::-1] for store in stores] == [
            ["A/1", "A/2"],
            ["100", "200"],
        ]


def test_deadband_keeps_small_changes_out(reading: Callable[..., Reader], server: ServerProcess) -> None:
    reader = reading(deadband=1.0, refresh_s=60.0)
    reader.wait(lambda: reader.newest("T_r")[0] == 20.0)
    # T_j goes up each time, so that its value tells that the small change of T_r would have come, too.
    for value, other in ((20.4, 40.0), (22.0, 42.0)):
        server.set("T_r", value)
        server.set("T_j", other)
        reader.wait(lambda other=other: reader.newest("T_j")[0] == other)
    reader.wait(lambda: reader.newest("T_r")[0] == 22.0)
    assert [value for _, value, _ in reader.rows("T_r")] == [20.0, 22.0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_server_that_hangs_at_the_start_costs_no_start(tmp_path: Path, server: ServerProcess) -> None:
    server.send(signal.SIGSTOP)
    reader = Reader(tmp_path, opcua=server.url, nodes=(T_R,), **IMPATIENT)
    reader.wait(lambda: "does not respond" in reader.told[-1])
    started = time.monotonic()
    reader.follower.close()
    assert time.monotonic() - started < PATIENCE_S


def test_command_shows_nodes_before_use(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*options: str) -> tuple[int, str]:
        code = main(["process", *options])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    code, told = run(server.url)
    assert code == 0
    assert all(
        text in told for text in ('"T_r [°C]=ns=2;s=Reactor.T_r",', "-10 to 150", "Boolean", "clock: ")
    )
    assert '"Valve' not in told
    code, told = run(server.url, "--set", "nodes=T=ns=2;s=Reactor.Tr", "--json")
    assert code == 3
    assert "near it: ns=2;s=Reactor.T_r" in json.loads(told)["faults"][0]
    code, told = run(server.url, "--db", "none.db")
    assert (code, "a monitor is needed, which follows a server" in told) == (2, True)
    server.kill()
    code, told = run(server.url)
    assert (code, told.count("\n"), "nothing listens there" in told) == (2, 1, True)
