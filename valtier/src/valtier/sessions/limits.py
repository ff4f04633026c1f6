"""How long sessions live and how large they get."""

from __future__ import annotations

from dataclasses import dataclass

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError

_LONGEST_REMEMBER_S = 30 * 24 * 3600.0  # SP 800-63B-4, 2.1.3


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Durations in seconds, sizes in bytes."""

    idle_s: float
    absolute_s: float
    remember_s: float
    sudo_s: float
    touch_s: float
    renew_s: float | None
    grace_s: float
    max_bytes: int

    @classmethod
    def of(
        cls,
        *,
        idle: Duration,
        absolute: Duration,
        remember: Duration,
        sudo: Duration,
        touch: Duration,
        renew: Duration | None,
        grace: Duration,
        max_bytes: int,
    ) -> SessionLimits:
        """Checks them.

        Raises:
            ConfigurationError: one is no duration, or contradicts another.
        """
        limits = cls(
            idle_s=seconds(idle, name="idle"),
            absolute_s=seconds(absolute, name="absolute"),
            remember_s=seconds(remember, name="remember"),
            sudo_s=seconds(sudo, name="sudo"),
            touch_s=seconds(touch, name="touch"),
            renew_s=None if renew is None else seconds(renew, name="renew"),
            grace_s=seconds(grace, name="grace"),
            max_bytes=max_bytes,
        )
        if limits.remember_s > _LONGEST_REMEMBER_S:
            raise ConfigurationError(f"remember is 30 days at most (SP 800-63B-4), not {remember!r}")
        if limits.idle_s > limits.absolute_s:
            raise ConfigurationError(f"idle ({idle!r}) is no longer than absolute ({absolute!r})")
        if limits.touch_s > limits.idle_s / 2:
            raise ConfigurationError(
                f"touch ({touch!r}) is half of idle ({idle!r}) at most: else a session in use would end"
            )
        if limits.grace_s > 60:
            raise ConfigurationError(f"grace is some seconds, a minute at most, not {grace!r}")
        if limits.renew_s is not None and limits.renew_s < 2 * limits.grace_s:
            raise ConfigurationError(f"renew ({renew!r}) is twice grace ({grace!r}) at least")
        if type(max_bytes) is not int or not 0 < max_bytes <= 2**20:
            raise ConfigurationError(f"max_bytes is 1 to {2**20}, not {max_bytes!r}")
        return limits

    def lifetimes(self, *, remember: bool) -> tuple[float, float]:
        """Returns how long a session may be idle, and how long it lives at most."""
        return (self.remember_s, self.remember_s) if remember else (self.idle_s, self.absolute_s)
