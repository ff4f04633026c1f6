"""What `fluxstudio up` does beside: when it brings Valkey back, and what it shows of a log."""

from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from fluxstudio.keeper import LogFollower, ValkeyKeeper, how_it_ended
from fluxstudio.run_directory import AlreadyRunningError, RunDirectory, Running, read_running
from fluxstudio.screen import Screen
from valtier.embedded import EmbeddedServerError, EmbeddedValkey


class Server:
    """A Valkey that dies and starts as the test says."""

    pid = 42
    exit_code = -9

    def __init__(self) -> None:
        self.is_running = True
        self.starts = 0
        self.fails = False

    def start(self) -> None:
        self.starts += 1
        if self.fails:
            raise EmbeddedServerError("no memory")
        self.is_running = True


@pytest.fixture
def shown() -> StringIO:
    return StringIO()


@pytest.fixture
def screen(shown: StringIO) -> Screen:
    return Screen(Console(file=shown, width=200))


def keeper_of(server: Server, screen: Screen) -> ValkeyKeeper:
    return ValkeyKeeper(cast("EmbeddedValkey", server), screen)


def test_a_dead_valkey_is_started_once_after_half_a_second(screen: Screen, shown: StringIO) -> None:
    server = Server()
    keeper = keeper_of(server, screen)
    keeper.look(1000.0)
    server.is_running = False
    for now in (1000.1, 1000.5):
        keeper.look(now)
    assert server.starts == 0
    for now in (1000.7, 1000.8, 1000.9):
        keeper.look(now)
    assert server.starts == 1
    assert shown.getvalue().count("Valkey runs again (pid 42)") == 1


def test_one_that_does_not_start_is_tried_less_and_less_often(screen: Screen, shown: StringIO) -> None:
    server = Server()
    server.is_running, server.fails = False, True
    keeper = keeper_of(server, screen)
    starts = []
    for tick in range(2000):
        before = server.starts
        keeper.look(1000 + tick / 10)
        if server.starts > before:
            starts.append(tick / 10)
    gaps = [round(later - earlier, 1) for earlier, later in pairwise(starts)]
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]
    assert "no memory Starting Valkey again in 30 s" in shown.getvalue()


def test_one_that_ran_for_long_is_started_quickly_again(screen: Screen) -> None:
    server = Server()
    keeper = keeper_of(server, screen)
    waits = []
    for death in (1000.0, 1001.0, 1003.0, 2000.0):
        server.is_running = False
        ticks = 0
        while not server.is_running:
            keeper.look(death + ticks / 10)
            ticks += 1
        waits.append((ticks - 1) / 10)
    assert waits == [0.5, 1.0, 2.0, 0.5]


def test_a_log_is_shown_in_whole_lines_from_where_it_was(
    tmp_path: Path, screen: Screen, shown: StringIO
) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    follower = LogFollower(log, 4, screen)
    follower.show_new()
    with log.open("a") as stream:
        stream.write("one\n[two] is not mark")
        stream.flush()
        follower.show_new()
        assert shown.getvalue() == "one\n"
        stream.write("up\n")
    follower.show_new()
    follower.show_new()
    assert shown.getvalue() == "one\n[two] is not markup\n"


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(3, "exit code 3"), (-9, "by SIGKILL"), (-99, "by signal 99"), (None, "no exit code")],
)
def test_an_end_is_told_in_words(exit_code: int | None, words: str) -> None:
    assert how_it_ended(exit_code) == words


def test_a_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path)
    with pytest.raises(AlreadyRunningError, match="and is about to be ready"):
        RunDirectory(tmp_path)
    first.announce(Running(7, "http://127.0.0.1:65535", "postgresql://secret"))
    with pytest.raises(
        AlreadyRunningError, match=r"(?s)at http://127.0.0.1:65535 \(pid 7\).*PORT=8001 DATA_DIR="
    ):
        RunDirectory(tmp_path)
    first.close()
    RunDirectory(tmp_path).close()


def test_the_key_of_secrets_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    key = directory.secrets_key()
    assert len(key) == 64
    assert directory.secrets_key() == key
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    directory.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "url": "", "database_url": ""}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert read_running(tmp_path) is None


def test_the_state_does_not_show_the_databases_password() -> None:
    assert "secret" not in repr(Running(7, "http://127.0.0.1:8000", "postgresql://secret"))
