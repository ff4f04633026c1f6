"""Durations mean the same however they are written, and nonsense is refused."""

from datetime import timedelta

import pytest

from valtier import ConfigurationError
from valtier.durations import seconds


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (5, 5.0),
        (0.25, 0.25),
        ("50us", 50e-6),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("7d", 604800.0),
    ],
)
def test_every_form_is_seconds(duration: float | str, expected: float) -> None:
    assert seconds(duration) == pytest.approx(expected)


def test_days_of_a_timedelta_count() -> None:
    """Two days are not zero seconds, which is what `timedelta.seconds` would say."""
    assert seconds(timedelta(days=2)) == 172_800


@pytest.mark.parametrize(
    "nonsense",
    [0, -1, float("inf"), float("nan"), "", "5", "m5", "5 parsecs", "-5s", None, True, [], timedelta(0)],
)
def test_what_is_no_duration_is_refused_by_name(nonsense: object) -> None:
    with pytest.raises(ConfigurationError, match="ttl"):
        seconds(nonsense, name="ttl")  # type: ignore[arg-type]
