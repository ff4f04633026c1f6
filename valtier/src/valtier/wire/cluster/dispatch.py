"""Dispatch: from a command's words to where it goes."""

from __future__ import annotations

import asyncio
from typing import Any

from valtier.errors import ConfigurationError, NoPermissionError, UnavailableError
from valtier.wire.cluster import everywhere, splitting
from valtier.wire.cluster.commands import FIRST_IS_KEY, capitals, lookup, name_of
from valtier.wire.cluster.joined import Joined, Part, Pinned
from valtier.wire.cluster.keyspec import Command, parse_command_info
from valtier.wire.cluster.routed import ANY, Routed, Sink, Tracked
from valtier.wire.cluster.router import Router
from valtier.wire.cluster.slots import slot_of
from valtier.wire.connection import Argument, Reply, pack
from valtier.wire.sharing import check_shareable, shareable


class Dispatcher:
    """Finds the slot of each command, splits what has to be split, and asks the server about commands unknown here."""

    def __init__(self, router: Router, *, read_from_replicas: bool) -> None:
        self._router = router
        self._nodes = router.nodes
        self._from_replicas = read_from_replicas
        self._learned: dict[str, Command] = {}
        self._asking: dict[str, asyncio.Future[Reply]] = {}  # one question about each command at a time
        self._tasks: set[asyncio.Task[Any]] = set()

    def call(self, args: tuple[Argument, ...], idempotent: bool) -> asyncio.Future[Reply]:
        """Sends one command, as `Valkey.call` says."""
        read = FIRST_IS_KEY.get(args[0]) if len(args) > 1 else None
        if read is None:
            return self._call_other(args, idempotent)
        return self._send(args, slot_of(args[1]), read, idempotent)

    def _send(self, args: tuple[Argument, ...], slot: int, read: bool, idempotent: bool) -> Routed:
        call = Routed(self._router, pack(args), slot, idempotent, read and self._from_replicas)
        try:
            call.submit_to(call.choose())
        except UnavailableError as exc:
            self._router.held_up(call, exc)
            if call.done():
                raise
        return call

    def call_tracked(self, args: tuple[Argument, ...], sink: Sink | None) -> asyncio.Future[Reply]:
        """Sends one read, as `Valkey.call_tracked` says."""
        if not args or args[0] not in FIRST_IS_KEY:
            check_shareable(args)
        command = lookup(args) if args else None
        names = [_name(args[position]) for position in command.key_positions(args)] if command else []
        slots = set(map(slot_of, names))
        if len(slots) != 1:
            return self.call(args, False)
        call = Tracked(self._router, pack(args), slots.pop(), names, sink)
        self._router.send(call)
        if call.done() and (error := call.exception()) is not None:
            raise error
        return call

    def _call_other(self, args: tuple[Argument, ...], idempotent: bool) -> asyncio.Future[Reply]:
        if not args or args[0] not in shareable:
            check_shareable(args)
        command = lookup(args) or self._recall(args)
        if command is None:
            return self._learn_first(args, idempotent)
        return self._call_known(args, command, idempotent)

    def _call_known(
        self, args: tuple[Argument, ...], command: Command, idempotent: bool
    ) -> asyncio.Future[Reply]:
        name = name_of(args)
        if splitting.is_split(name):
            return self._call_split(name, args, command, idempotent)
        positions = command.key_positions(args)
        if not positions:
            return self._call_keyless(name, args, idempotent)
        slots = {slot_of(args[position]) for position in positions}
        if len(slots) > 1:
            refused = self._router.loop.create_future()
            refused.set_exception(splitting.cross_slot(name))
            return refused
        return self._send(args, slots.pop(), command.read, idempotent)

    # -- several in one ------------------------------------------------------------------------------------

    def _call_split(
        self, name: str, args: tuple[Argument, ...], command: Command, idempotent: bool
    ) -> asyncio.Future[Reply]:
        parts = splitting.split(name, args)
        if len(parts) == 1:
            return self._send(args, parts[0].slot, command.read, idempotent)
        router = self._router
        whole = Joined(
            name,
            len(parts),
            lambda replies: splitting.merge(name, parts, replies),
            read=command.read,
            loop=router.loop,
        )
        calls: list[Part] = []
        for number, part in enumerate(parts):
            from_replica = command.read and self._from_replicas
            call = Part(router, pack(part.args), part.slot, idempotent, from_replica, whole, number)
            whole.parts.append(call)
            calls.append(call)
        for call in calls:
            router.send(call)
        return whole

    def _call_keyless(self, name: str, args: tuple[Argument, ...], idempotent: bool) -> asyncio.Future[Reply]:
        if name == "SCAN":
            raise ConfigurationError(
                "SCAN goes through one server's keys: use valtier.wire.scan(valkey, match=…)"
            )
        if name == "PUBLISH" and len(args) > 1:  # by one node, or the messages of a channel lose their order
            return self._send(args, slot_of(args[1]), False, idempotent)
        found = everywhere.find(name, args)
        if found is None:
            return self._send(args, ANY, False, idempotent)
        primaries = list(self._nodes.primaries)
        if not primaries:
            raise UnavailableError("no node of the cluster is known yet; nothing was sent")
        full_name, merge = found
        whole = Joined(
            full_name, len(primaries), merge, read=full_name in everywhere.READS, loop=self._router.loop
        )
        calls = [Pinned(whole, number, self._router.loop) for number in range(len(primaries))]
        whole.parts.extend(calls)
        packed = pack(args)
        for node, call in zip(primaries, calls, strict=True):
            call.send(node, packed)
        return whole

    # -- commands that are not in the table ----------------------------------------------------------------

    def _learn_first(self, args: tuple[Argument, ...], idempotent: bool) -> asyncio.Future[Reply]:
        """Asks the server about the command, once, and then sends it. One more round trip, that first time."""
        task = self._router.loop.create_task(
            self._learn_and_call(args, idempotent), name="valtier-cluster-learn"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _learn_and_call(self, args: tuple[Argument, ...], idempotent: bool) -> Reply:
        await self._learn(name_of(args))
        return await self._call_known(args, self._recall(args) or Command(), idempotent)

    async def _learn(self, name: str) -> None:
        question = self._asking.get(name)
        if question is None:
            question = self._asking[name] = self._send(("COMMAND", "INFO", name), ANY, False, True)
            question.add_done_callback(lambda _: self._asking.pop(name, None))
        try:
            reply = await asyncio.shield(question)
        except NoPermissionError as exc:
            raise NoPermissionError(
                f"NOPERM {name} was not sent: in a cluster one has to know where its keys are, and to ask that once needs "
                f"the permission +command|info: {exc}"
            ) from exc
        for entry in reply if isinstance(reply, list) else ():
            self._learned |= parse_command_info(entry)

    def _recall(self, args: tuple[Argument, ...]) -> Command | None:
        name = name_of(args)
        return self._learned.get(name) or self._learned.get(" ".join((name, *map(capitals, args[1:2]))))


def _name(key: Argument) -> bytes:
    """Returns a key as the server knows it."""
    if isinstance(key, bytes):
        return key
    return key.encode() if isinstance(key, str) else repr(key).encode()
