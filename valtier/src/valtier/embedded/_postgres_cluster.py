"""PostgreSQL's data directory: made whole or not at all, with a password and no other way in."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from valtier.embedded import _privileges
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._privileges import Account

_HBA = "# Written by valtier: TCP on this machine with the password, and nothing else.\nhost all all 127.0.0.1/32 scram-sha-256\n"

# ICU and libc differ between machines; the builtin provider sorts the same everywhere. The C library's character
# classes are still what the full-text parser goes by, so they have to know more than ASCII.
_LC_CTYPE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The data directory, the programs for it, and the user that owns it (`None`: ourselves)."""

    data: Path
    programs: Path
    account: Account | None

    def exists(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def create(self, *, password: str, database: str, sync: bool) -> None:
        """Makes the cluster with one more database, beside its place, and moves it there when it is complete."""
        staging = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        if self.account is not None:
            os.chown(staging, self.account.uid, self.account.gid)
        new = Cluster(staging, self.programs, self.account)
        new._initdb(sync=sync)
        new.run_sql([_alter_password(password), f'CREATE DATABASE "{database}"'], sync=sync)
        (staging / "pg_hba.conf").write_text(_HBA)
        staging.rename(self.data)

    def set_password(self, password: str) -> None:
        """Gives the superuser a new password while the server is stopped."""
        self.run_sql([_alter_password(password)], sync=True)

    def run_sql(self, statements: Sequence[str], *, sync: bool) -> None:
        """Runs statements without a server; they leave no trace in a log."""
        options = ["-c", "exit_on_error=on", "-c", f"fsync={'on' if sync else 'off'}"]
        self._run(
            ["postgres", "--single", "-D", str(self.data), *options, "postgres"],
            stdin="".join(f"{statement}\n" for statement in statements),
        )

    def _initdb(self, *, sync: bool) -> None:
        self._run(
            [
                "initdb",
                *("-D", str(self.data), "--username=postgres", "--auth=reject", "--encoding=UTF8"),
                *(
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                    f"--lc-ctype={_LC_CTYPE}",
                ),
                *("--text-search-config=english", "--no-instructions"),
                *(() if sync else ("--no-sync",)),
            ]
        )

    def _run(self, argv: list[str], *, stdin: str = "") -> None:
        command = [str(self.programs / argv[0]), *argv[1:]]
        done = subprocess.run(  # noqa: S603 - PostgreSQL's programs
            _privileges.wrap(command, self.account, signal.SIGKILL),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            cwd="/",
            start_new_session=True,
            check=False,
            **_privileges.popen_options(self.account),  # type: ignore[call-overload]
        )
        if done.returncode != 0:
            told = [
                line
                for line in done.stdout.splitlines()
                if "STATEMENT" not in line and "PASSWORD" not in line
            ]
            raise EmbeddedServerError(
                f"PostgreSQL's data directory {self.data} cannot be made ready; {argv[0]} says:\n"
                + "\n".join(told[-20:])
            )


def _alter_password(password: str) -> str:
    return f"ALTER ROLE postgres PASSWORD '{password}'"


def environment() -> dict[str, str]:
    """Returns the environment for PostgreSQL's programs: without PGDATA and the like, which would be obeyed."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}
