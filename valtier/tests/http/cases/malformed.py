"""Fields that no sender should send: nothing breaks, and the careful reading counts."""

from runner import Case, case, hit, miss, validated

FRESH = "max-age=60"
AGAIN = miss("no-store", at=1)
NONSENSE = [
    "\x01",
    "é",
    "ÿ" * 50,
    '"',
    '"""',
    '\\"',
    '"\\',
    "=",
    ",,,,,",
    "==,==",
    "a=b=c",
    "a" * 3000,
    "=" * 3000,
    '"' * 3001,
    'a="' * 500,
    "a=(1 2);b",
    "%00",
    "{}",
    "no store",
    "\t",
]
FIELDS = [
    "Age",
    "Cache-Groups",
    "Content-Language",
    "Date",
    "ETag",
    "Last-Modified",
    "Pragma",
    "Cache-Status",
    "CDN-Cache-Control",
    "Cache-Tag",
]


def visible(value: str) -> bool:
    return not any(ord(character) < 32 and character != "\t" for character in value)


CASES: list[Case] = [
    *(
        case(
            f"Cache-Control number {number} that makes no sense gives nothing",
            "9111 §5.2",
            miss(value),
            AGAIN,
        )
        for number, value in enumerate(NONSENSE)
        if visible(value)
    ),
    *(
        case(
            f"Cache-Control number {number} that makes no sense hides nothing",
            "9111 §5.2",
            miss(f"{value}, no-store, max-age=60"),
            AGAIN,
        )
        for number, value in enumerate(NONSENSE)
        if visible(value) and not value.count('"') % 2
    ),
    *(
        case(
            f"{name} {value!r} hinders nothing",
            "9111 §4.2",
            miss({"Cache-Control": FRESH, name: value}),
            hit(1),
        )
        for name in FIELDS
        for value in ['"\\', "é=", ",;,=("]
    ),
    *(
        case(
            f"a request's Cache-Control number {number} that makes no sense hinders nothing",
            "9111 §5.2.1",
            miss(FRESH),
            hit(1, {"Cache-Control": value}),
        )
        for number, value in enumerate(NONSENSE)
        if visible(value)
    ),
    *(
        case(
            f"a request's {name} {value!r} hinders nothing",
            "9110 §13.1",
            miss({"Cache-Control": FRESH, "ETag": '"a"'}),
            hit(1, {name: value}),
        )
        for name in ("If-None-Match", "If-Modified-Since", "Range", "If-Range", "Pragma")
        for value in ['"\\', "é", ",;,=(", "bytes"]
    ),
    case(
        "a Vary that makes no sense is never reused",
        "9111 §4.1",
        miss({"Cache-Control": FRESH, "Vary": "é"}),
        AGAIN,
    ),
    case(
        "a thousand directives are read",
        "9111 §5.2",
        miss(", ".join(f"x{n}=1" for n in range(1000)) + ", max-age=60"),
        hit(1),
    ),
    case(
        "a thousand directives hide nothing",
        "9111 §5.2",
        miss(", ".join(f"x{n}=1" for n in range(1000)) + ", no-store"),
        AGAIN,
    ),
    case(
        "a number with a thousand digits is the largest", "9111 §1.2.2", miss("max-age=" + "9" * 1000), hit(1)
    ),
    case(
        "zeros in front of a number do not count",
        "9111 §1.2.2",
        miss("max-age=" + "0" * 1000 + "60"),
        hit(59),
        miss("no-store", at=60),
    ),
    case("an argument may be escaped", "9110 §5.6.4", miss('max-age="\\6\\0"'), hit(59)),
    case("a comma may be in an argument", "9110 §5.6.4", miss('x="a, b, no-store", max-age=60'), hit(1)),
    case("other digits than those of ASCII are none", "9110 §5.6.2", miss("max-age=²0"), AGAIN),
    case(
        "a tag with other bytes than ASCII is a tag",
        "9110 §8.8.3",
        miss({"Cache-Control": FRESH, "ETag": '"é"'}),
        hit(1, {"If-None-Match": '"é"'}, gets=304),
    ),
    case(
        "a tag with other bytes than ASCII is validated",
        "9110 §8.8.3",
        miss({"Cache-Control": FRESH, "ETag": '"é"'}),
        validated(61, saw={"If-None-Match": '"é"'}),
    ),
]
