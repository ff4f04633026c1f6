"""The seed as an act: all or nothing, always the same, and never where somebody has data."""
# ruff: noqa: S608 -- the names of our own tables

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from rich.console import Console

from fluxstudio.db.errors import DatabaseUnavailableError
from fluxstudio.seed import (
    DatabaseNotEmptyError,
    SeedError,
    SeedRunningError,
    fill,
    is_empty,
    load,
    schedule,
    seed,
)
from fluxstudio.seed.progress import Reporter, reporter
from fluxstudio.testing import ask, in_a_thread, value

ORDER = {"members": "project_id, user_id", "showcase_pages": "project_id"}
DEFINITIONS = """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
     UNION ALL
    SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid <> 0 AND connamespace = 'public'::regnamespace
     ORDER BY 1
"""
DEADLINE_S = 30.0


def fingerprint(url: str) -> dict[str, str]:
    """A digest of every table's rows, all columns included."""
    return {
        table: hashlib.sha256(
            "\n".join(
                row[0] for row in ask(url, f"SELECT t::text FROM {table} t ORDER BY {ORDER.get(table, 'id')}")
            ).encode()
        ).hexdigest()
        for table in load.TABLES
    }


def until(happened: Callable[[], bool], what: str) -> None:
    """Waits for something outside this process."""
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {DEADLINE_S:g} s")
        time.sleep(0.02)


def test_a_seed_gives_the_same_rows_in_another_process(database_url: str) -> None:
    """Neither the day nor Python's hash seed nor what ran before changes a byte."""
    command = "import sys; from fluxstudio.seed import seed; seed(sys.argv[1], 'small', progress=False)"
    subprocess.run(  # noqa: S603 -- our own code
        [sys.executable, "-c", command, database_url],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    first = fingerprint(database_url)
    assert len(set(first.values())) == len(first)
    ask(database_url, f"TRUNCATE {', '.join(load.TABLES)} CASCADE")
    seed(database_url, "small", progress=False)
    assert fingerprint(database_url) == first


def test_the_report_says_what_was_loaded(database_url: str) -> None:
    assert is_empty(database_url)
    done = seed(database_url, "small", progress=False)
    assert done.rows == {table: value(database_url, f"SELECT count(*) FROM {table}") for table in done.rows}
    assert set(done.rows) == set(load.TABLES)
    assert not is_empty(database_url)


def test_indexes_and_constraints_are_as_before_and_there_are_statistics(database_url: str) -> None:
    before = ask(database_url, DEFINITIONS)
    seed(database_url, "small", progress=False)
    assert ask(database_url, DEFINITIONS) == before
    assert (
        value(database_url, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated")
        == 0
    )
    analysed = "SELECT count(DISTINCT tablename) FROM pg_stats WHERE schemaname = 'public'"
    assert value(database_url, analysed) >= len(load.TABLES) - 1  # of an empty table there is nothing to know


def test_new_rows_get_the_ids_after_the_seeded_ones(database_url: str) -> None:
    seed(database_url, "small", progress=False)
    insert = "INSERT INTO users (email, name) VALUES ('new@example.com', 'New') RETURNING id"
    assert value(database_url, insert) == 101
    assert (
        value(database_url, "INSERT INTO projects (title, created_by) VALUES ('New', 101) RETURNING id") == 51
    )
    insert = "INSERT INTO messages (project_id, author_id, body) VALUES (51, 101, 'Hello') RETURNING id"
    assert value(database_url, insert) == 3_001


def test_a_database_with_users_is_refused_and_not_touched(database_url: str) -> None:
    ask(database_url, "INSERT INTO users (email, name) VALUES ('ida@example.com', 'Ida')")
    before = ask(database_url, DEFINITIONS)
    with pytest.raises(DatabaseNotEmptyError, match="has users already"):
        seed(database_url, "small", progress=False)
    assert [row["name"] for row in ask(database_url, "SELECT name FROM users")] == ["Ida"]
    assert ask(database_url, DEFINITIONS) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_a_seed_that_fails_half_way_leaves_the_database_as_it_was(
    database_url: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = ask(database_url, DEFINITIONS)

    def write(*args: Any) -> Iterator[Any]:
        for message in schedule.write_messages(*args):
            if message.id == 2_000:
                raise error
            yield message

    with monkeypatch.context() as patch:
        patch.setattr(fill, "write_messages", write)
        with pytest.raises(type(error)):
            in_a_thread(lambda: seed(database_url, "small", progress=False))
    assert is_empty(database_url)
    assert value(database_url, "SELECT count(*) FROM projects") == 0
    assert ask(database_url, DEFINITIONS) == before
    seed(database_url, "small", progress=False)
    assert not is_empty(database_url)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_seed_that_is_killed_leaves_the_database_empty(database_url: str, how: signal.Signals) -> None:
    """Ctrl-C is heard between two batches of rows, not only at the end of a table."""
    command = "import sys; from fluxstudio.seed import seed; seed(sys.argv[1], 'medium')"
    child = subprocess.Popen([sys.executable, "-c", command, database_url], stderr=subprocess.PIPE)  # noqa: S603
    try:
        copied = """SELECT count(*) FROM pg_stat_progress_copy
                     WHERE datname = current_database() AND relid = $1 AND tuples_processed > 1000"""
        table = value(database_url, "SELECT 'messages'::regclass::oid")
        until(lambda: bool(value(database_url, copied, table)), "copying messages")
        child.send_signal(how)
        _, said = child.communicate(timeout=DEADLINE_S)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode != 0
    assert b"projects: 5,000 rows" in said
    assert b"messages: 300,000 rows" not in said
    sessions = """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'fluxstudio seed'"""
    until(lambda: bool(value(database_url, sessions) == 0), "the end of the session")
    assert is_empty(database_url)
    assert value(database_url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_of_two_seeds_at_once_one_is_refused(database_url: str) -> None:
    def attempt(_: int) -> str:
        try:
            seed(database_url, "small", progress=False)
        except SeedError as exc:
            return type(exc).__name__
        return "done"

    with ThreadPoolExecutor(max_workers=2) as pool:
        outcomes = sorted(pool.map(attempt, range(2)))
    assert outcomes[1] == "done"
    assert outcomes[0] in {"SeedRunningError", "DatabaseNotEmptyError"}
    assert value(database_url, "SELECT count(*) FROM users") == 100


async def test_a_seed_is_refused_while_another_one_has_the_lock(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await load.begin(connection)
        with pytest.raises(SeedRunningError, match="Another seed"):
            await asyncio.to_thread(seed, database_url, "small", progress=False)
    finally:
        await connection.close()
    await asyncio.to_thread(seed, database_url, "small", progress=False)


async def test_a_seed_does_not_wait_for_ever_for_somebody_who_uses_the_tables(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_LOCK_PATIENCE_S", 0.05)
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT * FROM users")
            with pytest.raises(SeedRunningError, match="Stop FluxStudio"):
                await asyncio.to_thread(seed, database_url, "small", progress=False)
    finally:
        await connection.close()


def test_a_database_without_tables_is_told_to_migrate(database_url: str) -> None:
    ask(database_url, "DROP SCHEMA public CASCADE")
    with pytest.raises(SeedError, match="fluxstudio migrate"):
        is_empty(database_url)
    with pytest.raises(SeedError, match="fluxstudio migrate"):
        seed(database_url, "small", progress=False)


def test_an_unknown_size_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SeedError, match="small, medium, large"):
        seed("postgresql://127.0.0.1:1/x", "huge", progress=False)


def test_an_absent_server_is_said_without_the_password() -> None:
    with pytest.raises(
        DatabaseUnavailableError, match=r"cannot be reached at 127\.0\.0\.1:1/x as user app"
    ) as caught:
        seed("postgresql://app:hunter2@127.0.0.1:1/x", "small", progress=False)
    assert "hunter2" not in str(caught.value)


# What it says meanwhile


def told(report: Reporter) -> None:
    assert list(report.rows("users", range(3), 3)) == [0, 1, 2]
    with report.step("indexes"):
        pass
    report.done("Seeded.")


def test_progress_is_a_bar_on_a_terminal_and_plain_lines_elsewhere() -> None:
    for terminal in (True, False):
        text = io.StringIO()
        console = Console(file=text, force_terminal=terminal, width=100)
        with reporter(progress=True, console=console) as report:
            told(report)
        for word in ("users", "3 rows", "indexes", "Seeded."):
            assert word in text.getvalue()
        assert ("━" in text.getvalue()) is terminal
        assert ("\x1b" in text.getvalue()) is terminal


def test_without_progress_nothing_is_written(database_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    seed(database_url, "small", progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_seed_reports_each_table(database_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    seed(database_url, "small", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    for table in set(load.TABLES):
        assert table.replace("_", " ") in err
    assert "messages: 3,000 rows" in err
