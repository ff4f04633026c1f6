"""What requests may ask of a cache (RFC 9111 §5.2.1)."""

from typing import Any

from runner import Case, case, hit, miss, validated

FRESH = {"Cache-Control": "max-age=60"}
TAGGED = FRESH | {"ETag": '"a"'}


def cc(value: str | list[str]) -> dict[str, Any]:
    return {"Cache-Control": value}


CASES: list[Case] = [
    case(
        "no-cache is validated",
        "9111 §5.2.1.4",
        miss(TAGGED),
        validated(1, TAGGED, cc("no-cache"), saw={"If-None-Match": '"a"'}),
    ),
    case(
        "no-cache without a validator is forwarded",
        "9111 §5.2.1.4",
        miss(FRESH),
        miss(FRESH, cc("no-cache"), at=1),
        hit(2, of=1),
    ),
    case(
        "no-cache counts in any case of letters",
        "9111 §5.2",
        miss(TAGGED),
        validated(1, TAGGED, cc("No-Cache")),
    ),
    case(
        "a request's no-cache on a second line counts",
        "9110 §5.3",
        miss(TAGGED),
        validated(1, TAGGED, cc(["foo", "no-cache"])),
    ),
    case(
        "no-cache reaches the origin",
        "9111 §5.2",
        miss(TAGGED),
        validated(1, TAGGED, cc("no-cache"), saw={"Cache-Control": "no-cache"}),
    ),
    case(
        "Pragma: no-cache is no-cache",
        "9111 §5.4",
        miss(TAGGED),
        validated(1, TAGGED, {"Pragma": "no-cache"}),
    ),
    case("Pragma with anything else says nothing", "9111 §5.4", miss(TAGGED), hit(1, {"Pragma": "foo"})),
    case(
        "Pragma next to Cache-Control says nothing",
        "9111 §5.4",
        miss(TAGGED),
        hit(1, {"Pragma": "no-cache", "Cache-Control": "max-age=60"}),
    ),
    case(
        "max-age that is younger is validated",
        "9111 §5.2.1.1",
        miss(TAGGED),
        validated(10, TAGGED, cc("max-age=9")),
    ),
    case("max-age that is older is served", "9111 §5.2.1.1", miss(TAGGED), hit(10, cc("max-age=10"))),
    case("max-age=0 is validated", "9111 §5.2.1.1", miss(TAGGED), validated(1, TAGGED, cc("max-age=0"))),
    case(
        "max-age counts the Age that came in",
        "9111 §5.2.1.1",
        miss(TAGGED | {"Age": "20"}),
        validated(1, TAGGED, cc("max-age=20")),
    ),
    case(
        "max-age does not make the stale fresh",
        "9111 §5.2.1.1",
        miss(TAGGED),
        validated(61, TAGGED, cc("max-age=600")),
    ),
    case(
        "of two max-age the smaller counts",
        "9111 §4.2.1",
        miss(TAGGED),
        validated(10, TAGGED, cc("max-age=60, max-age=5")),
    ),
    case(
        "min-fresh that it has not is validated",
        "9111 §5.2.1.3",
        miss(TAGGED),
        validated(40, TAGGED, cc("min-fresh=21")),
    ),
    case("min-fresh that it has is served", "9111 §5.2.1.3", miss(TAGGED), hit(40, cc("min-fresh=20"))),
    case("min-fresh=0 is served while fresh", "9111 §5.2.1.3", miss(TAGGED), hit(59, cc("min-fresh=0"))),
    case(
        "max-stale serves the stale",
        "9111 §5.2.1.2",
        miss(TAGGED),
        hit(70, cc("max-stale=10"), expect={"Age": "70"}),
    ),
    case("max-stale has an end", "9111 §5.2.1.2", miss(TAGGED), validated(71, TAGGED, cc("max-stale=10"))),
    case(
        "max-stale without a value serves any stale",
        "9111 §5.2.1.2",
        miss(TAGGED),
        hit(3000, cc("max-stale")),
    ),
    case("max-stale does not hinder the fresh", "9111 §5.2.1.2", miss(TAGGED), hit(1, cc("max-stale=10"))),
    case(
        "must-revalidate forbids max-stale",
        "9111 §5.2.2.2",
        miss(TAGGED | cc("max-age=60, must-revalidate")),
        validated(61, TAGGED, cc("max-stale")),
    ),
    case(
        "proxy-revalidate forbids max-stale",
        "9111 §5.2.2.8",
        miss(TAGGED | cc("max-age=60, proxy-revalidate")),
        validated(61, TAGGED, cc("max-stale")),
    ),
    case(
        "s-maxage forbids max-stale",
        "9111 §5.2.2.10",
        miss(TAGGED | cc("s-maxage=60")),
        validated(61, TAGGED, cc("max-stale")),
    ),
    case(
        "no-cache of the response forbids max-stale",
        "9111 §5.2.2.4",
        miss(TAGGED | cc("max-age=60, no-cache")),
        validated(1, TAGGED, cc("max-stale")),
    ),
    case("max-age with max-stale", "9111 §5.2.1.1", miss(TAGGED), hit(65, cc("max-age=100, max-stale=10"))),
    case(
        "min-fresh with max-stale is the stricter",
        "9111 §5.2.1.3",
        miss(TAGGED),
        validated(50, TAGGED, cc("min-fresh=20, max-stale")),
    ),
    case("only-if-cached serves the fresh", "9111 §5.2.1.7", miss(FRESH), hit(1, cc("only-if-cached"))),
    case("only-if-cached without anything is a 504", "9111 §5.2.1.7", hit(0, cc("only-if-cached"), gets=504)),
    case(
        "only-if-cached for the stale is a 504",
        "9111 §5.2.1.7",
        miss(TAGGED),
        hit(61, cc("only-if-cached"), gets=504),
    ),
    case(
        "only-if-cached for another variant is a 504",
        "9111 §5.2.1.7",
        miss(FRESH | {"Vary": "X-A"}, {"X-A": "1"}),
        hit(1, cc("only-if-cached") | {"X-A": "2"}, gets=504),
    ),
    case(
        "only-if-cached with max-stale serves the stale",
        "9111 §5.2.1.7",
        miss(TAGGED),
        hit(61, cc("only-if-cached, max-stale")),
    ),
    case(
        "only-if-cached with no-cache is a 504",
        "9111 §5.2.1.7",
        miss(TAGGED),
        hit(1, cc("only-if-cached, no-cache"), gets=504),
    ),
    case(
        "only-if-cached within stale-while-revalidate serves the stale",
        "9111 §5.2.1.7",
        miss(cc("max-age=60, stale-while-revalidate=30")),
        hit(61, cc("only-if-cached"), reply="no-store", background=True),
    ),
    case(
        "only-if-cached gives nobody another's answer",
        "9111 §5.2.1.7",
        miss(cc("private, max-age=60"), identity="ann"),
        hit(1, cc("only-if-cached"), gets=504),
    ),
    case(
        "only-if-cached for HEAD", "9111 §5.2.1.7", miss(FRESH), hit(1, cc("only-if-cached"), method="HEAD")
    ),
    case(
        "only-if-cached does not hold back a POST",
        "9111 §5.2.1.7",
        miss("no-store", cc("only-if-cached"), method="POST", request_body=b"x"),
    ),
    case(
        "no-transform says nothing to this cache", "9111 §5.2.1.6", miss(TAGGED), hit(1, cc("no-transform"))
    ),
    *(
        case(f"{value!r} says nothing", "9111 §5.2.1", miss(TAGGED), hit(10, cc(value)))
        for value in (
            "max-age",
            "max-age=",
            "max-age=x",
            "max-age=-1",
            "max-age=1.5",
            "min-fresh",
            "min-fresh=x",
            "foo",
            "",
            ",",
            'foo="no-cache"',
            "max-age=99999999999999999999",
            "max-stale=x",
            "public",
            "s-maxage=0",
            "must-revalidate",
        )
    ),
    case(
        "max-stale that can't be read allows nothing stale",
        "9111 §5.2.1.2",
        miss(TAGGED),
        validated(61, TAGGED, cc("max-stale=x")),
    ),
    case("max-age in quotes counts", "9111 §5.2", miss(TAGGED), validated(10, TAGGED, cc('max-age="5"'))),
    *(
        case(
            f"{value} can be switched off",
            "9111 §5.2.1",
            miss(TAGGED),
            hit(10, cc(value)),
            request_directives=False,
        )
        for value in ("no-cache", "max-age=0", "min-fresh=60", "no-store", "only-if-cached")
    ),
    case(
        "Pragma can be switched off",
        "9111 §5.4",
        miss(TAGGED),
        hit(10, {"Pragma": "no-cache"}),
        request_directives=False,
    ),
    case(
        "max-stale can be switched off",
        "9111 §5.2.1.2",
        miss(TAGGED),
        validated(61, TAGGED, cc("max-stale")),
        request_directives=False,
    ),
    case(
        "only-if-cached that is switched off is forwarded",
        "9111 §5.2.1.7",
        miss(FRESH, cc("only-if-cached")),
        request_directives=False,
    ),
    case(
        "a hit is served to a request with a condition and max-age",
        "9111 §5.2.1.1",
        miss(TAGGED),
        hit(10, cc("max-age=10") | {"If-None-Match": '"a"'}, gets=304),
    ),
    case(
        "a reload with a condition is validated once",
        "9111 §5.2.1.4",
        miss(TAGGED),
        validated(10, TAGGED, cc("no-cache") | {"If-None-Match": '"a"'}, gets=304),
        hit(11, of=0, expect={"Age": "1"}),
    ),
]
