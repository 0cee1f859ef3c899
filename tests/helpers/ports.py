"""Ports that a server is told before it listens, or that it has to find again after a restart."""

from __future__ import annotations

import itertools
import os
import socket

# Below those that systems lend to outgoing connections, which would take a port between choice and use.
_FIRST, _N_WORKERS, _N_EACH = 10_000, 8, 750
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_count = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on and no other worker chooses."""
    for number in itertools.islice(_count, _N_EACH):
        port = _FIRST + _worker % _N_WORKERS * _N_EACH + number % _N_EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("No port is free")
