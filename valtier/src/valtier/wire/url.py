"""Valkey URLs: one server, a cluster's seeds or sentinels, how to sign in, and options."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from valtier.errors import ConfigurationError
from valtier.wire.address import Address, Endpoint, Topology
from valtier.wire.tls import Tls
from valtier.wire.url_options import read_options, take_wire_options

_SCHEMES = {  # (sentinels, TLS)
    "redis": (False, False),
    "valkey": (False, False),
    "rediss": (False, True),
    "valkeys": (False, True),
    "unix": (False, False),
    "redis+sentinel": (True, False),
    "valkey+sentinel": (True, False),
    "rediss+sentinel": (True, True),
    "valkeys+sentinel": (True, True),
}
_FORMS = (
    "redis://user:password@host:6379/0 (rediss:// for TLS), redis://host1,host2?cluster=true, "
    "redis+sentinel://host1,host2/service/0 or unix:///path/to/socket"
)
_PORT, _SENTINEL_PORT = 6379, 26379
_HOST = re.compile(rb"[a-z0-9._-]{1,253}", re.IGNORECASE)
_UNREADABLE = re.compile(r"[\x00-\x20\x7f]")


def parse_url(url: str, **keywords: Any) -> tuple[Address, dict[str, Any]]:
    """Returns the address that a URL gives, and keyword arguments for `WireOptions`. Reads TLS files, opens nothing else.

    Forms: `redis:// rediss:// valkey:// valkeys://`, each with `+sentinel` too, and `unix://`. User, password, path and
    values of options are percent-decoded.

    Options are given in the URL's query or as keywords of the same name; a keyword beats the URL, and one that is
    `None` was not given. Secrets are best given as keywords (`password`, `sentinel_password`).

        cluster, read_from_replicas         true or false; reads from replicas may be stale
        db                                  as the number in the path; not in a cluster
        username, password                  as keywords only: in the URL they stand before the host
        sentinel_username, sentinel_password    for the sentinels themselves
        tls_ca, tls_certificate, tls_key    files (PEM)
        tls_key_password                    as a keyword only
        tls_verify, tls_check_hostname      true (the default) or false
        client_name                         in CLIENT LIST
        deadline, connect_timeout, drop_after, spin     durations: seconds, `timedelta` or text such as `100ms`
        max_in_flight                       commands
        max_queued_bytes, max_reply_bytes   bytes, or text such as `64mb`
        protocol                            3, or 2 for RESP2

    Raises:
        ConfigurationError: the URL, an option or a TLS file can't be used. The message says why, and neither it nor
            what it was raised from holds a secret.
    """
    if not isinstance(url, str):  # from a caller without types
        raise ConfigurationError(f"a Valkey URL is text such as {_FORMS}")
    scheme, userinfo, hosts, path, query = _split(url)
    sentinel, secure = _SCHEMES[scheme]
    if scheme == "unix":
        endpoints: tuple[Endpoint, ...] = (_socket(hosts, path),)
        service, number = None, ""
    else:
        endpoints = _endpoints(hosts, _SENTINEL_PORT if sentinel else _PORT)
        service, number = _service_and_number(path) if sentinel else (None, path.strip("/"))
    options = read_options(_with_database(query, number), keywords)
    wire = take_wire_options(options)
    topology = _topology(scheme, len(endpoints), cluster=options.pop("cluster", False))
    username, password = _credentials(userinfo, options)
    sentinel_username, sentinel_password = _sentinel_credentials(options, topology)
    address = Address(
        endpoints=endpoints,
        topology=topology,
        service=service,
        username=username,
        password=password,
        database=_database(options, topology),
        sentinel_username=sentinel_username,
        sentinel_password=sentinel_password,
        tls=_tls(options, secure=secure),
        read_from_replicas=_read_from_replicas(options, topology),
    )
    return address, wire


def _topology(scheme: str, hosts: int, *, cluster: bool) -> Topology:
    sentinel, _ = _SCHEMES[scheme]
    if cluster and (sentinel or scheme == "unix"):
        raise ConfigurationError(
            f"cluster=true does not go with {scheme}://: give the nodes as redis://h1,h2"
        )
    if hosts > 1 and not sentinel and not cluster:
        raise ConfigurationError(
            "the Valkey URL names several hosts: add ?cluster=true, or use redis+sentinel://host1,host2/service"
        )
    return Topology.SENTINEL if sentinel else Topology.CLUSTER if cluster else Topology.STANDALONE


def _split(url: str) -> tuple[str, str, str, str, str]:
    """Returns scheme, user information, hosts, path and query, as they are written."""
    if _UNREADABLE.search(url) or not _can_be_encoded(url):
        raise ConfigurationError(
            "the Valkey URL holds a space, a line's end or a sign that can't be sent: remove it, or percent-encode it"
        )
    scheme, sign, rest = url.partition("://")
    if not sign or scheme.lower() not in _SCHEMES:
        raise ConfigurationError(f"a Valkey URL begins with {', '.join(_SCHEMES)} and '://', as in {_FORMS}")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    rest = rest[len(authority) :]
    if "@" in rest or "#" in rest:  # a password was cut in two: its parts are not to be taken for others
        raise ConfigurationError(
            "the Valkey URL has '@' or '#' after its host: in a user, password, path or option write "
            "'@' as %40, '#' as %23, '/' as %2F, '?' as %3F and ':' as %3A"
        )
    userinfo, _, hosts = authority.rpartition("@")
    path, _, query = rest.partition("?")
    return scheme.lower(), userinfo, hosts, path, query


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decode(text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"the {what} in the Valkey URL is not UTF-8 once it is decoded") from None


def _endpoints(hosts: str, default_port: int) -> tuple[Endpoint, ...]:
    if not hosts:
        raise ConfigurationError(f"the Valkey URL names no host; expected {_FORMS}")
    return tuple(dict.fromkeys(_endpoint(text, default_port) for text in hosts.split(",")))


def _endpoint(text: str, default_port: int) -> Endpoint:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed:
        host, port = unquote(bracketed[1]), bracketed[2] or ""
        valid = _is_ipv6(host)
    else:
        host, _, port = text.partition(":")
        valid = _is_host(host)
    if not host:
        raise ConfigurationError(f"the Valkey URL names no host, or an empty one; expected {_FORMS}")
    if not valid:
        raise ConfigurationError(f"the Valkey URL's host {host!r} can't be a host's name")
    if not port:
        return Endpoint(host.lower(), default_port)
    if not _is_port(port):
        raise ConfigurationError(
            "the port in the Valkey URL is no number from 1 to 65535 (an IPv6 address goes into brackets, "
            "a password before an '@')"
        )
    return Endpoint(host.lower(), int(port))


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    try:
        return (
            len(host) <= 253 and _HOST.fullmatch(host.encode("idna")) is not None
        )  # as the resolver will do
    except UnicodeError:
        return False


def _socket(hosts: str, path: str) -> Endpoint:
    path = _decode(path, "path")
    if hosts or not path.strip("/") or "\x00" in path:
        raise ConfigurationError("a unix:// URL needs the socket's path: unix:///run/valkey.sock")
    return Endpoint(path=path)


def _service_and_number(path: str) -> tuple[str, str]:
    service, _, number = path.strip("/").partition("/")
    if not service:
        raise ConfigurationError(
            "a sentinel URL names the service that the sentinels watch: redis+sentinel://host1,host2/mymaster/0"
        )
    return _decode(service, "service"), number


def _with_database(query: str, number: str) -> str:
    """Returns the query with the number that ends the path as its option `db`."""
    if not number:
        return query
    if not (number.isascii() and number.isdigit()):
        raise ConfigurationError("the path of a Valkey URL ends in a database's number, such as /0")
    return f"{query}&db={number}" if query else f"db={number}"


def _database(options: Mapping[str, Any], topology: Topology) -> int:
    database: int = options.get("db", 0)
    if database and topology is Topology.CLUSTER:
        raise ConfigurationError(
            "a cluster has database 0 only: leave the number out, and keep data apart by a prefix of its keys"
        )
    return database


def _credentials(userinfo: str, options: Mapping[str, Any]) -> tuple[str | None, str | None]:
    username, _, password = (_decode(part, "user or password") for part in userinfo.partition(":"))
    user, secret = options.get("username", username or None), options.get("password", password or None)
    if user is not None and secret is None:
        raise ConfigurationError(
            "the Valkey URL names a user and no password: redis://user:password@host, or redis://:password@host"
        )
    return user, secret


def _sentinel_credentials(options: Mapping[str, Any], topology: Topology) -> tuple[str | None, str | None]:
    given = [name for name in ("sentinel_username", "sentinel_password") if name in options]
    if given and topology is not Topology.SENTINEL:
        raise ConfigurationError(
            f"{given[0]} goes with a redis+sentinel:// URL only: remove it, or change the URL"
        )
    if given == ["sentinel_username"]:
        raise ConfigurationError("sentinel_username needs sentinel_password: give both or none")
    return options.get("sentinel_username"), options.get("sentinel_password")


def _tls(options: Mapping[str, Any], *, secure: bool) -> Tls | None:
    given = [name for name in options if name.startswith("tls_")]
    if not secure:
        if given:
            raise ConfigurationError(
                f"{given[0]} goes with TLS only: remove it, or begin the URL with rediss://"
            )
        return None
    if options.get("tls_verify") is False and options.get("tls_check_hostname"):
        raise ConfigurationError(
            "tls_check_hostname=true can't be kept with tls_verify=false: a name is not proved by a certificate "
            "that is not verified. Remove one"
        )
    tls = Tls(**{name.removeprefix("tls_"): options[name] for name in given})
    tls.context()  # what can't be used is told now, not at the first connection
    return tls


def _read_from_replicas(options: Mapping[str, Any], topology: Topology) -> bool:
    wanted: bool = options.get("read_from_replicas", False)
    if wanted and topology is not Topology.CLUSTER:
        raise ConfigurationError(
            "read_from_replicas goes with a cluster only: add cluster=true, or remove it"
        )
    return wanted
