"""Ranges of a stored whole (RFC 9110 §14)."""

import re
from typing import Any

from runner import ANY, Case, Step, case, date, hit, miss, validated

FRESH = {"Cache-Control": "max-age=60", "Content-Type": "text/plain"}
TEXT = b"0123456789"
STRONG = FRESH | {"ETag": '"a"'}
DATED = FRESH | {"Last-Modified": date(-1000), "Date": date(0)}
SINGLE = [
    ("bytes=0-0", "bytes 0-0/10", b"0"),
    ("bytes=0-4", "bytes 0-4/10", b"01234"),
    ("bytes=5-", "bytes 5-9/10", b"56789"),
    ("bytes=0-", "bytes 0-9/10", TEXT),
    ("bytes=9-9", "bytes 9-9/10", b"9"),
    ("bytes=-3", "bytes 7-9/10", b"789"),
    ("bytes=-100", "bytes 0-9/10", TEXT),
    ("bytes=8-100", "bytes 8-9/10", b"89"),
    ("bytes=8-99999999999999999999999999", "bytes 8-9/10", b"89"),
    ("BYTES=0-1", "bytes 0-1/10", b"01"),
    ("bytes= 0-1 ", "bytes 0-1/10", b"01"),
    ("bytes=,0-1,", "bytes 0-1/10", b"01"),
    ("bytes=0-1,20-30", "bytes 0-1/10", b"01"),
    ("bytes=0-3,2-5", "bytes 0-5/10", b"012345"),
    ("bytes=0-3,4-5", "bytes 0-5/10", b"012345"),
    ("bytes=4-5,0-4", "bytes 0-5/10", b"012345"),
    ("bytes=0-9,-1", "bytes 0-9/10", TEXT),
    ("bytes=00-01", "bytes 0-1/10", b"01"),
]
UNSATISFIABLE = [
    "bytes=10-",
    "bytes=10-20",
    "bytes=-0",
    "bytes=100-,200-",
    "bytes=99999999999999999999999999-",
]
IGNORED = [
    "bytes",
    "bytes=",
    "bytes=a-b",
    "bytes=1",
    "bytes=-",
    "bytes=5-4",
    "bytes=0-1,5-4",
    "bytes=0-1;2-3",
    "bytes=0--1",
    "bytes=0-1-2",
    "bytes=+0-1",
    "bytes=0x0-1",
    "bytes=0.0-1",
    "bytes=,",
    "bytes:0-1",
    "items=0-1",
    "0-1",
    "",
    "bytes 0-1",
]


def stored(reply: dict[str, str], **more: Any) -> Step:
    return miss(reply, content=TEXT, **more)


def part(value: str, **more: str) -> dict[str, str]:
    return {"Range": value} | {name.replace("_", "-"): text for name, text in more.items()}


CASES: list[Case] = [
    *(
        case(
            f"Range {value!r} is {said}",
            "9110 §14.1.2",
            stored(FRESH),
            hit(
                1,
                part(value),
                gets=206,
                body=body,
                expect={
                    "Content-Range": said,
                    "Content-Length": str(len(body)),
                    "Content-Type": "text/plain",
                },
            ),
        )
        for value, said, body in SINGLE
    ),
    *(
        case(
            f"Range {value!r} can't be satisfied",
            "9110 §15.5.17",
            stored(FRESH),
            hit(1, part(value), gets=416, expect={"Content-Range": "bytes */10"}),
        )
        for value in UNSATISFIABLE
    ),
    *(
        case(
            f"Range {value!r} is ignored",
            "9110 §14.2",
            stored(FRESH),
            hit(1, part(value), expect={"Content-Range": None}),
        )
        for value in IGNORED
    ),
    case(
        "two Range fields are ignored",
        "9110 §14.2",
        stored(FRESH),
        hit(1, {"Range": ["bytes=0-1", "bytes=2-3"]}),
    ),
    case(
        "several ranges are several parts",
        "9110 §14.6",
        stored(FRESH),
        hit(
            1,
            part("bytes=0-1,4-5,-1"),
            gets=206,
            expect={"Content-Type": re.compile("multipart/byteranges; boundary=.+"), "Content-Range": None},
            body=re.compile(
                rb"--(\S+)\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
                rb"\r\n--\1\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-5/10\r\n\r\n45"
                rb"\r\n--\1\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-9/10\r\n\r\n9\r\n--\1--\r\n"
            ),
        ),
    ),
    case(
        "parts come in the order asked for",
        "9110 §15.3.7.2",
        stored({"Cache-Control": "max-age=60"}),
        hit(
            1,
            part("bytes=8-9,0-1"),
            gets=206,
            body=re.compile(
                rb"--(\S+)\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n--\1\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--\1--\r\n"
            ),
        ),
    ),
    case(
        "too many ranges get the whole",
        "9110 §14.2",
        stored(FRESH),
        hit(1, part("bytes=0-0,2-2,4-4")),
        max_ranges=2,
    ),
    case(
        "as many ranges as are allowed get parts",
        "9110 §14.2",
        stored(FRESH),
        hit(1, part("bytes=0-0,2-2"), gets=206, body=re.compile(rb"(?s).*")),
        max_ranges=2,
    ),
    case(
        "a thousand overlapping ranges get the whole",
        "9110 §14.2",
        stored(FRESH),
        hit(1, part("bytes=" + ",".join(["0-"] * 1000))),
    ),
    case(
        "an empty whole has no first byte",
        "9110 §14.1.2",
        miss(FRESH, content=b""),
        hit(1, part("bytes=0-"), gets=416, expect={"Content-Range": "bytes */0"}),
    ),
    case(
        "the last bytes of an empty whole are the whole",
        "9110 §14.1.2",
        miss(FRESH, content=b""),
        hit(1, part("bytes=-5")),
    ),
    case(
        "a 404 has no ranges",
        "9110 §14.2",
        stored(FRESH, status=404),
        hit(1, part("bytes=0-1"), gets=404, of=0),
    ),
    case(
        "a 203 has no ranges",
        "9110 §14.2",
        stored(FRESH, status=203),
        hit(1, part("bytes=0-1"), gets=203, of=0),
    ),
    case(
        "a part keeps the fields of the whole",
        "9110 §15.3.7",
        stored(STRONG | {"Vary": "Accept", "X-A": "1"}),
        hit(
            4,
            part("bytes=0-1"),
            gets=206,
            body=b"01",
            expect={
                "ETag": '"a"',
                "Vary": "Accept",
                "X-A": "1",
                "Cache-Control": "max-age=60",
                "Age": "4",
                "Date": date(0),
            },
        ),
    ),
    case(
        "a 416 is not that representation",
        "9110 §15.5.17",
        stored(STRONG),
        hit(1, part("bytes=20-"), gets=416, expect={"ETag": None, "Content-Type": None}),
    ),
    case(
        "a part of a whole without Content-Length",
        "9110 §14.4",
        stored(FRESH, length=False),
        hit(1, part("bytes=2-3"), gets=206, body=b"23", expect={"Content-Range": "bytes 2-3/10"}),
    ),
    # If-Range
    case(
        "If-Range with the strong tag gets the part",
        "9110 §13.1.5",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_Range='"a"'), gets=206, body=b"01"),
    ),
    case(
        "If-Range with another tag gets the whole",
        "9110 §13.1.5",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_Range='"b"')),
    ),
    case(
        "If-Range with a weak tag gets the whole",
        "9110 §13.1.5",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_Range='W/"a"')),
    ),
    case(
        "If-Range compares strongly",
        "9110 §13.1.5",
        stored(FRESH | {"ETag": 'W/"a"'}),
        hit(1, part("bytes=0-1", If_Range='W/"a"')),
    ),
    case(
        "If-Range with a tag of what has none gets the whole",
        "9110 §13.1.5",
        stored(FRESH),
        hit(1, part("bytes=0-1", If_Range='"a"')),
    ),
    case(
        "If-Range with a list gets the whole",
        "9110 §13.1.5",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_Range='"a", "b"')),
    ),
    case(
        "If-Range with the date gets the part",
        "9110 §13.1.5",
        stored(DATED),
        hit(1, part("bytes=0-1", If_Range=date(-1000)), gets=206, body=b"01"),
    ),
    case(
        "If-Range with a later date gets the whole",
        "9110 §13.1.5",
        stored(DATED),
        hit(1, part("bytes=0-1", If_Range=date(-999))),
    ),
    case(
        "If-Range with an earlier date gets the whole",
        "9110 §13.1.5",
        stored(DATED),
        hit(1, part("bytes=0-1", If_Range=date(-1001))),
    ),
    case(
        "If-Range with a weak date gets the whole",
        "9110 §8.8.2.2",
        stored(FRESH | {"Last-Modified": date(0), "Date": date(0)}),
        hit(1, part("bytes=0-1", If_Range=date(0))),
    ),
    case(
        "If-Range with nonsense gets the whole",
        "9110 §13.1.5",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_Range="a")),
    ),
    case("If-Range without Range says nothing", "9110 §13.1.5", stored(STRONG), hit(1, {"If-Range": '"b"'})),
    # with other conditions
    case(
        "a condition comes before the range",
        "9110 §13.2.2",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_None_Match='"a"'), gets=304),
    ),
    case(
        "a condition that does not hold leaves the range",
        "9110 §13.2.2",
        stored(STRONG),
        hit(1, part("bytes=0-1", If_None_Match='"b"'), gets=206, body=b"01"),
    ),
    case(
        "a stale whole is validated before a part is sent",
        "9111 §4.3.1",
        stored(STRONG),
        validated(
            61, STRONG, part("bytes=0-1"), gets=206, body=b"01", saw={"Range": None, "If-None-Match": '"a"'}
        ),
    ),
    case(
        "a part of the origin's does not replace the stored whole",
        "9111 §3.3",
        stored(FRESH | {"Cache-Control": "max-age=10"}),
        miss(FRESH | {"Content-Range": "bytes 0-1/10"}, part("bytes=0-1"), at=11, status=206, content=b"01"),
        miss("no-store", at=12),
    ),
    case(
        "a new whole that came for a part of the stale is stored",
        "9111 §3.3",
        stored(STRONG),
        miss(STRONG | {"ETag": '"b"'}, part("bytes=0-1"), at=61, gets=ANY),
        hit(62, of=1),
    ),
]
