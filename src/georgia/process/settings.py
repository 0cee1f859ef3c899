"""The settings of process data: which files and OPC UA servers are read, and what their values mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from georgia.config import Config, Rule, above, at_least, between, build_config, read_toml_section
from georgia.errors import InputError, format_message, mask_credentials
from georgia.monitor.settings import OpcuaPolicy
from georgia.process.cells import clean_name, split_unit
from georgia.process.times import find_zone_or_offset, parse_start


class FileKind(StrEnum):
    """What a file holds: values of variables over time, or laboratory results."""

    VALUES = "values"
    LABORATORY = "laboratory"


class RepeatedHour(StrEnum):
    """Which pass of the hour that happens twice local times are of, where the rows do not tell."""

    ASK = "ask"
    FIRST = "first"
    SECOND = "second"


AUTO = "auto"
# Names for what a shell or a settings file does not show.
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_DELIMITER = Rule(
    "auto, tab, comma, semicolon, pipe, or one sign",
    lambda text: text in (AUTO, *_DELIMITERS) or len(text) == 1,
)
_DECIMAL = Rule("auto, point or comma", lambda text: text in (AUTO, "point", "comma", ".", ","))


@dataclass(frozen=True)
class ProcessConfig(Config):
    """Everything that ``[process]`` in a settings file may say of one file; docs/process.md explains each.

    What is "auto" or "" is found in the file. ``time`` names the column of the time, or two with ``+``
    between, such as ``Date+Time``. ``start`` is the moment, ISO 8601, that elapsed times count from.
    ``columns`` are the variables that are read, all numeric ones where there is none. ``units`` are those of
    columns whose header has none, ``NAME=UNIT``. ``silent_after_s`` 0 is three usual steps, one minute at
    least. ``keep_days`` 0 keeps values for ever. ``max_age_s`` is how old a value may be that a frame is
    given in a table; 0 is three usual steps. ``for_all_probes``: what a monitor follows belongs to
    the batches of all probes in its store, and not to those of its own only.
    """

    file: str = ""
    source: str = "process"
    kind: FileKind = FileKind.VALUES
    encoding: str = AUTO
    delimiter: Annotated[str, _DELIMITER] = AUTO
    decimal: Annotated[str, _DECIMAL] = AUTO
    time: str = ""
    time_format: str = AUTO
    time_zone: str = "local"
    start: str = ""
    repeated_hour: RepeatedHour = RepeatedHour.ASK
    columns: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    event_column: str = ""
    poll_s: Annotated[float, above(0, 3600)] = 5.0
    silent_after_s: Annotated[float, at_least(0)] = 0.0
    keep_days: Annotated[float, at_least(0)] = 0.0
    max_age_s: Annotated[float, at_least(0)] = 0.0
    for_all_probes: bool = False

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the zone, the start, the units and the encoding."""
        checks = (
            (find_zone_or_offset, self.time_zone),
            (parse_start, self.start),
            (_check_encoding, self.encoding),
        )
        for check, value in checks:
            try:
                check(value)
            except InputError as error:
                yield str(error)
        for item in self.units:
            if "=" not in item:
                yield format_message("units", "NAME=UNIT is needed", repr(item))

    @property
    def delimiter_sign(self) -> str:
        """Return the sign between two cells, "" where it is to be found."""
        return "" if self.delimiter == AUTO else _DELIMITERS.get(self.delimiter, self.delimiter)

    @property
    def decimal_sign(self) -> str:
        """Return the decimal sign, "" where it is to be found."""
        return {AUTO: "", "point": ".", "comma": ","}.get(self.decimal, self.decimal)


# An OPC UA node as OPC 10000-6, section 5.3.1.10, writes it: ns=2;s=Reactor.T, or nsu=URI;i=1005.
_NODE_ID = re.compile(r"(?:ns=\d{1,5};|nsu=[^;]+;)?(?:i=\d{1,10}|s=.+|g=[0-9a-fA-F-]{36}|b=\S+)")
_NODE = Rule("a node such as ns=2;s=Batch", lambda text: not text or bool(_NODE_ID.fullmatch(text)))
_ADDRESS = Rule(
    "opc.tcp://HOST:PORT/…, without a user's name", lambda text: not text or _is_server_address(text)
)


def _is_server_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme == "opc.tcp" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:  # a port above 65535, a bracket that is not closed
        return False


@dataclass(frozen=True)
class NodeSetting:
    """A node that is read: the name and the unit of its variable, "" where the server is to say the unit."""

    name: str
    unit: str
    node_id: str

    @classmethod
    def parse(cls, text: str) -> NodeSetting:
        """Return what ``NAME [UNIT]=NODE`` says.

        >>> NodeSetting.parse("T_r [degC]=ns=2;s=Reactor.T=1")
        NodeSetting(name='T_r', unit='°C', node_id='ns=2;s=Reactor.T=1')

        Raises:
            InputError: it is of another form.
        """
        title, _, node_id = (part.strip() for part in text.partition("="))
        if not title or not _NODE_ID.fullmatch(node_id) or re.fullmatch(r"ns|nsu|[isgb]", title):
            raise InputError(
                "nodes", needs="NAME [UNIT]=NODE, such as T_r=ns=2;s=T, is needed", got=repr(text)
            )
        name, unit = split_unit(title)
        return cls(clean_name(name), unit, node_id)


@dataclass(frozen=True)
class OpcuaSourceConfig(Config):
    """Everything that a table of ``[process]`` may say of an OPC UA server that is read.

    ``nodes`` are the variables, ``NAME [UNIT]=NODE``; a unit that is not given is the server's.
    ``batch_node`` holds the name of the batch; it counts once it has not changed for ``batch_hold_s``.
    ``interval_s`` is how often the server samples and publishes; it keeps up to ``queue`` values of a node
    between. ``deadband`` is the smallest change that it publishes, in the unit of the value.
    ``refresh_s``: a value that does not change is read so often. ``timeout_s`` is how long a response may
    take. ``policy``, ``certificate`` (DER or PEM) and ``private_key`` are as those of the monitor's own
    server; ``server_certificate`` is the only one of a server that is taken, "" takes any. The password of
    ``user`` comes from the environment.
    """

    opcua: Annotated[str, _ADDRESS] = ""
    source: str = "opcua"
    nodes: tuple[str, ...] = ()
    batch_node: Annotated[str, _NODE] = ""
    batch_hold_s: Annotated[float, between(0, 3600)] = 5.0
    interval_s: Annotated[float, between(0.05, 3600)] = 1.0
    queue: Annotated[int, between(1, 10_000)] = 20
    deadband: Annotated[float, at_least(0)] = 0.0
    refresh_s: Annotated[float, between(0.2, 3600)] = 5.0
    timeout_s: Annotated[float, between(0.2, 60)] = 4.0
    policy: OpcuaPolicy = OpcuaPolicy.NONE
    certificate: str = ""
    private_key: str = ""
    server_certificate: str = ""
    user: str = ""
    poll_s: Annotated[float, above(0, 3600)] = 1.0
    keep_days: Annotated[float, at_least(0)] = 0.0
    for_all_probes: bool = False

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the nodes, and what a policy lacks."""
        known = list[str]()
        for text in self.nodes:
            try:
                known.append(NodeSetting.parse(text).name)
            except InputError as error:
                yield str(error)
        for name in sorted({name for name in known if known.count(name) > 1}):
            yield format_message("nodes", "each name once is needed", f"{name!r} twice")
        if self.policy != OpcuaPolicy.NONE and not (self.certificate and self.private_key):
            rule = "certificate and private_key are needed with it"
            yield format_message("policy", rule, f"{self.policy} without them")
        if self.policy == OpcuaPolicy.NONE and (self.user or self.server_certificate):
            yield format_message(
                "policy", "sign or encrypt is needed with user and server_certificate", "none"
            )

    @property
    def file(self) -> str:
        """Return the server's address, as the record names where a value was read."""
        return self.opcua

    @property
    def node_settings(self) -> tuple[NodeSetting, ...]:
        """Return the nodes as they are read."""
        return tuple(map(NodeSetting.parse, self.nodes))


SourceConfig = ProcessConfig | OpcuaSourceConfig


def _check_encoding(name: str) -> None:
    if name == AUTO:
        return
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise InputError(
            "encoding", needs="auto or a name such as utf-8 or windows-1252 is needed", got=repr(name)
        ) from error


def read_process_settings(path: Path | None) -> tuple[SourceConfig, ...]:
    """Return the files and servers that ``[process]`` of a settings file names, none without that section.

    A table within it, such as ``[process.reactor]``, is a file or server of its own whose ``source`` is the
    table's name; what stands in ``[process]`` itself holds for all of them.

    Raises:
        InputError: the settings cannot be used, or two tables follow the same file into the same source.
    """
    section = read_toml_section(path, "process") if path is not None else {}
    return make_process_settings(section)


def make_process_settings(section: Mapping[str, Any]) -> tuple[SourceConfig, ...]:
    """Return the files and servers that a section of settings names; see ``read_process_settings``."""
    common = {name: value for name, value in section.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in section.items() if isinstance(value, Mapping)}
    found: list[SourceConfig] = []
    _check_common(common, has_tables=bool(tables))
    if "file" in common:
        found.append(build_config(ProcessConfig, common, where="the settings of 'process'"))
    elif "opcua" in common:
        found.append(_make_source("", {}, common))
    for name, table in tables.items():
        found.append(_make_source(name, common, table))
    places = [(config.source, config.file) for config in found]
    if len(set(places)) < len(places):
        raise InputError(
            "Cannot use the settings of 'process'", needs="each file once is needed", got="one twice"
        )
    named = [config.source for config in found if isinstance(config, OpcuaSourceConfig) and config.batch_node]
    if len(named) > 1:
        raise InputError(
            "Cannot use the settings of 'process'",
            needs="one batch_node is needed",
            got=f"several: {', '.join(named)}",
        )
    return tuple(found)


def _check_common(common: Mapping[str, Any], has_tables: bool) -> None:
    """Reject what stands in ``[process]`` itself and would hold for nothing.

    Raises:
        InputError: a setting is none, both a file and a server are named, or a server's nodes have no server.
    """
    where = "the settings of 'process'"
    of_file, of_server = ({item.name for item in fields(kind)} for kind in (ProcessConfig, OpcuaSourceConfig))
    unknown = {key: value for key, value in common.items() if key not in of_file | of_server}
    if unknown:
        build_config(ProcessConfig, unknown, where=where)
    if {"file", "opcua"} <= set(common):
        raise InputError(f"Cannot use {where}", needs="file or opcua is needed, or a table each", got="both")
    if {"nodes", "batch_node"} & set(common) and not (has_tables or "opcua" in common):
        raise InputError(f"Cannot use {where}", needs="opcua is needed with nodes", got="none")


def _make_source(name: str, common: Mapping[str, Any], table: Mapping[str, Any]) -> SourceConfig:
    where = f"the settings of 'process.{name}'" if name else "the settings of 'process'"
    is_server = "opcua" in table
    kind: type[SourceConfig] = OpcuaSourceConfig if is_server else ProcessConfig
    # What holds for all: of a server, the part that it has too; poll_s is that of files.
    known = {item.name for item in fields(kind)} - ({"poll_s"} if is_server else set())
    alone = {"file", "opcua", "nodes", "batch_node"}
    own = {k: v for k, v in common.items() if k not in alone and (k in known or not is_server)}
    named = {"source": name} if name else {}
    config: SourceConfig = build_config(kind, own, named, table, where=where)
    if isinstance(config, OpcuaSourceConfig):
        if not config.nodes and not config.batch_node:
            hint = f"See georgia process {mask_credentials(config.opcua)}"
            raise InputError(f"Cannot use {where}", needs="nodes are needed", got="none", hint=f"{hint}.")
    elif not config.file:
        raise InputError(f"Cannot use {where}", needs="file or opcua is needed", got="none")
    return config
