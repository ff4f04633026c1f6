"""Rules: what the scripts decide, as pure functions over a subject's state: for stores that have no scripts.

A state is the same as in Valkey's hash: fields to text, with moments in milliseconds. `issue`, `verify`, `redeem` and
`revoke` change the state that they are given, and return what the script of that name does. Whoever keeps states has to
lock one while it is decided upon, with a clock that all processes share (see `CodeStore`).
"""

from __future__ import annotations

from typing import Protocol

State = dict[str, str]


class CodeStore(Protocol):
    """Where codes are kept. Each method is atomic; each raises `CodesUnavailableError` if its outcome is not certain."""

    async def issue(
        self,
        subject: str,
        *,
        lane: str,
        cooldown_ms: int,
        field: str = "",
        data: str = "",
        ttl_ms: int = 0,
        tries: int = 1,
        most: int = 1,
    ) -> int:
        """Stores a code, or only begins a cooldown. Returns 0, or in how many ms to ask again."""

    async def count(self, address: str, *, points: int, window_ms: int) -> int:
        """Counts one more from an address (a digest). Returns 0, or in how many ms to ask again."""

    async def verify(
        self, subject: str, field: str, mac: str, *, lane: str, most_failures: int, window_ms: int
    ) -> tuple[int, int]:
        """Compares, counts and removes. Returns what `verify` below does."""

    async def redeem(self, subject: str, field: str, bound: str, *, keep: bool) -> str | None:
        """Takes a token, or with `keep` only looks at it. Returns the subject, or None."""

    async def revoke(self, subject: str) -> int:
        """Removes a subject's codes, and returns how many there were."""


def issue(
    state: State,
    now: int,
    *,
    lane: str,
    cooldown_ms: int,
    field: str = "",
    data: str = "",
    ttl_ms: int = 0,
    tries: int = 1,
    most: int = 1,
) -> int:
    """Lets a subject have one more code, unless it had one just now. Returns 0, or in how many ms to ask again."""
    if cooldown_ms > 0:
        wait = int(state.get(f"c{lane}", "0")) - now
        if wait > 0:
            return wait
        state[f"c{lane}"] = str(now + cooldown_ms)
    if field:
        ends = {
            name: int(value.partition(":")[0])
            for name, value in state.items()
            if name[0] == "k" and name != f"k{field}"
        }
        for name in [name for name, moment in ends.items() if moment <= now]:
            del state[name], ends[name]
        if len(ends) >= most:
            del state[min(ends, key=ends.__getitem__)]
        state[f"k{field}"] = f"{now + ttl_ms}:{tries}:{data}"
    return 0


def verify(
    state: State, now: int, field: str, mac: str, *, lane: str, most_failures: int, window_ms: int
) -> tuple[int, int]:
    """Compares a code, counts a wrong one and removes a right one.

    Returns (1, 0): right; (0, submissions that the code still stands): wrong, or there is none; (-1, in how many ms to try
    again): there were too many failures.
    """
    count, ends = (int(part) for part in state.get(f"f{lane}", "0:0").split(":"))
    if ends <= now:
        count, ends = 0, now + window_ms
    if count >= most_failures:
        return -1, ends - now
    stored = state.get(f"k{field}")
    if stored is None:
        return 0, 0
    code_ends, stands, expected = stored.split(":", 2)
    if int(code_ends) <= now:
        del state[f"k{field}"]
        return 0, 0
    if mac == expected:
        del state[f"k{field}"]
        state.pop(f"f{lane}", None)
        return 1, 0
    state[f"f{lane}"] = f"{count + 1}:{ends}"
    left = int(stands) - 1
    if left < 1:
        del state[f"k{field}"]
    else:
        state[f"k{field}"] = f"{code_ends}:{left}:{expected}"
    return 0, left


def redeem(state: State, now: int, field: str, bound: str, *, keep: bool) -> str | None:
    """Takes a token's subject and removes all of the subject's tokens; with `keep` it removes nothing."""
    stored = state.get(f"k{field}")
    if stored is None:
        return None
    ends, _, binding, subject = stored.split(":", 3)
    if int(ends) <= now or binding != bound:
        return None
    if not keep:
        revoke(state)
    return subject


def revoke(state: State) -> int:
    """Removes every code. Returns how many there were."""
    names = [name for name in state if name[0] == "k"]
    for name in names:
        del state[name]
    return len(names)


def ends_at(state: State) -> int:
    """Returns when the last of what a state says ends, in ms; 0 if it says nothing."""
    moments = [value.split(":")[1 if name[0] == "f" else 0] for name, value in state.items()]
    return max(map(int, moments), default=0)
