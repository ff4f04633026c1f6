"""TLS proves who the server is, and what is wrong with it says what to do."""

import asyncio
import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wires import PATIENT, open_patient

from valtier import ConfigurationError, NoPermissionError, ValkeyError
from valtier.testing import Certificates, EmbeddedRedis, eventually
from valtier.wire import Address, Tls
from valtier.wire import tls as tls_module
from valtier.wire.advice import explain
from valtier.wire.dial import dial
from valtier.wire.handshake import greet
from valtier.wire.url import parse_url

SECRET = "hunter2!"


@pytest.fixture(autouse=True)
def warned_anew() -> Iterator[None]:
    """A warning that a process gives once is given once to each test."""
    tls_module._warn_once.cache_clear()
    yield
    tls_module._warn_once.cache_clear()


async def why_not(url: str, **keywords: Any) -> str:
    """Returns what is told of a connection that can't be opened or greeted."""
    address, _ = parse_url(url, **keywords)
    try:
        connection = await dial(address.endpoints[0], PATIENT, tls=address.ssl_context())
        await greet(connection, address, client_name="test", library_version="0")
    except (OSError, ValkeyError) as exc:
        return explain(exc, address.endpoints[0], tls=address.tls is not None)
    raise AssertionError("it was greeted")


# -- who the server is -------------------------------------------------------------------------------------


async def test_a_server_with_the_right_certificate_is_served(
    redis70: EmbeddedRedis, certificates: Certificates
) -> None:
    async with open_patient(redis70.tls_url, tls_ca=certificates.ca) as wire:
        assert await wire.call("ECHO", "hello") == b"hello"
        assert (wire.server.name, wire.server.version[:2]) == ("redis", (7, 0))
    async with open_patient(f"{redis70.tls_url}?tls_ca={certificates.ca}") as wire:
        assert wire.available


async def test_a_connection_comes_back_by_tls(redis70: EmbeddedRedis, certificates: Certificates) -> None:
    async with open_patient(redis70.tls_url, tls_ca=certificates.ca, client_name="comes-back") as wire:
        me = await wire.call("CLIENT", "ID")
        redis70.call("CLIENT", "KILL", "ID", me)
        await eventually(lambda: wire.reconnects == 1 and wire.available)
        assert await wire.call("PING") == b"PONG"


async def test_a_user_without_any_rights_signs_in_and_is_refused_by_the_command(
    redis70: EmbeddedRedis, certificates: Certificates
) -> None:
    async with open_patient(redis70.user_tls_url("nobody"), tls_ca=certificates.ca) as wire:
        assert wire.available
        with pytest.raises(NoPermissionError, match="ACL SETUSER"):
            await wire.call("GET", "k")


@pytest.mark.parametrize("user", ["app", "reader"])
async def test_users_of_an_access_list_sign_in_by_tls(
    user: str, redis70: EmbeddedRedis, certificates: Certificates
) -> None:
    async with open_patient(redis70.user_tls_url(user), tls_ca=certificates.ca) as wire:
        assert f" user={user} ".encode() in await wire.call("CLIENT", "INFO")


async def test_req42_an_authority_that_is_not_trusted_is_refused(
    redis70: EmbeddedRedis, certificates: Certificates
) -> None:
    for trust in ({"tls_ca": certificates.strange_ca}, {}):
        told = await why_not(redis70.tls_url, **trust)
        assert "no authority that is trusted here: give the authority's file as tls_ca" in told


@pytest.mark.parametrize(
    ("identity", "advice"),
    [
        ("expired", "has expired: renew it"),
        ("wrong_host", "is for another host: connect by a name that it holds"),
        ("strange_server", "give the authority's file as tls_ca"),
    ],
)
async def test_a_certificate_that_proves_nothing_is_refused(
    identity: str, advice: str, make_redis70: Callable[..., EmbeddedRedis], certificates: Certificates
) -> None:
    server = make_redis70(identity=getattr(certificates, identity))
    assert advice in await why_not(server.tls_url, tls_ca=certificates.ca)
    told = await why_not(server.tls_url.replace("localhost", "127.0.0.1"), tls_ca=certificates.ca)
    assert advice in told
    assert f"127.0.0.1:{server.tls_port}" in told


async def test_the_name_goes_unchecked_by_an_explicit_switch_only_and_the_authority_does_not(
    make_redis70: Callable[..., EmbeddedRedis], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_redis70(identity=certificates.wrong_host)
    async with open_patient(server.tls_url, tls_ca=certificates.ca, tls_check_hostname=False) as wire:
        assert wire.available
    assert caplog.text.count("tls_check_hostname=false") == 1
    told = await why_not(server.tls_url, tls_ca=certificates.strange_ca, tls_check_hostname=False)
    assert "give the authority's file as tls_ca" in told


async def test_req42_verification_is_off_by_an_explicit_switch_only_and_warns_once(
    make_redis70: Callable[..., EmbeddedRedis], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_redis70(identity=certificates.strange_server)
    for _ in range(2):
        async with open_patient(f"{server.tls_url}?tls_verify=false") as wire:
            assert wire.available
    assert caplog.text.count("tls_verify=false") == 1
    assert [one.levelno for one in caplog.records if "tls_verify" in one.getMessage()] == [logging.WARNING]


# -- who this process is -----------------------------------------------------------------------------------


async def test_a_server_that_wants_a_certificate_is_shown_one(
    redis70_for_certified: EmbeddedRedis, certificates: Certificates
) -> None:
    shown = {"tls_ca": certificates.ca, "tls_certificate": certificates.certificate}
    encrypted = {
        "tls_key": certificates.client_key_encrypted,
        "tls_key_password": certificates.key_password,
    }
    for key in ({"tls_key": certificates.key}, encrypted):
        async with open_patient(redis70_for_certified.tls_url, **shown, **key) as wire:
            assert await wire.call("PING") == b"PONG"


async def test_a_certificate_that_is_missing_or_not_accepted_is_told(
    redis70_for_certified: EmbeddedRedis, certificates: Certificates
) -> None:
    url = redis70_for_certified.tls_url
    told = await why_not(url, tls_ca=certificates.ca)
    assert "asks for a certificate of this process: give tls_certificate and tls_key" in told
    told = await why_not(
        url,
        tls_ca=certificates.ca,
        tls_certificate=certificates.strange_client.certificate,
        tls_key=certificates.strange_client.key,
    )
    assert "does not accept this process's certificate" in told


# -- the wrong port ----------------------------------------------------------------------------------------


async def test_a_plain_client_on_a_port_for_tls_is_told_so(redis70: EmbeddedRedis) -> None:
    told = await why_not(redis70.tls_url.replace("rediss", "redis"))
    assert "begin the URL with rediss://" in told
    assert redis70.password not in told


async def test_a_tls_client_on_a_plain_port_is_told_so(
    redis70: EmbeddedRedis, certificates: Certificates
) -> None:
    """A plain server may take TLS's greeting for a command that is not complete, and wait: then time runs out."""
    plain = redis70.tls_url.replace(str(redis70.tls_port), str(redis70.port))
    address = Address.parse(plain, tls_ca=certificates.ca)
    with pytest.raises((TimeoutError, OSError)) as caught:
        async with asyncio.timeout(0.5):
            await dial(address.endpoints[0], PATIENT, tls=address.ssl_context())
    told = explain(caught.value, address.endpoints[0], tls=True)
    assert "redis://" in told


async def test_a_plain_server_that_answers_tls_in_words_is_told_from_one_that_is_slow(
    certificates: Certificates,
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"-ERR unknown command\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told = await why_not(f"rediss://127.0.0.1:{port}", tls_ca=certificates.ca)
    assert "speaks no TLS on this port: begin the URL with redis://" in told


# -- files -------------------------------------------------------------------------------------------------


def refused(url: str, **keywords: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url, **keywords)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("option", ["tls_ca", "tls_certificate", "tls_key"])
def test_a_file_that_cannot_be_read_is_told_when_the_url_is_read(option: str, tmp_path: Path) -> None:
    for path, why in ((tmp_path / "missing.pem", "No such file"), (tmp_path, "Is a directory")):
        told = refused("rediss://h", **{option: path})
        assert told.startswith(f"{option}: {path} can't be read ({why}")


def test_a_file_with_the_wrong_thing_in_it_is_told_by_name(
    certificates: Certificates, tmp_path: Path
) -> None:
    empty, words = tmp_path / "empty.pem", tmp_path / "words.pem"
    empty.touch()
    words.write_text("no certificate\n")
    for path in (empty, words, certificates.key):
        assert refused("rediss://h", tls_ca=path).startswith(f"tls_ca: {path} holds no certificate")
    for path in (empty, words, certificates.ca):
        told = refused("rediss://h", tls_certificate=certificates.certificate, tls_key=path)
        assert str(path) in told
        assert "in PEM form" in told


def test_a_key_of_another_certificate_is_told(certificates: Certificates) -> None:
    told = refused(
        "rediss://h", tls_certificate=certificates.certificate, tls_key=certificates.strange_client.key
    )
    assert f"{certificates.strange_client.key} is not the key of" in told


def test_a_key_without_its_certificate_is_told(certificates: Certificates) -> None:
    assert "without tls_certificate" in refused("rediss://h", tls_key=certificates.key)


def test_an_encrypted_key_asks_for_its_password_here_and_not_on_the_terminal(
    certificates: Certificates,
) -> None:
    pair = {"tls_certificate": certificates.certificate, "tls_key": certificates.client_key_encrypted}
    assert "is encrypted: give tls_key_password" in refused("rediss://h", **pair)
    assert "can't be decrypted" in refused("rediss://h", **pair, tls_key_password=SECRET)
    assert "longer than" in refused("rediss://h", **pair, tls_key_password=SECRET * 1000)
    address = Address.parse("rediss://h", **pair, tls_key_password=certificates.key_password)
    assert certificates.key_password not in repr(address)


# -- defaults ----------------------------------------------------------------------------------------------


def test_req42_certificate_and_host_name_are_verified_and_old_versions_refused_by_default() -> None:
    context = Address.parse("rediss://h").ssl_context()
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert Address.parse("redis://h").ssl_context() is None


def test_what_is_switched_off_is_off() -> None:
    context = Tls(verify=False).context()
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)
    context = Tls(check_hostname=False).context()
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)
