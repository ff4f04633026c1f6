"""The rules one by one, where a case over HTTP would not tell which of them held."""

import pytest

from valtier.errors import ConfigurationError
from valtier.http.rules import (
    Action,
    Options,
    Refused,
    StoredPolicy,
    answer,
    cache_status,
    combined,
    complete,
    end_to_end,
    fill_headers,
    group_key,
    head_outdates,
    invalidation,
    judge,
    missed,
    origin_of,
    primary_key,
    read_request,
    reuse,
    selects,
    storable_headers,
    validation_headers,
    variant_key,
)
from valtier.http.rules.dates import format_date, parse_date
from valtier.http.rules.directives import parse_request, response_directives
from valtier.http.rules.fields import LONGEST
from valtier.http.rules.status_codes import HEURISTIC, UNDERSTOOD
from valtier.http.rules.structured import Date, DisplayString, Token, parse_item, parse_list, parse_strings

NOW = 1_800_000_000.0
PLAIN = Options()
HOST = (b"host", b"h.test")


def judged(
    response: list[tuple[bytes, bytes]],
    request: list[tuple[bytes, bytes]] | None = None,
    *,
    status: int = 200,
    method: str = "GET",
    took: float = 0,
    options: Options = PLAIN,
    identified: bool = False,
) -> StoredPolicy | Refused:
    facts = read_request(method, [HOST, *(request or [])], options)
    return judge(
        facts, status, response, options, request_time=NOW - took, response_time=NOW, identified=identified
    )


def stored(response: list[tuple[bytes, bytes]], **more: object) -> StoredPolicy:
    policy = judged(response, **more)  # type: ignore[arg-type]
    assert isinstance(policy, StoredPolicy)
    return policy


@pytest.mark.parametrize(
    ("response", "request_fields", "status", "method", "reason", "lasting"),
    [
        ([(b"cache-control", b"no-store")], [], 200, "GET", "no-store", True),
        ([(b"cache-control", b"private")], [], 200, "GET", "private", True),
        ([(b"cache-control", b"max-age=60")], [(b"cookie", b"a=b")], 200, "GET", "credentials", True),
        ([(b"cache-control", b"max-age=60"), (b"vary", b"*")], [], 200, "GET", "vary-any", True),
        ([(b"cache-control", b"max-age=60"), (b"set-cookie", b"a=b")], [], 200, "GET", "set-cookie", True),
        (
            [(b"cache-control", b"max-age=60"), (b"content-length", b"99999999")],
            [],
            200,
            "GET",
            "too-large",
            True,
        ),
        ([(b"cache-control", b"max-age=60, must-understand")], [], 299, "GET", "must-understand", True),
        ([], [], 200, "GET", "no-freshness", True),
        ([], [], 302, "GET", "status", True),
        ([], [], 500, "GET", "status", False),
        ([(b"cache-control", b"max-age=60")], [], 206, "GET", "partial", False),
        ([(b"cache-control", b"max-age=60")], [], 304, "GET", "status", False),
        ([(b"cache-control", b"max-age=60")], [], 103, "GET", "status", False),
        ([(b"cache-control", b"max-age=60")], [], 200, "HEAD", "method", False),
        ([(b"cache-control", b"max-age=60")], [], 200, "POST", "method", False),
        (
            [(b"cache-control", b"max-age=60")],
            [(b"cache-control", b"no-store")],
            200,
            "GET",
            "request-no-store",
            False,
        ),
        ([(b"cache-control", b"max-age=60")], [(b"host", b"other")], 200, "GET", "host", False),
        ([(b"cache-control", b"max-age=60")], [(b"if-match", b"*")], 200, "GET", "precondition", False),
        ([(b"cache-control", b"max-age=60")], [(b"content-length", b"1")], 200, "GET", "content", False),
        (
            [(b"cache-control", b"max-age=60")],
            [(b"transfer-encoding", b"chunked")],
            200,
            "GET",
            "content",
            False,
        ),
        ([(b"cache-control", b"max-age=60")], [(b"x-rewrite-url", b"/")], 200, "GET", "override", False),
    ],
)
def test_what_is_not_stored_has_a_reason(
    response: list[tuple[bytes, bytes]],
    request_fields: list[tuple[bytes, bytes]],
    status: int,
    method: str,
    reason: str,
    lasting: bool,
) -> None:
    assert judged(response, request_fields, status=status, method=method) == Refused(reason, lasting)


def test_the_time_a_response_took_is_part_of_its_age() -> None:
    """RFC 9111 §4.2.3: corrected_age_value is age_value plus response_delay."""
    policy = stored([(b"cache-control", b"max-age=60"), (b"age", b"10")], took=5.0)
    assert policy.initial_age == 15
    assert policy.fresh_until == NOW + 45


def test_a_slow_answer_may_be_stale_on_arrival() -> None:
    assert judged([(b"cache-control", b"max-age=60")], took=60.0) == Refused("no-freshness")


@pytest.mark.parametrize(
    ("windows", "until"),
    [
        (b"max-age=60", NOW + 60),
        (b"max-age=60, stale-while-revalidate=30", NOW + 90),
        (b"max-age=60, stale-if-error=300", NOW + 360),
        (b"max-age=60, stale-while-revalidate=30, stale-if-error=10", NOW + 90),
    ],
)
def test_an_entry_is_kept_as_long_as_it_may_be_of_use(windows: bytes, until: float) -> None:
    assert stored([(b"cache-control", windows)]).keep_until == until


def test_an_entry_with_a_validator_is_kept_to_be_validated() -> None:
    policy = stored([(b"cache-control", b"max-age=60"), (b"etag", b'"a"')], options=Options(keep_stale="10m"))
    assert policy.keep_until == NOW + 660


def test_an_entry_with_a_date_is_kept_to_be_validated() -> None:
    fields = [(b"cache-control", b"max-age=60"), (b"last-modified", b"Sun, 06 Nov 1994 08:49:37 GMT")]
    assert stored(fields, options=Options(keep_stale="10m")).keep_until == NOW + 660


def test_a_stale_entry_with_a_validator_is_kept_from_now_on() -> None:
    fields = [(b"cache-control", b"max-age=0"), (b"etag", b'"a"'), (b"age", b"5000")]
    assert stored(fields, options=Options(keep_stale="10m")).keep_until == NOW + 600


def test_private_allows_any_status_for_an_identity() -> None:
    """RFC 9111 §3: "private", if the cache is not shared."""
    fields = [(b"cache-control", b"private"), (b"etag", b'"a"')]
    assert stored(fields, status=302, identified=True).private


@pytest.mark.parametrize("value", [b"x", b"?1", b"-1", b"1.0", b'"60"', b"(60)"])
def test_a_targeted_number_of_another_type_is_0(value: bytes) -> None:
    """RFC 9213 §2.1, RFC 9111 §4.2.1."""
    found = response_directives([(b"cdn-cache-control", b"max-age=" + value)], (b"cdn-cache-control",))
    assert (found.max_age, found.targeted) == (0, True)


def test_a_targeted_list_that_is_false_is_not_there() -> None:
    found = response_directives([(b"cdn-cache-control", b"private=?0, no-cache")], (b"cdn-cache-control",))
    assert (found.private, found.no_cache) == (False, True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"max-stale", LONGEST), (b"max-stale=5", 5), (b'max-stale="', None), (b"max-stale=", None)],
)
def test_max_stale_has_no_end_only_if_it_is_alone(value: bytes, seconds: int | None) -> None:
    assert parse_request(value).max_stale == seconds


def test_what_has_no_host_outdates_nothing() -> None:
    for headers in ([], [HOST, HOST], [(b"host", b"a b")]):
        facts = read_request("POST", headers, PLAIN)
        assert invalidation(facts, "http", b"/", b"", 200, [], PLAIN) is None


def test_a_private_entry_says_so_and_a_shared_does_not() -> None:
    assert stored([(b"cache-control", b"private, max-age=60")], identified=True).private
    assert not stored([(b"cache-control", b"public, max-age=60")], identified=True).private


def test_groups_and_tags_are_read_once_each() -> None:
    policy = stored(
        [(b"cache-control", b"max-age=60"), (b"cache-groups", b'"a", "b", "a"'), (b"cache-tag", b"x, y z,,x")]
    )
    assert policy.groups == ("a", "b")
    assert policy.tags == ("x", "y z")


def test_a_response_has_a_bounded_number_of_groups() -> None:
    many = b", ".join(b'"%d"' % number for number in range(1000))
    assert len(stored([(b"cache-control", b"max-age=60"), (b"cache-groups", many)]).groups) == 256


@pytest.mark.parametrize(
    ("lengths", "received", "whole"),
    [
        ([], 5, True),
        ([b"5"], 5, True),
        ([b"05"], 5, True),
        ([b"0"], 0, True),
        ([b"5", b"5"], 5, True),
        ([b"5, 5"], 5, True),
        ([b"5"], 4, False),
        ([b"5"], 6, False),
        ([b"5", b"6"], 5, False),
        ([b"x"], 0, False),
        ([b""], 0, False),
        ([b"-5"], 5, False),
        ([b"+5"], 5, False),
        ([b"9" * 5000], 5, False),
    ],
)
def test_a_body_is_whole_if_it_is_as_long_as_promised(
    lengths: list[bytes], received: int, whole: bool
) -> None:
    assert complete([(b"content-length", length) for length in lengths], received) is whole


@pytest.mark.parametrize(
    ("headers", "plain"),
    [
        ([], True),
        ([(b"accept", b"*/*"), (b"user-agent", b"x")], True),
        ([(b"cookie", b"a=b")], True),
        ([(b"content-length", b"0")], True),
        ([(b"x-forwarded-host", b"x")], True),
        ([(b"content-length", b"1")], False),
        ([(b"cache-control", b"no-cache")], False),
        ([(b"pragma", b"no-cache")], False),
        ([(b"if-none-match", b"*")], False),
        ([(b"if-modified-since", b"x")], False),
        ([(b"if-match", b"*")], False),
        ([(b"range", b"bytes=0-1")], False),
        ([(b"x-original-url", b"/")], False),
    ],
)
def test_a_request_is_plain_if_nothing_special_is_asked(
    headers: list[tuple[bytes, bytes]], plain: bool
) -> None:
    assert read_request("GET", [HOST, *headers], PLAIN).plain is plain


def test_asgi_headers_may_be_lists() -> None:
    facts = read_request("GET", [[b"host", b"h.test"], [b"range", b"bytes=0-1"]], PLAIN)
    assert (facts.host, facts.range) == (b"h.test", b"bytes=0-1")
    assert end_to_end([[b"connection", b"x-a"], [b"x-a", b"1"], [b"x-b", b"2"]]) == [(b"x-b", b"2")]


def test_two_hosts_are_none() -> None:
    facts = read_request("GET", [HOST, HOST], PLAIN)
    assert (facts.host, facts.bypass) == (None, "host")


@pytest.mark.parametrize(
    "host", [b"", b"a b", b"a/b", b"a@b", b"a?b", b"a#b", b"a\\b", b"a:b", b"[::1", b"::1", b"a\x00", b"\xff", b"a" * 300, b":80"]
)  # fmt: skip
def test_what_is_no_host_makes_no_key(host: bytes) -> None:
    assert primary_key("http", host, b"/", b"", PLAIN) is None
    assert group_key("http", host, "a") is None


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", b"A.test:80", b"http://a.test"),
        ("http", b"a.test:0080", b"http://a.test"),
        ("http", b"a.test:443", b"http://a.test:443"),
        ("https", b"a.test:443", b"https://a.test"),
        ("HTTPS", b"a.test", b"https://a.test"),
        ("http", b"[::1]:8080", b"http://[::1]:8080"),
    ],
)
def test_an_origin_has_one_spelling(scheme: str, host: bytes, origin: bytes) -> None:
    assert origin_of(scheme, host) == origin


def test_schemes_are_different_uris() -> None:
    assert primary_key("http", b"h", b"/", b"", PLAIN) != primary_key("https", b"h", b"/", b"", PLAIN)


def test_a_plain_request_has_no_variant_and_an_identity_always_has() -> None:
    facts = read_request("GET", [HOST], PLAIN)
    assert variant_key(facts, (), [HOST], PLAIN) == b""
    assert variant_key(facts, (), [HOST], PLAIN, identity="") != b""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        (b"Sun Nov  6 08:49:37 1994", 784111777),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
    ],
)
def test_the_three_forms_of_a_date(text: bytes, moment: int) -> None:
    assert parse_date(text, NOW) == moment


def test_dates_outside_of_what_can_be_said_become_the_nearest() -> None:
    assert format_date(-5) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert format_date(1e18) == b"Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"5", 5),
        (b"-0", 0),
        (b'"a\\"b"', 'a"b'),
        (b"tok:/en", Token("tok:/en")),
        (b":aGk=:", b"hi"),
        (b":aGk:", b"hi"),
        (b"?1", True),
        (b"@5", Date(5)),
        (b'%"f%c3%bc"', DisplayString("fü")),
        (b"", None),
        (b'"\xc3\xbc"', None),
        (b'"a', None),
        (b"1234567890123456", None),
        (b"1.", None),
        (b".1", None),
        (b"1.2345", None),
        (b"1234567890123.1", None),
        (b"--1", None),
        (b"?2", None),
        (b":a:", None),
        (b":a*:", None),
        (b"@1.5", None),
        (b'%"%C3%BC"', None),
        (b'%"%ff"', None),
        (b"a b", None),
        (b"a;B=1", None),
        (b"(a)", None),
    ],
)
def test_structured_items(text: bytes, value: object) -> None:
    """RFC 9651 §4.2.3."""
    item = parse_item(text)
    assert (item[0] if item is not None else None) == value
    assert item is None or type(item[0]) is type(value)


@pytest.mark.parametrize(
    "text", [b"(a b", b"(a  b) c", b'("a""b")', b"a,", b"a,,b", b",a", b"a b", b"a;", b"a;=1"]
)
def test_what_is_no_structured_list(text: bytes) -> None:
    assert parse_list(text) is None


def test_a_list_of_strings_holds_nothing_else() -> None:
    assert parse_strings(b'"a", "b";x') == ("a", "b")
    assert parse_strings(b"") == ()
    assert parse_strings(b'"a", b') is None
    assert parse_strings(b'%"a"') is None


def test_heuristic_codes_are_understood_unless_they_are_parts() -> None:
    assert HEURISTIC - {206} <= UNDERSTOOD


def test_what_cache_status_can_hold() -> None:
    assert cache_status(
        PLAIN, fwd="stale", fwd_status=304, ttl=-3, stored=True, collapsed=True, detail="a b"
    ) == (
        b"cache-status",
        b'Valtier; fwd=stale; fwd-status=304; ttl=-3; stored; collapsed; detail="a b"',
    )
    assert (
        cache_status(PLAIN, hit=True, ttl=5, key="/ü\n", stored=True)[1] == b'Valtier; hit; ttl=5; key="/??"'
    )


def test_fields_are_stored_without_those_that_are_not_for_storing() -> None:
    fields = [
        (b"cache-control", b'no-cache="x-a"'),
        (b"x-a", b"1"),
        (b"age", b"5"),
        (b"trailer", b"x"),
        (b"x-b", b"2"),
    ]
    kept = storable_headers(fields, PLAIN, now=0)
    assert [name for name, _ in kept] == [b"cache-control", b"x-b", b"date"]


def test_lines_of_a_list_are_joined() -> None:
    assert combined([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], b"a") == b"1, 3"
    assert combined([], b"a") is None


def test_a_request_that_passes_by_is_not_answered_from_the_cache() -> None:
    policy = stored([(b"cache-control", b"public, max-age=60")])
    for method, headers, action, fwd in [
        ("POST", [], Action.BYPASS, "method"),
        ("POST", [(b"cache-control", b"only-if-cached")], Action.BYPASS, "method"),
        ("GET", [(b"if-match", b"*")], Action.BYPASS, "bypass"),
        ("GET", [(b"if-match", b"*"), (b"cache-control", b"no-cache")], Action.BYPASS, "bypass"),
        ("GET", [(b"if-match", b"*"), (b"cache-control", b"only-if-cached")], Action.UNAVAILABLE, None),
    ]:
        facts = read_request(method, [HOST, *headers], PLAIN)
        for decision in (reuse(policy, facts, NOW, PLAIN), missed(facts, PLAIN)):
            assert (decision.action, decision.fwd) == (action, fwd)


def test_a_stale_response_without_a_validator_is_asked_for_like_a_new_one() -> None:
    headers = [HOST, (b"range", b"bytes=0-1"), (b"if-none-match", b"*")]
    without = stored([(b"cache-control", b"max-age=60")])
    assert validation_headers(headers, without) == fill_headers(headers) == headers[:2]
    tagged = stored([(b"cache-control", b"max-age=60"), (b"etag", b'"a"')])
    assert validation_headers(headers, tagged) == [HOST, (b"if-none-match", b'"a"')]


@pytest.mark.parametrize(
    ("request_fields", "at", "fwd", "detail"),
    [
        ([], 61, "stale", None),
        ([(b"cache-control", b"no-cache")], 61, "stale", "no-cache"),
        ([(b"cache-control", b"no-cache")], 1, "request", "no-cache"),
        ([(b"cache-control", b"max-age=0")], 1, "request", "max-age"),
        ([(b"cache-control", b"min-fresh=60")], 1, "request", "min-fresh"),
        ([(b"cookie", b"a=b")], 1, "request", "credentials"),
    ],
)
def test_why_the_origin_is_asked_is_said(
    request_fields: list[tuple[bytes, bytes]], at: float, fwd: str, detail: str | None
) -> None:
    policy = stored([(b"cache-control", b"max-age=60"), (b"etag", b'"a"')])
    decision = reuse(policy, read_request("GET", [HOST, *request_fields], PLAIN), NOW + at, PLAIN)
    assert (decision.fwd, decision.detail) == (fwd, detail)


def test_several_parts_are_as_long_as_they_say() -> None:
    """And say it once, with one type."""
    policy = stored([(b"cache-control", b"max-age=60")])
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"10"), (b"x-a", b"1")]
    facts = read_request("GET", [HOST, (b"range", b"bytes=0-1,4-6,-1")], PLAIN)
    made = answer(facts, policy, fields, 10, PLAIN, boundary=b"b")
    body = b"".join(
        part if isinstance(part, bytes) else b"0123456789"[slice(*part)] for part in made.parts or ()
    )
    assert made.headers == [
        (b"x-a", b"1"),
        (b"content-type", b"multipart/byteranges; boundary=b"),
        (b"content-length", b"%d" % len(body)),
    ]


LATER, EARLIER = b"Mon, 07 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("have", "says", "selected"),
    [
        ({b"etag": b'"a"'}, {b"etag": b'"a"'}, True),
        ({b"etag": b'"a"'}, {b"etag": b'"b"'}, False),
        ({b"etag": b'"a"'}, {b"etag": b'W/"a"'}, True),
        ({b"etag": b'"a"'}, {b"etag": b'W/"b"'}, False),
        ({b"etag": b'W/"a"'}, {b"etag": b'"a"'}, False),
        ({b"etag": b'W/"a"'}, {b"etag": b'W/"a"'}, True),
        ({b"etag": b'"a"'}, {}, True),
        ({b"etag": b'"a"'}, {b"last-modified": LATER}, True),
        ({b"etag": b'"a"', b"last-modified": EARLIER}, {b"last-modified": LATER}, True),
        ({b"last-modified": EARLIER}, {b"last-modified": EARLIER}, True),
        ({b"last-modified": EARLIER}, {b"last-modified": LATER}, False),
        ({b"last-modified": EARLIER}, {b"etag": b'"a"'}, True),
        ({b"last-modified": EARLIER}, {}, True),
        ({}, {b"last-modified": LATER}, True),
    ],
)
def test_a_304_is_about_what_has_its_validators(
    have: dict[bytes, bytes], says: dict[bytes, bytes], selected: bool
) -> None:
    """RFC 9111 §4.3.4."""
    policy = stored([(b"cache-control", b"max-age=60"), *have.items()])
    assert selects(policy, list(says.items())) is selected


@pytest.mark.parametrize(
    ("status", "says", "outdated"),
    [
        (200, {}, False),
        (200, {b"etag": b'"a"'}, False),
        (200, {b"etag": b'"b"'}, True),
        (200, {b"content-length": b"5"}, False),
        (200, {b"content-length": b"6"}, True),
        (200, {b"last-modified": EARLIER}, False),
        (200, {b"last-modified": LATER}, True),
        (404, {}, False),
        (500, {}, False),
        (204, {}, True),
        (301, {}, True),
    ],
)
def test_a_head_that_shows_a_change_outdates(status: int, says: dict[bytes, bytes], outdated: bool) -> None:
    """RFC 9111 §4.3.5."""
    policy = stored([(b"cache-control", b"max-age=60"), (b"etag", b'"a"'), (b"last-modified", EARLIER)])
    assert head_outdates(policy, 5, status, list(says.items())) is outdated


def test_a_clock_that_goes_back_serves_what_it_has() -> None:
    policy = stored([(b"cache-control", b"max-age=60")])
    decision = reuse(policy, read_request("GET", [HOST], PLAIN), NOW - 100, PLAIN)
    assert (decision.action, decision.age, decision.ttl) == (Action.SERVE, 0, 60)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "ü"},
        {"heuristic_fraction": -0.1},
        {"heuristic_fraction": 1.1},
        {"heuristic_max": 0},
        {"default_ttl": "soon"},
        {"max_body": -1},
        {"max_ranges": 0},
        {"targeted": ("a b",)},
        {"hidden": ("",)},
        {"tag_header": "a:b"},
        {"keyed": ("Range",)},
        {"bypassing": ("Host",)},
        {"credentials": ("X-Forwarded-Host",)},
    ],
)
def test_options_that_can_never_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Options(**wrong)  # type: ignore[arg-type]
