"""Cache-Status (RFC 9211)."""

import re

from runner import Case, case, hit, miss, validated

FRESH = "max-age=60"
TAGGED = {"Cache-Control": FRESH, "ETag": '"a"'}

CASES: list[Case] = [
    case(
        "a hit says so",
        "9211 §2.1",
        miss(FRESH),
        hit(1, expect={"Cache-Status": re.compile(r"Valtier; hit(;.*)?")}, status_lacks=("fwd", "stored")),
    ),
    case("a hit says how long it is fresh", "9211 §2.4", miss(FRESH), hit(13, status_has=("ttl=47",))),
    case(
        "ttl counts the Age that came in",
        "9211 §2.4",
        miss({"Cache-Control": FRESH, "Age": "20"}),
        hit(13, status_has=("ttl=27",)),
    ),
    case(
        "a miss says that the URI is new",
        "9211 §2.2",
        miss(FRESH, status_has=("fwd=uri-miss",), status_lacks=("hit",)),
    ),
    case("a miss says that it was stored", "9211 §2.5", miss(FRESH, status_has=("stored",))),
    case("a miss does not say so if it was not", "9211 §2.5", miss("no-store", status_lacks=("stored",))),
    case(
        "another method says so",
        "9211 §2.2",
        miss(
            "no-store", method="POST", request_body=b"x", status_has=("fwd=method",), status_lacks=("stored",)
        ),
    ),
    case(
        "what passes by says so",
        "9211 §2.2",
        miss(FRESH, {"X-Original-URL": "/x"}, status_has=("fwd=bypass",)),
    ),
    case(
        "a precondition for the origin passes by",
        "9211 §2.2",
        miss(FRESH, {"If-Match": "*"}, status_has=("fwd=bypass",)),
    ),
    case(
        "a request that wants validation says so",
        "9211 §2.2",
        miss(TAGGED),
        validated(1, TAGGED, {"Cache-Control": "no-cache"}, status_has=("fwd=request",)),
    ),
    case(
        "a stale response says so",
        "9211 §2.2",
        miss(FRESH),
        miss(FRESH, at=61, status_has=("fwd=stale", "stored")),
    ),
    case(
        "the origin's answer is told if it is another",
        "9211 §2.3",
        miss(TAGGED),
        validated(61, TAGGED, status_has=("fwd-status=304",)),
    ),
    case(
        "credentials without permission say so",
        "9211 §2.2",
        miss(FRESH),
        miss("no-store", {"Authorization": "x"}, at=1, status_has=("fwd=request",)),
    ),
    case(
        "the name can be set",
        "9211 §2",
        miss(FRESH),
        hit(1, expect={"Cache-Status": re.compile("Tier; hit.*")}),
        name="Tier",
    ),
    case(
        "a name that is no token is a string",
        "9211 §2",
        miss(FRESH),
        hit(1, expect={"Cache-Status": re.compile('"our tier"; hit.*')}),
        name="our tier",
    ),
    case(
        "caches nearer to the origin stay in front",
        "9211 §2",
        miss(
            {"Cache-Control": FRESH, "Cache-Status": "Inner; fwd=uri-miss"},
            expect={"Cache-Status": re.compile("Inner; fwd=uri-miss, Valtier; fwd=uri-miss.*")},
        ),
        hit(1, expect={"Cache-Status": re.compile("Inner; fwd=uri-miss, Valtier; hit.*")}),
    ),
    case(
        "a 504 of ours is said to be ours",
        "9211 §2",
        miss(FRESH, target="/other"),
        hit(
            1,
            {"Cache-Control": "only-if-cached"},
            gets=504,
            expect={"Cache-Status": re.compile("Valtier(;.*)?")},
            status_lacks=("hit", "fwd"),
        ),
    ),
    case(
        "a range that is served is a hit",
        "9211 §2.1",
        miss(FRESH),
        hit(1, {"Range": "bytes=0-2"}, gets=206, body=b"the", status_has=("hit",)),
    ),
    case(
        "HEAD that is served is a hit", "9211 §2.1", miss(FRESH), hit(1, method="HEAD", status_has=("hit",))
    ),
    case(
        "a stale response within max-stale has a negative ttl",
        "9211 §2.4",
        miss(FRESH + ", stale-if-error=600"),
        hit(70, {"Cache-Control": "max-stale"}, status_has=("hit", "ttl=-10")),
    ),
]
