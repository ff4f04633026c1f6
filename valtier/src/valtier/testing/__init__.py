"""Help for tests: real servers as pytest fixtures, and waiting without sleeping blindly.

Import the fixtures in a conftest.py:

    from valtier.testing import own_valkey, postgres_server, valkey, valkey_server  # noqa: F401
"""

try:
    from valtier.testing.certificates import Certificates, Identity, make_certificates
    from valtier.testing.faults import Cut, FaultProxy, Way
    from valtier.testing.fixtures import (
        POSTGRES_SETTINGS,
        VALKEY_SETTINGS,
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
    from valtier.testing.redis import EmbeddedRedis
    from valtier.testing.waiting import eventually, process_is_gone, wait_until
except ModuleNotFoundError as exc:
    if exc.name not in {"cryptography", "h11", "pytest", "trustme"}:
        raise
    raise ImportError(f"valtier.testing needs {exc.name}: pip install 'valtier[testing]'") from exc

__all__ = [
    "POSTGRES_SETTINGS",
    "VALKEY_SETTINGS",
    "Certificates",
    "Cut",
    "EmbeddedRedis",
    "FaultProxy",
    "Identity",
    "Way",
    "certificates",
    "cluster",
    "cluster_server",
    "eventually",
    "make_certificates",
    "make_redis70",
    "own_cluster",
    "own_sentinel",
    "own_valkey",
    "postgres_server",
    "process_is_gone",
    "redis70",
    "redis70_for_certified",
    "valkey",
    "valkey81",
    "valkey_server",
    "wait_until",
]
