"""Fan-out: one message of the bus to this process's clients, encoded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from valtier.socketio.frames import Frame
from valtier.socketio.messages import Emit
from valtier.socketio.packets import json_text
from valtier.socketio.rooms import Member


class Fanout:
    """Makes frames and pushes them. Guarded by the event loop."""

    def __init__(self) -> None:
        self.dropped = 0
        """Volatile events that did not go to a client, because it was still busy."""

    def reliable(self, emit: Emit, members: dict[str, Member], offset: str | None) -> int:
        """Queues an event for everybody in `members` but `emit.skip`. Returns how many that are."""
        parts = tuple(emit.parts)
        plain: Frame | None = None
        marked: Frame | None = None
        skip = emit.skip
        count = len(members)
        for sid, member in members.items():
            if skip and sid in skip:
                count -= 1
            elif offset is not None and member.offsets:
                if marked is None:
                    marked = Frame(f"4{emit.head}{with_offset(emit.body, offset)}", parts)
                member.sink.push(marked)
            else:
                if plain is None:
                    plain = Frame(f"4{emit.head}{emit.body}", parts)
                member.sink.push(plain)
        return count

    def acknowledged(
        self, emit: Emit, members: dict[str, Member], callback: Callable[[Member], Callable[..., Any]]
    ) -> int:
        """Queues an event that each recipient shall acknowledge; each gets a number of its own."""
        count = 0
        for member in list(members.values()):
            if member.sid in emit.skip:
                continue
            number = member.await_ack(callback(member))
            member.sink.push(Frame(f"4{emit.head}{number}{emit.body}", tuple(emit.parts)))
            count += 1
        return count

    def ephemeral(self, emit: Emit, members: dict[str, Member]) -> None:
        """Sends a volatile event to whoever is not busy, or queues the latest of its key."""
        parts = tuple(emit.parts)
        plain = Frame(f"4{emit.head}{emit.body}", parts)
        marked = plain
        if emit.body.endswith('"]'):
            # A client takes any text at an event's end for its offset; and a real one would lead it back, where the event
            # has waited while reliable ones passed.
            marked = Frame(f"4{emit.head}{emit.body[:-1]},null]", parts)
        for sid, member in members.items():
            if sid in emit.skip:
                continue
            frame = marked if member.offsets else plain
            if emit.latest is not None:
                member.sink.push_latest(emit.latest, frame)
            elif not member.sink.push_volatile(frame):
                self.dropped += 1


def with_offset(body: str, offset: str) -> str:
    """Adds the offset to the arguments of an event."""
    return f'{body[:-1]},"{offset}"]'


def tick_body(event: str, entries: dict[str, str]) -> str:
    """Returns the arguments of a coalesced event: its name and an object with each key's payload."""
    inside = ",".join([f"{json_text(key)}:{payload}" for key, payload in entries.items()])
    return f"[{json_text(event)},{{{inside}}}]"
