"""How patient and how large the transport is."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from valtier.errors import ConfigurationError
from valtier.wire.backoff import Backoff

SHORTEST_DEADLINE_S = 0.02
LONGEST_SPIN_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOptions:
    """The limits of the transport; each holds for one connection to one server.

    Raises:
        ConfigurationError: a limit is not positive, or the protocol is neither 2 nor 3.
    """

    deadline_s: float = 0.1
    """The longest a command waits for its reply; 20 ms at least."""
    connect_timeout_s: float = 1.0
    """The longest a connection may take to be opened and greeted."""
    drop_after_s: float = 2.0
    """A connection that has answered nothing for so long after a missed deadline is given up."""
    max_in_flight: int = 65_536
    """Commands sent and not answered; past that, a call fails at once."""
    max_queued_bytes: int = 64 * 1024 * 1024
    """Bytes of commands that the server is too slow to read; past that, a call fails at once."""
    max_reply_bytes: int = 128 * 1024 * 1024
    """The largest reply that is read into memory."""
    client_name: str = "valtier"
    """The connection's name in `CLIENT LIST`."""
    protocol: int = 3
    """RESP3; or RESP2, which knows no pushes, hence no tracking."""
    spin_s: float = 50e-6
    """How long a lonely command is waited for without sleeping: waking up costs more than Valkey's answer. 0: never; 1 ms at most."""
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        for name in (
            "deadline_s",
            "connect_timeout_s",
            "drop_after_s",
            "max_in_flight",
            "max_queued_bytes",
            "max_reply_bytes",
        ):
            if not 0 < getattr(self, name) < inf:
                raise ConfigurationError(f"{name} has to be more than 0, and finite")
        if self.deadline_s < SHORTEST_DEADLINE_S:
            raise ConfigurationError(
                f"deadline_s is {SHORTEST_DEADLINE_S} at least: the event loop's timers are no finer"
            )
        if not 0 <= self.spin_s <= LONGEST_SPIN_S:
            raise ConfigurationError(
                f"spin_s is 0 (never) to {LONGEST_SPIN_S}: other processes want the CPU too"
            )
        if self.protocol not in (2, 3):
            raise ConfigurationError("protocol is 3 or 2")
