"""The cache: entries in Valkey and in the process, leases, tags, single-flight, policies."""

from valtier.cache.cache import Cache
from valtier.cache.decorator import CachedFunction
from valtier.cache.namespace import Namespace
from valtier.cache.policy import Policy
from valtier.cache.spaces import NamespaceStats
from valtier.cache.warming import Warmed

__all__ = ["Cache", "CachedFunction", "Namespace", "NamespaceStats", "Policy", "Warmed"]
