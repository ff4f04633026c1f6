"""The embedded cluster: what the tests of failover and resharding rely on."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from valtier.embedded import ClusterNode, EmbeddedCluster, EmbeddedServerError, ServerReplyError
from valtier.embedded._cluster_view import SLOTS, View, find_trouble, parse_view
from valtier.testing import process_is_gone, wait_until

OWNER = """
import sys, time
from pathlib import Path
from valtier.embedded import EmbeddedCluster, EmbeddedSentinel

cluster = EmbeddedCluster(Path(sys.argv[1]) / "cluster", primaries=1)
sentinel = EmbeddedSentinel(Path(sys.argv[1]) / "sentinel", replicas=1)
cluster.start()
sentinel.start()
print(*(server.pid for server in (*cluster.nodes, *sentinel.nodes, *sentinel.sentinels)), flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def here(shared: EmbeddedCluster) -> EmbeddedCluster:
    """A cluster that these tests share and may harm: every node runs, and it is whole and empty."""
    for node in shared.nodes:
        if node.is_running:
            node.thaw()
        node.start()
    shared.wait_until_healthy()
    shared.flush()
    return shared


def slot_of(cluster: EmbeddedCluster, key: str) -> int:
    return int(cluster.nodes[0].call("CLUSTER", "KEYSLOT", key))


def set_up(cluster: EmbeddedCluster, *keys: str) -> tuple[int, ClusterNode, ClusterNode]:
    """Writes keys of one slot, down to the replica; returns the slot, its primary and another primary."""
    slot = slot_of(cluster, keys[0])
    source = cluster.primary_of(slot)
    with source.connect() as connection:
        for key in keys:
            connection.call("SET", key, "blue")
        assert connection.call("WAIT", 1, 5000) == 1
    return slot, source, next(node for node in cluster.primaries() if node is not source)


def test_every_slot_has_a_primary_and_every_primary_a_replica(here: EmbeddedCluster) -> None:
    primaries = here.primaries()
    assert len(here.nodes) == 6
    assert len(primaries) == 3
    assert [len(here.replicas(primary)) for primary in primaries] == [1, 1, 1]
    assert sorted((*primaries, *here.replicas()), key=id) == sorted(here.nodes, key=id)
    owners = [here.primary_of(slot) for slot in (0, SLOTS // 2, SLOTS - 1)]
    assert owners == primaries
    for node in here.nodes:
        info = node.call("CLUSTER", "INFO")
        assert b"cluster_state:ok" in info
        assert b"cluster_slots_ok:16384" in info


def test_the_url_names_every_node_and_the_one_password(here: EmbeddedCluster) -> None:
    seeds = ",".join(f"127.0.0.1:{node.port}" for node in here.nodes)
    assert here.url == f"redis://:{here.password}@{seeds}/0?cluster=true"
    assert here.password not in repr(here)
    for node in here.nodes:
        with pytest.raises(ServerReplyError, match="NOAUTH"), node.connect(password="") as connection:
            connection.call("PING")


def test_a_slot_that_is_none_is_told(here: EmbeddedCluster) -> None:
    with pytest.raises(EmbeddedServerError, match="slots are 0 to 16383"):
        here.primary_of(SLOTS)


def test_a_failover_on_request_changes_roles_and_loses_nothing(here: EmbeddedCluster) -> None:
    slot, old, _ = set_up(here, "colour")
    (replica,) = here.replicas(old)
    here.failover(replica)
    assert here.primary_of(slot) is replica
    assert here.replicas(replica) == [old]
    assert replica.call("GET", "colour") == b"blue"
    with pytest.raises(ServerReplyError, match=f"MOVED {slot} 127.0.0.1:{replica.port}"):
        old.call("GET", "colour")


def test_a_failover_to_a_primary_is_refused(here: EmbeddedCluster) -> None:
    with pytest.raises(EmbeddedServerError, match="one of its replicas"):
        here.failover(here.primaries()[0])


def test_a_replica_takes_over_from_a_killed_primary_which_comes_back_as_replica(
    here: EmbeddedCluster,
) -> None:
    slot, _, _ = set_up(here, "colour")
    (replica,) = here.replicas(here.primary_of(slot))
    killed = here.kill_primary_of(slot)
    assert not killed.is_running
    here.wait_until_healthy()
    assert here.primary_of(slot) is replica
    assert replica.call("GET", "colour") == b"blue"
    killed.start()
    here.wait_until_healthy()
    assert here.replicas(replica) == [killed]


def test_a_replica_takes_over_from_a_frozen_primary(here: EmbeddedCluster) -> None:
    frozen = here.primaries()[0]
    (replica,) = here.replicas(frozen)
    frozen.freeze()
    here.wait_until_healthy()
    assert here.primary_of(0) is replica
    frozen.thaw()
    here.wait_until_healthy()
    assert here.replicas(replica) == [frozen]


def test_slots_move_with_their_keys(here: EmbeddedCluster) -> None:
    keys = [f"{{colour}}:{number}" for number in range(250)]  # more than one batch
    slot, source, target = set_up(here, *keys)
    here.migrate_slots([slot], source, target)
    assert here.primary_of(slot) is target
    assert target.call("CLUSTER", "COUNTKEYSINSLOT", slot) == 250
    with pytest.raises(ServerReplyError, match=f"MOVED {slot} 127.0.0.1:{target.port}"):
        source.call("GET", keys[0])


def test_a_migration_can_be_stopped_half_way(here: EmbeddedCluster) -> None:
    """Then the source answers ASK for what it has no longer, and TRYAGAIN where it has only some."""
    slot, source, target = set_up(here, "{colour}:1", "{colour}:2", "{colour}:3")
    here.begin_migration(slot, target)
    assert here.primary_of(slot) is source
    assert source.call("MGET", "{colour}:1", "{colour}:2") == [b"blue", b"blue"]
    assert here.move_keys(slot, target, 1) == 1
    with pytest.raises(ServerReplyError, match="TRYAGAIN"):
        source.call("MGET", "{colour}:1", "{colour}:2", "{colour}:3")
    with pytest.raises(ServerReplyError, match=f"ASK {slot} 127.0.0.1:{target.port}"):
        source.call("GET", "{colour}:new")
    with target.connect() as connection:
        connection.call("ASKING")
        assert connection.call("GET", "{colour}:new") is None
        with pytest.raises(ServerReplyError, match="MOVED"):  # ASKING is for one command
            connection.call("GET", "{colour}:new")
    here.end_migration(slot, target)
    assert here.primary_of(slot) is target
    assert target.call("MGET", "{colour}:1", "{colour}:2", "{colour}:3") == [b"blue"] * 3


def test_flush_empties_primaries_and_replicas(here: EmbeddedCluster) -> None:
    _, source, _ = set_up(here, "colour")
    script = source.call("SCRIPT", "LOAD", "return 1")
    here.flush()
    assert source.call("SCRIPT", "EXISTS", script.decode()) == [0]
    assert [node.call("DBSIZE") for node in here.nodes] == [0] * 6


def test_what_is_missing_is_told(here: EmbeddedCluster) -> None:
    primary = here.primaries()[0]
    for node in (*here.replicas(primary), primary):
        node.kill()
    with pytest.raises(EmbeddedServerError, match=r"not healthy after 3 s: .* no primary that runs"):
        here.wait_until_healthy(deadline_s=3)


def test_a_node_whose_port_was_taken_meanwhile_tells_it(here: EmbeddedCluster) -> None:
    node = here.replicas()[0]
    node.kill()
    for port in (node.port, node.bus_port):
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(EmbeddedServerError, match=f"port {port}"),
        ):
            node.start()
    node.start()


def test_a_cluster_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    cluster = EmbeddedCluster(tmp_path, primaries=2, replicas=0, password="")
    with cluster:
        first = [node.pid for node in cluster.nodes]
        assert "@" not in cluster.url
    assert all(process_is_gone(pid) for pid in first)
    with cluster:
        assert [len(cluster.primaries()), cluster.replicas()] == [2, []]
    with pytest.raises(EmbeddedServerError, match=r"start\(\) it first"):
        cluster.primaries()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has a parent-death signal")
def test_no_node_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:  # noqa: S603
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert len(pids) == 2 + 2 + 3
    wait_until(lambda: all(process_is_gone(pid) for pid in pids))


def view(*lines: str) -> View:
    return parse_view("\n".join(lines))


A = "aaaaaaaa 127.0.0.1:1@11,, {}master - 0 0 1 connected 0-8000 8002 [8002->-bbbbbbbb]"
B = "bbbbbbbb 127.0.0.1:2@12,, {}master - 0 0 2 connected 8001 8003-16383"
C = "cccccccc 127.0.0.1:3@13,, {}slave bbbbbbbb 0 0 2 connected"


def test_a_view_is_read_with_ranges_and_single_slots() -> None:
    nodes = view(A.format("myself,"), C.format(""))
    assert nodes["aaaaaaaa"].slots == frozenset({*range(8001), 8002})
    assert nodes["cccccccc"].primary_id == "bbbbbbbb"
    assert nodes["aaaaaaaa"].is_well


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        (B.format(""), None),
        (B.format("fail?,"), "aaaaaaaa does not see bbbbbbbb"),
        (B.format("").replace("connected", "disconnected"), "aaaaaaaa does not see bbbbbbbb"),
        (B.format("").replace("bbbbbbbb", "dddddddd"), "aaaaaaaa does not see bbbbbbbb"),
        (B.format("").replace("16383", "16000"), "bbbbbbbb and aaaaaaaa do not agree on roles and slots"),
    ],
)
def test_nodes_are_a_whole_cluster_only_if_all_see_and_agree(line: str, trouble: str | None) -> None:
    seen_by_a = view(A.format("myself,"), line)
    seen_by_b = view(A.format(""), B.format("myself,"))
    assert find_trouble({"aaaaaaaa": seen_by_a, "bbbbbbbb": seen_by_b}) == trouble


def test_slots_of_a_node_that_does_not_run_are_missing() -> None:
    assert find_trouble({"aaaaaaaa": view(A.format("myself,"))}) == "8382 slots have no primary that runs"
    assert find_trouble({}) == "no node runs"
