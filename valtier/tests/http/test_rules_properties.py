"""Properties of the rules: nothing that HTTP can carry raises, and what is written is read back."""

import string
from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from valtier.http.rules import (
    Action,
    Forms,
    Options,
    StoredPolicy,
    answer,
    complete,
    fill_headers,
    freshen,
    head_outdates,
    hit_headers,
    invalidation,
    judge,
    missed,
    primary_key,
    read_request,
    reuse,
    selects,
    storable_headers,
    validation_headers,
    variant_key,
    vary_names,
)
from valtier.http.rules.dates import format_date, parse_date
from valtier.http.rules.directives import items, parse_request, parse_response
from valtier.http.rules.fields import LONGEST, entity_tags, number, opaque, words
from valtier.http.rules.ranges import parse_ranges, satisfiable
from valtier.http.rules.structured import (
    Date,
    DisplayString,
    Token,
    parse_dictionary,
    parse_item,
    parse_list,
    render_bare,
    render_dictionary,
    render_list,
)

quick = settings(max_examples=120, deadline=None)

NOW = 1_800_000_000.0
OPTIONS = Options(strip_set_cookie=True, query_sort=True, query_ignore=("utm_*",))

anything = st.binary(max_size=60)
words_of_fields = (
    b'max-age s-maxage no-cache no-store private public = , ; " \\ 60 0 -1 1.5 "a" W/ * bytes 0-1 -5 ( ) : ? @ % '
    b"x-a set-cookie must-understand stale-while-revalidate GMT Mon, 01 Jan 2028 00:00:00"
).split(b" ")
pieces = st.lists(
    st.sampled_from([*words_of_fields, b" ", b"\t", b"\xff", b"a" * 30, b"9" * 30]), max_size=12
).map(b"".join)
values = anything | pieces
request_names = st.sampled_from(
    b"host cache-control pragma if-none-match if-modified-since if-match range if-range cookie content-length "
    b"x-forwarded-host x-original-url accept-encoding accept x-a connection".split()
)
response_names = st.sampled_from(
    b"cache-control cdn-cache-control valtier-cache-control expires date age etag last-modified vary set-cookie "
    b"cache-groups cache-tag content-length connection location cache-group-invalidation x-a".split()
)
requests = st.lists(st.tuples(request_names, values), max_size=5)
responses = st.lists(st.tuples(response_names, values), max_size=6)
methods = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "BREW"])
statuses = st.sampled_from([200, 200, 204, 206, 301, 304, 404, 500, 599])
offsets = st.floats(-1e6, 1e9, allow_nan=False)


@quick
@given(methods, requests, statuses, responses, responses, offsets, values, values)
def test_nothing_that_http_can_carry_raises(
    method: str,
    request: list[tuple[bytes, bytes]],
    status: int,
    response: list[tuple[bytes, bytes]],
    update: list[tuple[bytes, bytes]],
    offset: float,
    path: bytes,
    query: bytes,
) -> None:
    facts = read_request(method, [(b"host", b"h.test"), *request], OPTIONS)
    missed(facts, OPTIONS)
    primary_key("http", facts.host, path, query, OPTIONS)
    invalidation(facts, "http", path, query, status, response, OPTIONS)
    policy = judge(facts, status, response, OPTIONS, request_time=NOW, response_time=NOW, identified=True)
    stored = storable_headers(response, OPTIONS, now=NOW)
    complete(response, 3)
    names = vary_names(response)
    if names is not None:
        variant_key(facts, names, request, OPTIONS, identity="ann")
    if isinstance(policy, StoredPolicy):
        decision = reuse(policy, facts, NOW + offset, OPTIONS)
        assert decision.age >= 0
        hit_headers(decision, OPTIONS)
        made = answer(facts, policy, stored, 3, OPTIONS, boundary=b"b")
        assert made.status in (policy.status, 304, 206, 416)
        fill_headers(request)
        validation_headers(request, policy)
        selects(policy, update)
        head_outdates(policy, 3, 200, update)
        freshened = freshen(policy, stored, update, now=NOW + 1)
        judge(facts, status, freshened, OPTIONS, request_time=NOW + 1, response_time=NOW + 1)


@quick
@given(requests, statuses, responses, requests, st.floats(0, 1e7), st.booleans())
def test_what_must_not_be_served_never_is(
    request: list[tuple[bytes, bytes]],
    status: int,
    response: list[tuple[bytes, bytes]],
    later: list[tuple[bytes, bytes]],
    offset: float,
    identified: bool,
) -> None:
    """The oldest promises, checked without the code that keeps them."""
    options = Options(targeted=())
    facts = read_request("GET", [(b"host", b"h.test"), *request], options)
    policy = judge(
        facts, status, response, options, request_time=NOW, response_time=NOW, identified=identified
    )
    if not isinstance(policy, StoredPolicy):
        return
    names = [name for name, _ in request]
    control = b",".join(value for name, value in response if name == b"cache-control").lower()
    assert status not in (206, 304)
    assert not any(name == b"set-cookie" for name, _ in storable_headers(response, options, now=NOW))
    assert policy.keep_until >= max(policy.fresh_until, policy.revalidate_until, policy.error_until)
    if b"cookie" in names and not policy.private:
        assert any(word in control for word in (b"public", b"s-maxage", b"must-revalidate"))
    if not identified:
        assert not policy.private
    again = read_request("GET", [(b"host", b"h.test"), *later], options)
    decision = reuse(policy, again, NOW + offset, options)
    if decision.action is Action.SERVE:
        asked = again.directives
        stale_by = NOW + offset - policy.fresh_until
        assert not policy.no_cache
        assert stale_by < 0 or (
            asked is not None and asked.max_stale is not None and stale_by <= asked.max_stale
        )


@quick
@given(values)
def test_directives_are_bounded(value: bytes) -> None:
    found = parse_response(value)
    for seconds in (found.max_age, found.s_maxage, found.stale_if_error, found.stale_while_revalidate):
        assert seconds is None or 0 <= seconds <= LONGEST
    asked = parse_request(value)
    for seconds in (asked.max_age, asked.min_fresh, asked.max_stale, asked.stale_if_error):
        assert seconds is None or 0 <= seconds <= LONGEST


token = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
argument = st.none() | token | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)


@quick
@given(st.lists(st.tuples(token, argument), max_size=6), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_directives_that_are_written_are_read_back(
    wanted: list[tuple[str, str | None]], between: str
) -> None:
    def written(name: str, value: str | None) -> str:
        if value is None:
            return name
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{name}="{escaped}"'

    text = between.join(written(*pair) for pair in wanted)
    read = [(name, value, valid) for name, value, valid in items(text.encode("latin-1"))]
    assert read == [
        (name.lower().encode(), None if value is None else value.encode("latin-1"), True)
        for name, value in wanted
    ]


@quick
@given(st.integers(0, 253402300799), st.floats(0, 4e9))
def test_dates_that_are_written_are_read_back(moment: int, now: float) -> None:
    assert parse_date(format_date(moment), now) == moment


@quick
@given(values, offsets)
def test_no_text_raises_as_a_date(value: bytes, now: float) -> None:
    parse_date(value, now)


bare = (
    st.integers(-(10**15) + 1, 10**15 - 1)
    | st.decimals(-(10**12) + 1, 10**12 - 1, places=3, allow_nan=False, allow_infinity=False)
    | st.text(string.printable[:95], max_size=12)
    | st.from_regex(r"\A[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,8}\Z").map(Token)
    | st.binary(max_size=12)
    | st.booleans()
    | st.integers(-(10**12), 10**12).map(Date)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(DisplayString)
)
key = st.from_regex(r"\A[a-z*][a-z0-9_.*-]{0,6}\Z")
parameters = st.dictionaries(key, bare, max_size=3)
item = st.tuples(bare, parameters)
member = st.tuples(bare | st.lists(item, max_size=3), parameters)


@quick
@given(st.lists(member, max_size=4))
def test_lists_that_are_written_are_read_back(members: list) -> None:  # type: ignore[type-arg]
    read = parse_list(render_list(members))
    assert read == members
    assert [type(value) for value, _ in read or ()] == [type(value) for value, _ in members]


@quick
@given(st.dictionaries(key, member, max_size=4))
def test_dictionaries_that_are_written_are_read_back(dictionary: dict) -> None:  # type: ignore[type-arg]
    assert parse_dictionary(render_dictionary(dictionary)) == dictionary


@quick
@given(bare)
def test_items_that_are_written_are_read_back(value: int | Decimal | str | bytes | bool) -> None:
    assert parse_item(render_bare(value).encode()) == (value, {})


@quick
@given(values)
def test_no_text_raises_as_a_structured_field(value: bytes) -> None:
    """And what is read is written as something that reads the same (RFC 9651 §4)."""
    members = parse_list(value)
    if members is not None:
        assert parse_list(render_list(members)) == members
    dictionary = parse_dictionary(value)
    if dictionary is not None:
        assert parse_dictionary(render_dictionary(dictionary)) == dictionary
    parse_item(value)


positions = st.tuples(st.integers(0, 30), st.integers(0, 30)) | st.tuples(st.integers(0, 30), st.none())
suffixes = st.tuples(st.none(), st.integers(0, 30))


@quick
@given(st.lists(positions | suffixes, min_size=1, max_size=5), st.integers(0, 25))
def test_ranges_select_the_bytes_that_they_name(
    specs: list[tuple[int | None, int | None]], length: int
) -> None:
    text = (
        b"bytes="
        + ", ".join(
            f"{'' if first is None else first}-{'' if last is None else last}" for first, last in specs
        ).encode()
    )
    read = parse_ranges(text, 10)
    if any(first is not None and last is not None and last < first for first, last in specs):
        assert read is None
        return
    assert read == specs
    wanted = set()
    for first, last in specs:
        if first is None:
            wanted |= set(range(max(0, length - (last or 0)), length))
        else:
            wanted |= set(range(first, length if last is None else min(last + 1, length)))
    ranges = satisfiable(specs, length)
    assert set().union(*(range(start, stop) for start, stop in ranges)) == wanted
    assert sum(stop - start for start, stop in ranges) == len(wanted)  # none twice


@quick
@given(values)
def test_no_text_raises_as_a_range(value: bytes) -> None:
    read = parse_ranges(value, 10)
    if read is not None:
        satisfiable(read, 7)


@quick
@given(st.lists(st.tuples(st.booleans(), st.text("abc,W/ !", max_size=6)), max_size=5))
def test_entity_tags_that_are_written_are_read_back(tags: list[tuple[bool, str]]) -> None:
    written = [b'%b"%b"' % (b"W/" if weak else b"", text.replace(" ", "").encode()) for weak, text in tags]
    assert entity_tags(b" , ".join(written)) == written
    assert all(opaque(tag).startswith(b'"') for tag in written)


@quick
@given(values)
def test_no_text_raises_as_a_list(value: bytes) -> None:
    entity_tags(value)
    words(value)
    list(items(value))
    number(value)


segments = st.text("ab/?&=%25:", max_size=6).map(str.encode)


@quick
@given(segments, segments, segments, segments)
def test_different_targets_never_have_the_same_key(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    plain = Options()
    first, second = (primary_key("http", b"h.test", path, query, plain) for path, query in ((a, b), (c, d)))
    assert (first == second) == ((a, b) == (c, d))


lines = st.lists(st.tuples(st.sampled_from([b"x-a", b"x-b"]), st.text("12:(-)", max_size=4).map(str.encode)), max_size=2, unique_by=lambda line: line[0])  # fmt: skip
identities = st.none() | st.text("a1:(", max_size=3)


@quick
@given(lines, identities, lines, identities)
def test_different_variants_never_have_the_same_key(
    first: list[tuple[bytes, bytes]], one: str | None, second: list[tuple[bytes, bytes]], other: str | None
) -> None:
    plain, names = Options(), (b"x-a", b"x-b")
    facts = read_request("GET", [(b"host", b"h.test")], plain)
    same = variant_key(facts, names, first, plain, identity=one) == variant_key(
        facts, names, second, plain, identity=other
    )
    assert same == ((dict(first), one) == (dict(second), other))


@quick
@given(responses)
def test_a_policy_survives_msgpack(response: list[tuple[bytes, bytes]]) -> None:
    facts = read_request("GET", [(b"host", b"h.test")], OPTIONS)
    policy = judge(
        facts,
        200,
        [*response, (b"cache-control", b"max-age=60")],
        OPTIONS,
        request_time=NOW,
        response_time=NOW,
    )
    if isinstance(policy, StoredPolicy):
        packed = msgspec.msgpack.encode(policy)
        assert msgspec.msgpack.decode(packed, type=StoredPolicy) == policy


plain_lines = st.sampled_from(
    [
        (b"cache-control", b"private, no-cache"),
        (b"cache-control", b"public, max-age=60, stale-while-revalidate=5"),
        (b"cache-control", b'no-cache="etag", max-age=9, stale-if-error=3'),
        (b"cache-control", b"no-store"),
        (b"valtier-cache-control", b"private, max-age=30"),
        (b"vary", b"accept"),
        (b"vary", b"*"),
        (b"cache-groups", b'"a"'),
        (b"content-type", b"application/json"),
        (b"etag", b'"a"'),
        (b"etag", b'W/"b"'),
        (b"etag", b"c"),
        (b"cache-tag", b"x, y"),
        (b"cache-tag", b"z"),
        (b"content-length", b"5"),
        (b"content-length", b"99999999999"),
        (b"set-cookie", b"a=1"),
        (b"date", format_date(NOW - 5)),
        (b"age", b"7"),
        (b"last-modified", format_date(NOW - 500)),
        (b"expires", format_date(NOW + 500)),
    ]
)
FORMS = Forms(OPTIONS)  # one for all examples: what one leaves must be right for the others


@settings(max_examples=600, deadline=None)
@given(
    st.lists(plain_lines, max_size=6) | responses,
    st.sampled_from([200, 404, 500, 204, 206]),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1e6),
    st.floats(-5, 100),
    st.sampled_from([(), ((b"range", b"bytes=0-1"),), ((b"cache-control", b"no-store"),)]),
)
def test_a_response_judged_by_its_form_is_judged_as_if_it_were_the_first(
    response: list[tuple[bytes, bytes]],
    status: int,
    signed_in: bool,
    identified: bool,
    offset: float,
    delay: float,
    more: tuple[tuple[bytes, bytes], ...],
) -> None:
    request = [(b"host", b"a"), *more, *([(b"cookie", b"a=1")] if signed_in else [])]
    facts = read_request("GET", request, OPTIONS)
    asked, came = NOW + offset, NOW + offset + delay
    for _ in range(2):
        policy, form = FORMS.judge(
            facts, status, response, request_time=asked, response_time=came, identified=identified
        )
        assert policy == judge(
            facts,
            status,
            response,
            OPTIONS,
            request_time=asked,
            response_time=came,
            identified=identified,
        )
        if form is not None and isinstance(policy, StoredPolicy):  # else nothing is stored
            assert form.storable(response, came) == storable_headers(response, OPTIONS, now=came)


def test_forms_are_bounded_and_remember_no_long_fields() -> None:
    forms = Forms(OPTIONS)
    facts = read_request("GET", [(b"host", b"a")], OPTIONS)
    for number_ in range(3000):
        forms.judge(
            facts,
            200,
            [(b"x-a", b"%d" % number_)],
            request_time=NOW,
            response_time=NOW,
            identified=False,
        )
    assert len(forms._forms) <= 1000
    long = [(b"x-a", b"a" * 5000)]
    assert forms.judge(facts, 200, long, request_time=NOW, response_time=NOW, identified=False)[1] is None
