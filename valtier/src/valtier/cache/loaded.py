"""What a loader has returned, ready to be stored."""

from __future__ import annotations

from valtier.cache.codec import Body, encode_body
from valtier.cache.policy import Rules


class AbsentError(LookupError):
    """The loader of a batch returned nothing for a key."""


class Loaded:
    """What a loader returned, encoded, and what it took."""

    __slots__ = ("body", "cost_s", "created", "is_none")

    def __init__(self, body: Body, *, is_none: bool, created: float, cost_s: float) -> None:
        self.body = body
        self.is_none = is_none
        self.created = created
        self.cost_s = cost_s

    @classmethod
    def of(cls, value: object, rules: Rules, *, created: float, cost_s: float = 0.0) -> Loaded:
        """Encodes a value.

        Raises:
            ConfigurationError: it can't be serialised.
        """
        body = encode_body(value, rules.codec, rules.compress_above)
        return cls(body, is_none=value is None, created=created, cost_s=cost_s)
