"""valtier.socketio, python-socketio's AsyncRedisManager and Node's Socket.IO with its streams adapter, in one run."""
