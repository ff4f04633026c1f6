"""The servers that valtier's tests run against."""

from valtier.testing import own_valkey, postgres_server, valkey, valkey_server

__all__ = ["own_valkey", "postgres_server", "valkey", "valkey_server"]
