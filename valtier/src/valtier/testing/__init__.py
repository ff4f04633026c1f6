"""Help for tests: real servers as pytest fixtures, and waiting without sleeping blindly.

Import the fixtures in a conftest.py:

    from valtier.testing import own_valkey, postgres_server, valkey, valkey_server  # noqa: F401
"""

import asyncio
import contextlib
import inspect
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.embedded._directory import command_line

_POLL_S = 0.01

POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}
VALKEY_SETTINGS = {"save": "", "enable-debug-command": "local"}


def wait_until(predicate: Callable[[], object], deadline_s: float = 10.0) -> None:
    """Returns when the predicate is true; asks every 10 ms.

    Raises:
        TimeoutError: it is still false after `deadline_s`.
    """
    deadline = time.monotonic() + deadline_s
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {deadline_s:g} s: {_describe(predicate)}")
        time.sleep(_POLL_S)


async def eventually(predicate: Callable[[], object | Awaitable[object]], deadline_s: float = 10.0) -> None:
    """Returns when the predicate, a function or a coroutine function, is true; the event loop runs meanwhile.

    Raises:
        TimeoutError: it is still false after `deadline_s`.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        result = predicate()
        if await result if inspect.isawaitable(result) else result:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {deadline_s:g} s: {_describe(predicate)}")
        await asyncio.sleep(_POLL_S)


def process_is_gone(pid: int) -> bool:
    """Tells whether no process has this id, or only a zombie."""
    return not command_line(pid)


def _describe(predicate: Callable[[], object]) -> str:
    try:
        return inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        return repr(predicate)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole run, quick and not durable. Make databases of your own in it."""
    with (
        tempfile.TemporaryDirectory(prefix="valtier-postgres-") as directory,
        EmbeddedPostgres(Path(directory), settings=POSTGRES_SETTINGS) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[EmbeddedValkey]:
    """One Valkey for the whole run. Tests that want it empty take `valkey`; those that harm it, `own_valkey`."""
    with _valkey() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: EmbeddedValkey) -> EmbeddedValkey:
    """The shared Valkey, empty."""
    valkey_server.flush()
    return valkey_server


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, to kill, freeze and restart."""
    with _valkey() as server:
        yield server


@contextlib.contextmanager
def _valkey() -> Iterator[EmbeddedValkey]:
    with (
        tempfile.TemporaryDirectory(prefix="valtier-valkey-") as directory,
        EmbeddedValkey(Path(directory), settings=VALKEY_SETTINGS) as server,
    ):
        yield server
