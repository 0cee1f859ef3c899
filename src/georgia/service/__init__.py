"""A monitor or page as a service of the system: written, started with the machine, and started anew."""

from georgia.service.settings import ServiceAction, ServiceConfig
from georgia.service.status import ServiceStatus, read_status
from georgia.service.systemd import find_place, install_service, remove_service
from georgia.service.unit import render_unit

__all__ = [
    "ServiceAction",
    "ServiceConfig",
    "ServiceStatus",
    "find_place",
    "install_service",
    "read_status",
    "remove_service",
    "render_unit",
]
