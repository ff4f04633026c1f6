"""EmbeddedServer: what PostgreSQL and Valkey have in common: a directory, a port, a child, start and stop."""

import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from valtier.embedded._child import ChildProcess
from valtier.embedded._directory import DirectoryLock, make_directory
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._ports import free_port, port_is_free

_POLL_S = 0.01


class EmbeddedServer(ABC):
    """A server on 127.0.0.1 that runs as a child of this process. Blocking; not for several threads at once."""

    _NAME: ClassVar[str]
    _START_DEADLINE_S: ClassVar[float]
    _STOP: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    _HASTE: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path, port: int | None) -> None:
        self._directory = make_directory(Path(data_dir))
        self._port = port
        self._port_is_given = port is not None
        self._lock = DirectoryLock(self._directory)
        self._child: ChildProcess | None = None  # set from start to stop; its process may have died meanwhile

    @property
    @abstractmethod
    def url(self) -> str:
        """The address with user and password; not for logs."""

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; one that was chosen here stays the same for the life of this object."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running_child().pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a server that died by itself, negative for a signal; `None` otherwise."""
        return self._child.exit_code if self._child is not None else None

    def start(self) -> None:
        """Starts the server and returns when it answers; does nothing if it runs.

        Raises:
            EmbeddedServerError: it cannot start; the message says why and what to do.
        """
        if self.is_running:
            return
        if not self._lock.acquire():
            raise EmbeddedServerError(
                f"{self._directory} is in use by another {self._NAME}; stop that one, or choose another directory"
            )
        try:
            self._prepare()
            self._choose_port()
            self._child = self._launch()
            self._wait_until_ready(time.monotonic() + self._START_DEADLINE_S)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stops the server in good order, its data kept; does nothing if it does not run."""
        if self._child is not None:
            self._child.end(*self._STOP)
        self._forget()

    def kill(self) -> None:
        """Ends the server with SIGKILL, as a crash would."""
        if self._child is not None:
            self._child.kill()
        self._forget()

    def restart(self) -> None:
        """Stops the server if it runs, and starts it on the same port."""
        self.stop()
        self.start()

    def hasten(self) -> None:
        """Makes a `stop` under way shorter, at a price at the next start; for signal handlers."""
        if self._child is not None:
            self._child.send(self._HASTE)

    def log_tail(self, lines: int = 20) -> str:
        """Returns the last lines that the running server, or the one that died, has logged."""
        return self._child.tail(lines) if self._child is not None else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.is_running else "stopped"
        return f"<{type(self).__name__} 127.0.0.1:{self.port} {self._directory} {state}>"

    @abstractmethod
    def _prepare(self) -> None:
        """Makes the directory ready for a start; the lock is held."""

    @abstractmethod
    def _launch(self) -> ChildProcess: ...

    @abstractmethod
    def _is_ready(self, child: ChildProcess) -> bool: ...

    def _may_try_again(self, child: ChildProcess) -> bool:
        """Tells whether a server that ended while it started did so for a reason that passes by itself."""
        return False

    def _choose_port(self) -> None:
        if port_is_free(self.port):
            return
        if self._port_is_given:
            raise EmbeddedServerError(
                f"port {self.port} is taken; stop what listens there, or give another port"
            )
        self._port = free_port()

    def _wait_until_ready(self, deadline: float) -> None:
        child = self._running_child()
        while not self._is_ready(child):
            if child.exit_code is not None:
                if not self._may_try_again(child) or time.monotonic() > deadline:
                    raise self._failure(child, f"ended with exit code {child.exit_code} while it started")
                time.sleep(_POLL_S)
                child = self._child = self._launch()
            elif time.monotonic() > deadline:
                raise self._failure(child, f"is not ready after {self._START_DEADLINE_S:.0f} s")
            time.sleep(_POLL_S)

    def _failure(self, child: ChildProcess, what: str) -> EmbeddedServerError:
        return EmbeddedServerError(f"{self._NAME} {what}. The end of its log, {child.log}:\n{child.tail()}")

    def _running_child(self) -> ChildProcess:
        if self._child is None:
            raise EmbeddedServerError(f"this {self._NAME} does not run; start() it first")
        return self._child

    def _forget(self) -> None:
        self._child = None
        self._lock.release()
