"""Stale responses: while they are validated, and in place of errors (RFC 5861, RFC 9111 §4.2.4)."""

from typing import Any

from runner import Case, Step, case, hit, miss, validated

SWR = "max-age=60, stale-while-revalidate=30"
SIE = "max-age=60, stale-if-error=30"
TAG = {"ETag": '"a"'}


def stale(at: float, reply: Any = None, **more: Any) -> Step:
    """The stored response is sent at once, and the origin is asked behind it."""
    return hit(at, reply=reply, background=True, **({"of": 0} | more))


CASES: list[Case] = [
    case(
        "within the window the stale response is sent and validated behind",
        "5861 §3",
        miss(SWR),
        stale(61, SWR, expect={"Age": "61"}),
    ),
    case(
        "what came behind is served next",
        "5861 §3",
        miss(SWR),
        stale(61, SWR),
        hit(62, of=1, expect={"Age": "1"}),
    ),
    case("the window ends", "5861 §3", miss(SWR), miss("no-store", at=90)),
    case("the window lasts until its end", "5861 §3", miss(SWR), stale(89.5)),
    case("while fresh nothing is asked behind", "5861 §3", miss(SWR), hit(59)),
    case(
        "a 304 behind makes it fresh",
        "5861 §3",
        miss({"Cache-Control": SWR} | TAG),
        stale(61, {"Cache-Control": SWR} | TAG, status=304, gets=200, saw={"If-None-Match": '"a"'}),
        hit(120, of=0),
    ),
    case(
        "an error behind leaves the stale response",
        "5861 §3",
        miss(SWR),
        stale(61, "no-store", status=500, gets=200),
        stale(62, SWR),
    ),
    case(
        "a failing origin behind leaves the stale response",
        "5861 §3",
        miss(SWR),
        stale(61, fails=True),
        stale(62, SWR),
    ),
    case(
        "a stale response has a negative ttl",
        "9211 §2.4",
        miss(SWR),
        stale(70, status_has=("hit", "ttl=-10")),
    ),
    case(
        "a window of 0 is none",
        "5861 §3",
        miss("max-age=60, stale-while-revalidate=0"),
        miss("no-store", at=61),
    ),
    case(
        "an unreadable window is none",
        "5861 §3",
        miss("max-age=60, stale-while-revalidate=x"),
        miss("no-store", at=61),
    ),
    case(
        "a window in quotes counts", "9111 §5.2", miss('max-age=60, stale-while-revalidate="30"'), stale(61)
    ),
    case(
        "must-revalidate forbids the window",
        "9111 §5.2.2.2",
        miss(SWR + ", must-revalidate"),
        miss("no-store", at=61),
    ),
    case(
        "proxy-revalidate forbids the window",
        "9111 §5.2.2.8",
        miss(SWR + ", proxy-revalidate"),
        miss("no-store", at=61),
    ),
    case("no-cache forbids the window", "9111 §5.2.2.4", miss(SWR + ", no-cache"), miss("no-store", at=61)),
    case(
        "a window next to s-maxage is taken at its word",
        "5861 §3",
        miss("s-maxage=60, stale-while-revalidate=30"),
        stale(61),
    ),
    case(
        "a window next to s-maxage can be forbidden",
        "9111 §5.2.2.10",
        miss("s-maxage=60, stale-while-revalidate=30"),
        miss("no-store", at=61),
        s_maxage_forbids_stale=True,
    ),
    case(
        "a window from the configuration",
        "9111 §4.2.4",
        miss("max-age=60"),
        stale(61),
        stale_while_revalidate="30s",
    ),
    case(
        "a window from the configuration gives way to the response's",
        "9111 §4.2.4",
        miss("max-age=60, stale-while-revalidate=0"),
        miss("no-store", at=61),
        stale_while_revalidate="30s",
    ),
    case(
        "s-maxage forbids a window from the configuration",
        "9111 §5.2.2.10",
        miss("s-maxage=60"),
        miss("no-store", at=61),
        stale_while_revalidate="30s",
    ),
    case(
        "must-revalidate forbids a window from the configuration",
        "9111 §5.2.2.2",
        miss("max-age=60, must-revalidate"),
        miss("no-store", at=61),
        stale_while_revalidate="30s",
    ),
    case(
        "a request's max-age wants nothing stale",
        "9111 §5.2.1.1",
        miss(SWR),
        miss("no-store", {"Cache-Control": "max-age=100"}, at=61),
    ),
    case(
        "a request's no-cache wants nothing stale",
        "9111 §5.2.1.4",
        miss(SWR),
        miss("no-store", {"Cache-Control": "no-cache"}, at=61),
    ),
    case("max-age=0 with a window", "5861 §3", miss("max-age=0, stale-while-revalidate=30"), stale(1)),
    case("HEAD within the window", "5861 §3", miss(SWR), stale(61, method="HEAD")),
    case(
        "a condition within the window",
        "5861 §3",
        miss({"Cache-Control": SWR} | TAG),
        stale(61, request={"If-None-Match": '"a"'}, gets=304),
    ),
    case(
        "a range within the window",
        "5861 §3",
        miss(SWR, content=b"0123456789"),
        stale(61, request={"Range": "bytes=0-1"}, gets=206, body=b"01"),
    ),
    case(
        "a private entry within the window",
        "5861 §3",
        miss("private, " + SWR, identity="ann"),
        stale(61, "private, " + SWR, identity="ann"),
        hit(62, identity="ann", of=1),
    ),
    case(
        "proxy-revalidate says nothing to a private entry",
        "9111 §5.2.2.8",
        miss("private, proxy-revalidate, " + SWR, identity="ann"),
        stale(61, "private, " + SWR, identity="ann"),
    ),
    # stale-if-error
    *(
        case(
            f"a {status} is hidden behind the stale response",
            "5861 §4",
            miss(SIE),
            miss("no-store", at=61, status=status, gets=200, of=0, expect={"Age": "61"}),
        )
        for status in (500, 502, 503, 504)
    ),
    *(
        case(f"a {status} is not hidden", "5861 §4", miss(SIE), miss("no-store", at=61, status=status))
        for status in (400, 403, 404, 410, 429, 501, 505)
    ),
    case(
        "a failing origin is hidden behind the stale response",
        "5861 §4",
        miss(SIE),
        miss(at=61, fails=True, gets=200, of=0),
    ),
    case("the window for errors ends", "5861 §4", miss(SIE), miss("no-store", at=90, status=503)),
    case(
        "the window for errors ends for a failing origin too",
        "5861 §4",
        miss(SIE),
        miss(at=91, fails=True, gets=502),
    ),
    case("a good answer is not hidden", "5861 §4", miss(SIE), miss(SIE, at=61), hit(62, of=1)),
    case(
        "a hidden error is said",
        "9211 §2.3",
        miss(SIE),
        miss("no-store", at=61, status=503, gets=200, of=0, status_has=("fwd=stale", "fwd-status=503")),
    ),
    case(
        "a stored error does not replace what hides it",
        "5861 §4",
        miss(SIE),
        miss("max-age=60", at=61, status=503, gets=200, of=0),
        miss("no-store", at=62, status=503, gets=200, of=0),
    ),
    case(
        "must-revalidate forbids to hide errors",
        "9111 §5.2.2.2",
        miss(SIE + ", must-revalidate"),
        miss("no-store", at=61, status=503),
    ),
    case(
        "proxy-revalidate forbids to hide errors",
        "9111 §5.2.2.8",
        miss(SIE + ", proxy-revalidate"),
        miss("no-store", at=61, status=503),
    ),
    case(
        "s-maxage with a window for errors is taken at its word",
        "5861 §4",
        miss("s-maxage=60, stale-if-error=30"),
        miss("no-store", at=61, status=503, gets=200, of=0),
    ),
    case(
        "s-maxage with a window for errors can be forbidden",
        "9111 §5.2.2.10",
        miss("s-maxage=60, stale-if-error=30"),
        miss("no-store", at=61, status=503),
        s_maxage_forbids_stale=True,
    ),
    case(
        "without a window errors are not hidden",
        "9111 §4.2.4",
        miss({"Cache-Control": "max-age=60"} | TAG),
        miss("no-store", at=61, status=503),
    ),
    case(
        "a window for errors from the configuration",
        "9111 §4.2.4",
        miss("max-age=60"),
        miss("no-store", at=61, status=503, gets=200, of=0),
        stale_if_error="30s",
    ),
    case(
        "s-maxage forbids a window for errors from the configuration",
        "9111 §5.2.2.10",
        miss("s-maxage=60"),
        miss("no-store", at=61, status=503),
        stale_if_error="30s",
    ),
    case(
        "a request may bring a window for errors",
        "5861 §4",
        miss({"Cache-Control": "max-age=60"} | TAG),
        miss("no-store", {"Cache-Control": "stale-if-error=30"}, at=61, status=503, gets=200, of=0),
    ),
    case(
        "a request's window for errors ends",
        "5861 §4",
        miss({"Cache-Control": "max-age=60"} | TAG),
        miss("no-store", {"Cache-Control": "stale-if-error=30"}, at=91, status=503),
    ),
    case(
        "must-revalidate forbids a request's window for errors",
        "9111 §5.2.2.2",
        miss({"Cache-Control": "max-age=60, must-revalidate"} | TAG),
        miss("no-store", {"Cache-Control": "stale-if-error=30"}, at=61, status=503),
    ),
    case(
        "a request's no-cache wants the error",
        "9111 §5.2.1.4",
        miss(SIE),
        miss("no-store", {"Cache-Control": "no-cache"}, at=61, status=503),
    ),
    case(
        "both windows: first the one, then the other",
        "5861 §4",
        miss(SWR + ", stale-if-error=300"),
        stale(61, "no-store", status=503, gets=200),
        miss("no-store", at=200, status=503, gets=200, of=0),
    ),
    case(
        "an error is hidden behind a stale 404",
        "5861 §4",
        miss(SIE, status=404),
        miss("no-store", at=61, status=503, gets=404, of=0),
    ),
    case(
        "a hidden error and the client's condition",
        "5861 §4",
        miss({"Cache-Control": SIE} | TAG),
        miss("no-store", {"If-None-Match": '"a"'}, at=61, status=503, gets=304),
    ),
    case(
        "after the error a 304 makes it fresh",
        "5861 §4",
        miss({"Cache-Control": SIE} | TAG),
        miss("no-store", at=61, status=503, gets=200, of=0),
        validated(62, TAG),
        hit(63, of=0),
    ),
]
