"""What requests that change something outdate (RFC 9111 §4.4, RFC 9875)."""

from typing import Any

from runner import Case, Step, case, hit, miss

FRESH = "max-age=60"
HERE = "here.test"


def change(at: float = 1, reply: Any = None, method: str = "POST", **more: Any) -> Step:
    return miss(reply, at=at, method=method, **({"request_body": b"x"} | more))


def gone(at: float = 2, **more: Any) -> Step:
    return miss("no-store", at=at, **more)


def grouped(groups: str | list[str], **more: Any) -> Step:
    return miss({"Cache-Control": FRESH, "Cache-Groups": groups}, **more)


def outdate(groups: str | list[str], **more: Any) -> Step:
    return change(reply={"Cache-Group-Invalidation": groups}, **({"target": "/other"} | more))


def located(
    name: str, value: str, target: str = "/b", *, kept: bool = False, **more: Any
) -> tuple[Step, ...]:
    """`target` is stored on a host of its own, something else is changed, and its answer names `value`."""
    host = more.pop("host")
    end = hit(2, target=target, host=host, of=0) if kept else gone(target=target, host=host)
    return (
        miss(FRESH, target=target, host=host),
        change(reply={name: value}, target="/a/x", host=host, **more),
        end,
    )


CASES: list[Case] = [
    *(
        case(f"{method} outdates its target", "9111 §4.4", miss(FRESH), change(method=method), gone())
        for method in ("POST", "PUT", "PATCH", "DELETE", "LOCK", "BREW")
    ),
    *(
        case(
            f"{method} outdates nothing",
            "9110 §9.2.1",
            miss(FRESH),
            miss("no-store", at=1, method=method),
            hit(2, of=0),
        )
        for method in ("OPTIONS", "PROPFIND", "REPORT", "SEARCH", "QUERY")
    ),
    *(
        case(
            f"an unsafe request that ends in {status} outdates its target",
            "9111 §4.4",
            miss(FRESH),
            change(status=status),
            gone(),
        )
        for status in (200, 201, 202, 204, 205, 301, 302, 303, 307, 308)
    ),
    *(
        case(
            f"an unsafe request that ends in {status} outdates nothing",
            "9111 §4.4",
            miss(FRESH),
            change(status=status),
            hit(2, of=0),
        )
        for status in (400, 401, 403, 404, 409, 412, 422, 429, 500, 502, 503)
    ),
    case(
        "an unsafe request to a failing origin outdates nothing",
        "9111 §4.4",
        miss(FRESH),
        change(fails=True, gets=502),
        hit(2, of=0),
    ),
    case(
        "what is stored after the change is fresh",
        "9111 §4.4",
        miss(FRESH),
        change(),
        miss(FRESH, at=2),
        hit(3, of=2),
    ),
    case(
        "another path stays",
        "9111 §4.4",
        miss(FRESH, target="/a"),
        change(target="/b"),
        hit(2, target="/a", of=0),
    ),
    case(
        "another query stays",
        "9111 §4.4",
        miss(FRESH, target="/a?x=1"),
        change(target="/a?x=2"),
        hit(2, target="/a?x=1", of=0),
    ),
    case(
        "the same query goes",
        "9111 §4.4",
        miss(FRESH, target="/a?x=1"),
        change(target="/a?x=1"),
        gone(target="/a?x=1"),
    ),
    case(
        "all variants go",
        "9111 §4.4",
        miss({"Cache-Control": FRESH, "Vary": "X-A"}, {"X-A": "1"}),
        miss({"Cache-Control": FRESH, "Vary": "X-A"}, {"X-A": "2"}),
        change(at=2),
        gone(3, request={"X-A": "1"}),
        gone(3, request={"X-A": "2"}),
    ),
    case(
        "every identity's entry goes",
        "9111 §4.4",
        miss("private, max-age=60", identity="ann"),
        miss("private, max-age=60", identity="bob"),
        change(at=2, identity="ann"),
        gone(3, identity="ann"),
        gone(3, identity="bob"),
    ),
    case(
        "entries under forwarded hosts go",
        "9111 §4.4",
        miss(FRESH, {"X-Forwarded-Host": "a.test"}),
        change(),
        gone(request={"X-Forwarded-Host": "a.test"}),
    ),
    case("a stored error goes", "9111 §4.4", miss(FRESH, status=404), change(status=201), gone()),
    case(
        "a GET that an application may take for another method outdates",
        "9111 §4.4",
        miss(FRESH),
        miss("no-store", {"X-HTTP-Method-Override": "DELETE"}, at=1),
        gone(),
    ),
    *(
        case(
            f"{name} {value!r} goes too",
            "9111 §4.4",
            *located(name, value, target, host=HERE.replace("here", f"here{number}-{name.lower()}")),
        )
        for name in ("Location", "Content-Location")
        for number, (value, target) in enumerate(
            [
                ("/b", "/b"),
                ("b", "/a/b"),
                ("../b", "/b"),
                ("./b", "/a/b"),
                ("?q=1", "/a/x?q=1"),
                ("/b?q=1", "/b?q=1"),
                ("/b#part", "/b"),
                ("", "/a/x"),
            ]
        )
    ),
    *(
        case(
            f"{name} with its own host goes too",
            "9111 §4.4",
            *located(name, f"http://own-{name.lower()}.test/b", host=f"own-{name.lower()}.test"),
        )
        for name in ("Location", "Content-Location")
    ),
    case(
        "the host in any case of letters",
        "9110 §4.2.3",
        *located("Location", "http://OWN2.Test/b", host="own2.test"),
    ),
    case(
        "the host with the default port",
        "9110 §4.2.3",
        *located("Location", "http://own3.test:80/b", host="own3.test"),
    ),
    case("the host after two slashes", "9111 §4.4", *located("Location", "//own4.test/b", host="own4.test")),
    *(
        case(
            f"Location {value!r} is of another origin and stays",
            "9111 §4.4",
            *located("Location", value, kept=True, host=f"other{number}.test"),
        )
        for number, value in enumerate(
            [
                "http://else.test/b",
                "https://other1.test/b",
                "http://other2.test:8080/b",
                "//else.test/b",
                "http://other4.test.evil.test/b",
                "ftp://other5.test/b",
                "http://[::1/b",
                "http://other7.test:x/b",
                "data:,b",
                "http://evil.test\\@other9.test/b",
            ]
        )
    ),
    case(
        "Location of an error stays",
        "9111 §4.4",
        *located("Location", "/b", kept=True, host="error.test", status=400),
    ),
    case(
        "Location of a safe request stays",
        "9111 §4.4",
        miss(FRESH, target="/b"),
        miss({"Location": "/b"}, target="/a", at=1, status=302),
        hit(2, target="/b", of=0),
    ),
    case(
        "a host without a path is its root",
        "9110 §4.2.3",
        *located("Location", "http://root.test", "/", host="root.test"),
    ),
    case(
        "an empty reference is the target with its query",
        "9111 §4.4",
        miss(FRESH, target="/a"),
        change(target="/a?q=1", reply={"Location": ""}),
        hit(2, target="/a", of=0),
    ),
    # RFC 9875
    case("a group is outdated", "9875 §3", grouped('"a"'), outdate('"a"'), gone()),
    case("one of several groups is enough", "9875 §3", grouped('"a", "b"'), outdate('"b"'), gone()),
    case(
        "several groups are outdated",
        "9875 §3",
        grouped('"a"', target="/1"),
        grouped('"b"', target="/2"),
        outdate('"a", "b"', at=2),
        gone(3, target="/1"),
        gone(3, target="/2"),
    ),
    case(
        "groups on several lines are one list",
        "9110 §5.3",
        grouped(['"a"', '"b"']),
        outdate(['"c"', '"b"']),
        gone(),
    ),
    case("another group stays", "9875 §3", grouped('"a"'), outdate('"b"'), hit(2, of=0)),
    case("what has no group stays", "9875 §3", miss(FRESH), outdate('"a"'), hit(2, of=0)),
    case("groups differ by case of letters", "9875 §2.1", grouped('"a"'), outdate('"A"'), hit(2, of=0)),
    case(
        "a group with spaces and quotes",
        "9875 §2",
        grouped(r'"a \"b\", c"'),
        outdate(r'"a \"b\", c"'),
        gone(),
    ),
    case("parameters of groups do not count", "9875 §2", grouped('"a";x=1'), outdate('"a";y'), gone()),
    case(
        "groups belong to their origin",
        "9875 §2.1",
        grouped('"a"'),
        outdate('"a"', host="elsewhere.test"),
        hit(2, of=0),
    ),
    case(
        "a safe request outdates no group",
        "9875 §3",
        grouped('"a"'),
        miss({"Cache-Group-Invalidation": '"a"'}, at=1, target="/other"),
        hit(2, of=0),
    ),
    case("an error outdates no group", "9875 §3", grouped('"a"'), outdate('"a"', status=500), hit(2, of=0)),
    *(
        case(
            f"Cache-Group-Invalidation {value!r} is no list of strings",
            "9875 §3",
            grouped('"a"'),
            outdate(value),
            hit(2, of=0),
        )
        for value in ("a", '"a', '"a",', '"a", b', '("a")', "1", '"a" "b"', "'a'", "")
    ),
    *(
        case(
            f"Cache-Groups {value!r} is no list of strings",
            "9875 §2",
            grouped(value),
            outdate('"a"'),
            hit(2, of=0),
        )
        for value in ("a", '"a', '"a",', '"a", b', '("a")')
    ),
    case(
        "what shares a group with an outdated URI goes too",
        "9875 §2.2.1",
        grouped('"a"', target="/1"),
        grouped('"a"', target="/2"),
        change(at=2, target="/1"),
        gone(3, target="/2"),
    ),
    case(
        "that does not cascade",
        "9875 §2.2.1",
        grouped('"a"', target="/1"),
        grouped('"a", "b"', target="/2"),
        grouped('"b"', target="/3"),
        change(at=2, target="/1"),
        gone(3, target="/2"),
        hit(3, target="/3", of=2),
    ),
    case(
        "a 304 may give it a group",
        "9875 §2",
        miss({"Cache-Control": FRESH, "ETag": '"a"'}),
        miss({"Cache-Groups": '"a"'}, at=61, status=304, gets=200, of=0, length=False),
        outdate('"a"', at=62),
        gone(63),
    ),
    case("Cache-Groups is sent on", "9875 §2", grouped('"a"'), hit(1, expect={"Cache-Groups": '"a"'})),
]
