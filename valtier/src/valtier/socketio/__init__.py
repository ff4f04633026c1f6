"""Socket.IO over many workers that loses nothing, on Valkey. Needs python-socketio (`valtier[socketio]`)."""

try:
    from valtier.socketio.lane import OutboxFullError
    from valtier.socketio.manager import ValkeyManager
    from valtier.socketio.rights import acl
    from valtier.socketio.server import Server
    from valtier.socketio.snapshot import Snapshot
except ModuleNotFoundError as exc:
    if exc.name not in {"engineio", "socketio"}:
        raise
    raise ImportError("valtier.socketio needs python-socketio: pip install 'valtier[socketio]'") from exc

__all__ = [
    "OutboxFullError",
    "Server",
    "Snapshot",
    "ValkeyManager",
    "acl",
]
