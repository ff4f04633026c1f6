"""Ports on 127.0.0.1: which are free."""

import random
import socket

from valtier.embedded._errors import EmbeddedServerError

_HOST = "127.0.0.1"

# Below what Linux and macOS give to outgoing connections: a client that dials a dead server again and again
# could otherwise be given that very port, and connect to itself.
_FIRST, _LAST = 20000, 31999


def port_is_free(port: int) -> bool:
    """Tells whether a server could listen on this port of 127.0.0.1 now.

    Raises:
        PermissionError: the port is below 1024 and reserved for root.
    """
    with socket.socket() as probe:
        # As servers do, and as a restart on the same port needs: old connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except PermissionError:
            raise
        except OSError:
            return False
    return True


def free_port() -> int:
    """Returns a port of 127.0.0.1 on which nothing listens. It is not reserved: use it soon."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Returns so many different ports of 127.0.0.1 on which nothing listens."""
    ports: set[int] = set()
    for _ in range(200 + count):
        if len(ports) == count:
            return list(ports)
        port = random.randint(_FIRST, _LAST)
        if port_is_free(port):
            ports.add(port)
    raise EmbeddedServerError(f"no free port found between {_FIRST} and {_LAST}; give one with port=…")
