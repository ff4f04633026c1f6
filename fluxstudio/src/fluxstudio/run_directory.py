"""The data directory of `fluxstudio up`: one FluxStudio runs in it at a time, and says so to others."""

import contextlib
import json
import os
import secrets
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path

from valtier.embedded import DirectoryLock, make_directory


class AlreadyRunningError(Exception):
    """Another FluxStudio runs in this directory; the message tells its address and how to start one more."""


@dataclass(frozen=True, slots=True)
class Running:
    """Who runs in a directory, as others read it."""

    pid: int
    url: str
    database_url: str = field(repr=False)


class RunDirectory:
    """A data directory that is ours until `close`, or until this process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = make_directory(path)
        self._state = self.path / "run.json"
        self._lock = DirectoryLock(self.path)
        if not self._lock.acquire():
            raise AlreadyRunningError(_already_running(path, read_running(path)))

    def announce(self, running: Running) -> None:
        """Tells others who runs here. It holds the database's password, so only the owner can read it."""
        _write_for_owner(self._state, json.dumps(asdict(running)))

    def secrets_key(self) -> str:
        """Returns what seals secrets in the database, made at the first call: it lies beside the database, not in it."""
        path = self.path / "secrets.key"
        with contextlib.suppress(FileNotFoundError):
            return path.read_text().strip()
        key = secrets.token_hex(32)
        _write_for_owner(path, key)
        return key

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._state.unlink(missing_ok=True)
        self._lock.release()


def _write_for_owner(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, as a whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as stream:
        stream.write(text)
    draft.replace(path)


def read_running(path: Path) -> Running | None:
    """Returns who has announced itself in this directory; after a crash it may run no more."""
    try:
        state = json.loads((path / "run.json").read_text())
        return Running(pid=int(state["pid"]), url=str(state["url"]), database_url=str(state["database_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _already_running(path: Path, running: Running | None) -> str:
    where = f"at {running.url} (pid {running.pid})" if running else "and is about to be ready"
    other = f"PORT={_next_port(running)} DATA_DIR={shlex.quote(f'{path}2')}"
    return f"FluxStudio already runs in {path}, {where}.\nTo start another one beside it:  make run {other}"


def _next_port(running: Running | None) -> int:
    port = running.url.rpartition(":")[2] if running else ""
    return int(port) + 1 if port.isdigit() and int(port) < 65535 else 8001
