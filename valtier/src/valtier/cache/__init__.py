"""The cache: entries in Valkey, leases, tags, single-flight."""

from valtier.cache.cache import Cache
from valtier.cache.decorator import CachedFunction
from valtier.cache.stats import NamespaceStats

__all__ = ["Cache", "CachedFunction", "NamespaceStats"]
