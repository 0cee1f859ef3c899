"""A real OPC UA server in a process of its own, whose values a test sets, and which it kills and stops.

Each line on its stdin is a JSON object, ``{"node", "value", "type", "status", "source_s"}``; a line on its
stdout confirms it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from datetime import UTC
from pathlib import Path
from typing import Any

from tests.helpers.ports import free_port

NAMESPACE = "urn:test:reactor"
NODES: dict[str, Any] = {"T_r": 20.0, "T_j": 15.0, "Stirrer": 100, "Batch": "", "Valve": True}


class ServerProcess:
    """The server as a test uses it; ``close`` in a fixture ends it whatever the test did."""

    def __init__(
        self, port: int | None = None, clock_ahead_s: float = 0.0, folder: Path | None = None
    ) -> None:
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}/reactor"
        self._options = [str(clock_ahead_s), str(folder or "")]
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it can be connected to."""
        command = [sys.executable, "-m", "tests.helpers.opcua_server", str(self.port), *self._options]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._expect()

    def _expect(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == "ok\n", line

    def set(
        self, node: str, value: Any, kind: str = "", status: str = "Good", source_s: float | None = None
    ) -> None:
        """Write a value; ``source_s`` is its source timestamp, now by default."""
        assert self._process is not None
        assert self._process.stdin is not None
        told = {"node": node, "value": value, "type": kind, "status": status, "source_s": source_s}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        self._expect()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None

    def close(self) -> None:
        """End it, stopped or not."""
        self.kill()


async def _serve(port: int, clock_ahead_s: float, folder: str) -> None:
    from asyncua import Server, ua

    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/reactor")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    if folder:
        await _protect(server, Path(folder))
    # A controller whose program was changed may give another type of value: asyncua's own check keeps it off.
    server.iserver.aspace._is_expected_variant_type = lambda *_: True  # type: ignore[method-assign]
    space = await server.register_namespace(NAMESPACE)
    reactor = await server.nodes.objects.add_object(ua.NodeId("Reactor", space), "Reactor")
    nodes = {
        name: await reactor.add_variable(ua.NodeId(f"Reactor.{name}", space), name, value)
        for name, value in NODES.items()
    }
    unit = ua.EUInformation(DisplayName=ua.LocalizedText("degC"))
    await nodes["T_r"].add_property(0, "EngineeringUnits", unit)
    await nodes["T_r"].add_property(0, "EURange", ua.Range(Low=-10.0, High=150.0))
    server.iserver.disabled_clock = clock_ahead_s != 0
    async with server:
        clock = asyncio.ensure_future(_tick(server, clock_ahead_s)) if clock_ahead_s else None
        print("ok", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            told = json.loads(line)
            variant = ua.Variant(told["value"], *([ua.VariantType[told["type"]]] if told["type"] else []))
            at = _moment(time.time() if told["source_s"] is None else told["source_s"])
            status = ua.StatusCode(ua.UInt32(getattr(ua.StatusCodes, told["status"])))
            data = ua.DataValue(variant, status, SourceTimestamp=at, ServerTimestamp=_moment(time.time()))
            node_id, attribute = nodes[told["node"]].nodeid, ua.AttributeIds.Value
            await server.iserver.aspace.write_attribute_value(node_id, attribute, data)
            print("ok", flush=True)
        if clock is not None:
            clock.cancel()


def _moment(seconds: float) -> Any:
    from asyncua import ua

    return ua.DateTime.fromtimestamp(seconds, UTC)


async def _tick(server: Any, ahead_s: float) -> None:
    """Let the server say another time than this machine's."""
    from asyncua import ua

    node_id = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
    while True:
        data = ua.DataValue(ua.Variant(_moment(time.time() + ahead_s)))
        await server.iserver.aspace.write_attribute_value(node_id, ua.AttributeIds.Value, data)
        await asyncio.sleep(0.05)


async def _protect(server: Any, folder: Path) -> None:
    from asyncua import ua
    from asyncua.crypto.permission_rules import User, UserRole

    class Users:
        """One user."""

        def get_user(self, _: Any, username: str = "", password: Any = None, certificate: Any = None) -> Any:
            """Return the user, None where name or password is wrong."""
            given = password.decode() if isinstance(password, bytes) else password
            is_known = (username, given) == ("ann", "secret")
            return User(role=UserRole.User, name=username) if is_known else None

    server.iserver.user_manager = Users()
    await server.load_certificate(str(folder / "server.der"))
    await server.load_private_key(str(folder / "server.pem"))
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    server.set_identity_tokens([ua.UserNameIdentityToken])


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
