"""Values of an OPC UA server as process data: subscribed, read again while they do not change, never guessed.

A thread of its own holds the connection and begins anew, with growing waits, whenever it is lost: the server
was stopped, hangs, or the network is away. From that moment on each variable has a gap, so that no value
looks current that nobody heard of. What was received waits in memory until it is in the store.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from georgia.errors import InputError, MissingDependencyError
from georgia.monitor import tables
from georgia.monitor.connect import reading
from georgia.monitor.process_record import Piece, VariableValues
from georgia.process.batch_node import BatchNode
from georgia.process.opcua_client import (
    connecting,
    describe_error,
    describe_missing,
    limited,
    read_clock_offset,
    read_unit_of,
    resolve_node,
)
from georgia.process.opcua_values import NOT_CONNECTED, NodeValues, Row, Sample, read_sample
from georgia.process.settings import OpcuaSourceConfig

if TYPE_CHECKING:
    from asyncua.client.client import Client

    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store

_log = logging.getLogger(__name__)
# Waits before a connection is tried again, s: each twice the one before.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
# A clock that is so far off is told, s: at 1 K/min a temperature is 0.08 K another one by then. Chosen.
CLOCK_OFF_S = 5.0
_N_OFFSETS = 10
# New values whose own time is so far from the server's clock are of another clock, s; as for files.
_SOURCE_OFF_S = 120.0
# A node that does not exist is asked for again at every so many reads: a gateway adds them after its start.
_AGAIN_EVERY = 6
# Rows that wait for the store: a day of ten variables each second.
_MOST_ROWS = 1_000_000


def check_asyncua() -> None:
    """Reject what cannot be read without asyncua.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import asyncua  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot read an OPC UA server",
            needs="asyncua is needed",
            got=error,
            hint="pip install 'georgia[plant]'.",
        ) from error


@dataclass
class _Item:
    """One node that is read, with all that is known of it; ``fault`` says why it is not read."""

    name: str
    node_id: str
    given_unit: str = ""
    unit: str = ""
    values: NodeValues = field(default_factory=NodeValues)
    rows: list[Row] = field(default_factory=list)
    node: Any = None
    fault: str = ""
    is_first: bool = True
    note: str = ""


class _Handler:
    """What asyncua calls with each value that a server publishes, in the connection's thread."""

    def __init__(self, source: OpcuaSource) -> None:
        self._source = source

    def datachange_notification(self, node: Any, _: Any, data: Any) -> None:
        """Take in one value."""
        self._source.take(node.nodeid, read_sample(data.monitored_item.Value))

    def status_change_notification(self, _: Any) -> None:
        """Take in that the server ended the subscription."""
        self._source.note_broken()


class OpcuaSource:
    """A server that is followed: see ``georgia.process.follow.Source``.

    Args:
        config: the server and its nodes.
        store: where units are looked up that a variable has already.
        probe: whose batches the values belong to, "" for all.
        who: in whose name they are written.
        batch_node: what takes the values of the node that names the batch.
    """

    def __init__(
        self,
        config: OpcuaSourceConfig,
        store: Store,
        probe: str = "",
        who: str = "georgia",
        batch_node: BatchNode | None = None,
    ) -> None:
        self.config, self._store, self._probe, self._who = config, store, probe, who
        self.name = config.source
        self._items = [_Item(each.name, each.node_id, each.unit) for each in config.node_settings]
        self._batch_item = _Item("batch_node", config.batch_node) if config.batch_node else None
        self._batch_node = batch_node
        # By node id, once that is resolved.
        self._by_id: dict[Any, _Item] = {}
        self._lock = threading.Lock()
        self._fault = ""
        self._offset_s = self._offset_known_s = 0.0
        self._offsets: deque[float] = deque(maxlen=_N_OFFSETS)
        self._is_connected = False
        self._n_connections = self._n_lost_rows = self._n_handles = 0
        self._has_told = False
        self._first_batch = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop, self._broken = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="georgia-process-opcua", daemon=True)
        self._thread.start()

    # The follower's side

    def poll(self, now_s: float) -> Iterator[Piece]:
        """Yield what was received since the last piece was written."""
        if self._batch_node is not None:
            self._batch_node.check()
        with self._lock:
            taken = {item.name: list(item.rows) for item in self._items if item.rows}
            units = {item.name: item.unit for item in self._items}
        if not taken:
            return
        variables = [VariableValues(name, units[name], rows) for name, rows in taken.items()]
        yield Piece(
            source=self.config.source,
            file=self.config.opcua,
            who=self._who,
            variables=variables,
            n_rows=sum(map(len, taken.values())),
            reading={"server_clock_ahead_s": round(self._offset_s, 3), "connection": self._n_connections},
            probe=self._probe,
            is_told=not self._has_told,
        )
        # Here it is written.
        self._has_told = True
        with self._lock:
            for item in self._items:
                del item.rows[: len(taken.get(item.name, ()))]

    def describe_fault(self, now_s: float) -> str:
        """Return why nothing new comes, or what is wrong with what comes; "" where all is well."""
        if not self._thread.is_alive() and not self._stop.is_set():
            return f"{self.config.opcua!r} is read no more: the service is to be started anew"
        if self._fault:
            return f"{self.config.opcua!r} is away: {self._fault}"
        with self._lock:
            faults = [item.fault or item.note for item in self._all_items() if item.fault or item.note]
        if abs(self._offset_s) - self._offset_known_s > CLOCK_OFF_S:
            side = "ahead of" if self._offset_s > 0 else "behind"
            faults.append(
                f"the clock of {self.config.opcua!r} is {abs(self._offset_s):,.0f} s {side} this machine's"
            )
        if self._n_lost_rows:
            faults.append(f"{self._n_lost_rows:,} values of {self.name!r} were lost while the store was away")
        return "; ".join(faults)

    def name_first_batch(self, monitor: Monitor) -> None:
        """Let a monitor that has not started begin with the batch that the node names.

        It is waited for until the server was connected to, or could not be.
        """
        if self._batch_node is None:
            return
        self._first_batch.wait(6 * self.config.timeout_s)
        first = self._batch_node.take_first()
        if first is not None:
            monitor.begin_with(*first)

    def close(self, timeout_s: float = 10.0) -> None:
        """End the connection."""
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_s)

    def _all_items(self) -> Sequence[_Item]:
        return [*self._items, *([self._batch_item] if self._batch_item else [])]

    # The connection's side

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._hold_on())
        except Exception:
            _log.exception("an OPC UA server is followed no more")

    async def _hold_on(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            self._is_connected = False
            try:
                await self._hold()
            except Exception as error:  # whatever a server, the network or the library does: tried again
                _log.debug("connection to %s lost", self.config.opcua, exc_info=error)
                if self._is_connected:
                    wait_s = _FIRST_WAIT_S
                self._note_lost(describe_error(error))
            await _wait(self._stop, wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        self._note_lost("")

    def _note_lost(self, fault: str) -> None:
        self._first_batch.set()
        with self._lock:
            self._fault = fault
            for item in self._items:
                self._add(item, item.values.end(NOT_CONNECTED, time.time() + self._offset_s))

    def note_broken(self) -> None:
        """Take in that the connection is to be made anew."""
        self._broken.set()

    async def _hold(self) -> None:
        """Follow the nodes while the connection lasts.

        Raises:
            Exception: it does not; see ``describe_error``.
        """
        config = self.config
        self._broken.clear()
        async with connecting(config) as client:

            async def lost(_: Exception) -> None:
                self._broken.set()

            client.connection_lost_callback = lost
            try:
                await self._follow(client)
            except Exception as error:
                self._note_lost(describe_error(error))  # before a disconnection that may take its time
                raise

    async def _follow(self, client: Client) -> None:
        config = self.config
        await self._compare_clocks(client)
        subscription = await limited(self._subscribe(client), 4 * config.timeout_s)
        await self._add_nodes(client, subscription)
        await self._read(client)
        self._is_connected, self._fault = True, ""
        self._first_batch.set()
        self._n_connections += 1
        number = 0
        while not await _wait_any(config.refresh_s, self._stop, self._broken):
            number += 1
            await self._compare_clocks(client)
            await self._read(client)
            if number % _AGAIN_EVERY == 0 and any(item.node is None for item in self._all_items()):
                await self._add_nodes(client, subscription)
        if not self._stop.is_set():
            raise ConnectionError("the connection was lost")

    async def _compare_clocks(self, client: Client) -> None:
        """Measure by how much the server's clock is ahead.

        A server may set it once a second only, and then says less than it is: the largest of the last counts.
        """
        offset_s, known_s = await limited(read_clock_offset(client), self.config.timeout_s)
        self._offsets.append(offset_s)
        self._offset_s, self._offset_known_s = max(self._offsets), known_s

    async def _subscribe(self, client: Client) -> Any:
        from asyncua import ua

        period_ms = 1000 * self.config.interval_s
        # Signs of life as often as values are read again; gone after three of these. OPC 10000-4, 5.14.1.1.
        n_alive = max(1, round(self.config.refresh_s / self.config.interval_s))
        params = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Duration(period_ms),
            RequestedLifetimeCount=ua.UInt32(max(30, 6 * n_alive)),
            RequestedMaxKeepAliveCount=ua.UInt32(n_alive),
            MaxNotificationsPerPublish=ua.UInt32(10_000),
            PublishingEnabled=True,
        )
        return await client.create_subscription(params, _Handler(self))

    async def _add_nodes(self, client: Client, subscription: Any) -> None:
        """Subscribe to all nodes that are there; what is wrong with the others is said of each."""
        self._by_id = {key: item for key, item in self._by_id.items() if item.node is not None}
        for item in self._all_items():
            if item.node is not None and item.node.session is client.uaclient.session:
                continue
            item.node, item.is_first = None, True
            try:
                fault = await limited(self._add_node(client, subscription, item), 4 * self.config.timeout_s)
            except InputError as error:
                fault = f"{item.name!r}: {error}"
            with self._lock:
                item.fault = fault
                if fault and item is not self._batch_item:
                    self._add(item, item.values.end("no such node", time.time() + self._offset_s))

    async def _add_node(self, client: Client, subscription: Any, item: _Item) -> str:
        from asyncua import ua
        from asyncua.ua.attribute_ids import AttributeIds

        node_id = await resolve_node(client, item.node_id)
        node = client.get_node(node_id)
        kind = await node.read_attribute(AttributeIds.NodeClass, raise_on_bad_status=False)
        if kind.StatusCode is not None and not kind.StatusCode.is_good():
            if kind.StatusCode.name not in ("BadNodeIdUnknown", "BadNodeIdInvalid"):
                return f"{item.name!r}: the server says {kind.StatusCode.name} of {item.node_id}"
            return await describe_missing(client, item.name, item.node_id)
        if kind.Value is None or kind.Value.Value != ua.NodeClass.Variable:
            return f"{item.name!r}: {item.node_id} is no variable of the server"
        if item is not self._batch_item and (fault := await self._find_unit(item, node)):
            return fault
        self._by_id[node_id] = item
        for each in (self._request(item, node_id, is_plain) for is_plain in (False, True)):
            result = (await subscription.create_monitored_items([each]))[0]
            if not isinstance(result, ua.StatusCode):
                item.node = node
                return ""
            if not each.RequestedParameters.Filter:
                break  # a server without deadbands gives all changes
        return f"{item.name!r}: the server does not let it be subscribed to: {result.name}"

    def _request(self, item: _Item, node_id: Any, is_plain: bool) -> Any:
        from asyncua import ua
        from asyncua.ua.attribute_ids import AttributeIds

        self._n_handles += 1
        parameters = ua.MonitoringParameters(
            ClientHandle=ua.UInt32(self._n_handles),
            SamplingInterval=ua.Duration(1000 * self.config.interval_s),
            QueueSize=ua.UInt32(self.config.queue),
            DiscardOldest=True,
        )
        if self.config.deadband and item is not self._batch_item and not is_plain:
            parameters.Filter = ua.DataChangeFilter(
                Trigger=ua.DataChangeTrigger.StatusValue,
                DeadbandType=ua.UInt32(ua.DeadbandType.Absolute),
                DeadbandValue=ua.Double(self.config.deadband),
            )
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node_id, AttributeId=AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=parameters,
        )

    async def _find_unit(self, item: _Item, node: Any) -> str:
        """Find the unit of a variable: of the settings, else of the server; return why it cannot be read."""
        unit = item.given_unit or (await read_unit_of(node))[0]
        known = self._find_known_unit(item.name)
        if known is not None and unit not in ("", known):
            told = f"its unit is {unit!r}, and {known or 'none'!r} in the store"
            return f"{item.name!r}: {told}; give it another name"
        item.unit = known if known is not None else unit
        return ""

    def _find_known_unit(self, name: str) -> str | None:
        columns = tables.process_variables.c
        query = select(columns.unit).where(columns.source == self.config.source, columns.name == name)
        with reading(self._store.engine) as connection:
            return connection.execute(query).scalar()

    async def _read(self, client: Client) -> None:
        """Read all nodes: a value that does not change is known to hold at this moment."""
        from asyncua.ua.attribute_ids import AttributeIds

        items = [item for item in self._all_items() if item.node is not None]
        nodes = [item.node for item in items]
        if not nodes:
            return
        reads = client.read_attributes(nodes, AttributeIds.Value)
        found = await limited(reads, self.config.timeout_s)
        now_s = time.time() + self._offset_s
        for item, data in zip(items, found, strict=True):
            sample = read_sample(data)
            with self._lock:
                self._note(item, sample)
                if item is self._batch_item:
                    self._take_batch(sample)
                else:
                    self._add(item, item.values.confirm(sample, now_s, self.config.refresh_s / 2))
                item.is_first = False

    def take(self, node_id: Any, sample: Sample) -> None:
        """Take in one value that the server published."""
        item = self._by_id.get(node_id)
        if item is None:
            return
        now_s = time.time() + self._offset_s
        with self._lock:
            self._note(item, sample, None if item.is_first else now_s)
            item.is_first = False
            if item is self._batch_item:
                self._take_batch(sample)
            else:
                self._add(item, item.values.take(sample, now_s))

    def _take_batch(self, sample: Sample) -> None:
        if self._batch_node is not None:
            self._batch_node.take(sample)

    def _note(self, item: _Item, sample: Sample, published_s: float | None = None) -> None:
        """Keep in one clause what is wrong with a value: its kind, its quality, its time."""
        is_batch = item is self._batch_item
        note = ""
        if not sample.is_good:
            note = f"{item.name!r} is {sample.quality}"
        elif is_batch and not BatchNode.can_name(sample):
            note = f"'batch_node' {item.node_id} is of type {sample.kind or 'none'}, which names no batch"
        elif not is_batch and not sample.is_number:
            note = f"{item.name!r} is of type {sample.kind or 'none'}, which is no number, and is not read"
        elif sample.has_overflow:
            note = f"the server dropped values of {item.name!r}: a larger queue or interval_s is needed"
        elif published_s is not None and sample.source_s is not None:
            off_s = sample.source_s - published_s
            if abs(off_s) > _SOURCE_OFF_S:
                side = "ahead of" if off_s > 0 else "behind"
                note = f"the times of {item.name!r} are {abs(off_s):,.0f} s {side} the server's clock"
        elif published_s is None and "server's clock" in item.note:
            return  # a value that is only read again tells nothing of it
        item.note = note

    def _add(self, item: _Item, row: Row | None) -> None:
        if row is None:
            return
        if sum(len(each.rows) for each in self._items) >= _MOST_ROWS:
            self._n_lost_rows += 1
            return
        item.rows.append(row)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _wait_any(seconds: float, *events: asyncio.Event) -> bool:
    """Return whether one of the events is set, after so many seconds at most."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return any(event.is_set() for event in events)
