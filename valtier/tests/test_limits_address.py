"""Requirement 19: whose request it is, behind proxies that are trusted, and whatever a client claims."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier import ClientAddress, ConfigurationError
from valtier.limits.address import parse, subject

PROXIES = ClientAddress(["10.0.0.0/8", "2001:db8:aaaa::/48", "192.0.2.7"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [b"198.51.100.1"], "203.0.113.9"),  # the peer is no proxy: its word is nothing
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the leftmost is the client's claim
        ("10.1.1.1", [b"198.51.100.1, 203.0.113.9, 10.2.2.2, 192.0.2.7"], "203.0.113.9"),
        ("10.1.1.1", [b"198.51.100.1", b"203.0.113.9, 10.2.2.2"], "203.0.113.9"),  # several lines are one list
        ("10.1.1.1", [b"127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"10.9.9.9, 203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"10.9.9.9"], "10.9.9.9"),  # all trusted: the first of the chain
        ("10.1.1.1", [b"203.0.113.9, nonsense"], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9, nonsense, 10.2.2.2"], "10.2.2.2"),
        ("10.1.1.1", [b"203.0.113.9,"], "10.1.1.1"),
        ("10.1.1.1", [b""], "10.1.1.1"),
        ("10.1.1.1", [b",,,"], "10.1.1.1"),
        ("10.1.1.1", [b"unknown"], "10.1.1.1"),
        ("10.1.1.1", [b"\xff\xfe"], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9:51234"], "203.0.113.9"),
        ("10.1.1.1", [b"203.0.113.9:99999999"], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9:x"], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.999"], "10.1.1.1"),
        ("10.1.1.1", [b"0xCB007109"], "10.1.1.1"),
        ("10.1.1.1", [b"3405803785"], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.09"], "10.1.1.1"),
        ("10.1.1.1", [b"2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("10.1.1.1", [b"[2001:db8:1:2::1]"], "2001:db8:1:2::/64"),
        ("10.1.1.1", [b"[2001:db8:1:2::1]:443"], "2001:db8:1:2::/64"),
        ("10.1.1.1", [b'"[2001:DB8:1:2::1]:443"'], "2001:db8:1:2::/64"),
        ("10.1.1.1", [b"[2001:db8:1:2::1"], "10.1.1.1"),
        ("10.1.1.1", [b"[203.0.113.9]"], "10.1.1.1"),
        ("10.1.1.1", [b"fe80::1%eth0"], "fe80::/64"),
        ("10.1.1.1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.1.1.1", [b"[::ffff:cb00:7109]:80"], "203.0.113.9"),
        ("::ffff:10.1.1.1", [b"203.0.113.9"], "203.0.113.9"),  # a dual-stack socket's view of a proxy
        ("2001:db8:aaaa::5", [b"203.0.113.9"], "203.0.113.9"),
        ("2001:db8:bbbb::5", [b"203.0.113.9"], "2001:db8:bbbb::/64"),
        (None, [b"203.0.113.9"], "unknown"),
        ("", [b"203.0.113.9"], "unknown"),
        ("not an address", [b"203.0.113.9"], "unknown"),
        ("10.1.1.1", [b"203.0.113.9, " + b"x" * 10_000], "10.1.1.1"),
        ("10.1.1.1", [b"203.0.113.9" + b", 10.0.0.1" * 5000], "10.0.0.1"),  # no chain of proxies is that long
    ],
)  # fmt: skip
def test_req19_the_first_hop_from_the_right_that_is_not_trusted(
    peer: str | None, forwarded: list[bytes], client: str
) -> None:
    assert PROXIES.find(peer, forwarded) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([b"for=203.0.113.9"], "203.0.113.9"),
        ([b"for=198.51.100.1, for=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9"),
        ([b'proto=https;For="[2001:db8:1:2::1]:443"'], "2001:db8:1:2::/64"),
        ([b"for=203.0.113.9", b"for=10.0.0.3"], "203.0.113.9"),
        ([b"for=203.0.113.9, for=unknown"], "10.1.1.1"),
        ([b"for=203.0.113.9, for=_hidden"], "10.1.1.1"),
        ([b"for=203.0.113.9, proto=https"], "10.1.1.1"),
        ([b"203.0.113.9"], "10.1.1.1"),
        ([b"for="], "10.1.1.1"),
    ],
)
def test_req19_forwarded_is_read_as_rfc_7239_writes_it(forwarded: list[bytes], client: str) -> None:
    assert ClientAddress(["10.0.0.0/8"], header="Forwarded").find("10.1.1.1", forwarded) == client


def test_req19_a_unix_socket_is_trusted_by_name_only() -> None:
    assert ClientAddress(["unix"]).find(None, [b"203.0.113.9"]) == "203.0.113.9"
    assert ClientAddress(["unix"]).find("", [b"198.51.100.1, 203.0.113.9"]) == "203.0.113.9"
    assert ClientAddress(["unix"]).find("203.0.113.1", [b"203.0.113.9"]) == "203.0.113.1"
    assert ClientAddress(["unix"]).find("garbage", [b"203.0.113.9"]) == "unknown"
    assert ClientAddress(["unix"]).find(None, []) == "unknown"


@pytest.mark.parametrize(
    "trusted", [["*"], ["0.0.0.0/0"], ["::/0"], ["10.0.0.1", "*"], ["1.2.3.4/0"], ["proxy.example"], [""], "10.0.0.1", ["10.0.0.0/33"]]
)  # fmt: skip
def test_req19_everybody_can_not_be_trusted(trusted: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        ClientAddress(trusted)


@pytest.mark.parametrize("options", [{"header": "X-Real-IP"}, {"ipv6_prefix": 0}, {"ipv6_prefix": 129}])
def test_options_that_can_not_be(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ClientAddress(**options)  # type: ignore[arg-type]


def test_req19_of_a_request() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"host", b"h"), (b"x-forwarded-for", b"203.0.113.9")]
    scope = {"type": "http", "client": ("10.1.1.1", 1), "headers": headers}
    assert PROXIES.of(scope) == "203.0.113.9"
    assert ClientAddress().of(scope) == "10.1.1.1"
    assert ClientAddress().of(scope | {"client": None}) == "unknown"
    assert ClientAddress().of(scope | {"client": ("::1", 1)}) == "::/64"
    assert ClientAddress(["10.0.0.0/8"], header="forwarded").of(scope) == "10.1.1.1"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=5), st.ip_addresses(v=4).map(str))
def test_req19_whatever_a_client_sends_it_counts_as_the_address_that_the_proxy_saw(
    junk: list[bytes], real: str
) -> None:
    """The proxy appends what it saw; nothing to the left of that matters."""
    client = ClientAddress(["10.0.0.1"])
    seen = client.find("10.0.0.1", [*junk, real.encode()])
    if real != "10.0.0.1":
        assert seen == real


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=70))
def test_anything_can_be_read(text: str) -> None:
    parse(text)
    assert subject(text)


@settings(max_examples=50, deadline=None)
@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_req19_one_64_is_one_client(address: object, host: int) -> None:
    found = parse(str(address))
    assert found is not None
    if found.version == 6:
        neighbour = type(found)((int(found) >> 64 << 64) + host)
        if neighbour.ipv4_mapped is None:
            assert subject(str(neighbour)) == subject(str(found))
