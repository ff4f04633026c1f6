"""Vary: which stored response a request selects (RFC 9111 §4.1)."""

from typing import Any

from runner import Case, Step, case, hit, miss, validated

FRESH = "max-age=60"


def varied(names: str | list[str], request: Any = None, **more: Any) -> Step:
    return miss({"Cache-Control": FRESH, "Vary": names}, request, **more)


def same(name: str, first: object, second: object) -> tuple[Step, Step]:
    """Two values of a field that select the same response."""
    return varied(name, {name: first}), hit(1, {name: second})


def different(name: str, first: object, second: object) -> tuple[Step, Step, Step, Step]:
    """Two values that select responses of their own, which lie side by side."""
    return (
        varied(name, {name: first}),
        varied(name, {name: second}, at=1),
        hit(2, {name: first}, of=0),
        hit(2, {name: second}, of=1),
    )


SAME = [
    ("Accept-Encoding", "gzip, br", "br, gzip"),
    ("Accept-Encoding", "gzip, br", "gzip,br"),
    ("Accept-Encoding", "gzip", "GZIP"),
    ("Accept-Encoding", "gzip", "x-gzip"),
    ("Accept-Encoding", "gzip;q=1.0", "gzip"),
    ("Accept-Encoding", "gzip;q=1", "gzip;q=1.000"),
    ("Accept-Encoding", "gzip;q=0.5", "gzip; q=0.500"),
    ("Accept-Encoding", "gzip, br;q=0", "gzip"),
    ("Accept-Encoding", "gzip, br;q=0.00", "gzip"),
    ("Accept-Encoding", "gzip;q=0.5", "GZIP;Q=0.5"),
    ("Accept-Encoding", "gzip, gzip", "gzip"),
    ("Accept-Encoding", ["gzip", "br"], "gzip, br"),
    ("Accept-Language", "en", "EN"),
    ("Accept-Language", "en, de;q=0.8", "en,de;q=0.80"),
    ("Accept-Language", "en , de", "en,de"),
    ("Accept-Language", ["en", "de"], "en, de"),
    ("Accept-Charset", "utf-8, latin1", "latin1, UTF-8"),
    ("Accept", "text/html, text/plain", "text/html,text/plain"),
    ("Accept", "text/html; q=0.5", "text/html;q=0.5"),
    ("X-A", "1", "1 "),
    ("X-A", ["1", "2"], "1, 2"),
]
DIFFERENT = [
    ("Accept-Encoding", "gzip", "br"),
    ("Accept-Encoding", "gzip", "gzip;q=0.5"),
    ("Accept-Encoding", "gzip", ""),
    ("Accept-Encoding", "identity;q=0", ""),
    ("Accept-Encoding", "gzip, *;q=0", "gzip"),
    ("Accept-Encoding", "br;q=0, *", "*"),
    ("Accept-Language", "en", "de"),
    ("Accept-Language", "en, de", "de, en"),
    ("Accept-Language", "en;q=0.1", "en;q=0.2"),
    ("Accept-Language", "en", "en;q=x"),
    ("Accept", "text/html", "text/plain"),
    ("Accept", "text/html;level=1", "text/html;level=2"),
    ("Accept", "text/html;level=a", "text/html;level=A"),
    ("Accept", 'text/html;level="1, 2"', 'text/html;level="1,2"'),
    ("Accept-Language", "en;q=0.5", "en;x=0.5"),
    ("X-A", "1", "2"),
    ("X-A", "a", "A"),
    ("X-A", "1, 2", "1,2"),
    ("X-A", "1, 2", "2, 1"),
    ("Origin", "http://a.test", "http://b.test"),
]

CASES: list[Case] = [
    *(
        case(f"{name} {first!r} selects what {second!r} does", "9111 §4.1", *same(name, first, second))
        for name, first, second in SAME
    ),
    *(
        case(
            f"{name} {first!r} does not select what {second!r} does",
            "9111 §4.1",
            *different(name, first, second),
        )
        for name, first, second in DIFFERENT
    ),
    case(
        "the same value selects the response", "9111 §4.1", varied("X-A", {"X-A": "1"}), hit(1, {"X-A": "1"})
    ),
    case(
        "an absent field is another value", "9111 §4.1", varied("X-A", {"X-A": "1"}), miss("no-store", at=1)
    ),
    case("a field absent from both selects the response", "9111 §4.1", varied("X-A"), hit(1)),
    case(
        "an empty field is not an absent one", "9111 §4.1", varied("X-A", {"X-A": ""}), miss("no-store", at=1)
    ),
    case(
        "a present field is not an absent one",
        "9111 §4.1",
        varied("X-A"),
        miss("no-store", {"X-A": "1"}, at=1),
    ),
    case(
        "fields that Vary does not name do not count",
        "9111 §4.1",
        varied("X-A", {"X-A": "1", "X-B": "1"}),
        hit(1, {"X-A": "1", "X-B": "2"}),
    ),
    case(
        "all fields of Vary count",
        "9111 §4.1",
        varied("X-A, X-B", {"X-A": "1", "X-B": "1"}),
        miss("no-store", {"X-A": "1", "X-B": "2"}, at=1),
    ),
    case(
        "Vary on two lines is one list",
        "9110 §5.3",
        varied(["X-A", "X-B"], {"X-A": "1", "X-B": "1"}),
        miss("no-store", {"X-A": "1", "X-B": "2"}, at=1),
        hit(2, {"X-A": "1", "X-B": "1"}, of=0),
    ),
    case(
        "Vary counts in any case of letters",
        "9110 §12.5.5",
        varied("x-a", {"X-A": "1"}),
        miss("no-store", {"X-A": "2"}, at=1),
    ),
    case("an empty Vary is none", "9110 §12.5.5", varied("", {"X-A": "1"}), hit(1, {"X-A": "2"})),
    case(
        "an empty member of Vary is skipped",
        "9110 §5.6.1",
        varied(", X-A,,", {"X-A": "1"}),
        hit(1, {"X-A": "1"}),
    ),
    case("Vary * is never reused", "9110 §12.5.5", varied("*"), miss("no-store", at=1)),
    case(
        "Vary with * among names is never reused",
        "9110 §12.5.5",
        varied("X-A, *", {"X-A": "1"}),
        miss("no-store", {"X-A": "1"}, at=1),
    ),
    case(
        "Vary * on a second line is never reused",
        "9110 §12.5.5",
        varied(["X-A", "*"]),
        miss("no-store", at=1),
    ),
    case("a Vary that can't be read is never reused", "9110 §12.5.5", varied("X A"), miss("no-store", at=1)),
    case(
        "the values of two fields do not run into each other",
        "9111 §4.1",
        varied("X-A, X-B", {"X-A": "1", "X-B": "23"}),
        miss("no-store", {"X-A": "12", "X-B": "3"}, at=1),
    ),
    case(
        "a value can't imitate two",
        "9111 §4.1",
        varied("X-A, X-B", {"X-A": "1", "X-B": "2"}),
        miss("no-store", {"X-A": "1)1:2"}, at=1),
    ),
    case(
        "twenty variants lie side by side",
        "9111 §4.1",
        *(varied("X-A", {"X-A": str(n)}, at=n) for n in range(20)),
        *(hit(20, {"X-A": str(n)}, of=n) for n in range(20)),
    ),
    case(
        "a variant is replaced without the others",
        "9111 §4.1",
        varied("X-A", {"X-A": "1"}),
        varied("X-A", {"X-A": "2"}, at=30),
        varied("X-A", {"X-A": "1"}, at=61),
        hit(62, {"X-A": "2"}, of=1),
        hit(62, {"X-A": "1"}, of=2),
    ),
    case(
        "each variant is validated with its own tag",
        "9111 §4.1",
        miss({"Cache-Control": FRESH, "Vary": "X-A", "ETag": '"1"'}, {"X-A": "1"}),
        miss({"Cache-Control": FRESH, "Vary": "X-A", "ETag": '"2"'}, {"X-A": "2"}),
        validated(
            61,
            {"Cache-Control": FRESH, "Vary": "X-A", "ETag": '"1"'},
            {"X-A": "1"},
            saw={"If-None-Match": '"1"'},
        ),
        validated(
            62,
            {"Cache-Control": FRESH, "Vary": "X-A", "ETag": '"2"'},
            {"X-A": "2"},
            saw={"If-None-Match": '"2"'},
            of=1,
        ),
    ),
    case(
        "variants can be errors",
        "9111 §4.1",
        miss({"Cache-Control": FRESH, "Vary": "X-A"}, {"X-A": "1"}, status=404),
        hit(1, {"X-A": "1"}, gets=404, of=0),
        miss("no-store", {"X-A": "2"}, at=1),
    ),
    case(
        "a variant answers HEAD",
        "9111 §4",
        varied("X-A", {"X-A": "1"}),
        hit(1, {"X-A": "1"}, method="HEAD"),
        miss("no-store", {"X-A": "2"}, at=1, method="HEAD"),
    ),
    case(
        "a missing variant is said to be one",
        "9211 §2.2",
        varied("X-A", {"X-A": "1"}),
        varied("X-A", {"X-A": "2"}, at=1, status_has=("fwd=vary-miss",)),
    ),
    case(
        "Vary on Cookie keeps cookies apart",
        "9111 §4.1",
        miss({"Cache-Control": "public, max-age=60", "Vary": "Cookie"}, {"Cookie": "a=1"}),
        miss("no-store", {"Cookie": "a=2"}, at=1),
        hit(2, {"Cookie": "a=1"}, of=0),
    ),
    case(
        "Vary on Authorization keeps credentials apart",
        "9111 §4.1",
        miss({"Cache-Control": "public, max-age=60", "Vary": "Authorization"}, {"Authorization": "A"}),
        miss("no-store", {"Authorization": "B"}, at=1),
        miss("no-store", at=1),
    ),
    case(
        "unknown codings make no variant if the known are told",
        "9111 §4.1",
        varied("Accept-Encoding", {"Accept-Encoding": "gzip, zstd"}),
        hit(1, {"Accept-Encoding": "gzip, br, foo"}),
        encodings=("gzip",),
    ),
    case(
        "that none is wanted counts even if the known are told",
        "9110 §12.5.3",
        varied("Accept-Encoding", {"Accept-Encoding": "gzip, identity;q=0"}),
        miss("no-store", {"Accept-Encoding": "gzip"}, at=1),
        encodings=("gzip",),
    ),
    case(
        "known codings make variants if the known are told",
        "9111 §4.1",
        varied("Accept-Encoding", {"Accept-Encoding": "gzip"}),
        miss("no-store", {"Accept-Encoding": "br"}, at=1),
        encodings=("gzip", "br"),
    ),
    case(
        "private entries have variants too",
        "9111 §4.1",
        miss({"Cache-Control": "private, max-age=60", "Vary": "X-A"}, {"X-A": "1"}, identity="ann"),
        miss("no-store", {"X-A": "2"}, at=1, identity="ann"),
        hit(2, {"X-A": "1"}, identity="ann", of=0),
    ),
]
