"""The wire: one multiplexed RESP3 connection to Valkey, with deadlines, a breaker and reconnection."""

from valtier.wire.address import Address
from valtier.wire.backoff import Backoff
from valtier.wire.client import Status, Valkey, WireOptions
from valtier.wire.connection import Argument, Reply
from valtier.wire.script import Script

__all__ = ["Address", "Argument", "Backoff", "Reply", "Script", "Status", "Valkey", "WireOptions"]
