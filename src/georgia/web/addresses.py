"""Whose request it is: the address that limits are counted by, and the proxies whose word is taken for it."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable

ADDRESS_UNKNOWN = ""


def group_address(address: str) -> str:
    """Return what limits are counted by: an IPv4 address, or the /64 network of an IPv6 address.

    Whoever has one IPv6 address has 2^64. Source: RFC 6177.

    >>> group_address("10.0.0.7"), group_address("2001:db8::1"), group_address("::ffff:10.0.0.7")
    ('10.0.0.7', '2001:db8::/64', '10.0.0.7')
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed) if parsed.is_loopback else str(ipaddress.ip_network((parsed, 64), strict=False))


def is_network(text: str) -> bool:
    """Return whether a text is an address or a network such as 10.0.0.0/8."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


class Proxies:
    """The proxies that may say from whom a request comes; by default none is believed.

    >>> Proxies(["10.0.0.0/8"]).find_client("10.0.0.1", ["6.6.6.6, 192.0.2.7, 10.0.0.2"])
    '192.0.2.7'
    >>> Proxies([]).find_client("10.0.0.1", ["192.0.2.7"])
    '10.0.0.1'
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in networks]

    def trust(self, address: str) -> bool:
        """Return whether an address is a trusted proxy's."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks if network.version == parsed.version)

    def find_client(self, peer: str, forwarded: Iterable[str]) -> str:
        """Return the nearest address that no trusted proxy has: ``forwarded`` is what X-Forwarded-For holds.

        Each proxy adds at the right from whom it got the request, so only what stands right of the last
        trusted one is known; anybody can send the rest.
        """
        client = peer
        hops = [hop.strip() for line in forwarded for hop in line.split(",")]
        while self.trust(client) and hops:
            hop = _without_port(hops.pop())
            if not is_network(hop):
                break
            client = hop
        return client


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


class Slots:
    """So many at once in total and for each address. Not for threads: it is used by one event loop.

    >>> slots = Slots(3, 2)
    >>> [slots.take("a"), slots.take("a"), slots.take("a"), slots.take("b"), slots.take("c")]
    ['', '', 'address', '', 'total']
    """

    def __init__(self, total: int, per_address: int) -> None:
        self._total, self._per_address = total, per_address
        self._taken: Counter[str] = Counter()

    def take(self, address: str) -> str:
        """Take one; return "", or which limit stands against it: "total" or "address"."""
        if address and self._taken[address] >= self._per_address:
            return "address"
        if self._taken.total() >= self._total:
            return "total"
        self._taken[address] += 1
        return ""

    def give_back(self, address: str) -> None:
        """Return one."""
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]
