"""``georgia process opc.tcp://…``: what the nodes of an OPC UA server give, before any of it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.cli import console
from georgia.cli.packages import check_packages
from georgia.config import build_config, read_toml_section
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.process.opcua_client import NodeFound
    from georgia.process.settings import OpcuaSourceConfig

_MOST_SHOWN, _LONGEST_VALUE = 200, 40


def show_server(
    address: str, config: Path | None, changes: Mapping[str, str], as_json: bool, has_store: bool
) -> int:
    """Show the nodes of the settings, or without any all variables of the server; nothing is stored.

    Raises:
        InputError: the settings or the server cannot be used, or a store is named: a server is only followed.
    """
    from georgia.process.opcua_client import describe_error, inspect_nodes, list_settings

    if has_store:
        raise InputError(
            f"Cannot read {address!r} into a store",
            needs="a monitor is needed, which follows a server",
            got="--db",
            hint="Name the server in [process] of the monitor's --config.",
        )
    check_packages("Cannot read an OPC UA server", ["asyncua"])
    settings = _read_settings(address, config, changes)
    try:
        nodes, faults, offset_s = asyncio.run(inspect_nodes(settings, _MOST_SHOWN))
    except InputError:
        raise
    except Exception as error:  # whatever the network or the library does
        needs = "an OPC UA server that lets us in is needed"
        raise InputError(f"Cannot read {address!r}", needs=needs, got=describe_error(error)) from error
    if as_json:
        shown = {"opcua": address, "server_clock_ahead_s": round(offset_s, 3), "faults": faults}
        console.show_json(
            {**shown, "nodes": [asdict(node) for node in nodes], "settings": list_settings(nodes)}
        )
    else:
        _show(nodes, faults, offset_s, has_names=bool(settings.nodes))
    return console.DONE_IN_PART if faults else console.DONE


def _read_settings(address: str, config: Path | None, changes: Mapping[str, str]) -> OpcuaSourceConfig:
    """Return the settings of a server: those of the table that names it, and of --set."""
    from georgia.process.settings import OpcuaSourceConfig

    section = read_toml_section(config, "process") if config is not None else {}
    layers: list[Mapping[str, Any]] = [{"opcua": address}]
    for name, table in section.items():
        if isinstance(table, dict) and table.get("opcua") == address:
            layers += [{"source": name}, table]
    return build_config(OpcuaSourceConfig, *layers, changes, where="the settings of 'process'")


def _show(nodes: list[NodeFound], faults: list[str], offset_s: float, has_names: bool) -> None:
    from georgia.process.opcua_client import list_settings

    side = "ahead of" if offset_s > 0 else "behind"
    console.show_line(f"clock: {abs(offset_s):.1f} s {side} this machine's; it may move once a second only")
    rows = [
        [
            node.name,
            node.value[:_LONGEST_VALUE] or "–",
            node.unit or "–",
            "–" if node.low is None or node.high is None else f"{node.low:g} to {node.high:g}",
            node.kind or "–",
            node.quality,
            node.node_id,
        ]
        for node in nodes
    ]
    console.show_table(["name", "value", "unit", "range", "type", "quality", "node"], rows)
    if len(nodes) >= _MOST_SHOWN:
        console.show_note(f"only the first {_MOST_SHOWN} variables are shown.")
    for fault in faults:
        console.show_note(fault)
    if not has_names and list_settings(nodes):
        console.show_line("nodes = [")
        for line in list_settings(nodes):
            console.show_line(f'    "{line}",')
        console.show_line("]")
