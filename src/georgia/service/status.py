"""What the system says of a service, and what its monitor says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georgia.service.settings import ServiceConfig
from georgia.service.systemd import find_unit, has_manager, run_manager

_PROPERTIES = ("ActiveState", "SubState", "StatusText", "NRestarts", "UnitFileState", "Result", "MainPID")


@dataclass(frozen=True)
class ServiceStatus:
    """A service as systemd sees it; "unknown" states where systemd does not run.

    ``says`` is the monitor's own last word: its state, and since when. ``restarts`` counts how often it was
    started anew. ``enabled``: whether it starts with the machine.
    """

    name: str
    unit: Path
    is_installed: bool
    state: str = "unknown"
    detail: str = ""
    says: str = ""
    restarts: int = 0
    enabled: str = ""
    result: str = ""
    pid: int = 0

    @property
    def is_running(self) -> bool:
        """Return whether systemd says that it runs."""
        return self.state == "active"

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {**asdict(self), "unit": str(self.unit), "is_running": self.is_running}


def read_status(config: ServiceConfig) -> ServiceStatus:
    """Return what is known of a service now.

    Raises:
        InputError: this system has no systemd, or systemctl cannot be run.
    """
    path = find_unit(config)
    if not path.exists():
        return ServiceStatus(config.name, path, False, "not installed")
    if not has_manager(config):
        return ServiceStatus(config.name, path, True)
    text = run_manager("show", path.name, "--property=" + ",".join(_PROPERTIES))
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return ServiceStatus(
        config.name,
        path,
        True,
        state=found.get("ActiveState") or "unknown",
        detail=found.get("SubState", ""),
        says=found.get("StatusText", ""),
        restarts=_to_int(found.get("NRestarts", "")),
        enabled=found.get("UnitFileState", ""),
        result=found.get("Result", ""),
        pid=_to_int(found.get("MainPID", "")),
    )


def _to_int(text: str) -> int:
    return int(text) if text.isdigit() else 0
