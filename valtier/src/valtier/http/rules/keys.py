"""Keys: a stored response's URI, and its variant within it. Every part is length-prefixed, so none imitates another."""

from __future__ import annotations

from valtier.http.rules.fields import Headers
from valtier.http.rules.options import Options
from valtier.http.rules.request import RequestFacts


def primary_key(scheme: str, host: bytes, raw_path: bytes, query: bytes, options: Options) -> bytes | None:
    """Returns the key of a URI (RFC 9111 §2, RFC 9110 §4.2.3), the same for GET and HEAD; None if the host is none.

    Invalidating a URI means everything under this key, for all identities and variants. It may be long: hash it.
    """
    raise NotImplementedError


def variant_key(
    facts: RequestFacts,
    names: tuple[bytes, ...],
    headers: Headers,
    options: Options,
    *,
    identity: str | None = None,
) -> bytes:
    """Returns the key of a variant within its URI: the identity (private entries only), the fields of `Options.keyed`,
    and the values of the fields in `Vary`. Empty if there is none of these."""
    raise NotImplementedError


def origin_of(scheme: str, host: bytes) -> bytes | None:
    """Returns the origin (RFC 9110 §4.3.1) in one spelling: lower-case, without the scheme's own port."""
    raise NotImplementedError


def group_key(scheme: str, host: bytes, group: str) -> bytes | None:
    """Returns the key of a cache group, which belongs to its origin (RFC 9875 §2)."""
    raise NotImplementedError
