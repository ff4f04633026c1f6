"""The embedded Valkey: what its users, the tests and `fluxstudio up`, rely on."""

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from valtier.embedded import (
    EmbeddedServerError,
    EmbeddedValkey,
    ServerReplyError,
    free_port,
    port_is_free,
)
from valtier.embedded._child import ChildProcess
from valtier.embedded._resp import Reply
from valtier.testing import process_is_gone, wait_until


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "valkey"


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(directory) as server:
        yield server


def ask(server: EmbeddedValkey, *command: str) -> Reply:
    return server.call(*command, timeout_s=0.5)


def test_it_answers_with_the_password_and_to_nobody_without(server: EmbeddedValkey) -> None:
    assert ask(server, "PING") == b"PONG"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")


def test_its_password_is_in_no_command_line_and_no_file_of_others(
    server: EmbeddedValkey, directory: Path
) -> None:
    assert server._password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert server._password not in repr(server)
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_data_are_kept_between_runs(directory: Path) -> None:
    with EmbeddedValkey(directory) as first:
        ask(first, "SET", "colour", "blue")
    with EmbeddedValkey(directory) as second:
        assert ask(second, "STRLEN", "colour") == 4
    assert first._password == second._password


def test_a_restart_keeps_the_port(server: EmbeddedValkey) -> None:
    port, pid = server.port, server.pid
    server.restart()
    assert (server.port, ask(server, "PING")) == (port, b"PONG")
    assert server.pid != pid


def test_it_can_be_killed_and_started_again(server: EmbeddedValkey) -> None:
    pid = server.pid
    server.kill()
    assert process_is_gone(pid)
    assert not server.is_running
    server.start()
    assert ask(server, "PING") == b"PONG"


def test_a_death_is_seen(server: EmbeddedValkey) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_running)
    assert server.exit_code == -signal.SIGKILL
    server.start()
    assert ask(server, "PING") == b"PONG"


def test_a_frozen_server_holds_connections_and_answers_nothing(server: EmbeddedValkey) -> None:
    server.freeze()
    with pytest.raises(TimeoutError):
        ask(server, "PING")
    server.thaw()
    assert ask(server, "PING") == b"PONG"


def test_a_frozen_server_can_be_stopped_in_good_order(server: EmbeddedValkey) -> None:
    ask(server, "SET", "colour", "blue")
    server.freeze()
    server.restart()
    assert ask(server, "STRLEN", "colour") == 4


def test_start_and_stop_may_be_said_twice(server: EmbeddedValkey) -> None:
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    with pytest.raises(EmbeddedServerError, match=r"start\(\) it first"):
        _ = server.pid


def test_a_taken_port_is_told(tmp_path: Path, server: EmbeddedValkey) -> None:
    other = EmbeddedValkey(tmp_path / "other", port=server.port)
    with pytest.raises(EmbeddedServerError, match=f"port {server.port} is taken"):
        other.start()
    assert not other.is_running


def test_a_port_that_was_chosen_here_gives_way(tmp_path: Path) -> None:
    late = EmbeddedValkey(tmp_path / "late", settings={"save": ""})
    with socket.create_server(("127.0.0.1", late.port)) as early, late:
        assert late.port != early.getsockname()[1]
        assert ask(late, "PING") == b"PONG"


def test_a_port_that_is_taken_while_it_starts_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = EmbeddedValkey(tmp_path, settings={"save": ""})
    launch = late._launch
    with socket.socket() as quicker:

        def launch_late() -> ChildProcess:
            if late.port == first:
                quicker.bind(("127.0.0.1", first))
                quicker.listen()
            return launch()

        first = late.port
        monkeypatch.setattr(late, "_launch", launch_late)
        with late:
            assert late.port != first
            assert ask(late, "PING") == b"PONG"


def test_another_server_on_its_port_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey(tmp_path / "other", password="") as other:
        mistaken = EmbeddedValkey(tmp_path / "mistaken", port=other.port)
        monkeypatch.setattr(mistaken, "_choose_port", lambda: None)
        with pytest.raises(EmbeddedServerError, match=f"another server answers on port {other.port}"):
            mistaken.start()


def test_it_can_do_without_a_password(directory: Path) -> None:
    with EmbeddedValkey(directory, password="", settings={"save": ""}) as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert ask(server, "PING") == b"PONG"
    assert not (directory / "password").exists()


def test_a_list_in_a_reply_is_read_to_its_end_even_if_an_item_is_an_error(server: EmbeddedValkey) -> None:
    with server.connect() as connection:
        connection.call("MULTI")
        connection.call("INCR", "count")
        connection.call("HGETALL", "count")
        first, second = connection.call("EXEC")
        assert first == 1
        assert isinstance(second, ServerReplyError)
        assert second.code == "WRONGTYPE"
        assert connection.call("PING") == b"PONG"


def test_a_directory_in_use_is_told(server: EmbeddedValkey, directory: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="in use by another Valkey"):
        EmbeddedValkey(directory).start()
    assert ask(server, "PING") == b"PONG"


def test_a_bad_setting_is_told_with_the_log(directory: Path) -> None:
    server = EmbeddedValkey(directory, settings={"maxmemory-policy": "no-such-policy"})
    with pytest.raises(EmbeddedServerError, match=r"(?s)ended with exit code 1.*maxmemory-policy"):
        server.start()
    with EmbeddedValkey(directory):  # the failed start has let go of the directory
        pass


def test_any_password_and_any_directory_will_do(tmp_path: Path) -> None:
    password = "a \"b\" \\c 'd' @/:?#é"
    with EmbeddedValkey(tmp_path / 'with "quotes" and spaces', password=password) as server:
        assert ask(server, "PING") == b"PONG"
        assert "@127.0.0.1:" in server.url
        assert " " not in server.url


def test_flush_leaves_nothing(server: EmbeddedValkey) -> None:
    ask(server, "SET", "colour", "blue")
    server.flush()
    assert ask(server, "DBSIZE") == 0


def test_a_server_outlives_the_thread_that_started_it(directory: Path) -> None:
    server = EmbeddedValkey(directory, settings={"save": ""})
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(server.start).result()
    assert ask(server, "PING") == b"PONG"
    server.stop()


def test_a_free_port_is_free() -> None:
    port = free_port()
    assert port_is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free(port)
