"""The cluster: many servers behind the one interface."""

from valtier.wire.cluster.client import Cluster
from valtier.wire.cluster.scan import scan
from valtier.wire.cluster.slots import slot_of

__all__ = ["Cluster", "scan", "slot_of"]
