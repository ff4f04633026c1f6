"""The embedded sentinels and their servers: what the tests of failover by Sentinel rely on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from valtier.embedded import EmbeddedSentinel, EmbeddedServerError, EmbeddedValkey, ServerReplyError
from valtier.testing import process_is_gone


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSentinel]:
    with EmbeddedSentinel(tmp_path_factory.mktemp("sentinel")) as sentinel:
        yield sentinel


@pytest.fixture
def here(shared: EmbeddedSentinel) -> EmbeddedSentinel:
    """A set that these tests share and may harm: every server runs, and all know each other."""
    for server in (*shared.nodes, *shared.sentinels):
        if server.is_running:
            server.thaw()
        server.start()
    shared.wait_until_healthy()
    return shared


def write(server: EmbeddedValkey, key: str, value: str, replicas: int) -> None:
    """Sets a key and returns when so many replicas have it."""
    with server.connect() as connection:
        connection.call("SET", key, value)
        assert connection.call("WAIT", replicas, 5000) == replicas


def test_three_sentinels_name_a_primary_that_two_replicas_follow(here: EmbeddedSentinel) -> None:
    primary = here.primary()
    assert len(here.sentinels) == 3
    assert {sentinel.primary_port() for sentinel in here.sentinels} == {primary.port}
    assert primary.call("ROLE")[0] == b"master"
    assert [replica.call("ROLE")[0] for replica in here.replicas()] == [b"slave", b"slave"]
    quorum = here.sentinels[0].call("SENTINEL", "CKQUORUM", "mymaster")
    assert quorum.startswith(b"OK 3 usable Sentinels")


def test_the_url_names_the_sentinels_and_the_service(here: EmbeddedSentinel) -> None:
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in here.sentinels)
    assert here.url == f"redis+sentinel://:{here.password}@{hosts}/mymaster/0"
    with pytest.raises(ServerReplyError, match="NOAUTH"), here.primary().connect(password="") as connection:
        connection.call("PING")


def test_a_failover_on_request_makes_a_replica_the_primary(here: EmbeddedSentinel) -> None:
    old = here.primary()
    write(old, "colour", "blue", replicas=2)
    new = here.failover()
    assert new is not old
    assert here.primary() is new
    assert new.call("GET", "colour") == b"blue"
    assert old in here.replicas()
    with pytest.raises(ServerReplyError, match="READONLY"):
        old.call("SET", "colour", "red")


def test_a_replica_takes_over_from_a_killed_primary_which_comes_back_as_replica(
    here: EmbeddedSentinel,
) -> None:
    write(here.primary(), "colour", "green", replicas=2)
    killed = here.kill_primary()
    assert not killed.is_running
    here.wait_until_healthy()
    new = here.primary()
    assert new is not killed
    assert new.call("GET", "colour") == b"green"
    killed.start()
    here.wait_until_healthy()
    assert here.primary() is new
    assert killed.call("GET", "colour") == b"green"


def test_a_replica_takes_over_from_a_frozen_primary(here: EmbeddedSentinel) -> None:
    frozen = here.primary()
    frozen.freeze()
    here.wait_until_healthy()
    assert here.primary() is not frozen
    frozen.thaw()
    here.wait_until_healthy()
    assert frozen in here.replicas()


def test_two_sentinels_are_enough_and_the_third_catches_up(here: EmbeddedSentinel) -> None:
    first = here.sentinels[0]
    name = first.call("SENTINEL", "MYID")
    first.kill()
    here.kill_primary()
    here.wait_until_healthy()
    new = here.primary()
    first.start()
    here.wait_until_healthy()
    assert first.primary_port() == new.port
    assert first.call("SENTINEL", "MYID") == name


def test_what_is_missing_is_told(here: EmbeddedSentinel) -> None:
    for node in here.nodes:
        node.kill()
    with pytest.raises(EmbeddedServerError, match=r"not healthy after 0.1 s: the primary, \d+, is gone"):
        here.wait_until_healthy(deadline_s=0.1)
    assert here.replicas() == []


def test_sentinels_can_have_a_password_of_their_own(tmp_path: Path) -> None:
    sentinel = EmbeddedSentinel(
        tmp_path, service="orders", replicas=1, password="", sentinel_password="open sesame"
    )
    with sentinel:
        assert sentinel.url.startswith("redis+sentinel://127.0.0.1:")
        assert sentinel.url.endswith("/orders/0")
        first = sentinel.sentinels[0]
        with pytest.raises(ServerReplyError, match="NOAUTH"), first.connect(password="") as connection:
            connection.call("SENTINEL", "MASTERS")
        assert sentinel.failover() is sentinel.nodes[1]
        pids = [server.pid for server in (*sentinel.nodes, *sentinel.sentinels)]
    assert all(process_is_gone(pid) for pid in pids)
    with pytest.raises(EmbeddedServerError, match="no sentinel runs"):
        sentinel.primary()
