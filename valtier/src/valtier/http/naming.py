"""Names: the keys of responses and of their tags, made of what the rules call keys.

A URI's own record lies under `http:` and its key, readable where it is short. What else belongs to the URI (the variants,
and the URI as requests with forwarding fields see it) lies under a hash, and carries the URI's tag: invalidating the URI
removes the key and the tag, in one command.
"""

from __future__ import annotations

import hashlib
import re

NAMESPACE = "http"
_READABLE = re.compile(rb'GET ([!"$-z|~]{1,200})')
"""What can stand in a key as it is: short, printable, without braces and without the mark of a hash."""


def uri_key(primary: bytes) -> str:
    """Returns the key of a URI's own record."""
    readable = _READABLE.fullmatch(primary)
    return f"{NAMESPACE}:{readable[1].decode('ascii')}" if readable else f"{NAMESPACE}:#{_hash(primary)}"


def part_key(primary: bytes, part: bytes) -> str:
    """Returns the key of the URI's record for one set of forwarding fields; without any it is the URI's own."""
    return f"{NAMESPACE}:#{_hash(primary, b'part', part)}" if part else uri_key(primary)


def variant_key(primary: bytes, variant: bytes) -> str:
    """Returns the key of one of several variants."""
    return f"{NAMESPACE}:#{_hash(primary, b'variant', variant)}"


def uri_tag(primary: bytes) -> str:
    """Returns the tag of all that belongs to a URI and does not lie under its own key. No caller's tag has a space."""
    return f"uri {_hash(primary)}"


def group_tag(group: bytes) -> str:
    """Returns the tag of a cache group."""
    return f"group {_hash(group)}"


def _hash(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=18)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.hexdigest()
