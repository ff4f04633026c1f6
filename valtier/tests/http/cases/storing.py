"""Which responses are stored (RFC 9111 §3)."""

from runner import Case, case, hit, miss

CASES: list[Case] = [
    case("a response with max-age is stored", "9111 §3", miss("max-age=60"), hit(1, expect={"Age": "1"})),
    case("no-store is not stored", "9111 §5.2.2.5", miss("no-store, max-age=60"), miss("no-store", at=1)),
]
