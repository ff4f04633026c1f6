"""serve: FluxStudio's workers behind one port, until a signal ends them."""

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from typing import Any

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from fluxstudio.settings import Settings

_GRACE_S = 10
"""What a worker gets to finish the requests that it has when it is asked to end."""


def serve(*, host: str, port: int, workers: int, log_level: str = "info") -> None:
    """Runs the application with so many worker processes; returns after SIGINT or SIGTERM."""
    os.environ.setdefault("FLUXSTUDIO_WORKERS", str(workers))
    Settings.from_env()  # a mistake in the environment is told once, before each worker trips over it
    with tempfile.TemporaryDirectory(prefix="fluxstudio-metrics-", ignore_cleanup_errors=True) as directory:
        os.environ.setdefault("METRICS_DIR", directory)
        _serve(host=host, port=port, workers=workers, log_level=log_level)


def _serve(*, host: str, port: int, workers: int, log_level: str) -> None:
    server = Granian(
        "fluxstudio.app:create_app",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        loop=Loops.uvloop,
        workers=workers,
        backlog=2048,
        log_level=LogLevels(log_level),
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=_GRACE_S,
    )
    server.serve(target_loader=create_worker_app, wrap_loader=False)


def create_worker_app() -> Any:
    """Makes the application in a worker, which ends with the server's main process even if that is killed."""
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    from fluxstudio.app import create_app

    return create_app()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
