"""What is sent from the store: HEAD, and responses as they are (RFC 9110, RFC 9111 §4)."""

from runner import ANY, Case, case, date, hit, miss

FRESH = "max-age=60"
TAGGED = {"Cache-Control": FRESH, "ETag": '"a"'}
ASK_AGAIN = {"Cache-Control": "no-cache"}

CASES: list[Case] = [
    case(
        "HEAD is answered from a stored GET",
        "9111 §4",
        miss(FRESH),
        hit(1, method="HEAD", expect={"Content-Length": "18", "Age": "1"}),
    ),
    case(
        "HEAD from the store keeps the fields",
        "9110 §9.3.2",
        miss({"Cache-Control": FRESH, "X-A": "1", "Content-Type": "text/plain"}),
        hit(1, method="HEAD", expect={"X-A": "1", "Content-Type": "text/plain"}),
    ),
    case(
        "HEAD is forwarded if nothing is stored",
        "9111 §4",
        miss(FRESH, method="HEAD"),
        miss("no-store", at=1, method="HEAD"),
    ),
    case(
        "HEAD of a stored 404 is a 404",
        "9111 §4",
        miss(FRESH, status=404),
        hit(1, method="HEAD", gets=404, of=0),
    ),
    case(
        "HEAD with the stored entity tag is a 304",
        "9110 §13.1.2",
        miss(TAGGED),
        hit(1, {"If-None-Match": '"a"'}, method="HEAD", gets=304),
    ),
    case(
        "HEAD knows no ranges",
        "9110 §14.2",
        miss(FRESH),
        hit(1, {"Range": "bytes=0-1"}, method="HEAD", gets=200, expect={"Content-Range": None}),
    ),
    case(
        "HEAD that shows another entity tag outdates the stored GET",
        "9111 §4.3.5",
        miss(TAGGED),
        miss({"ETag": '"b"', "Content-Length": "18"}, ASK_AGAIN, at=1, method="HEAD"),
        miss("no-store", at=2),
    ),
    case(
        "HEAD that shows another length outdates the stored GET",
        "9111 §4.3.5",
        miss(TAGGED),
        miss({"ETag": '"a"', "Content-Length": "999"}, ASK_AGAIN, at=1, method="HEAD"),
        miss("no-store", at=2),
    ),
    case(
        "HEAD that shows the same leaves the stored GET",
        "9111 §4.3.5",
        miss(TAGGED),
        miss({"ETag": '"a"', "Content-Length": "18"}, ASK_AGAIN, at=1, method="HEAD"),
        hit(2, of=0),
    ),
    case(
        "an error to HEAD leaves the stored GET",
        "9111 §4.3.5",
        miss(TAGGED),
        miss({"Content-Length": "0"}, ASK_AGAIN, at=1, method="HEAD", status=500),
        hit(2, of=0),
    ),
    case("a stored 404 is served", "9111 §4", miss(FRESH, status=404), hit(1, gets=404, of=0)),
    case(
        "a stored redirect is served",
        "9111 §4",
        miss({"Cache-Control": FRESH, "Location": "/there"}, status=301),
        hit(1, gets=301, of=0, expect={"Location": "/there"}),
    ),
    case("a stored 204 is served", "9111 §4", miss(FRESH, status=204), hit(1, gets=204, of=0)),
    case(
        "the stored Cache-Control is sent on",
        "9111 §5.2",
        miss({"Cache-Control": "max-age=60, foo=bar"}),
        hit(1, expect={"Cache-Control": "max-age=60, foo=bar"}),
    ),
    case(
        "Expires and Last-Modified are sent on",
        "9111 §4",
        miss({"Expires": date(60), "Last-Modified": date(-5)}),
        hit(1, expect={"Expires": date(60), "Last-Modified": date(-5)}),
    ),
    case(
        "several lines stay several values",
        "9110 §5.3",
        miss({"Cache-Control": FRESH, "Link": ["</a>; rel=x", "</b>; rel=y"]}),
        hit(1, expect={"Link": "</a>; rel=x, </b>; rel=y"}),
    ),
    case(
        "Content-Encoding is sent on",
        "9111 §4",
        miss({"Cache-Control": FRESH, "Content-Encoding": "x-own"}),
        hit(1, expect={"Content-Encoding": "x-own"}),
    ),
    case(
        "Vary is sent on",
        "9111 §4.1",
        miss({"Cache-Control": FRESH, "Vary": "Accept-Language"}),
        hit(1, expect={"Vary": "Accept-Language"}),
    ),
    case(
        "a later response replaces the stored one", "9111 §4", miss(FRESH), miss(FRESH, at=61), hit(62, of=1)
    ),
    case(
        "a later response that may not be stored leaves nothing fresh",
        "9111 §4",
        miss(FRESH),
        miss("no-store", at=61),
        miss("no-store", at=62),
    ),
    case("three clients get the same", "9111 §4", miss(FRESH), hit(1), hit(2), hit(3)),
    case(
        "another path is another response",
        "9111 §4",
        miss(FRESH, target="/a"),
        miss(FRESH, target="/b"),
        hit(1, target="/a", of=0),
        hit(1, target="/b", of=1),
    ),
    case(
        "Range of an uncached whole reaches the origin",
        "9110 §14.2",
        miss(
            {"Cache-Control": FRESH, "Content-Range": "bytes 0-3/10"},
            {"Range": "bytes=0-3"},
            status=206,
            content=b"0123",
            saw={"Range": "bytes=0-3"},
        ),
    ),
    case(
        "a whole that came for a range is stored",
        "9111 §3.3",
        miss(FRESH, {"Range": "bytes=0-3"}, gets=ANY),
        hit(1, of=0),
    ),
]
