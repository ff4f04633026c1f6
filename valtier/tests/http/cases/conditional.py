"""The conditions of clients, answered from the store (RFC 9110 §13, RFC 9111 §4.3.2)."""

from runner import Case, case, date, hit, miss, validated

FRESH = "max-age=60"
TAGGED = {"Cache-Control": FRESH, "ETag": '"a"'}
WEAK = {"Cache-Control": FRESH, "ETag": 'W/"a"'}
DATED = {"Cache-Control": FRESH, "Last-Modified": date(-1000)}
BOTH = TAGGED | {"Last-Modified": date(-1000)}
MATCHING = ['"a"', 'W/"a"', "*", ' "a" ', '"x", "a"', '"a","x"', '"x" , W/"a" , "y"', ', "a",', '"x,y", "a"']
DIFFERING = [
    '"b"',
    '"A"',
    '""',
    "a",
    "'a'",
    '"a',
    'a"',
    '"ab"',
    'w/"a"',
    '"x" "a"',
    '"a"x',
    "W/a",
    '"b", "c"',
    '"x, "a"',
]


def tags(value: str) -> dict[str, str]:
    return {"If-None-Match": value}


def since(value: str) -> dict[str, str]:
    return {"If-Modified-Since": value}


CASES: list[Case] = [
    *(
        case(
            f"If-None-Match {value!r} matches a strong tag",
            "9110 §13.1.2",
            miss(TAGGED),
            hit(1, tags(value), gets=304),
        )
        for value in MATCHING
    ),
    *(
        case(
            f"If-None-Match {value!r} matches a weak tag",
            "9110 §13.1.2",
            miss(WEAK),
            hit(1, tags(value), gets=304),
        )
        for value in MATCHING
    ),
    *(
        case(f"If-None-Match {value!r} does not match", "9110 §13.1.2", miss(TAGGED), hit(1, tags(value)))
        for value in DIFFERING
    ),
    case(
        "If-None-Match on two lines is one list",
        "9110 §5.3",
        miss(TAGGED),
        hit(1, {"If-None-Match": ['"x"', '"a"']}, gets=304),
    ),
    case(
        "a comma inside a tag does not divide it",
        "9110 §8.8.3",
        miss({"Cache-Control": FRESH, "ETag": '"a,b"'}),
        hit(1, tags('"x", "a,b"'), gets=304),
        hit(2, tags('"b"')),
    ),
    case(
        "an empty tag is a tag",
        "9110 §8.8.3",
        miss({"Cache-Control": FRESH, "ETag": '""'}),
        hit(1, tags('""'), gets=304),
    ),
    case("a stored response without a tag matches no tag", "9111 §4.3.2", miss(FRESH), hit(1, tags('"a"'))),
    case("any stored response matches *", "9110 §13.1.2", miss(FRESH), hit(1, tags("*"), gets=304)),
    case(
        "a stored tag without quotes is none",
        "9110 §8.8.3",
        miss({"Cache-Control": FRESH, "ETag": "a"}),
        hit(1, tags("a")),
    ),
    case(
        "two stored tags are none",
        "9110 §8.8.3",
        miss({"Cache-Control": FRESH, "ETag": ['"a"', '"b"']}),
        hit(1, tags('"a"')),
    ),
    # If-Modified-Since
    case(
        "the stored Last-Modified is not modified",
        "9110 §13.1.3",
        miss(DATED),
        hit(1, since(date(-1000)), gets=304),
    ),
    case("a later date is not modified", "9110 §13.1.3", miss(DATED), hit(1, since(date(-999)), gets=304)),
    case(
        "a date in the future is not modified",
        "9110 §13.1.3",
        miss(DATED),
        hit(1, since(date(5000)), gets=304),
    ),
    case("an earlier date is modified", "9110 §13.1.3", miss(DATED), hit(1, since(date(-1001)))),
    case(
        "a date of RFC 850 counts",
        "9110 §5.6.7",
        miss(DATED),
        hit(1, since("Friday, 15-Jan-27 08:00:00 GMT"), gets=304),
    ),
    case(
        "a date of asctime counts",
        "9110 §5.6.7",
        miss(DATED),
        hit(1, since("Fri Jan 15 08:00:00 2027"), gets=304),
    ),
    *(
        case(f"If-Modified-Since {value!r} is ignored", "9110 §13.1.3", miss(DATED), hit(1, since(value)))
        for value in (
            "0",
            "x",
            "2028-01-01",
            "Sat, 01 Jan 2028 00:00:00 UTC",
            f"{date(-1000)}, {date(-1000)}",
        )
    ),
    case(
        "two If-Modified-Since are ignored",
        "9110 §13.1.3",
        miss(DATED),
        hit(1, {"If-Modified-Since": [date(-1000), date(0)]}),
    ),
    case(
        "without Last-Modified the Date decides",
        "9111 §4.3.2",
        miss({"Cache-Control": FRESH, "Date": date(-10)}),
        hit(1, since(date(-10)), gets=304),
        hit(2, since(date(-11))),
    ),
    case(
        "without any date the time of reception decides",
        "9111 §4.3.2",
        miss(FRESH),
        hit(1, since(date(0)), gets=304),
        hit(2, since(date(-1))),
    ),
    # precedence
    case(
        "If-None-Match that differs decides over If-Modified-Since",
        "9110 §13.2.2",
        miss(BOTH),
        hit(1, tags('"b"') | since(date(0))),
    ),
    case(
        "If-None-Match that matches decides over If-Modified-Since",
        "9110 §13.2.2",
        miss(BOTH),
        hit(1, tags('"a"') | since(date(-2000)), gets=304),
    ),
    case(
        "If-None-Match decides even without a stored tag",
        "9110 §13.2.2",
        miss(DATED),
        hit(1, tags('"a"') | since(date(0))),
    ),
    # fields of a 304
    case(
        "a 304 has the fields that guide caches",
        "9110 §15.4.5",
        miss(TAGGED | {"Vary": "Accept", "Expires": date(60), "Content-Location": "/x", "Date": date(0)}),
        hit(
            3,
            tags('"a"'),
            gets=304,
            expect={
                "ETag": '"a"',
                "Cache-Control": FRESH,
                "Vary": "Accept",
                "Expires": date(60),
                "Content-Location": "/x",
                "Date": date(0),
                "Age": "3",
            },
        ),
    ),
    case(
        "a 304 says nothing of the content",
        "9110 §15.4.5",
        miss(TAGGED | {"Content-Type": "text/html", "Content-Language": "en", "Content-Encoding": "x-own"}),
        hit(
            1,
            tags('"a"'),
            gets=304,
            expect={"Content-Type": None, "Content-Language": None, "Content-Encoding": None},
        ),
    ),
    case(
        "a 304 with a tag has no Last-Modified",
        "9110 §15.4.5",
        miss(BOTH),
        hit(1, tags('"a"'), gets=304, expect={"Last-Modified": None}),
    ),
    case(
        "a 304 without a tag has Last-Modified",
        "9110 §15.4.5",
        miss(DATED),
        hit(1, since(date(0)), gets=304, expect={"Last-Modified": date(-1000)}),
    ),
    case(
        "a 304 keeps fields of the application",
        "9110 §15.4.5",
        miss(TAGGED | {"Content-Security-Policy": "default-src 'self'", "X-A": "1"}),
        hit(1, tags('"a"'), gets=304, expect={"Content-Security-Policy": "default-src 'self'", "X-A": "1"}),
    ),
    case(
        "a 304 says that it is a hit",
        "9211 §2.1",
        miss(TAGGED),
        hit(1, tags('"a"'), gets=304, status_has=("hit", "ttl=59")),
    ),
    # only successful responses
    case(
        "a stored 404 is not made a 304",
        "9110 §13.2.1",
        miss(TAGGED, status=404),
        hit(1, tags('"a"'), gets=404, of=0),
    ),
    case(
        "a stored redirect is not made a 304",
        "9110 §13.2.1",
        miss(TAGGED, status=301),
        hit(1, tags("*"), gets=301, of=0),
    ),
    case(
        "a stored 300 is not made a 304",
        "9110 §13.2.1",
        miss(TAGGED, status=300),
        hit(1, tags('"a"'), gets=300, of=0),
    ),
    case(
        "a stored 203 is made a 304", "9110 §13.2.1", miss(TAGGED, status=203), hit(1, tags('"a"'), gets=304)
    ),
    # forwarding
    case(
        "a miss asks for the whole, and the client gets its 304",
        "9111 §4.3.2",
        miss(TAGGED, tags('"a"'), gets=304, saw={"If-None-Match": None}),
        hit(1, of=0),
    ),
    case(
        "a miss asks for the whole, and the client gets what it has not",
        "9111 §4.3.2",
        miss(TAGGED, tags('"b"'), saw={"If-None-Match": None}),
        hit(1, of=0),
    ),
    case(
        "a miss asks for the whole without the client's date",
        "9111 §4.3.2",
        miss(DATED, since(date(-1000)), gets=304, saw={"If-Modified-Since": None}),
        hit(1, of=0),
    ),
    case("what is not stored is sent whole", "9111 §4.3.2", miss("no-store", tags('"b"'))),
    case(
        "a POST's condition reaches the origin",
        "9111 §4.3.2",
        miss("no-store", tags("*"), method="POST", request_body=b"x", saw={"If-None-Match": "*"}),
    ),
    case(
        "If-Match is for the origin",
        "9110 §13.1.1",
        miss(TAGGED),
        miss("no-store", {"If-Match": '"a"'}, at=1, saw={"If-Match": '"a"'}),
    ),
    case(
        "the origin's 412 reaches the client",
        "9110 §13.1.1",
        miss(TAGGED),
        miss("no-store", {"If-Match": '"b"'}, at=1, status=412),
        hit(2, of=0),
    ),
    case(
        "If-Unmodified-Since is for the origin",
        "9110 §13.1.4",
        miss(DATED),
        miss("no-store", {"If-Unmodified-Since": date(0)}, at=1, saw={"If-Unmodified-Since": date(0)}),
    ),
    case(
        "an answer to If-Match is not stored",
        "9110 §13.1.1",
        miss(TAGGED, {"If-Match": "*"}),
        miss("no-store", at=1),
    ),
    case(
        "a stale response is validated with its own tag",
        "9111 §4.3.1",
        miss(TAGGED),
        validated(61, TAGGED, tags('"x"'), saw={"If-None-Match": '"a"'}),
    ),
    case(
        "after validation the client's condition holds",
        "9111 §4.3.3",
        miss(TAGGED),
        validated(61, TAGGED, tags('"a"'), gets=304),
    ),
    case(
        "after a new response the client's condition is about that",
        "9111 §4.3.3",
        miss(TAGGED),
        miss(TAGGED | {"ETag": '"b"'}, tags('"b"'), at=61, gets=304),
        hit(62, of=1),
    ),
]
