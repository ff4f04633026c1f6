"""The wire: one multiplexed RESP3 connection to Valkey, with deadlines, a breaker and reconnection."""

from valtier.wire.address import Address, Endpoint, Topology
from valtier.wire.backoff import Backoff
from valtier.wire.client import Valkey
from valtier.wire.cluster.scan import scan
from valtier.wire.connection import Argument, Reply
from valtier.wire.dedicated import Dedicated
from valtier.wire.link import Link, Status
from valtier.wire.options import WireOptions
from valtier.wire.pubsub import Gap, Message, Subscription
from valtier.wire.reign import reign_of, short_run_id
from valtier.wire.script import Script
from valtier.wire.tls import Tls
from valtier.wire.url import parse_url

__all__ = [
    "Address",
    "Argument",
    "Backoff",
    "Dedicated",
    "Endpoint",
    "Gap",
    "Link",
    "Message",
    "Reply",
    "Script",
    "Status",
    "Subscription",
    "Tls",
    "Topology",
    "Valkey",
    "WireOptions",
    "parse_url",
    "reign_of",
    "scan",
    "short_run_id",
]
