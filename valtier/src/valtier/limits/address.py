"""The client's address: found behind proxies that are trusted, and never taken from a client's own word.

Design
    Each proxy appends the address that it was asked from to `X-Forwarded-For`. Only the entries that trusted proxies wrote
    are true, so the header is read from right to left: from the peer of the connection, past each hop that is trusted, to
    the first that is not. If the peer is not trusted, the header is not looked at. An entry that is no address ends the
    walk: the client counts as the trusted hop that reported it.

    One customer has at least a /64 of IPv6, which is what counts. IPv4 in IPv6 (`::ffff:192.0.2.1`) is IPv4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from valtier.asgi import Scope, header_values
from valtier.errors import ConfigurationError

UNKNOWN: Final = "unknown"
"""The client of a connection that has no address, such as a Unix socket's; all of them together."""
UNIX: Final = "unix"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MOST_HOPS = 32
_MOST_BYTES = 4096
_LONGEST = 64


class ClientAddress:
    """Finds whose request it is. Pure: it keeps nothing and asks nobody."""

    def __init__(
        self, trusted: Iterable[str] = (), *, header: str = "X-Forwarded-For", ipv6_prefix: int = 64
    ) -> None:
        """Prepares it.

        Args:
            trusted: the proxies in front of the application: addresses and networks, such as `10.0.0.0/8`; `unix` for
                whoever connects by a Unix socket. Without any, the peer of the connection is the client.
            header: where these proxies report the client: `X-Forwarded-For` or `Forwarded`. They have to append to it, or
                replace what a client has sent.
            ipv6_prefix: how many bits of an IPv6 address tell clients apart.

        Raises:
            ConfigurationError: `*`, or a network of everybody: then every client may say who it is.
        """
        if isinstance(trusted, str):
            raise ConfigurationError(f"trusted is a list of addresses and networks: [{trusted!r}]")
        names = [name.strip() for name in trusted]
        self._unix = UNIX in names
        self._networks = tuple(_network(name) for name in names if name != UNIX)
        if header.lower() not in ("x-forwarded-for", "forwarded"):
            raise ConfigurationError(f"header is X-Forwarded-For or Forwarded, not {header!r}")
        if not 1 <= ipv6_prefix <= 128:
            raise ConfigurationError(f"ipv6_prefix is 1 to 128, not {ipv6_prefix!r}")
        self._header = header.lower().encode()
        self._prefix = ipv6_prefix
        self._trusts_any = bool(names)

    def of(self, scope: Scope) -> str:
        """Returns the client of a request: `203.0.113.9`, `2001:db8::/64`, or `unknown`."""
        client = scope.get("client")
        peer = client[0] if client else None
        if not self._trusts_any:
            return subject(peer, self._prefix)
        return self.find(peer, header_values(scope, self._header))

    def find(self, peer: str | None, forwarded: Iterable[bytes] = ()) -> str:
        """Returns the client behind `peer`, given the values of the header in their order."""
        found = parse(peer)
        if not self._trusts(peer, found):
            return subject(peer, self._prefix)
        read = _elements if self._header == b"forwarded" else _entries
        for entry in read(forwarded):
            hop = parse(entry)
            if hop is None:
                break
            found = hop
            if not self._is_trusted(hop):
                break
        return UNKNOWN if found is None else _shown(found, self._prefix)

    def _trusts(self, peer: str | None, address: Address | None) -> bool:
        if address is None:
            return self._unix and not peer  # what a server calls the peer of a Unix socket
        return self._is_trusted(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(maxsize=4096)
def parse(text: str | None) -> Address | None:
    """Reads an address in any of the forms that proxies write; None if it is none.

    `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, in quotes or not, with a zone or not.
    """
    if not text or len(text) > _LONGEST:
        return None
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in text or not _is_port(port):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4096)
def subject(address: str | None, ipv6_prefix: int = 64) -> str:
    """Returns what counts of an address: IPv4 as it is, IPv6 as its network; `unknown` if it is no address."""
    found = parse(address)
    if found is None and address is not None and "/" in address:  # what this function has returned for IPv6
        found = parse(address.partition("/")[0])
    return UNKNOWN if found is None else _shown(found, ipv6_prefix)


def _shown(address: Address, ipv6_prefix: int) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, ipv6_prefix), strict=False))


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6)


def _network(name: str) -> Network:
    if name in ("*", "0.0.0.0/0", "::/0"):
        raise ConfigurationError(
            f"trusting {name!r} lets every client say who it is: name the proxies' addresses or networks"
        )
    try:
        network = ip_network(name, strict=False)
    except ValueError as exc:
        raise ConfigurationError(f"{name!r} is neither an address nor a network nor 'unix'") from exc
    if not network.prefixlen:
        raise ConfigurationError(f"trusting {name!r} lets every client say who it is")
    return network


def _entries(values: Iterable[bytes]) -> Iterator[str]:
    """The entries of `X-Forwarded-For`, the last one first; no more than a chain of proxies has."""
    joined = b",".join(values)[-_MOST_BYTES:]
    for entry in reversed(joined.rsplit(b",", _MOST_HOPS)[-_MOST_HOPS:]):
        yield entry.decode("latin-1").strip()


def _elements(values: Iterable[bytes]) -> Iterator[str]:
    """The `for` of each element of `Forwarded` (RFC 7239), the last one first; empty where an element has none."""
    for element in _entries(values):
        found = ""
        for pair in element.split(";"):
            name, _, value = pair.strip().partition("=")
            if name.strip().lower() == "for":
                found = value.strip()
                break
        yield found
