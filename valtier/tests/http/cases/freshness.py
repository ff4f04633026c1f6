"""How long a response is fresh, and how old it is (RFC 9111 §4.2)."""

from runner import Case, case, date, hit, miss

AGAIN = miss("no-store", at=0.5)

FRESH = [  # Cache-Control that gives freshness
    "max-age=60",
    "MAX-AGE=60",
    "Max-Age=60",
    'max-age="60"',
    "max-age=060",
    " max-age=60 ",
    ", max-age=60, ,",
    "max-age=60,",
    "foo, max-age=60",
    "foo=bar, max-age=60",
    'foo="max-age=0", max-age=60',
    'foo="a\\"b, no-store", max-age=60',
    "foo=bar;baz, max-age=60",
    "???, max-age=60",
    "=, max-age=60",
    "max-age=60\t,\tfoo",
    "max-age=99999999999999999999999",
    "max-age=2147483648",
    "max-age=60, max-age=60",
    "max-age=0, s-maxage=60",
    "s-maxage=60, max-age=0",
    "S-MaxAge=60",
    "xmax-age=0, max-age=60",
    "max-age=60, s-max-age=0",
]
STALE = [  # that which can't be read, or contradicts itself, gives none
    "max-age",
    "max-age=",
    "max-age=a60",
    "max-age=60a",
    "max-age=-60",
    "max-age=+60",
    "max-age=60.5",
    "max-age=1e3",
    "max-age=6 0",
    "max-age =60",
    "max-age= 60",
    "max-age='60'",
    'max-age="60',
    'max-age="a"',
    "max-age=60;foo",
    "max-age:60",
    "max-age=0",
    "max-age=60, max-age=0",
    "max-age=0, max-age=60",
    "max-age=60, s-maxage=0",
    "max-age=60, s-maxage=x",
    "s-maxage=60, s-maxage=30",
    'foo="max-age=60"',
    "maxage=60",
]
INVALID_DATES = [
    "0",
    "-1",
    "",
    "now",
    "never",
    "2147483647",
    "2028-01-01T00:00:00Z",
    "Sat, 01 Jan 2028 00:00:00",
    "Sat, 01 Jan 2028 00:00:00 UTC",
    "Sat, 01 Jan 2028 00:00:00 +0000",
    "Sat, 01 Jan 2028 00:00:00 EST",
    "Sat, 01 Jan 2028 00:00:00 gmt",
    "sat, 01 jan 2028 00:00:00 GMT",
    "01 Jan 2028 00:00:00 GMT",
    "Sat, 1 Jan 2028 00:00:00 GMT",
    "Sat, 01 Jan 28 00:00:00 GMT",
    "Sat,  01 Jan 2028 00:00:00 GMT",
    "Sat, 01-Jan-2028 00:00:00 GMT",
    "Sat, 01 Foo 2028 00:00:00 GMT",
    "Sat, 32 Jan 2028 00:00:00 GMT",
    "Sat, 30 Feb 2028 00:00:00 GMT",
    "Sat, 00 Jan 2028 00:00:00 GMT",
    "Sat, 01 Jan 2028 24:00:00 GMT",
    "Sat, 01 Jan 2028 00:60:00 GMT",
    "Sat, 01 Jan 2028 0:00:00 GMT",
    "Sat, 01 Jan 2028 00:00 GMT",
    "Sat, 01 Jan 0000 00:00:00 GMT",
    "Sat, 01 Jan 2028 00:00:00 GMT, x",
    '"Sat, 01 Jan 2028 00:00:00 GMT"',
]
VALID_DATES = [
    "Sat, 01 Jan 2028 00:00:00 GMT",
    "Mon, 01 Jan 2028 00:00:00 GMT",  # the day's name does not decide
    "Saturday, 01-Jan-28 00:00:00 GMT",
    "Tuesday, 01-Jan-70 00:00:00 GMT",  # less than 50 years ahead
    "Sat Jan  1 00:00:00 2028",
    "Sat Jan 01 00:00:00 2028",
    "Tue, 29 Feb 2028 23:59:60 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
]
BAD_AGES = ["x", "-1", "1.5", "1x", "", "+30", '"30"']


CASES: list[Case] = [
    *(
        case(f"Cache-Control {value!r} is fresh", "9111 §5.2.2.1", miss(value), hit(1, expect={"Age": "1"}))
        for value in FRESH
    ),
    *(case(f"Cache-Control {value!r} is not fresh", "9111 §4.2.1", miss(value), AGAIN) for value in STALE),
    *(
        case(f"Expires {value!r} is in the past", "9111 §5.3", miss({"Expires": value}), AGAIN)
        for value in INVALID_DATES
    ),
    *(
        case(f"Expires {value!r} is a date", "9110 §5.6.7", miss({"Expires": value}), hit(1))
        for value in VALID_DATES
    ),
    case(
        "two digits more than 50 years ahead are past",
        "9110 §5.6.7",
        miss({"Expires": "Monday, 01-Jan-90 00:00:00 GMT"}),
        AGAIN,
    ),
    case(
        "it is fresh just before max-age has passed",
        "9111 §4.2",
        miss("max-age=60"),
        hit(59.9, expect={"Age": "59"}),
    ),
    case(
        "it is stale as soon as max-age has passed", "9111 §4.2", miss("max-age=60"), miss("no-store", at=60)
    ),
    case(
        "max-age=1 is fresh for a second",
        "9111 §4.2",
        miss("max-age=1"),
        hit(0.5, expect={"Age": "0"}),
        miss("no-store", at=1),
    ),
    case("s-maxage decides over max-age", "9111 §5.2.2.10", miss("max-age=5, s-maxage=60"), hit(30)),
    case(
        "s-maxage decides over a longer max-age",
        "9111 §5.2.2.10",
        miss("max-age=60, s-maxage=5"),
        miss("no-store", at=30),
    ),
    case(
        "s-maxage decides over Expires",
        "9111 §5.3",
        miss({"Cache-Control": "s-maxage=60", "Expires": date(-60)}),
        hit(30),
    ),
    case(
        "max-age decides over Expires",
        "9111 §5.3",
        miss({"Cache-Control": "max-age=60", "Expires": date(-60)}),
        hit(30),
    ),
    case(
        "max-age=0 decides over a later Expires",
        "9111 §5.3",
        miss({"Cache-Control": "max-age=0", "Expires": date(60)}),
        AGAIN,
    ),
    case(
        "an unreadable max-age decides over a later Expires",
        "9111 §4.2.1",
        miss({"Cache-Control": "max-age=x", "Expires": date(60)}),
        AGAIN,
    ),
    case(
        "max-age on two lines that differ is stale",
        "9111 §4.2.1",
        miss({"Cache-Control": ["max-age=60", "max-age=5"]}),
        AGAIN,
    ),
    case(
        "max-age decides over an unreadable Expires",
        "9111 §5.3",
        miss({"Cache-Control": "max-age=60", "Expires": "0"}),
        hit(1),
    ),
    case(
        "Expires decides until then",
        "9111 §5.3",
        miss({"Expires": date(60)}),
        hit(59),
        miss("no-store", at=60),
    ),
    case(
        "Expires counts from Date",
        "9111 §4.2.1",
        miss({"Expires": date(1000), "Date": date(940)}),
        hit(59),
        miss("no-store", at=60),
    ),
    case("Expires before Date is stale", "9111 §4.2.1", miss({"Expires": date(10), "Date": date(20)}), AGAIN),
    case("Expires that is Date is stale", "9111 §4.2.1", miss({"Expires": date(0), "Date": date(0)}), AGAIN),
    case("Expires in the past is stale", "9111 §5.3", miss({"Expires": date(-1)}), AGAIN),
    case("two Expires that differ are stale", "9111 §4.2.1", miss({"Expires": [date(60), date(600)]}), AGAIN),
    case("two equal Expires are one", "9111 §4.2.1", miss({"Expires": [date(60), date(60)]}), hit(1)),
    case(
        "Expires with an unreadable Date counts from now",
        "9111 §4.2.1",
        miss({"Expires": date(60), "Date": "x"}),
        hit(59),
        miss("no-store", at=60),
    ),
    # Age and Date that come in (RFC 9111 §4.2.3)
    case(
        "Age that comes in counts",
        "9111 §4.2.3",
        miss({"Cache-Control": "max-age=60", "Age": "30"}),
        hit(29, expect={"Age": "59"}),
        miss("no-store", at=30),
    ),
    case(
        "Age over max-age is stale", "9111 §4.2.3", miss({"Cache-Control": "max-age=60", "Age": "60"}), AGAIN
    ),
    case(
        "Age of 0 is nothing",
        "9111 §5.1",
        miss({"Cache-Control": "max-age=60", "Age": "0"}),
        hit(59, expect={"Age": "59"}),
    ),
    case(
        "an Age beyond all numbers is stale",
        "9111 §1.2.2",
        miss({"Cache-Control": "max-age=60", "Age": "9" * 30}),
        AGAIN,
    ),
    *(
        case(
            f"Age {value!r} is ignored",
            "9111 §5.1",
            miss({"Cache-Control": "max-age=60", "Age": value}),
            hit(10, expect={"Age": "10"}),
        )
        for value in BAD_AGES
    ),
    case(
        "of a list of ages the first counts",
        "9111 §5.1",
        miss({"Cache-Control": "max-age=60", "Age": "30, 1"}),
        hit(10, expect={"Age": "40"}),
    ),
    case(
        "of several ages the first counts",
        "9111 §5.1",
        miss({"Cache-Control": "max-age=60", "Age": ["30", "1"]}),
        hit(10, expect={"Age": "40"}),
    ),
    case(
        "a list of ages whose first is unreadable is ignored",
        "9111 §5.1",
        miss({"Cache-Control": "max-age=60", "Age": "x, 30"}),
        hit(10, expect={"Age": "10"}),
    ),
    case(
        "a Date in the past makes it older",
        "9111 §4.2.3",
        miss({"Cache-Control": "max-age=60", "Date": date(-20)}),
        hit(10, expect={"Age": "30"}),
        miss("no-store", at=40),
    ),
    case(
        "a Date in the future does not make it younger",
        "9111 §4.2.3",
        miss({"Cache-Control": "max-age=60", "Date": date(100)}),
        hit(10, expect={"Age": "10"}),
        miss("no-store", at=60),
    ),
    case(
        "of Age and Date the older counts",
        "9111 §4.2.3",
        miss({"Cache-Control": "max-age=60", "Date": date(-20), "Age": "5"}),
        hit(10, expect={"Age": "30"}),
    ),
    case(
        "of Date and Age the older counts",
        "9111 §4.2.3",
        miss({"Cache-Control": "max-age=60", "Date": date(-5), "Age": "20"}),
        hit(10, expect={"Age": "30"}),
    ),
    case(
        "an unreadable Date is as none",
        "9111 §4.2.3",
        miss({"Cache-Control": "max-age=60", "Date": "yesterday"}),
        hit(10, expect={"Age": "10"}),
    ),
    case(
        "a Date of RFC 850 counts",
        "9110 §5.6.7",
        miss({"Cache-Control": "max-age=60", "Date": "Friday, 15-Jan-27 07:59:50 GMT"}),
        hit(10, expect={"Age": "20"}),
    ),
    case(
        "Age grows with each hit",
        "9111 §5.1",
        miss("max-age=60"),
        hit(0, expect={"Age": "0"}),
        hit(7, expect={"Age": "7"}),
        hit(30, expect={"Age": "30"}),
    ),
    case(
        "Age is new after a new response",
        "9111 §5.1",
        miss("max-age=60"),
        miss("max-age=60", at=70),
        hit(75, expect={"Age": "5"}, of=1),
    ),
    case(
        "a clock that goes back makes no negative age",
        "9111 §5.1",
        miss("max-age=60"),
        hit(-5, expect={"Age": "0"}),
    ),
    case("a forwarded response has no Age of ours", "9111 §5.1", miss("max-age=60", expect={"Age": None})),
    # heuristics (RFC 9111 §4.2.2)
    case(
        "a tenth of the time since Last-Modified is fresh",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000), "Date": date(0)}),
        hit(99),
        miss("no-store", at=100),
    ),
    case(
        "the share can be set",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000)}),
        hit(499),
        miss("no-store", at=500),
        heuristic_fraction=0.5,
    ),
    case(
        "the share can be none",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000)}),
        miss("no-store", at=1, saw={"If-Modified-Since": date(-1000)}),
        heuristic_fraction=0.0,
    ),
    case(
        "the heuristic is a day at most",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-86400 * 100)}),
        hit(86399),
        miss("no-store", at=86400),
    ),
    case(
        "the most can be set",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-86400)}),
        hit(9),
        miss("no-store", at=10),
        heuristic_max="10s",
    ),
    case(
        "Last-Modified in the future gives nothing", "9111 §4.2.2", miss({"Last-Modified": date(1000)}), AGAIN
    ),
    case(
        "an unreadable Last-Modified gives nothing",
        "9111 §4.2.2",
        miss({"Last-Modified": "last week"}),
        AGAIN,
    ),
    case(
        "no heuristic next to max-age",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000), "Cache-Control": "max-age=5"}),
        miss("no-store", at=50),
    ),
    case(
        "no heuristic next to an unreadable Expires",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000), "Expires": "0"}),
        AGAIN,
    ),
    case(
        "public allows the heuristic for any status",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000), "Cache-Control": "public"}, status=302),
        hit(50, gets=302, of=0),
    ),
    case(
        "private allows no shared heuristic",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000), "Cache-Control": "private"}),
        AGAIN,
    ),
    case(
        "a default can be given to what says nothing",
        "9111 §4.2.2",
        miss(),
        hit(29),
        miss("no-store", at=30),
        default_ttl="30s",
    ),
    case("the default is for cacheable statuses", "9111 §4.2.2", miss(status=500), AGAIN, default_ttl="30s"),
    case(
        "the default gives way to max-age",
        "9111 §4.2.2",
        miss("max-age=5"),
        miss("no-store", at=10),
        default_ttl="30s",
    ),
    case(
        "the default is not for what has Last-Modified",
        "9111 §4.2.2",
        miss({"Last-Modified": date(-1000)}),
        miss("no-store", at=1),
        default_ttl="30s",
        heuristic_fraction=0.0,
    ),
    case("the default gives way to no-store", "9111 §5.2.2.5", miss("no-store"), AGAIN, default_ttl="30s"),
    case(
        "Pragma in a response says nothing",
        "9111 §5.4",
        miss({"Cache-Control": "max-age=60", "Pragma": "no-cache"}),
        hit(1),
    ),
    case("no-cache is not fresh", "9111 §5.2.2.4", miss("no-cache, max-age=60"), AGAIN),
    case(
        "no-cache on a second line counts",
        "9110 §5.3",
        miss({"Cache-Control": ["max-age=60", "no-cache"]}),
        AGAIN,
    ),
    case(
        "no-cache with an empty list is about the whole",
        "9111 §5.2.2.4",
        miss('max-age=60, no-cache=""'),
        AGAIN,
    ),
    case(
        "no-cache with what is no field name is about the whole",
        "9111 §5.2.2.4",
        miss('max-age=60, no-cache="a b"'),
        AGAIN,
    ),
]
