"""The servers that valtier's tests run against."""

from valtier.testing import (
    certificates,
    cluster,
    cluster_server,
    make_redis70,
    own_cluster,
    own_sentinel,
    own_valkey,
    postgres_server,
    redis70,
    redis70_for_certified,
    valkey,
    valkey81,
    valkey_server,
)

__all__ = [
    "certificates",
    "cluster",
    "cluster_server",
    "make_redis70",
    "own_cluster",
    "own_sentinel",
    "own_valkey",
    "postgres_server",
    "redis70",
    "redis70_for_certified",
    "valkey",
    "valkey81",
    "valkey_server",
]
