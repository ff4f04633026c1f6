"""Splitting: one call with keys in several slots becomes one call for each slot, and their replies one reply. Pure.

Only commands whose meaning is the sum of their parts are split: MGET, MSET, DEL, UNLINK, EXISTS, TOUCH. The parts are
not atomic together: between two of them another client may write, and one may fail where another was done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from valtier.errors import OutcomeUnknownError, ReplyError, UnavailableError, ValkeyError
from valtier.wire.cluster.keyspec import Argument
from valtier.wire.cluster.slots import slot_of


@dataclass(frozen=True, slots=True)
class Part:
    """What goes to one slot."""

    slot: int
    args: tuple[Argument, ...]
    places: tuple[int, ...]
    """Which of the caller's keys these are, from 0."""


Merge = Callable[[Sequence[Part], Sequence[Any]], Any]


def _scattered(parts: Sequence[Part], replies: Sequence[Any]) -> list[Any]:
    """MGET: each value back to the place of its key."""
    values: list[Any] = [None] * sum(len(part.places) for part in parts)
    for part, reply in zip(parts, replies, strict=True):
        for place, value in zip(part.places, reply, strict=True):
            values[place] = value
    return values


def _total(_parts: Sequence[Part], replies: Sequence[Any]) -> int:
    return sum(replies)


def _first(_parts: Sequence[Part], replies: Sequence[Any]) -> Any:
    return replies[0]


_SPLIT: dict[str, tuple[int, Merge]] = {  # arguments for each key, and how replies are put together
    "MGET": (1, _scattered),
    "MSET": (2, _first),
    "DEL": (1, _total),
    "UNLINK": (1, _total),
    "EXISTS": (1, _total),
    "TOUCH": (1, _total),
}


def is_split(name: str) -> bool:
    """Tells whether a command (its name in capitals) is split by slot."""
    return name in _SPLIT


def split(name: str, args: Sequence[Argument]) -> list[Part]:
    """Returns the parts of a command that `is_split`, in the order in which their slots first occur.

    Arguments that do not fit (an MSET without a last value) go as one part, for the server to complain about.
    """
    width, _ = _SPLIT[name]
    places: dict[int, list[int]] = {}
    for place, index in enumerate(range(1, len(args), width)):
        places.setdefault(slot_of(args[index]), []).append(place)
    if len(places) < 2 or (len(args) - 1) % width:
        slot = next(iter(places), 0)
        return [Part(slot, tuple(args), tuple(range((len(args) - 1) // width)))]
    return [Part(slot, (args[0], *_arguments(args, width, own)), tuple(own)) for slot, own in places.items()]


def merge(name: str, parts: Sequence[Part], replies: Sequence[Any]) -> Any:
    """Returns the one reply that the caller expects, from the replies to the parts."""
    return replies[0] if len(parts) == 1 else _SPLIT[name][1](parts, replies)


def overall_error(name: str, read: bool, results: Sequence[Any]) -> BaseException | None:
    """Returns what the whole call fails with, or `None` if no part failed.

    A write of which a part was done and another was not sent can't be called unsent: its outcome is unknown. Whatever the
    error of a write is, it says how many of the parts were done.
    """
    errors = [result for result in results if isinstance(result, BaseException)]
    if not errors:
        return None
    gravest = next(
        (error for kind in (OutcomeUnknownError, ReplyError) for error in errors if isinstance(error, kind)),
        errors[0],
    )
    done = len(results) - len(errors)
    if read or not done:
        return gravest
    if isinstance(gravest, UnavailableError):
        error: ValkeyError = OutcomeUnknownError(
            f"{name} went to several nodes: {len(errors)} of its {len(results)} parts could not be sent, the rest was done"
        )
    elif isinstance(gravest, ValkeyError):
        error = type(gravest)(
            f"{gravest}; {name} went to several nodes, and {done} of its {len(results)} parts were done all the same"
        )
    else:
        return gravest
    error.__cause__ = gravest
    return error


def cross_slot(name: str) -> ReplyError:
    """Returns the error for keys of several slots in a command that can't be split."""
    return ReplyError(
        f"CROSSSLOT the keys of {name} lie in different slots of the cluster; nothing was sent. Give them one hash tag, "
        "such as {user:1}:name and {user:1}:mail"
    )


def _arguments(args: Sequence[Argument], width: int, places: Sequence[int]) -> list[Argument]:
    return [args[1 + place * width + offset] for place in places for offset in range(width)]
