"""What a qualification is of, and what it demands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from georgia.config import Config, Rule, above, at_least


@dataclass(frozen=True)
class QualifyConfig(Config):
    """The installation that is checked, and limits; ``""`` and None are: not named, and so not checked.

    ``model`` is a run folder or ``.onnx``, "" the bundled model. ``db``, ``watch``, ``frames``, ``host``,
    ``port`` and ``time_zone`` are those of the running installation, which is only read. ``lock`` is a file
    of pinned versions (``name==version`` a line). ``drills``: faults on a scratch store. ``scratch``: the
    folder for them, best on the store's disk, whose write latency is measured there; "" is the system's
    temporary one. ``min_free_gb``: free room that every disk must have. ``max_write_s``: the longest time
    that 4 KB may take until they are on the disk.
    Source of the limits: chosen. 5 GB are 50,000 frames of 100 KB with their maps; a monitor polls once a
    second, so that a write of more than a second holds up every frame.
    """

    model: str = ""
    db: str = ""
    watch: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Rule("0 (none) to 65535", lambda port: 0 <= port <= 65535)] = 8420
    time_zone: str = "local"
    lock: Path | None = None
    drills: bool = True
    scratch: str = ""
    min_free_gb: Annotated[float, at_least(0)] = 5.0
    max_write_s: Annotated[float, above(0)] = 1.0
