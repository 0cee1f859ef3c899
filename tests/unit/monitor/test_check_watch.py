"""What people found of the running batch, in OPC UA: bad until there is one, uncertain once it went on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import make_event, wait_for
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port
from tests.helpers.spotcheck import add_frame, fill_batch

from georgia.monitor.check_watch import CheckWatch
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.opcua import NAMESPACE, VARIABLES, OpcuaServer, open_opcua_server
from georgia.monitor.store import Store
from georgia.spotcheck import SpotcheckConfig
from georgia.spotcheck.in_store import begin_check

NODES = ("FractionChecked", "FractionCheckedLow", "FractionCheckedHigh")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store, _, _ = fill_batch(str(tmp_path / "m.db"), tmp_path / "frames", 5)
    yield store
    store.close()


def read(server: OpcuaServer) -> list[Any]:
    from asyncua import Client

    async def connect() -> list[Any]:
        async with Client(server.address, timeout=PATIENCE_S) as client:
            space = await client.get_namespace_index(NAMESPACE)
            probe = await client.nodes.objects.get_child([f"{space}:Probe"])
            nodes = [await probe.get_child([f"{space}:{name}"]) for name in NODES]
            return [await node.read_data_value(raise_on_bad_status=False) for node in nodes]

    return asyncio.run(connect())


def wait_for_status(server: OpcuaServer, status: str) -> list[Any]:
    """Return the values once they have that status: what was shown on the way to it is nobody's to count."""
    found: list[Any] = []

    def is_so() -> bool:
        found[:] = read(server)
        return {value.StatusCode.name for value in found} == {status}

    wait_for(is_so)
    return found


def test_nodes_stand_behind_all_others() -> None:
    assert tuple(VARIABLES)[-3:] == NODES, "a node keeps its identifier"


@pytest.mark.slow
def test_client_reads_what_people_found(store: Store, tmp_path: Path) -> None:
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia")
    watch = CheckWatch(store, lambda: store.batches()[0].id, server.show_checked, poll_s=0.02)
    try:
        server(make_event())
        wait_for(lambda: server.n_shown > 0)
        found = wait_for_status(server, "BadWaitingForInitialData")
        assert all(value.Value.Value is None for value in found), "no number goes with it"
        check = begin_check(store, store.batch(1), SpotcheckConfig(n=6), "Ann")
        for position in range(1, 5):
            store.name_window(check.id, position, "PG", "Ann")
        fraction, low, high = (value.Value.Value for value in wait_for_status(server, "Good"))
        assert 0 <= low <= fraction <= high <= 1
        server(make_event())
        add_frame(store, 1, tmp_path / "frames", 6, "PPCC", [0.9] * 4)
        wait_for_status(server, "UncertainLastUsableValue")
        store.begin_batch(str(tmp_path / "frames"), "B-2", "Ann", "PG", "ann@host")
        wait_for_status(server, "BadWaitingForInitialData")
    finally:
        watch.close()
        server.close()


def test_store_that_is_away_makes_it_uncertain(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    check = begin_check(store, store.batch(1), SpotcheckConfig(n=3), "Ann")
    store.name_window(check.id, 1, "PG", "Ann")
    watch = CheckWatch(store, lambda: 1, lambda *now: told.append(now), poll_s=0.01)
    try:
        wait_for(lambda: told)
        values, at_s, is_current = told[-1]
        assert is_current
        assert at_s == store.spotcheck_names(check.id)[0].at_s

        def be_away(_: int) -> Any:
            raise StoreAwayError("The store cannot be used now: gone")

        with monkeypatch.context() as patch:
            patch.setattr(store, "batch", be_away)
            wait_for(lambda: told[-1] == (values, at_s, False))
        wait_for(lambda: told[-1] == (values, at_s, True))
    finally:
        watch.close()
