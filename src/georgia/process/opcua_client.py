"""A connection to an OPC UA server: policy and certificates, its clock, its nodes and their units.

All of it is asyncua's client, imported where it is used. Every request is given ``timeout_s``; a server that
does not respond is as one that is away.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from georgia.errors import InputError
from georgia.files import tell_reason
from georgia.monitor.opcua_access import read_uri
from georgia.monitor.settings import OpcuaPolicy
from georgia.process.cells import read_unit
from georgia.process.opcua_values import read_sample, seconds_of
from georgia.process.settings import OpcuaSourceConfig

if TYPE_CHECKING:
    from asyncua.client.client import Client
    from asyncua.common.node import Node

T = TypeVar("T")
PASSWORD_VARIABLE = "GEORGIA_OPCUA_PASSWORD"
# The policies that are taken, the strongest first; OPC 10000-7 calls older ones deprecated.
_POLICIES = ("Aes256Sha256RsaPss", "Aes128Sha256RsaOaep", "Basic256Sha256")
# Nodes that are looked through for near names, how deep, and for how long, s.
_MOST_NODES, _DEEPEST, _BROWSE_S = 2000, 8, 10.0
# A session that the network cut off is kept by the server for so long, ms.
_SESSION_MS = 60_000
# asyncua writes on its own of lost connections; what is wrong is told by describe_error.
logging.getLogger("asyncua").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class NodeFound:
    """A variable of a server: its node, name, value as text, unit and range as the server has them."""

    node_id: str
    name: str
    value: str
    kind: str
    quality: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    is_number: bool = False


def find_password(source: str) -> str:
    """Return the password of a source's user from the environment, "" where there is none."""
    own = re.sub(r"\W", "_", source, flags=re.ASCII).upper()
    return os.environ.get(f"{PASSWORD_VARIABLE}_{own}") or os.environ.get(PASSWORD_VARIABLE, "")


@asynccontextmanager
async def connecting(config: OpcuaSourceConfig) -> AsyncIterator[Client]:
    """Connect to a server while the block runs.

    Raises:
        InputError: a certificate or key cannot be used, or the server lacks the policy.
        OSError, TimeoutError, UaError: the server is away or turns us down: see ``describe_error``.
    """
    from asyncua.client.client import Client

    timeout_s = config.timeout_s
    client = Client(config.opcua, timeout=timeout_s, watchdog_intervall=timeout_s)
    client.name = client.description = "Georgia"
    client.application_uri = "urn:georgia:monitor:client"
    client.session_timeout = _SESSION_MS
    if config.user:
        client.set_user(config.user)
        client.set_password(find_password(config.source))
    before = asyncio.all_tasks()
    try:
        # Each step has a time-out of its own; this is for a server that is slow in every one of them.
        await asyncio.wait_for(_open(client, config), 6 * timeout_s)
        yield client
    finally:
        with suppress(Exception):  # the server may be dead: its session ends by itself
            await asyncio.wait_for(client.disconnect(), timeout_s)
        await _leave_nothing(client, before)


async def _leave_nothing(client: Client, before: set[asyncio.Task[Any]]) -> None:
    """Close the socket, and end the tasks of a client, that a disconnection cut short has left."""
    with suppress(Exception):
        client.disconnect_socket()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.sleep(0)  # so that the socket is closed


async def _open(client: Client, config: OpcuaSourceConfig) -> None:
    if config.policy != OpcuaPolicy.NONE:
        await _secure(client, config)
    await client.connect()


async def _secure(client: Client, config: OpcuaSourceConfig) -> None:
    """Take the strongest policy that the server has; where its certificate is named, only that one."""
    from asyncua import ua
    from asyncua.crypto import security_policies, uacrypto

    mode = ua.MessageSecurityMode.Sign
    if config.policy == OpcuaPolicy.ENCRYPT:
        mode = ua.MessageSecurityMode.SignAndEncrypt
    files = {name: _check_file(name, getattr(config, name)) for name in ("certificate", "private_key")}
    pinned: Any = (
        _check_file("server_certificate", config.server_certificate) if config.server_certificate else None
    )
    endpoints = await client.connect_and_get_server_endpoints()
    for name in _POLICIES:
        policy = getattr(security_policies, f"SecurityPolicy{name}")
        offered = [
            item for item in endpoints if (item.SecurityMode, item.SecurityPolicyUri) == (mode, policy.URI)
        ]
        if not offered:
            continue
        try:
            own = await uacrypto.load_certificate(files["certificate"])
            client.application_uri = read_uri(own) or client.application_uri
            pair = (files["certificate"], files["private_key"])
            await client.set_security(policy, *pair, server_certificate=pinned, mode=mode)
        except (ValueError, TypeError) as error:
            needs = "a certificate and a private key without a password (DER, or PEM under .pem) are needed"
            raise InputError(f"Cannot read from {config.opcua!r}", needs=needs, got=error) from error
        return
    offered_names = sorted({str(item.SecurityPolicyUri).rpartition("#")[2] for item in endpoints})
    raise InputError(
        f"Cannot read from {config.opcua!r}",
        needs=f"one of the policies {', '.join(_POLICIES)} with {mode.name} is needed",
        got=f"a server with {', '.join(offered_names) or 'none'}",
    )


def _check_file(name: str, file: str) -> Path:
    path = Path(file)
    try:
        path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Cannot use {name} {file!r}", needs="a file is needed", got=tell_reason(error, path)
        ) from error
    return path


def describe_error(error: BaseException) -> str:
    """Return in one clause why a server cannot be read."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, TimeoutError | asyncio.CancelledError):
        return "it does not respond"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    text = " ".join(str(error).split()) or type(error).__name__
    name = type(error).__name__
    known = {
        "BadUserAccessDenied": "the user or the password is wrong",
        "BadIdentityTokenRejected": "the user or the password is wrong",
        "BadIdentityTokenInvalid": "the user or the password is wrong",
        "BadSecurityChecksFailed": "the server does not trust our certificate",
        "BadCertificateUntrusted": "the server does not trust our certificate",
    }
    return known.get(name, f"{text[:200]}")


async def limited(wanted: Awaitable[T], timeout_s: float) -> T:
    """Return what a request gives, within its time."""
    return await asyncio.wait_for(wanted, timeout_s)


def _standard(number: int) -> Any:
    """Return the id of a node that every server has."""
    from asyncua import ua

    return ua.NodeId(ua.Int32(number))


async def read_clock_offset(client: Client) -> tuple[float, float]:
    """Return by how much the server's clock is ahead of ours, s, and how well that is known, s."""
    from asyncua.ua.object_ids import ObjectIds

    node = client.get_node(_standard(ObjectIds.Server_ServerStatus_CurrentTime))
    before, started = time.time(), time.monotonic()
    its = seconds_of(await node.read_value())
    took = time.monotonic() - started
    return (its - before - took / 2 if its is not None else 0.0), took / 2


async def resolve_node(client: Client, text: str) -> Any:
    """Return the id of a node; that of a namespace's URI is looked up, since servers number them anew.

    Raises:
        InputError: the server has no such namespace.
    """
    from asyncua import ua

    uri, _, rest = text.removeprefix("nsu=").partition(";")
    if not text.startswith("nsu="):
        return ua.NodeId.from_string(text)
    known = await client.get_namespace_array()
    if uri not in known:
        near = difflib.get_close_matches(uri, known, n=1)
        hint = f" Did you mean nsu={near[0]}?" if near else ""
        raise InputError(
            f"node {text}", needs="a namespace of the server is needed", got=uri, hint=hint.strip()
        )
    return ua.NodeId.from_string(f"ns={known.index(uri)};{rest}")


async def read_unit_of(node: Node) -> tuple[str, float | None, float | None]:
    """Return the unit and the range that a node's properties say, "" and None where they say none."""
    found: dict[str, Any] = {}
    with suppress(Exception):
        for prop in await node.get_properties():
            name = (await prop.read_browse_name()).Name
            if name in ("EngineeringUnits", "EURange"):
                found[name] = await prop.read_value()
    unit, range_ = found.get("EngineeringUnits"), found.get("EURange")
    text = str(getattr(getattr(unit, "DisplayName", None), "Text", "") or "")
    low, high = (getattr(range_, end, None) for end in ("Low", "High"))
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    return read_unit(text)[:30], *((float(low), float(high)) if numbers else (None, None))  # type: ignore[arg-type]


async def browse_variables(client: Client, most: int = _MOST_NODES) -> list[tuple[Node, str]]:
    """Return the variables of a server below "Objects" with their paths, those of the server itself left out.

    No more than ``most``, and what a server gives in ten seconds.
    """
    from asyncua import ua
    from asyncua.ua.object_ids import ObjectIds
    from asyncua.ua.uaerrors import UaError

    own = {
        _standard(ObjectIds.Server),
        *map(_standard, (ObjectIds.Aliases, ObjectIds.Locations)),
    }
    found: list[tuple[Node, str]] = []
    known: set[Any] = set(own)
    level: list[tuple[Node, str]] = [(client.nodes.objects, "")]
    end = time.monotonic() + _BROWSE_S
    for _ in range(_DEEPEST):
        below: list[tuple[Node, str]] = []
        for node, path in level:
            if time.monotonic() > end or len(found) >= most:
                return found[:most]
            with suppress(UaError):
                for item in await node.get_children_descriptions():
                    if item.NodeId in known or item.NodeClass not in (
                        ua.NodeClass.Object,
                        ua.NodeClass.Variable,
                    ):
                        continue
                    known.add(item.NodeId)
                    child = client.get_node(item.NodeId)
                    name = f"{path}/{item.DisplayName.Text or item.BrowseName.Name}".lstrip("/")
                    is_property = item.TypeDefinition == _standard(ObjectIds.PropertyType)
                    if item.NodeClass == ua.NodeClass.Variable and not is_property:
                        found.append((child, name))
                    if not is_property:
                        below.append((child, name))
        level = below
    return found[:most]


def find_near(node_id: str, known: Iterable[tuple[Node, str]], n: int = 3) -> list[str]:
    """Return the ids of those nodes whose id, or path, is nearest to one that does not exist."""
    own = _last_part(node_id)
    choices = {node.nodeid.to_string(): path for node, path in known}
    by_part = {(_last_part(each) or each).casefold(): each for each in choices}
    by_part |= {path.rpartition("/")[2].casefold(): each for each, path in choices.items()}
    near = difflib.get_close_matches(own.casefold(), list(by_part), n=n, cutoff=0.5)
    return list(dict.fromkeys(by_part[each] for each in near))


def _last_part(node_id: str) -> str:
    return re.sub(r"^(?:ns=\d+;|nsu=[^;]+;)?[isgb]=", "", node_id)


async def inspect_nodes(
    config: OpcuaSourceConfig, most: int = 200
) -> tuple[list[NodeFound], list[str], float]:
    """Return what a server's nodes give now, faults, and by how much its clock is ahead of ours, s.

    The nodes are those of the settings, or without any all variables.

    Raises:
        InputError, OSError, TimeoutError, UaError: as ``connecting``.
    """
    async with connecting(config) as client:
        offset, _ = await limited(read_clock_offset(client), config.timeout_s)
        wanted = [(item.node_id, item.name) for item in config.node_settings]
        wanted += [(config.batch_node, "batch_node")] if config.batch_node else []
        if not wanted:
            found = [await _describe(node, path) for node, path in await browse_variables(client, most)]
            return found, [], offset
        units = {item.name: item.unit for item in config.node_settings}
        nodes, faults = [], []
        for node_id, name in wanted:
            try:
                item = await _describe(client.get_node(await resolve_node(client, node_id)), name)
            except InputError as error:
                faults.append(f"{name!r}: {error}")
                continue
            nodes.append(replace(item, unit=units.get(name) or item.unit, node_id=node_id))
            if item.quality.startswith("BadNodeId"):
                faults.append(await describe_missing(client, name, node_id))
        return nodes, faults, offset


async def describe_missing(client: Client, name: str, node_id: str) -> str:
    """Return in one clause that a node does not exist, with the nearest that do."""
    near = find_near(node_id, await browse_variables(client))
    nearest = f"; near it: {', '.join(near)}" if near else ""
    return f"{name!r}: the server has no node {node_id}{nearest}"


async def _describe(node: Node, name: str) -> NodeFound:
    value = await node.read_data_value(raise_on_bad_status=False)
    sample = read_sample(value)
    unit, low, high = await read_unit_of(node)
    return NodeFound(
        node.nodeid.to_string(),
        name,
        sample.text,
        sample.kind,
        sample.quality,
        unit,
        low,
        high,
        sample.is_number,
    )


def list_settings(nodes: Sequence[NodeFound]) -> list[str]:
    """Return the lines of ``nodes`` that would read the numbers among them."""
    return [
        f"{_plain(item.name)}{f' [{item.unit}]' if item.unit else ''}={item.node_id}"
        for item in nodes
        if item.is_number
    ]


def _plain(path: str) -> str:
    return path.rpartition("/")[2].replace("=", " ").strip() or "value"
