"""Connecting: a client enters a namespace, as a new one or as the one that it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from valtier.socketio import packets
from valtier.socketio.dispatching import Dispatching, Refused
from valtier.socketio.recovery import Claimed
from valtier.socketio.replay import Missed
from valtier.socketio.resumption import frame_of
from valtier.socketio.rooms import Member

log = logging.getLogger("valtier")

Identify = Callable[[dict[str, Any]], str | Awaitable[str]]


class Connecting(Dispatching):
    """The part of `Server` that accepts clients. Guarded by the event loop."""

    _identify: Identify | None
    _newcomers: dict[str, asyncio.TimerHandle]
    """By connection, when it is closed for being in no namespace."""

    async def _identity(self, environ: dict[str, Any]) -> str:
        if self._identify is None:
            return ""
        told = self._identify(environ)
        return told if isinstance(told, str) else await told

    async def _handle_connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        namespace = namespace or "/"
        if not self._knows(namespace):
            self.manager.refused += 1
            self._push(
                eio_sid, packets.control(packets.CONNECT_ERROR, namespace, {"message": "Invalid namespace"})
            )
            return
        auth = dict(data) if data else {}
        pid, offset = auth.pop("pid", None), auth.pop("offset", None)
        wants = self._resumption is not None and auth.get("recovery") is not False
        identity = await self._identity(self.environ[eio_sid]) if wants else ""
        member, missed = await self._join(eio_sid, namespace, pid if wants else None, offset, identity)
        if member is None:
            self._push(
                eio_sid, packets.control(packets.CONNECT_ERROR, namespace, {"message": "Unable to connect"})
            )
            return
        member.offsets, member.identity = wants, identity
        try:
            refusal = await self._ask_application(member, auth or None)
        except BaseException:  # its connection was closed, and whoever reads it is stopped
            self.eio.spawn(self._retire(member, self.reason.TRANSPORT_CLOSE))
            raise
        if refusal is not None:
            self._forget_state(member)
            self.manager.index.remove(member)
            self._push(eio_sid, packets.control(packets.CONNECT_ERROR, namespace, refusal))
        elif member.leaving:  # it was disconnected meanwhile
            await self._retire(member, self.reason.SERVER_DISCONNECT)
            self._push(
                eio_sid, packets.control(packets.CONNECT_ERROR, namespace, {"message": "Unable to connect"})
            )
        elif (
            self._open_socket(eio_sid) is None or self.manager.index.get(namespace, member.sid) is not member
        ):
            await self._retire(member, self.reason.TRANSPORT_CLOSE)
        else:
            self._welcome(member, missed, wants=wants, returning=pid is not None)

    async def _retire(self, member: Member, reason: str) -> None:
        """A client that the application has been told of is gone: it is told that too, and the client is removed."""
        member.leaving = True
        try:
            await self._trigger_event("disconnect", member.namespace, member.sid, reason)
        except Exception:
            log.exception("The disconnect handler of the Socket.IO namespace %s failed", member.namespace)
        finally:
            self.manager.index.remove(member)

    def _welcome(self, member: Member, missed: list[Missed] | None, *, wants: bool, returning: bool) -> None:
        timer = self._newcomers.pop(member.eio_sid, None)
        if timer is not None:
            timer.cancel()
        manager, resumption = self.manager, self._resumption
        told = {"sid": member.sid}
        if wants and resumption is not None:
            if not member.recovered:
                session = self.eio.sockets[member.eio_sid].session.get(member.namespace)
                resumption.begin_state(member, session)
                resumption.not_recovered += returning
            else:
                resumption.recovered += 1
            told["pid"] = member.pid
        member.connected = True
        self._push(member.eio_sid, packets.control(packets.CONNECT, member.namespace, told))
        socket = self.eio.sockets[member.eio_sid]
        for event in missed or ():
            if _concerns(event, member):  # its connect handler may have taken it out of a room
                socket.outlet.push(frame_of(event, member))
        manager.release(member)

    def _knows(self, namespace: str) -> bool:
        return (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )

    async def _join(
        self, eio_sid: str, namespace: str, pid: Any, offset: Any, identity: str
    ) -> tuple[Member | None, list[Missed] | None]:
        """Registers a client, as the one that it was if that is possible; its frames are held."""
        manager, resumption = self.manager, self._resumption
        claimed: Claimed | None = None
        if resumption is not None and pid is not None and manager.index.by_eio(namespace, eio_sid) is None:
            claimed = await resumption.claim(pid, offset, namespace, identity)
        if resumption is not None and claimed is not None and self._open_socket(eio_sid) is not None:
            sid = manager.register(eio_sid, namespace, claimed.sid, hold=True)
            member = manager.index.get(namespace, sid) if sid is not None else None
            if member is not None:
                missed = await self._catch_up(member, claimed)
                if missed is not None:
                    return member, missed
        sid = await manager.pre_connect(eio_sid, namespace, hold=True)
        return (None if sid is None else manager.index.get(namespace, sid)), None

    async def _catch_up(self, member: Member, claimed: Claimed) -> list[Missed] | None:
        """Puts a client that is registered where it was. Returns what it missed; `None`: it can't recover, and is out."""
        manager, resumption = self.manager, self._resumption
        if resumption is None:
            return None
        before = set(claimed.who.rooms)
        for room, entered in claimed.who.rooms.items():
            manager.index.enter(member, room, resumption.state.text(entered))
        try:
            missed = await resumption.missed(
                claimed, most=self.eio.max_frames // 2, most_bytes=self.eio.max_queued_bytes // 2
            )
        except BaseException:
            manager.index.remove(member)
            raise
        socket = self._open_socket(member.eio_sid)
        if missed is None or socket is None or manager.index.get(member.namespace, member.sid) is not member:
            manager.index.remove(member)
            return None
        member.pid, member.owner, member.recovered = claimed.pid, claimed.owner, True
        member.confirmed = resumption.state.text(claimed.since)
        for room in before - set(claimed.who.rooms):  # it was taken out meanwhile
            manager.index.leave(member, room)
        if set(member.rooms) != before:
            resumption.owe(member)
        if claimed.session is not None:
            socket.session[member.namespace] = claimed.session
        return missed

    async def _ask_application(self, member: Member, auth: Any) -> Any:
        """Calls the connect handler. Returns what to refuse the client with, or `None`."""
        environ = self.environ.get(member.eio_sid)
        refusal: Any = {"message": "Connection rejected by server"}
        try:
            try:
                accepted = await self._trigger_event("connect", member.namespace, member.sid, environ, auth)
            except TypeError:
                if auth is not None:
                    raise
                accepted = await self._trigger_event("connect", member.namespace, member.sid, environ)
        except Refused as exc:
            return exc.error_args
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        except Exception:
            log.exception("The connect handler of the Socket.IO namespace %s failed", member.namespace)
            return refusal
        return refusal if accepted is False else None


def _concerns(missed: Missed, member: Member) -> bool:
    """Whether an event is for everybody, for this client, or for a room that it is in now."""
    rooms = missed.emit.rooms
    return rooms is None or member.sid in rooms or any(room in member.rooms for room in rooms)
