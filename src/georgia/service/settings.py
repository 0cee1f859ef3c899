"""What a service is called, who it runs as, and how soon it is started anew."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from georgia.config import Config, at_least
from georgia.errors import format_message

# What systemd allows in a unit's name is more; these need no quotes anywhere.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ServiceAction(StrEnum):
    """What is to be done with a service."""

    INSTALL = "install"
    STATUS = "status"
    REMOVE = "remove"


@dataclass(frozen=True)
class ServiceConfig(Config):
    """A service of the system.

    ``name``: of the unit, without ``.service``. ``account``: the user it runs as; "" is whoever installs it,
    which root must not be by default. ``watchdog_s``: the service is started anew if its loop gives no sign
    of life for so long, which must be above ``hung_after_s`` of the monitor; 0: never. ``restart_s``: the
    pause before that. ``folder``: of the units; "" is the system's, or the user's own where no root installs.
    Units in another folder are written and nothing is started, as an image of a machine is made.
    Source of the defaults: chosen. Three times the monitor's own limit (20 s): its own supervisor, which can
    say the reason, is to be first.
    """

    name: str = "georgia"
    account: str = ""
    watchdog_s: Annotated[float, at_least(0)] = 60.0
    restart_s: Annotated[float, at_least(0)] = 5.0
    folder: str = ""

    def find_faults(self) -> Iterable[str]:
        """Yield a fault where a name cannot be that of a unit or of an account."""
        if not _NAME.fullmatch(self.name):
            yield format_message("name", "letters, digits, '.', '_' and '-' are allowed", repr(self.name))
        if self.account and not _NAME.fullmatch(self.account):
            yield format_message("account", "it must be the name of an account", repr(self.account))
