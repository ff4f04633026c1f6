"""Socket.IO over many workers that loses nothing, on Valkey. Needs python-socketio (`valtier[socketio]`)."""

from valtier.socketio.lane import OutboxFullError
from valtier.socketio.manager import ValkeyManager
from valtier.socketio.rights import acl
from valtier.socketio.server import Server
from valtier.socketio.snapshot import Snapshot

__all__ = [
    "OutboxFullError",
    "Server",
    "Snapshot",
    "ValkeyManager",
    "acl",
]
