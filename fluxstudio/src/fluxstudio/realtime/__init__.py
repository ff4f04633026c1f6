"""Realtime: Socket.IO over all workers, with the sessions and the permissions of the HTTP side."""

from fluxstudio.realtime.server import Realtime

__all__ = ["Realtime"]
