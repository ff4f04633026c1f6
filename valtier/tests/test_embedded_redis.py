"""The older servers and the certificates: what the tests of compatibility, TLS and access rights rely on."""

import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from valtier.embedded import EmbeddedServerError, EmbeddedValkey, ServerReplyError
from valtier.testing import Certificates, EmbeddedRedis
from valtier.testing.debian import ensure_redis


def trusting(ca: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def ping(server: EmbeddedRedis, context: ssl.SSLContext) -> bytes:
    with server.connect(tls=context) as connection:
        return bytes(connection.call("PING"))


def as_user(server: EmbeddedRedis, name: str, *command: str) -> object:
    with server.connect(username=name, password=server.USERS[name].password) as connection:
        return connection.call(*command)


def test_valkey_81_is_valkey_8_1(valkey81: EmbeddedValkey) -> None:
    assert b"valkey_version:8.1." in valkey81.call("INFO", "server")


def test_redis_70_is_redis_7_0(redis70: EmbeddedRedis) -> None:
    """The oldest server that valtier supports. Fails where the machine's own redis-server is another one."""
    info = redis70.call("INFO", "server")
    assert b"redis_version:7.0." in info
    assert b"valkey_version" not in info


def test_it_speaks_tls_on_a_second_port_to_who_trusts_its_authority(redis70: EmbeddedRedis) -> None:
    certificates = redis70.certificates
    assert redis70.tls_port != redis70.port
    assert redis70.tls_url == f"rediss://:{redis70.password}@localhost:{redis70.tls_port}/0"
    assert ping(redis70, trusting(certificates.ca)) == b"PONG"
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        ping(redis70, trusting(certificates.strange_ca))


def test_its_certificate_is_for_localhost_and_127_0_0_1_only(redis70: EmbeddedRedis) -> None:
    context = trusting(redis70.certificates.ca)
    for host, is_right in (("localhost", True), ("127.0.0.1", True), ("valkey.example", False)):
        with socket.create_connection(("127.0.0.1", redis70.tls_port), 5) as plain:
            try:
                context.wrap_socket(plain, server_hostname=host).close()
            except ssl.SSLCertVerificationError:
                assert not is_right
            else:
                assert is_right


@pytest.mark.parametrize(
    ("identity", "complaint"),
    [
        ("wrong_host", "Hostname mismatch"),
        ("expired", "certificate has expired"),
        ("strange_server", "certificate verify failed"),
    ],
)
def test_a_server_can_show_a_certificate_that_is_to_be_refused(
    make_redis70: Callable[..., EmbeddedRedis], certificates: Certificates, identity: str, complaint: str
) -> None:
    server = make_redis70(identity=getattr(certificates, identity))
    with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
        ping(server, trusting(certificates.ca))


def test_a_server_can_want_a_certificate_of_its_clients(redis70_for_certified: EmbeddedRedis) -> None:
    server = redis70_for_certified
    certificates = server.certificates
    strange = certificates.strange_client
    assert ping(server, trusting(certificates.ca, certificates.certificate, certificates.key)) == b"PONG"
    refused = (
        ssl.SSLError,
        ConnectionError,
    )  # by TLS 1.3 it comes after the handshake: as an alert, or as a reset
    with pytest.raises(refused):
        ping(server, trusting(certificates.ca))
    with pytest.raises(refused):
        ping(server, trusting(certificates.ca, strange.certificate, strange.key))
    assert server.call("PING") == b"PONG"  # the plain port wants none


def test_the_clients_key_is_there_with_a_password_too(certificates: Certificates) -> None:
    context = ssl.create_default_context()
    encrypted = certificates.client_key_encrypted
    context.load_cert_chain(certificates.certificate, encrypted, certificates.key_password)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(certificates.certificate, encrypted, "wrong")


def test_keys_and_passwords_are_nobody_elses(redis70: EmbeddedRedis, certificates: Certificates) -> None:
    for path in certificates.ca.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert certificates.key_password not in repr(certificates)
    assert "app-password" not in repr(redis70.USERS)


def test_the_app_may_all_but_what_is_dangerous_with_its_own_keys(redis70: EmbeddedRedis) -> None:
    assert as_user(redis70, "app", "SET", "app:colour", "blue") == b"OK"
    assert as_user(redis70, "app", "EVAL", "return redis.call('GET', KEYS[1])", "1", "app:colour") == b"blue"
    assert as_user(redis70, "app", "PUBLISH", "app:news", "hello") == 0
    for command in (
        ("SET", "colour", "blue"),
        ("PUBLISH", "news", "hello"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
    ):
        with pytest.raises(ServerReplyError, match="NOPERM"):
            as_user(redis70, "app", *command)


def test_the_reader_reads_and_does_not_write(redis70: EmbeddedRedis) -> None:
    redis70.call("SET", "colour", "blue")
    assert as_user(redis70, "reader", "GET", "colour") == b"blue"
    assert as_user(redis70, "reader", "PING") == b"PONG"
    with pytest.raises(ServerReplyError, match="NOPERM"):
        as_user(redis70, "reader", "SET", "colour", "red")


def test_nobody_may_sign_in_and_nothing_else(redis70: EmbeddedRedis) -> None:
    for command in (("PING",), ("GET", "colour"), ("CLIENT", "SETNAME", "me")):
        with pytest.raises(ServerReplyError, match="NOPERM"):
            as_user(redis70, "nobody", *command)
    with pytest.raises(ServerReplyError, match="WRONGPASS"):
        redis70.connect(username="nobody", password="wrong")


def test_users_have_urls(redis70: EmbeddedRedis) -> None:
    assert redis70.user_url("app") == f"redis://app:app-password@127.0.0.1:{redis70.port}/0"
    assert redis70.user_tls_url("app") == f"rediss://app:app-password@localhost:{redis70.tls_port}/0"


def test_a_restart_keeps_both_ports(make_redis70: Callable[..., EmbeddedRedis]) -> None:
    server = make_redis70()
    ports = server.port, server.tls_port
    server.restart()
    assert (server.port, server.tls_port) == ports
    assert ping(server, trusting(server.certificates.ca)) == b"PONG"


def test_a_server_without_tls_tells_it(valkey81: EmbeddedValkey) -> None:
    with pytest.raises(EmbeddedServerError, match="give tls=…"):
        _ = valkey81.tls_url


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the whole PATH."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def put(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_machines_own_redis_is_taken(programs: Path, tmp_path: Path) -> None:
    put(programs / "redis-check-rdb", "exit 1")
    assert ensure_redis(tmp_path) == tmp_path / "redis-server"
    assert ensure_redis(tmp_path).resolve() == programs / "redis-check-rdb"
    put(programs / "redis-server", "exit 1")
    assert ensure_redis(tmp_path) == programs / "redis-server"


def test_a_missing_redis_is_installed_after_an_update_if_need_be(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    put(
        programs / "apt-get",
        f"""echo "$3" >> {tmp_path}/calls
        [ "$3" = update ] && : > {tmp_path}/updated && exit 0
        [ -e {tmp_path}/updated ] || exit 100
        : > {programs}/redis-check-rdb && /bin/chmod +x {programs}/redis-check-rdb""",
    )
    assert ensure_redis(tmp_path).resolve() == programs / "redis-check-rdb"
    assert (tmp_path / "calls").read_text().split() == ["install", "update", "install"]


def test_a_redis_that_cannot_be_had_is_told(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EmbeddedServerError, match=r"no apt-get to install it; install Redis 7.0"):
        ensure_redis(tmp_path)
    put(programs / "apt-get", "echo 'E: Failed to fetch https://mirror.example/x' >&2; exit 100")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EmbeddedServerError, match="sudo apt-get install redis-tools"):
        ensure_redis(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(
        EmbeddedServerError, match=r"cannot install redis-tools: E: Failed to fetch \(address\)"
    ):
        ensure_redis(tmp_path)
