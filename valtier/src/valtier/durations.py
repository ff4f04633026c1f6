"""Durations: seconds, a `timedelta` or text such as `"5m"`, normalised once into seconds."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from valtier.errors import ConfigurationError

_FORMS = "seconds, a timedelta, or text such as '50us', '500ms', '30s', '5m', '1h', '7d'"

Duration = float | timedelta | str

_UNIT_S = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)", re.ASCII)


def seconds(duration: Duration, *, name: str = "duration") -> float:
    """Returns `duration` in seconds, which is finite and above zero.

    Raises:
        ConfigurationError: it is zero, negative, not finite, or no duration at all.
    """
    value = _parse(duration, name)
    if not (0 < value < math.inf):
        raise ConfigurationError(f"{name} must be above zero and finite, not {duration!r}: give {_FORMS}")
    return value


def _parse(duration: object, name: str) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, (int, float)) and not isinstance(duration, bool):
        try:
            return float(duration)
        except OverflowError:
            return math.inf
    if isinstance(duration, str) and (match := _TEXT.fullmatch(duration.strip())):
        return float(match[1]) * _UNIT_S[match[2]]
    raise ConfigurationError(f"{name} is not a duration: {duration!r}. Give {_FORMS}")
