"""Two servers, of which a test makes one the other's replica."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from valtier.embedded import EmbeddedValkey
from valtier.testing.fixtures import VALKEY_SETTINGS

Pair = tuple[EmbeddedValkey, EmbeddedValkey]


@contextmanager
def two_servers(folder: Path) -> Iterator[Pair]:
    """Two running servers that know nothing of each other yet."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(EmbeddedValkey(folder / name, settings=VALKEY_SETTINGS))
            for name in ("first", "second")
        )
        yield first, second


def follow(replica: EmbeddedValkey, primary: EmbeddedValkey) -> None:
    replica.call("CONFIG", "SET", "masterauth", primary.password)
    replica.call("REPLICAOF", "127.0.0.1", primary.port)


def is_in_step(replica: EmbeddedValkey) -> bool:
    told = replica.call("INFO", "replication")
    return isinstance(told, bytes) and b"master_link_status:up" in told
