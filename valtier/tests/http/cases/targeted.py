"""Targeted Cache-Control (RFC 9213)."""

from runner import Case, case, date, hit, miss, validated

OURS = "Valtier-Cache-Control"
CDN = "CDN-Cache-Control"
AGAIN = miss("no-store", at=30)


def both(targeted: str, general: str, name: str = CDN) -> dict[str, str]:
    return {name: targeted, "Cache-Control": general}


USED = [  # this field counts, so the fresh of Cache-Control does not matter
    "max-age=0",
    "no-store",
    "max-age=60, no-store",
    "private",
    "no-cache",
    "max-age=5",
    "s-maxage=0, max-age=60",
    "max-age=60;x=1, no-store;y",
    "unknown",
    "public",
    'max-age="60"',
    "max-age=60.0",
    "max-age=-1",
    "max-age",
    "max-age=?1",
    "max-age=(60)",
    "max-age=60, max-age=0",
    "no-store, x=@1659578233",
    'private="x y"',
]
IGNORED = [  # no dictionary, or an empty one: Cache-Control counts, which says fresh
    "",
    " ",
    "max-age=0,",
    ", max-age=0",
    "max-age=0,,no-store",
    "Max-Age=0",
    "max-age=",
    "max-age= 0",
    "max-age =0",
    "max-age=0 no-store",
    "max-age=0; X=1",
    'no-store, x="y',
    "no-store, x=&",
    "no-store, 1x",
    "max-age=9999999999999999",
    'no-store, x="é"',
    "no-store=:@:",
    "no-store, x=(1 2",
    "no-store, x=?2",
]

CASES: list[Case] = [
    *(
        case(f"{CDN} {value!r} is used", "9213 §2.1", miss(both(value, "max-age=600")), AGAIN)
        for value in USED
    ),
    *(
        case(f"{CDN} {value!r} is ignored", "9213 §2.1", miss(both(value, "max-age=600")), hit(30))
        for value in IGNORED
    ),
    case("it gives freshness", "9213 §2.2", miss({CDN: "max-age=60"}), hit(59), miss("no-store", at=60)),
    case("it decides over Cache-Control", "9213 §2.2", miss(both("max-age=60", "no-store")), hit(30)),
    case(
        "it decides over private in Cache-Control", "9213 §2.2", miss(both("max-age=60", "private")), hit(30)
    ),
    case(
        "it decides over no-cache in Cache-Control",
        "9213 §2.2",
        miss(both("max-age=60", "no-cache")),
        hit(30),
    ),
    case("it decides over Expires", "9213 §2.2", miss({CDN: "max-age=60", "Expires": date(-60)}), hit(30)),
    case(
        "it decides over Expires even without a lifetime",
        "9213 §2.2",
        miss({CDN: "public", "Expires": date(60)}),
        AGAIN,
    ),
    case("s-maxage counts in it", "9213 §2.1", miss(both("s-maxage=60, max-age=0", "no-store")), hit(30)),
    case("a number over all is the largest", "9111 §1.2.2", miss({CDN: "max-age=999999999999999"}), hit(30)),
    case("its last duplicate counts", "9651 §3.2", miss({CDN: "max-age=0, max-age=60"}), hit(30)),
    case("parameters do not count", "9213 §2.1", miss({CDN: "max-age=60;no-store;x=1"}), hit(30)),
    case("a false flag is none", "9213 §2.1", miss({CDN: "max-age=60, no-store=?0"}), hit(30)),
    case("a true flag is one", "9213 §2.1", miss({CDN: "max-age=60, no-store=?1"}), AGAIN),
    case("several lines are one dictionary", "9651 §3.2", miss({CDN: ["max-age=60", "no-store"]}), AGAIN),
    case("a space in front does not matter", "9651 §4.2", miss({CDN: "  max-age=60  "}), hit(30)),
    case("tabs around commas do not matter", "9651 §4.2", miss({CDN: "max-age=60\t,\tpublic"}), hit(30)),
    case(
        "qualified private in it",
        "9213 §2.1",
        miss({CDN: 'max-age=60, private="x-a"', "X-A": "1", "X-B": "1"}),
        hit(30, expect={"X-A": None, "X-B": "1"}),
    ),
    case(
        "qualified no-cache in it",
        "9213 §2.1",
        miss({CDN: 'max-age=60, no-cache="x-a"', "X-A": "1"}),
        hit(30, expect={"X-A": None}),
    ),
    case(
        "no-cache in it is validated",
        "9213 §2.1",
        miss({CDN: "no-cache", "ETag": '"a"', "Cache-Control": "max-age=60"}),
        validated(1, {CDN: "no-cache"}),
    ),
    case(
        "stale-while-revalidate in it",
        "9213 §2.1",
        miss({CDN: "max-age=60, stale-while-revalidate=30"}),
        hit(61, reply="no-store", background=True, of=0),
    ),
    case(
        "stale-while-revalidate of Cache-Control does not count beside it",
        "9213 §2.2",
        miss(both("max-age=60", "max-age=60, stale-while-revalidate=30")),
        miss("no-store", at=61),
    ),
    case(
        "must-revalidate in it allows credentials",
        "9111 §3.5",
        miss({CDN: "max-age=60, must-revalidate"}, {"Authorization": "x"}),
        hit(30),
    ),
    case(
        "public of Cache-Control does not count beside it",
        "9213 §2.2",
        miss(both("max-age=60", "public"), {"Authorization": "x"}),
        AGAIN,
    ),
    case("must-understand in it", "9213 §2.1", miss({CDN: "max-age=60, must-understand, no-store"}), hit(30)),
    case(
        "a heuristic is allowed beside it",
        "9213 §2.2",
        miss({CDN: "public", "Last-Modified": date(-1000)}),
        hit(30),
    ),
    case(
        "the first of the list decides",
        "9213 §2.2",
        miss({OURS: "max-age=60", CDN: "no-store", "Cache-Control": "no-store"}),
        hit(30),
    ),
    case(
        "the first of the list decides against the others",
        "9213 §2.2",
        miss({OURS: "no-store", CDN: "max-age=60", "Cache-Control": "max-age=60"}),
        AGAIN,
    ),
    case(
        "if the first can't be read the second decides",
        "9213 §2.2",
        miss({OURS: "max-age=", CDN: "no-store", "Cache-Control": "max-age=60"}),
        AGAIN,
    ),
    case(
        "if the first is empty the second decides",
        "9213 §2.2",
        miss({OURS: "", CDN: "max-age=60", "Cache-Control": "no-store"}),
        hit(30),
    ),
    case(
        "the list can be set",
        "9213 §2.2",
        miss({"Tier-Cache-Control": "max-age=60", CDN: "no-store"}),
        hit(30),
        targeted=("Tier-Cache-Control",),
    ),
    case(
        "a field that is not in the list does not count",
        "9213 §2.2",
        miss({"Else-Cache-Control": "no-store", "Cache-Control": "max-age=60"}),
        hit(30),
    ),
    case(
        "an empty list leaves Cache-Control",
        "9213 §2.2",
        miss(both("no-store", "max-age=60")),
        hit(30),
        targeted=(),
    ),
    case(
        "what is meant for others is sent on",
        "9213 §2.2",
        miss({CDN: "max-age=60"}, expect={CDN: "max-age=60"}),
        hit(1, expect={CDN: "max-age=60"}),
    ),
    case(
        "what browsers are told is sent on",
        "9213 §2.2",
        miss({OURS: "max-age=60", "Cache-Control": "no-store"}),
        hit(30, expect={"Cache-Control": "no-store", OURS: None}),
    ),
]
