"""By TLS the client follows a failover as it does without: in a cluster and behind sentinels."""

import asyncio
from pathlib import Path

from wires import CALM, PATIENT, open_url

from valtier.embedded import EmbeddedCluster, EmbeddedSentinel, ServerTls
from valtier.testing import Certificates, EmbeddedRedis, eventually
from valtier.wire import Status
from valtier.wire.cluster.slots import slot_of


async def test_a_cluster_is_followed_by_tls(
    tmp_path: Path, redis70: EmbeddedRedis, tls: ServerTls, certificates: Certificates
) -> None:
    """Every node's certificate is checked, for whatever it names itself."""
    with EmbeddedCluster(tmp_path, binary=redis70.binary, tls=tls) as servers:
        async with open_url(servers.tls_url, PATIENT, tls_ca=certificates.ca) as wire:
            secure = {node.tls_port for node in servers.nodes}
            assert len(wire.nodes()) == 3
            assert {link.endpoint.port for link in wire.nodes() if link.endpoint} <= secure
            assert await wire.call("MSET", *(word for n in range(50) for word in (f"k{n}", n))) == b"OK"
            old = servers.primary_of(slot_of("k1"))
            async with wire.subscribe("k1", sharded=True) as heard:
                await asyncio.to_thread(servers.failover, servers.replicas(old)[0])
                assert await wire.call("SET", "k1", "after") == b"OK"
                assert wire.link_for("k1").endpoint.port in secure - {old.tls_port}  # type: ignore[union-attr]
                await eventually(lambda: heard.live)
            async with wire.dedicated("k1") as own:
                assert await own.call("GET", "k1") == b"after"
        async with open_url(servers.tls_url, CALM, tls_ca=certificates.strange_ca) as stranger:
            assert not stranger.available


async def test_sentinels_are_asked_and_followed_by_tls(
    tmp_path: Path, redis70: EmbeddedRedis, tls: ServerTls, certificates: Certificates
) -> None:
    with EmbeddedSentinel(tmp_path, replicas=1, binary=redis70.binary, tls=tls) as servers:
        async with open_url(servers.tls_url, PATIENT, tls_ca=certificates.ca) as wire:
            assert await wire.call("SET", "k", "before") == b"OK"
            old = wire.link_for().endpoint
            assert old is not None
            assert old.port == servers.primary().tls_port
            await asyncio.to_thread(servers.failover)
            await eventually(lambda: wire.status is Status.READY and wire.link_for().endpoint != old)
            assert await wire.call("SET", "k", "after") == b"OK"
            feed = next(link for link in wire.telemetry.links if link.purpose == "commands")
            assert feed.server == f"127.0.0.1:{servers.primary().tls_port}"
        async with open_url(servers.tls_url, CALM, tls_ca=certificates.strange_ca) as stranger:
            assert not stranger.available
