"""The outbox: invalidations that commit with the PostgreSQL transaction, and triggers that write them."""

from valtier.outbox.names import Invalidate
from valtier.outbox.outbox import Outbox
from valtier.outbox.schema import OutboxSchema
from valtier.outbox.stats import OutboxStats

__all__ = ["Invalidate", "Outbox", "OutboxSchema", "OutboxStats"]
