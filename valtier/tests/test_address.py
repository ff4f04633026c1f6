"""URLs are read as people write them, and no secret is ever shown."""

import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from valtier import ConfigurationError
from valtier.wire import Address, Endpoint, Tls, Topology, WireOptions
from valtier.wire.url import parse_url
from valtier.wire.url_options import KINDS

SECRET = "hunter2!"  # no sign in it that a URL has a meaning for


def shown(error: BaseException) -> str:
    """All that a traceback tells of an error, but for the lines of this file that it quotes."""
    told = "".join(traceback.format_exception(error))
    return "\n".join(line for line in told.splitlines() if not line.startswith("    "))


def refused(url: Any, **keywords: Any) -> str:
    """Returns why a URL is refused; nothing that can be seen of it holds the secret."""
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url, **keywords)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert SECRET not in shown(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", Address.at("h")),
        ("valkey://h:7000/3", Address.at("h", 7000, database=3)),
        ("redis://h/?db=3", Address.at("h", database=3)),
        ("redis://:p%40ss@h", Address.at("h", password="p@ss")),
        ("redis://:p+s%2Fs@h", Address.at("h", password="p+s/s")),
        ("redis://:a@b:c@h", Address.at("h", password="a@b:c")),
        ("redis://%C3%A9ve:%25@h", Address.at("h", username="éve", password="%")),
        ("valkeys://ann:pw@h:25061", Address.at("h", 25061, tls=Tls(), username="ann", password="pw")),
        ("REDISS://H", Address.at("h", tls=Tls())),
        ("redis://[::1]:6380/", Address.at("::1", 6380)),
        ("redis://[fe80::1%25eth0]", Address.at("fe80::1%eth0")),
        ("unix:///run/valkey.sock", Address((Endpoint(path="/run/valkey.sock"),))),
        ("unix://:pw@/run/v%20k?db=2", Address((Endpoint(path="/run/v k"),), password="pw", database=2)),
        (
            "redis://h1:7000,h2,[::1]:7001/0?cluster=true&read_from_replicas=yes",
            Address(
                (Endpoint("h1", 7000), Endpoint("h2"), Endpoint("::1", 7001)),
                Topology.CLUSTER,
                read_from_replicas=True,
            ),
        ),
        ("redis://h,h:6379,H?cluster=1", Address((Endpoint("h"),), Topology.CLUSTER)),
        (
            "redis+sentinel://ann:pw@h1:26380,h2,h3/mymaster/2?sentinel_username=bo&sentinel_password=s%26t",
            Address(
                (Endpoint("h1", 26380), Endpoint("h2", 26379), Endpoint("h3", 26379)),
                Topology.SENTINEL,
                "mymaster",
                "ann",
                "pw",
                2,
                sentinel_username="bo",
                sentinel_password="s&t",
            ),
        ),
        (
            "valkeys+sentinel://h/my%20master",
            Address((Endpoint("h", 26379),), Topology.SENTINEL, "my master", tls=Tls()),
        ),
    ],
)
def test_a_url_is_read(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "begins with"),
        ("localhost:6379", "begins with"),
        ("http://:hunter2!@h", "begins with"),
        ("redis://", "names no host"),
        ("redis://:hunter2!@", "names no host"),
        ("redis://:hunter2!@:6379", "names no host"),
        ("redis://h1,,h2?cluster=true", "names no host"),
        ("redis://:hunter2!@h:port", "1 to 65535"),
        ("redis://:hunter2!@h:99999", "1 to 65535"),
        ("redis://:hunter2!@h:0", "1 to 65535"),
        ("redis://:hunter2!@h:6379:0", "brackets"),
        ("redis://ann:hunter2!:6379", "before an '@'"),
        ("redis://::1", "names no host"),
        ("redis://:hunter2!@[::1", "can't be a host"),
        ("redis://:hunter2!@[h]", "can't be a host"),
        ("redis://:hunter2!@foo..bar", "'foo..bar' can't be a host"),
        ("redis://:hunter2!@a_b$", "can't be a host"),
        (f"redis://:hunter2!@{'x' * 64}.example", "can't be a host"),
        ("redis://:hunter2!@h/zero", "a database's number"),
        ("redis://:hunter2!@h/-1", "a database's number"),
        ("redis://:hunter2!@h/²", "a database's number"),
        ("redis://:hunter2!@h/1/2", "a database's number"),
        ("redis://:hunter2!@h/99999999999", "db takes a database's number"),
        ("redis://hunter2!@h", "names a user and no password"),
        ("redis://ann:@h", "names a user and no password"),
        ("redis://:a/hunter2!@h", "as %40"),
        ("redis://:a?hunter2!@h", "as %3F"),
        ("redis://:a#hunter2!@h", "as %23"),
        ("redis://:hunter2!@h#0", "as %23"),
        ("redis://:hunter2!@h ", "a space"),
        ("redis://:hunter2!\n@h", "a line's end"),
        ("redis://:hunter2!\udcff@h", "can't be sent"),
        ("redis://:hunter2!%ff@h", "not UTF-8"),
        ("unix://", "the socket's path"),
        ("unix://run/x.sock", "the socket's path"),
        ("unix:///run/%00", "the socket's path"),
        ("redis://h1,h2", "several hosts: add .cluster=true"),
        ("redis://h/3?cluster=true", "database 0 only"),
        ("unix:///s?cluster=true", "cluster=true does not go with unix"),
        ("redis+sentinel://h/m?cluster=true", "cluster=true does not go with redis.sentinel"),
        ("redis+sentinel://h1,h2", "names the service"),
        ("redis+sentinel://h1,h2/0/mymaster", "a database's number"),
        ("redis://h?read_from_replicas=true", "read_from_replicas goes with a cluster only"),
        ("redis://h?sentinel_password=hunter2!", "sentinel_password goes with a redis.sentinel"),
        ("redis+sentinel://h/m?sentinel_username=a", "sentinel_username needs sentinel_password"),
        ("redis://h?tls_ca=/ca.pem", "tls_ca goes with TLS only"),
        ("redis://h?tls_verify=true", "tls_verify goes with TLS only"),
        ("rediss://h?tls_verify=false&tls_check_hostname=true", "Remove one"),
        ("rediss://h?tls_key_password=hunter2!", "tls_key_password .* as a keyword"),
        ("redis://h?password=hunter2!", "password .* before the host"),
        ("redis://h?ssl=no", "no option 'ssl'; there are cluster, read_from_replicas, db, "),
        ("redis://h?hunter2!=no", "no option that it names; there are"),
        ("redis://h?sentinel_password=a&hunter2=b", "no option that it names; there are"),
        ("redis://h?sentinel_password=a&hunter2!", "& in a value as %26"),
        ("redis://h?deadline", "has no value"),
        ("redis://h?deadline=1s&deadline=1s", "deadline twice"),
        ("redis://h/1?db=1", "db twice"),
        ("redis://h?cluster=hunter2!", "cluster takes true or false"),
        ("redis://h?deadline=hunter2!", "deadline takes a duration"),
        ("redis://h?deadline=0", "deadline takes a duration"),
        ("redis://h?spin=-1s", "spin takes a duration"),
        ("redis://h?max_in_flight=0", "max_in_flight takes a whole number"),
        ("redis://h?max_reply_bytes=1tb", "max_reply_bytes takes a number of bytes"),
        ("redis://h?protocol=4", "protocol takes 2 or 3"),
        ("redis://h?client_name=a%20b", "client_name takes"),
        ("redis://h?client_name=%ff", "client_name is not UTF-8"),
        ("redis://h?db=", "db takes"),
        (None, "text such as"),
        (b"redis://h", "text such as"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason_and_without_its_secret(
    url: Any, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse_url(url)
    refused(url)


_PART = st.text(max_size=12) | st.text(alphabet="@:/?#[]%&=,.+ab0 ", max_size=12)
_URLS = st.builds(
    "{0}://{1}{2}{3}@{4}{5}".format,
    st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "", "ftp"]),
    _PART,
    st.just(SECRET),
    _PART,
    st.sampled_from(["h", "h:1", "h1,h2", "[::1]", "", "h:x"]) | _PART,
    st.sampled_from(["", "/0", "/m/0", "?cluster=true", "?sentinel_password=" + SECRET]) | _PART,
)


@given(_URLS)
@example(f"redis://:a/{SECRET}@h")
@example(f"redis://a:1,{SECRET}@h..x")
def test_whatever_stands_around_a_password_it_is_not_shown(url: str) -> None:
    try:
        address, _ = parse_url(url)
    except ConfigurationError:
        refused(url)
    else:
        assert SECRET not in repr(address) or SECRET in (address.username or "")
        assert SECRET not in str(address)


@given(st.text() | st.text(alphabet="redis:/@?#[]%&=,.0 ").map("redis://{}".format))
def test_any_text_is_read_or_refused(url: str) -> None:
    try:
        address, options = parse_url(url)
    except ConfigurationError:
        return
    WireOptions(**options)
    assert Address.parse(str(address)) == replace(address, **NO_SECRETS)


NO_SECRETS: dict[str, Any] = dict.fromkeys(
    ("username", "password", "sentinel_username", "sentinel_password"), None
) | {"read_from_replicas": False}


@given(
    username=st.text(min_size=1),
    password=st.text(min_size=1),
    service=st.text(min_size=1, alphabet=st.characters(codec="utf-8", exclude_characters="/")),
)
def test_percent_encoding_carries_any_text(username: str, password: str, service: str) -> None:
    url = (
        f"redis+sentinel://{quote(username, safe='')}:{quote(password, safe='')}@h/{quote(service, safe='')}"
    )
    address = Address.parse(url)
    assert (address.username, address.password, address.service) == (username, password, service)
    assert Address.parse(str(address)).service == service


@pytest.mark.parametrize(
    ("query", "keywords", "expected"),
    [
        ("deadline=50ms", {}, {"deadline_s": 0.05}),
        ("deadline=0.5", {}, {"deadline_s": 0.5}),
        ("", {"deadline": timedelta(seconds=3)}, {"deadline_s": 3.0}),
        ("connect_timeout=2s&drop_after=1m", {}, {"connect_timeout_s": 2.0, "drop_after_s": 60.0}),
        ("spin=50us", {}, {"spin_s": pytest.approx(50e-6)}),
        ("spin=0us", {}, {"spin_s": 0.0}),
        ("spin=0", {}, {"spin_s": 0.0}),
        ("spin=1ms", {"spin": 0}, {"spin_s": 0.0}),
        ("max_in_flight=10", {}, {"max_in_flight": 10}),
        ("max_reply_bytes=2mb", {"max_queued_bytes": 7}, {"max_reply_bytes": 2 << 20, "max_queued_bytes": 7}),
        ("max_queued_bytes=512KB", {}, {"max_queued_bytes": 512 << 10}),
        ("protocol=2&client_name=web-1", {}, {"protocol": 2, "client_name": "web-1"}),
        ("deadline=50ms", {"deadline": "70ms", "protocol": None}, {"deadline_s": 0.07}),
    ],
)
def test_options_of_the_wire_come_from_the_url_and_from_keywords_which_beat_it(
    query: str, keywords: dict[str, Any], expected: dict[str, Any]
) -> None:
    _, options = parse_url(f"redis://h?{query}", **keywords)
    assert options == pytest.approx(expected)
    WireOptions(**options)


def test_a_keyword_beats_what_the_url_says_of_the_address() -> None:
    url = "redis+sentinel://ann:pw@h/m/1?sentinel_password=x"
    address = Address.parse(url, username="bo", password="other", db=2, sentinel_password="y", cluster=False)
    assert (address.username, address.password) == ("bo", "other")
    assert (address.database, address.sentinel_password) == (2, "y")
    assert Address.parse("redis://h", cluster=True).topology is Topology.CLUSTER


def test_an_unknown_keyword_is_refused_with_the_list_of_those_there_are() -> None:
    told = refused("redis://h", socket_timeout=SECRET)
    assert "'socket_timeout'" in told
    assert all(name in told for name in KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_the_value_of_a_keyword_is_never_shown(name: str) -> None:
    if name not in ("username", "password", "client_name"):
        refused("redis://h", **{name: SECRET})
    refused("redis://h", **{name: [SECRET]})


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("unix:///a%3Fb", "unix:///a%3Fb"),
        ("rediss://ann:hunter2!@h:1/2", "rediss://h:1/2"),
        ("redis://ann:hunter2!@[::1],h?cluster=true", "redis://[::1]:6379,h:6379?cluster=true"),
        (
            "rediss+sentinel://ann:hunter2!@h/m%2F/1?sentinel_password=hunter2!",
            "rediss+sentinel://h:26379/m%2F/1",
        ),
        ("unix://:hunter2!@/run/s?db=1", "unix:///run/s?db=1"),
    ],
)
def test_an_address_prints_without_its_secrets(url: str, printed: str) -> None:
    address = Address.parse(url)
    assert str(address) == printed
    assert SECRET not in repr(address)
    assert SECRET not in f"{Tls(key_password=SECRET)!r}"


def test_sentinels_are_signed_in_to_with_a_password_of_their_own_or_none() -> None:
    address = Address.parse("redis+sentinel://ann:pw@h/m/1", sentinel_password="s").for_sentinels()
    assert (address.username, address.password, address.database) == (None, "s", 0)
    plain = Address.parse("redis+sentinel://ann:pw@h/m/1").for_sentinels()
    assert (plain.username, plain.password) == (None, None)


def test_an_address_of_one_server_tells_its_host_port_and_path() -> None:
    address = Address.at("h", 7000)
    assert (address.host, address.port, address.path) == ("h", 7000, None)
    assert Address.parse("unix:///s").path == "/s"
