"""The names of states in Valkey, and what an ACL user needs for them.

`<prefix>:limit:{<subject>}:<limit>`: the braces make all limits of a subject lie in one slot of a cluster. A subject is
whatever a user may have sent; it is kept as it is where it is harmless, percent-encoded where not, and hashed where long.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from valtier.keys import check_prefix, encode

MAX_SUBJECT = 120
_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+-]{1,120}").fullmatch

COMMANDS = (
    "eval",
    "evalsha",
    "get",
    "mget",
    "set",
    "incrby",
    "pttl",
    "time",
    "del",
    "exists",
    "client|tracking",
)
"""What an ACL user has to be allowed, beside what each connection begins with."""


def key_pattern(prefix: str) -> str:
    """Returns the pattern of all keys that limits use."""
    return f"{check_prefix(prefix)}:limit:*"


def acl_rule(prefix: str) -> str:
    """Returns the part of an ACL line that limits need: `~valtier:limit:* +eval …`."""
    return " ".join([f"~{key_pattern(prefix)}", *(f"+{command}" for command in COMMANDS)])


def head(prefix: str) -> str:
    """Returns how every name begins, up to the subject."""
    return f"{check_prefix(prefix)}:limit:{{"


def subject_of(key: object) -> str:
    """Returns a key as a part of a name: it can't imitate another one, nor leave its braces. At most 120 characters.

    Raises:
        ConfigurationError: it is neither text nor a number, a UUID, an enum, a boolean or None.
    """
    if type(key) is str:
        if _PLAIN(key):
            return key
        if not key:
            return "!empty"
        if len(key) > 8 * MAX_SUBJECT:
            return digest(key)
    text = encode(key)
    return text if len(text) <= MAX_SUBJECT else digest(text)


def digest(text: str) -> str:
    """Returns a hash of a text as a part of a name; no encoded text begins like it."""
    return "!" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
