"""Several probes on one service: the tables ``[probes.NAME]`` of a settings file.

What stands in ``[monitor]``, ``[process]`` and ``[moments]`` holds for all probes, and a probe's own table
overrides it.
Each has a store of its own, so that nothing that happens to one reaches another.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from georgia.config import Config, above, build_config
from georgia.errors import InputError, mask_credentials
from georgia.monitor.connect import describe_database, find_file
from georgia.monitor.settings import MonitorConfig
from georgia.process.moments.settings import MomentsConfig, make_moments_settings
from georgia.process.settings import SourceConfig, make_process_settings

# What a URL, a topic of MQTT, a label of Prometheus, a node of OPC UA and a file name all take as it is.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
# A network folder that hangs must not keep the service from starting.
_RESOLVE_S = 2.0
_WHERE = "the settings of 'probes'"
_DEFAULT = MonitorConfig()
T = TypeVar("T")


@dataclass(frozen=True)
class ProbeConfig(Config):
    """Everything that ``[probes.NAME]`` may say: all of ``[monitor]``, and these.

    ``model`` is a run folder or an exported file; without it, that of the command line. ``weight`` is the
    probe's part of the net where several wait for it.
    """

    renamed: ClassVar[Mapping[str, str]] = MonitorConfig.renamed

    model: Path | None = None
    weight: Annotated[float, above(0, 100)] = 1.0
    monitor: MonitorConfig = _DEFAULT


@dataclass(frozen=True)
class Probe:
    """One probe: its name, its settings, the files of process data beside it, how moments are found."""

    name: str
    config: ProbeConfig
    process: tuple[SourceConfig, ...] = ()
    moments: MomentsConfig = field(default_factory=MomentsConfig)

    @property
    def monitor(self) -> MonitorConfig:
        """Return the settings of its monitor."""
        return self.config.monitor


def make_probes(
    document: Mapping[str, Any], changes: Mapping[str, Any], operator: str = ""
) -> tuple[Probe, ...]:
    """Return the probes of a whole settings file, in its order; none without ``[probes]``.

    ``changes`` are settings of the command line, which hold for all probes and override the file.

    Raises:
        InputError: a name or setting cannot be used, or two probes have one folder, store, topic or anchor.
    """
    tables = document.get("probes", {})
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise InputError(
            f"Cannot use {_WHERE}",
            needs="a table for each probe is needed",
            got="a setting without a probe",
            hint="Example: [probes.reactor-1]",
        )
    _check_names(list(tables))
    shared = {name: document.get(name, {}) for name in ("monitor", "process", "moments")}
    _check_common(shared["monitor"])
    probes = tuple(_make_probe(name, table, shared, changes, operator) for name, table in tables.items())
    _check_apart(probes)
    return probes


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"Cannot use {_WHERE}",
                needs="names of 1 to 40 letters A–Z, digits, - and _ are needed, a letter or digit first",
                got=repr(name[:60]),
                hint="It stands in addresses, topics, labels and file names.",
            )
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"Cannot use {_WHERE}",
                needs="names that differ in more than their case are needed",
                got=f"{other!r} and {name!r}",
            )


def _check_common(common: Mapping[str, Any]) -> None:
    for name in ("watch", "source"):
        if name in common:
            raise InputError(
                "Cannot use the settings of 'monitor'",
                needs=f"with [probes], {name} is needed in each probe's table",
                got=f"it in [monitor] ({common[name]!r})",
            )


def _make_probe(
    name: str,
    table: Mapping[str, Any],
    shared: Mapping[str, Mapping[str, Any]],
    changes: Mapping[str, Any],
    operator: str,
) -> Probe:
    where = f"the settings of 'probes.{name}'"
    own = {key.replace("-", "_"): value for key, value in table.items() if key not in ("process", "moments")}
    if "opcua" in own or any(key.startswith("opcua_") for key in own):
        raise InputError(
            f"Cannot use {where}", needs="opcua is needed in [monitor]: one server shows all", got="it here"
        )
    # First as they stand, so that a fault is told once and with the name that was given.
    config = build_config(ProbeConfig, {"operator": operator}, shared["monitor"], own, changes, where=where)
    config = replace(config, monitor=_tell_apart(name, config.monitor, own))
    if config.monitor.watch == Path():
        raise InputError(f"Cannot use {where}", needs="watch, the probe's folder, is needed", got="none")
    tables = {key: table.get(key, {}) for key in ("process", "moments")}
    for key, found in tables.items():
        for each in (found, shared[key]):
            if not isinstance(each, Mapping):
                raise InputError(f"Cannot use {where}", needs=f"{key!r} must be a table", got=repr(each))
    moments = make_moments_settings(shared["moments"], tables["moments"], where=f"probes.{name}.moments")
    return Probe(name, config, make_process_settings({**shared["process"], **tables["process"]}), moments)


def _tell_apart(name: str, config: MonitorConfig, own: Mapping[str, Any]) -> MonitorConfig:
    """Put the probe's name into what all probes have from ``[monitor]`` and each needs for itself."""
    changes: dict[str, Any] = {}
    if "db" not in own:
        file = find_file(config.db)
        if file is None:
            raise InputError(
                f"Cannot use the settings of 'probes.{name}'",
                needs="db, a database of its own, is needed",
                got=f"none, and one for all in [monitor] ({mask_credentials(config.db)!r})",
            )
        changes["db"] = str(_add_name(file, name))
    if config.anchor and "anchor" not in own:
        changes["anchor"] = str(_add_name(Path(config.anchor), name))
    if "mqtt_topic" not in own:
        topic = f"{config.mqtt.mqtt_topic.rstrip('/')}/{name}"
        changes["mqtt"] = replace(config.mqtt, mqtt_topic=topic)
    if config.webhook_link and "webhook_link" not in own:
        changes["webhook_link"] = f"{config.webhook_link.partition('#')[0].rstrip('/')}/probes/{name}/"
    return replace(config, **changes)


def _add_name(file: Path, name: str) -> Path:
    """Return ``plant.db`` as ``plant-NAME.db``."""
    return file.with_name(f"{file.stem}-{name}{file.suffix}")


def _check_apart(probes: Sequence[Probe]) -> None:
    """Reject two probes that would write into one place, or take one frame twice.

    Raises:
        InputError: folders are the same or one lies in the other; stores, topics or anchors are the same.
    """
    folders = {probe.name: _resolve(probe.monitor.watch) for probe in probes}
    stores = {probe.name: _place_of(probe.monitor.db) for probe in probes}
    for one, other in combinations(probes, 2):
        first, second = folders[one.name], folders[other.name]
        if first == second or first in second.parents or second in first.parents or _is_same(first, second):
            raise _not_apart(one, other, "folder", f"{str(first)!r} and {str(second)!r}")
        if stores[one.name] == stores[other.name] or _is_same(stores[one.name], stores[other.name]):
            raise _not_apart(one, other, "store", repr(mask_credentials(one.monitor.db)))
        if one.monitor.mqtt.mqtt and _topic_of(one) == _topic_of(other):
            raise _not_apart(one, other, "mqtt_topic", repr(one.monitor.mqtt.mqtt_topic))
        if one.monitor.anchor and _place_of(one.monitor.anchor) == _place_of(other.monitor.anchor):
            raise _not_apart(one, other, "anchor", repr(one.monitor.anchor))


def _topic_of(probe: Probe) -> tuple[str, str]:
    return probe.monitor.mqtt.mqtt, probe.monitor.mqtt.mqtt_topic.strip("/")


def _not_apart(one: Probe, other: Probe, what: str, got: str) -> InputError:
    return InputError(
        f"Cannot use the probes {one.name!r} and {other.name!r}",
        needs=f"a {what} of its own is needed for each",
        got=got,
    )


def _place_of(address: str) -> Path | tuple[str, ...]:
    """Return what is the same for two addresses of one store: the resolved file, or server and database."""
    file = find_file(address)
    return _resolve(file) if file is not None else describe_database(address)


def _is_same(one: object, other: object) -> bool:
    """Tell whether two paths are one file by the system's own numbers: a hard link, a mount, another case."""
    if not isinstance(one, Path) or not isinstance(other, Path):
        return False

    def compare() -> bool:
        try:
            return os.path.samefile(one, other)  # noqa: PTH121 - both may be away
        except OSError:
            return False

    return _within(compare, False)


def _resolve(path: Path) -> Path:
    plain = Path(os.path.abspath(path))  # noqa: PTH100 - asks no disk, which may hang
    return _within(lambda: Path(os.path.realpath(path)), plain)


def _within(ask: Callable[[], T], otherwise: T) -> T:
    """Return what a disk says, or something else where it does not respond in time."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(ask()), daemon=True)
    thread.start()
    thread.join(_RESOLVE_S)
    return found[0] if found else otherwise


def list_names(probes: Iterable[Probe]) -> str:
    """Return the probes' names as a text."""
    return ", ".join(probe.name for probe in probes)
