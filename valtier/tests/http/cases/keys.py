"""The key of a stored response (RFC 9111 §2, RFC 9110 §4.2.3)."""

from typing import Any

from runner import Case, Step, case, hit, miss

FRESH = "max-age=60"


def same(first: str, second: str) -> tuple[Step, Step]:
    return miss(FRESH, target=first), hit(1, target=second)


def different(first: str, second: str) -> tuple[Step, Step, Step]:
    return miss(FRESH, target=first), miss("no-store", target=second, at=1), hit(2, target=first, of=0)


DIFFERENT = [
    ("/a", "/A"),
    ("/a", "/a/"),
    ("/a", "//a"),
    ("/a", "/a?"[:2] + "?x"),
    ("/a?x=1", "/a?x=2"),
    ("/a?x=1", "/a?X=1"),
    ("/a?x=1&y=2", "/a?y=2&x=1"),
    ("/a?x=1", "/a?x=1&x=1"),
    ("/a?x=1", "/a?x=1&utm_source=z"),
    ("/a?x=1&", "/a?x=1"),
    ("/a?x=a+b", "/a?x=a%20b"),
    ("/a%2Fb", "/a/b"),
    ("/a%2fb", "/a%2Fb"),
    ("/%61", "/a"),
    ("/a;x", "/a"),
    ("/a%3Fx", "/a?x"),
    ("/a/../b", "/b"),
    ("/a/./b", "/a/b"),
    ("/me/x.css", "/me"),
    ("/a%00", "/a"),
]


def hosts(first: str, second: str, *, kept: bool) -> tuple[Step, Step]:
    end = hit(1, host=second) if kept else miss("no-store", host=second, at=1)
    return miss(FRESH, host=first), end


def query(name: str, first: str, second: str, *, kept: bool = True, **options: Any) -> Case:
    end = hit(1, target=f"/?{second}") if kept else miss("no-store", target=f"/?{second}", at=1)
    return case(name, "9111 §2", miss(FRESH, target=f"/?{first}"), end, **options)


CASES: list[Case] = [
    *(case(f"{first} is not {second}", "9111 §2", *different(first, second)) for first, second in DIFFERENT),
    case("the same target is one response", "9111 §2", *same("/a?b=c&d", "/a?b=c&d")),
    case(
        "the origin sees the target as it was sent",
        "9111 §2",
        miss(FRESH, target="/a%2Fb?x=%20&utm_source=z"),
    ),
    case(
        "the host counts in any case of letters", "9110 §4.2.3", *hosts("Case1.test", "cASE1.Test", kept=True)
    ),
    case("the default port is none", "9110 §4.2.3", *hosts("port1.test", "port1.test:80", kept=True)),
    case("an empty port is none", "9110 §4.2.3", *hosts("port2.test:", "port2.test", kept=True)),
    case(
        "another port is another origin", "9110 §4.3.1", *hosts("port3.test", "port3.test:8080", kept=False)
    ),
    case(
        "the other scheme's port is another origin",
        "9110 §4.3.1",
        *hosts("port4.test", "port4.test:443", kept=False),
    ),
    case("another host is another origin", "9110 §4.3.1", *hosts("one.test", "two.test", kept=False)),
    case("a subdomain is another origin", "9110 §4.3.1", *hosts("three.test", "www.three.test", kept=False)),
    case("an IPv6 address is a host", "9110 §4.2.3", *hosts("[2001:DB8::1]", "[2001:db8::1]:80", kept=True)),
    query("parameters can be sorted", "x=1&y=2", "y=2&x=1", query_sort=True),
    query("sorting keeps the order of equal names", "x=1&x=2", "x=2&x=1", kept=False, query_sort=True),
    query("sorting keeps values apart", "x=1&y=2", "x=2&y=1", kept=False, query_sort=True),
    query("sorting does not merge a parameter without value", "x", "x=", kept=False, query_sort=True),
    query("parameters can be ignored", "x=1", "x=1&utm_source=a&utm_medium=b", query_ignore=("utm_*",)),
    query("parameters can be ignored in front", "utm_source=a&x=1", "x=1", query_ignore=("utm_*",)),
    query("ignored parameters may be all", "utm_source=a", "utm_source=b", query_ignore=("utm_*",)),
    query("an ignored name is matched whole", "fbclid=1&x=1", "x=1", query_ignore=("fbclid",)),
    query(
        "a longer name than the ignored is not ignored",
        "x=1",
        "x=1&fbclid2=1",
        kept=False,
        query_ignore=("fbclid",),
    ),
    query("an ignored name may be percent-encoded", "x=1", "x=1&utm%5Fsource=a", query_ignore=("utm_*",)),
    query(
        "other parameters than the ignored count",
        "x=1&utm_source=a",
        "x=2&utm_source=a",
        kept=False,
        query_ignore=("utm_*",),
    ),
    query("parameters can be allowed", "page=1", "page=1&anything=2", query_allow=("page",)),
    query("allowed parameters count", "page=1", "page=2", kept=False, query_allow=("page",)),
    query("no parameters can be allowed", "a=1", "b=2", query_allow=()),
    query(
        "what is allowed may be ignored",
        "page=1&page_x=1",
        "page=1&page_x=2",
        query_allow=("page*",),
        query_ignore=("page_x",),
    ),
]
