"""Which responses are stored, and what of them (RFC 9111 §3)."""

from runner import Case, case, date, hit, miss

OLD = {"Last-Modified": date(-1000), "Date": date(0)}
AUTH = {"Authorization": "Bearer secret"}
COOKIE = {"Cookie": "session=secret"}
AGAIN = miss("no-store", at=1)

CASES: list[Case] = [
    case("a response with max-age is stored", "9111 §3", miss("max-age=60"), hit(1)),
    case("a response with s-maxage is stored", "9111 §3", miss("s-maxage=60"), hit(1)),
    case("a response with a later Expires is stored", "9111 §3", miss({"Expires": date(60)}), hit(1)),
    case("a response that says nothing is not stored", "9111 §3", miss(), AGAIN),
    case(
        "a response with an ETag only is stored to be validated",
        "9111 §3",
        miss({"ETag": '"a"'}),
        miss(at=1, saw={"If-None-Match": '"a"'}),
    ),
    case("public alone gives no freshness", "9111 §5.2.2.9", miss("public"), AGAIN),
    case("no-store is not stored", "9111 §5.2.2.5", miss("no-store, max-age=60"), AGAIN),
    case("no-store counts in any case of letters", "9111 §5.2", miss("max-age=60, NO-STORE"), AGAIN),
    case(
        "no-store on a second line counts",
        "9110 §5.3",
        miss({"Cache-Control": ["max-age=60", "no-store"]}),
        AGAIN,
    ),
    case("no-store with an argument counts", "9111 §5.2.2.5", miss("max-age=60, no-store=x"), AGAIN),
    case(
        "no-store inside a quoted argument does not count",
        "9111 §5.2",
        miss('max-age=60, x="no-store"'),
        hit(1),
    ),
    case("no-store behind an unclosed quote counts", "9111 §5.2", miss('max-age=60, x="y, no-store'), AGAIN),
    case("private is not stored for all", "9111 §5.2.2.7", miss("private, max-age=60"), AGAIN),
    case("private wins over s-maxage", "9111 §5.2.2.7", miss("private, s-maxage=60"), AGAIN),
    case(
        "private with field names is stored without those",
        "9111 §5.2.2.7",
        miss({"Cache-Control": 'private="x-user", max-age=60', "X-User": "ann", "X-Other": "1"}),
        hit(1, expect={"X-User": None, "X-Other": "1"}),
    ),
    case(
        "private with an empty list is about the whole",
        "9111 §5.2.2.7",
        miss('private="", max-age=60'),
        AGAIN,
    ),
    case(
        "private with what is no field name is about the whole",
        "9111 §5.2.2.7",
        miss('private="x user", max-age=60'),
        AGAIN,
    ),
    case(
        "private with an unclosed list is about the whole",
        "9111 §5.2.2.7",
        miss('private="x-user, max-age=60'),
        AGAIN,
    ),
    case(
        "private with a token names a field",
        "9111 §5.2",
        miss({"Cache-Control": "private=x-user, max-age=60", "X-User": "ann"}),
        hit(1, expect={"X-User": None}),
    ),
    case(
        "both forms of private are the stricter",
        "9111 §4.2.1",
        miss('private="x-user", private, max-age=60'),
        AGAIN,
    ),
    case("an unknown directive does not hinder", "9111 §5.2.3", miss("max-age=60, community=uci"), hit(1)),
    case(
        "must-understand lets a known status be stored in spite of no-store",
        "9111 §5.2.2.3",
        miss("must-understand, no-store, max-age=60"),
        hit(1),
    ),
    case(
        "must-understand keeps an unknown status out",
        "9111 §5.2.2.3",
        miss("must-understand, max-age=60", status=299),
        AGAIN,
    ),
    case(
        "must-understand with no-store keeps an unknown status out",
        "9111 §5.2.2.3",
        miss("must-understand, no-store, max-age=60", status=599),
        AGAIN,
    ),
    case(
        "an unknown status with max-age is stored",
        "9111 §3",
        miss("max-age=60", status=299),
        hit(1, gets=299, of=0),
    ),
    case(
        "partial content is not stored",
        "9111 §3.3",
        miss({"Cache-Control": "max-age=60", "Content-Range": "bytes 0-4/10"}, status=206, content=b"01234"),
        AGAIN,
    ),
    case(
        "partial content is not taken for the whole",
        "9111 §3.3",
        miss(
            {"Cache-Control": "max-age=60", "Content-Range": "bytes 0-4/10"},
            {"Range": "bytes=0-4"},
            status=206,
            content=b"01234",
        ),
        AGAIN,
    ),
    case("a 304 without a question is not stored", "9111 §3", miss("max-age=60", status=304), AGAIN),
    case(
        "a request's no-store keeps its answer out",
        "9111 §5.2.1.5",
        miss("max-age=60", {"Cache-Control": "no-store"}),
        AGAIN,
    ),
    case(
        "a request's no-store can be switched off",
        "9111 §5.2.1.5",
        miss("max-age=60", {"Cache-Control": "no-store"}),
        hit(1),
        request_directives=False,
    ),
    case(
        "what is stored already may answer a request with no-store",
        "9111 §5.2.1.5",
        miss("max-age=60"),
        hit(1, {"Cache-Control": "no-store"}),
    ),
    case(
        "Set-Cookie is not stored",
        "9111 §7.3",
        miss({"Cache-Control": "max-age=60", "Set-Cookie": "a=b"}),
        AGAIN,
    ),
    case(
        "Set-Cookie is not stored even if public",
        "9111 §7.3",
        miss({"Cache-Control": "public, max-age=60", "Set-Cookie": "a=b"}),
        AGAIN,
    ),
    case(
        "Set-Cookie can be stripped",
        "9111 §7.3",
        miss({"Cache-Control": "max-age=60", "Set-Cookie": ["a=b", "c=d"]}),
        hit(1, expect={"Set-Cookie": None}),
        strip_set_cookie=True,
    ),
    case(
        "no-cache may name Set-Cookie",
        "9111 §5.2.2.4",
        miss(
            {"Cache-Control": 'no-cache="Set-Cookie", max-age=60', "Set-Cookie": "a=b"},
            expect={"Set-Cookie": "a=b"},
        ),
        hit(1, expect={"Set-Cookie": None}),
    ),
    case(
        "private may name Set-Cookie",
        "9111 §5.2.2.7",
        miss({"Cache-Control": 'private="set-cookie", max-age=60', "Set-Cookie": "a=b"}),
        hit(1, expect={"Set-Cookie": None}),
    ),
    case(
        "no-cache with field names is reused without those",
        "9111 §5.2.2.4",
        miss({"Cache-Control": 'no-cache="x-a, X-B", max-age=60', "X-A": "1", "X-B": "2", "X-C": "3"}),
        hit(1, expect={"X-A": None, "X-B": None, "X-C": "3"}),
    ),
    case(
        "a body over the cap is not stored",
        "9111 §3",
        miss("max-age=60", content=b"x" * 11),
        AGAIN,
        max_body=10,
    ),
    case(
        "a body at the cap is stored", "9111 §3", miss("max-age=60", content=b"x" * 10), hit(1), max_body=10
    ),
    case(
        "a body over the cap without Content-Length is not stored",
        "9111 §3",
        miss("max-age=60", content=b"x" * 11, length=False),
        AGAIN,
        max_body=10,
    ),
    case("a body without Content-Length is stored", "9111 §3.3", miss("max-age=60", length=False), hit(1)),
    case("an empty body is stored", "9111 §3", miss("max-age=60", content=b""), hit(1)),
    case(
        "a body of any bytes is stored",
        "9111 §3",
        miss("max-age=60", content=bytes(range(256)) * 300),
        hit(1),
    ),
    # RFC 9111 §3.5
    case("an answer to Authorization is not stored", "9111 §3.5", miss("max-age=60", AUTH), AGAIN),
    case(
        "an answer to Authorization with public is stored",
        "9111 §3.5",
        miss("public, max-age=60", AUTH),
        hit(1),
    ),
    case(
        "an answer to Authorization with s-maxage is stored", "9111 §3.5", miss("s-maxage=60", AUTH), hit(1)
    ),
    case(
        "an answer to Authorization with must-revalidate is stored",
        "9111 §3.5",
        miss("max-age=60, must-revalidate", AUTH),
        hit(1),
    ),
    case(
        "proxy-revalidate does not allow an answer to Authorization",
        "9111 §3.5",
        miss("max-age=60, proxy-revalidate", AUTH),
        AGAIN,
    ),
    case(
        "Expires does not allow an answer to Authorization",
        "9111 §3.5",
        miss({"Expires": date(60)}, AUTH),
        AGAIN,
    ),
    case(
        "what is shared with s-maxage answers others' Authorization",
        "9111 §3.5",
        miss("s-maxage=60", AUTH),
        hit(1, {"Authorization": "Bearer other"}),
    ),
    case(
        "what is shared answers credentials with a condition",
        "9111 §3.5",
        miss({"Cache-Control": "s-maxage=60", "ETag": '"a"'}),
        hit(1, COOKIE | {"If-None-Match": '"a"'}, gets=304),
    ),
    case(
        "what nobody declared shared does not answer credentials with a condition",
        "9111 §3.5",
        miss({"Cache-Control": "max-age=60", "ETag": '"a"'}),
        miss("no-store", COOKIE | {"If-None-Match": '"a"'}, at=1),
    ),
    case(
        "what nobody declared shared does not answer Authorization",
        "9111 §3.5",
        miss("max-age=60"),
        miss("no-store", AUTH, at=1),
    ),
    case("an answer to Cookie is not stored", "9111 §3.5", miss("max-age=60", COOKIE), AGAIN),
    case(
        "an answer to Cookie with public is stored", "9111 §3.5", miss("public, max-age=60", COOKIE), hit(1)
    ),
    case(
        "an answer to Cookie with s-maxage is stored",
        "9111 §3.5",
        miss("s-maxage=60", COOKIE),
        hit(1, COOKIE),
    ),
    case("an answer to Cookie has no heuristic freshness", "9111 §3.5", miss(OLD, COOKIE), AGAIN),
    case(
        "what nobody declared shared does not answer Cookie",
        "9111 §3.5",
        miss("max-age=60"),
        miss("no-store", COOKIE, at=1),
    ),
    case(
        "cookies can be declared no credentials",
        "9111 §3.5",
        miss("max-age=60", COOKIE),
        hit(1),
        credentials=("Authorization",),
    ),
    case(
        "other credentials can be declared",
        "9111 §3.5",
        miss("max-age=60", {"X-Api-Key": "k"}),
        AGAIN,
        credentials=("X-Api-Key",),
    ),
    # private entries
    case(
        "private is stored for an identity",
        "9111 §5.2.2.7",
        miss("private, max-age=60", identity="ann"),
        hit(1, identity="ann"),
    ),
    case(
        "a private entry is not another identity's",
        "9111 §5.2.2.7",
        miss("private, max-age=60", identity="ann"),
        miss("no-store", at=1, identity="bob"),
    ),
    case(
        "a private entry is nobody's without an identity",
        "9111 §5.2.2.7",
        miss("private, max-age=60", identity="ann"),
        AGAIN,
    ),
    case(
        "an answer to credentials is stored for the identity",
        "9111 §3.5",
        miss("max-age=60", COOKIE, identity="ann"),
        hit(1, COOKIE, identity="ann"),
    ),
    case(
        "an answer to credentials is not another identity's",
        "9111 §3.5",
        miss("max-age=60", COOKIE, identity="ann"),
        miss("no-store", {"Cookie": "session=other"}, at=1, identity="bob"),
    ),
    case(
        "private entries of two identities lie side by side",
        "9111 §5.2.2.7",
        miss("private, max-age=60", identity="ann"),
        miss("private, max-age=60", identity="bob"),
        hit(1, identity="ann", of=0),
        hit(1, identity="bob", of=1),
    ),
    case(
        "what is public answers every identity",
        "9111 §5.2.2.9",
        miss("public, max-age=60", identity="ann"),
        hit(1, identity="bob"),
    ),
    case(
        "s-maxage is not for a private entry",
        "9111 §5.2.2.10",
        miss("private, max-age=10, s-maxage=60", identity="ann"),
        hit(9, identity="ann"),
        miss("no-store", at=11, identity="ann"),
    ),
    case(
        "private with no-store is not stored for an identity",
        "9111 §5.2.2.5",
        miss("private, no-store, max-age=60", identity="ann"),
        miss("no-store", at=1, identity="ann"),
    ),
    # methods
    *(
        case(
            f"an answer to {method} is not stored",
            "9111 §3",
            miss("max-age=60", method=method, request_body=body),
            AGAIN,
        )
        for method, body in [
            ("POST", b"x"),
            ("PUT", b"x"),
            ("PATCH", b"x"),
            ("DELETE", b""),
            ("OPTIONS", b""),
            ("REPORT", b"x"),
        ]
    ),
    case("an answer to HEAD is not stored for GET", "9111 §3", miss("max-age=60", method="HEAD"), AGAIN),
    case(
        "a GET with content is not answered from the cache",
        "9110 §9.3.1",
        miss("max-age=60"),
        miss("no-store", at=1, request_body=b"x"),
    ),
    case("a GET with content is not stored", "9110 §9.3.1", miss("max-age=60", request_body=b"x"), AGAIN),
    # status codes
    *(
        case(
            f"a {status} has heuristic freshness",
            "9110 §15.1",
            miss(OLD, status=status),
            hit(50, gets=status, of=0),
        )
        for status in (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
    ),
    *(
        case(
            f"a {status} has no heuristic freshness",
            "9110 §15.1",
            miss(OLD, status=status),
            miss("no-store", at=50),
        )
        for status in (201, 202, 302, 303, 307, 400, 401, 403, 406, 409, 422, 429, 500, 502, 503, 504)
    ),
    *(
        case(
            f"a {status} with max-age is stored",
            "9111 §3",
            miss("max-age=60", status=status),
            hit(1, gets=status, of=0),
        )
        for status in (201, 203, 204, 301, 302, 303, 307, 308, 400, 403, 404, 410, 500, 503)
    ),
    # RFC 9111 §3.1
    case(
        "fields are stored as they came",
        "9111 §3.1",
        miss(
            {
                "Cache-Control": "max-age=60",
                "X-Many": ["a", "b"],
                "X-One": "c, d",
                "Content-Type": "text/plain",
            }
        ),
        hit(
            1,
            expect={
                "X-Many": "a, b",
                "X-One": "c, d",
                "Content-Type": "text/plain",
                "Cache-Control": "max-age=60",
            },
        ),
    ),
    case(
        "fields that Connection names are not stored",
        "9111 §3.1",
        miss({"Cache-Control": "max-age=60", "Connection": "x-a, X-B", "X-A": "1", "X-B": "2", "X-C": "3"}),
        hit(1, expect={"X-A": None, "X-B": None, "X-C": "3"}),
    ),
    *(
        case(
            f"{name} is not stored",
            "9111 §3.1",
            miss({"Cache-Control": "max-age=60", name: "x"}),
            hit(1, expect={name: None}),
        )
        for name in (
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authenticate",
            "Proxy-Authentication-Info",
            "Proxy-Authorization",
            "TE",
        )
    ),
    case(
        "Date is added if the origin sent none",
        "9110 §6.6.1",
        miss("max-age=60"),
        hit(5, expect={"Date": date(0)}),
    ),
    case(
        "Date is kept as the origin sent it",
        "9110 §6.6.1",
        miss({"Cache-Control": "max-age=60", "Date": date(-3)}),
        hit(5, expect={"Date": date(-3)}),
    ),
    case(
        "the fields for this cache alone are not sent on",
        "9213 §2",
        miss(
            {"Valtier-Cache-Control": "max-age=60", "Cache-Tag": "a b, c"},
            expect={"Valtier-Cache-Control": None, "Cache-Tag": None},
        ),
        hit(1, expect={"Valtier-Cache-Control": None, "Cache-Tag": None}),
    ),
    # poisoning
    *(
        case(f"a request with {name} is not stored", "9111 §2", miss("max-age=60", {name: "/admin"}), AGAIN)
        for name in (
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "X-Original-URL",
            "X-Rewrite-URL",
        )
    ),
    case(
        "a request with a method override is not answered from the cache",
        "9111 §2",
        miss("max-age=60"),
        miss("no-store", {"X-HTTP-Method-Override": "DELETE"}, at=1),
    ),
    *(
        case(
            f"what came for a forged {name} is nobody else's",
            "9111 §2",
            miss("max-age=60", {name: "evil.test"}),
            miss("max-age=60", at=1),
            hit(2, {name: "evil.test"}, of=0),
            hit(2, of=1),
        )
        for name in (
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            "X-Host",
            "Forwarded",
        )
    ),
]
