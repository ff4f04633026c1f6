"""Real servers as pytest fixtures. What is shared lives for the whole run; what is a test's own may be harmed."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from valtier.embedded import EmbeddedCluster, EmbeddedPostgres, EmbeddedSentinel, EmbeddedValkey, valkey_81
from valtier.testing.certificates import Certificates, make_certificates
from valtier.testing.redis import EmbeddedRedis

POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}
VALKEY_SETTINGS = {"save": "", "enable-debug-command": "local"}

# Nobody harms the shared cluster: no pause of a busy machine shall look like a death in it.
_CALM_NODE_TIMEOUT_MS = 5000


@contextlib.contextmanager
def _directory(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"valtier-{name}-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole run, quick and not durable. Make databases of your own in it."""
    with (
        _directory("postgres") as directory,
        EmbeddedPostgres(directory, settings=POSTGRES_SETTINGS) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[EmbeddedValkey]:
    """One Valkey for the whole run. Tests that want it empty take `valkey`; those that harm it, `own_valkey`."""
    with _directory("valkey") as directory, EmbeddedValkey(directory, settings=VALKEY_SETTINGS) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: EmbeddedValkey) -> EmbeddedValkey:
    """The shared Valkey, empty."""
    valkey_server.flush()
    return valkey_server


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, to kill, freeze and restart."""
    with _directory("valkey") as directory, EmbeddedValkey(directory, settings=VALKEY_SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def valkey81() -> Iterator[EmbeddedValkey]:
    """One Valkey 8.1 for the whole run; `flush()` it where that matters."""
    with (
        _directory("valkey81") as directory,
        EmbeddedValkey(directory, settings=VALKEY_SETTINGS, binary=valkey_81()) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    """Certificates of this run's own authority, and bad ones of each kind."""
    with _directory("certificates") as directory:
        yield make_certificates(directory)


@pytest.fixture(scope="session")
def redis70(certificates: Certificates) -> Iterator[EmbeddedRedis]:
    """One Redis 7.0 for the whole run: a plain port, one for TLS, users; `flush()` it where that matters."""
    with _directory("redis") as directory, EmbeddedRedis(directory, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def redis70_for_certified(certificates: Certificates) -> Iterator[EmbeddedRedis]:
    """As `redis70`, but by TLS only clients with a certificate come in."""
    with _directory("redis") as directory, EmbeddedRedis(directory, certificates, clients="yes") as server:
        yield server


@pytest.fixture
def make_redis70(certificates: Certificates) -> Iterator[Callable[..., EmbeddedRedis]]:
    """Starts a Redis 7.0 of the test's own with the options of `EmbeddedRedis`, such as another `identity`."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> EmbeddedRedis:
            directory = stack.enter_context(_directory("redis"))
            return stack.enter_context(EmbeddedRedis(directory, certificates, **options))

        yield make


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[EmbeddedCluster]:
    """One cluster of three primaries and three replicas for the whole run; tests take `cluster` or `own_cluster`."""
    with (
        _directory("cluster") as directory,
        EmbeddedCluster(directory, node_timeout_ms=_CALM_NODE_TIMEOUT_MS) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(cluster_server: EmbeddedCluster) -> EmbeddedCluster:
    """The shared cluster, whole and empty. For reading and writing only: slots and roles stay as they are."""
    cluster_server.wait_until_healthy()
    cluster_server.flush()
    return cluster_server


@pytest.fixture
def own_cluster() -> Iterator[EmbeddedCluster]:
    """A cluster of the test's own, to kill, fail over and reshard; it starts in about three seconds."""
    with _directory("cluster") as directory, EmbeddedCluster(directory) as cluster:
        yield cluster


@pytest.fixture
def own_sentinel() -> Iterator[EmbeddedSentinel]:
    """A primary, two replicas and three sentinels of the test's own, to kill and fail over."""
    with _directory("sentinel") as directory, EmbeddedSentinel(directory) as sentinel:
        yield sentinel
