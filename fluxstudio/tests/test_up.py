"""`fluxstudio up`, which is `make run`: as a process of its own, with real servers."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from fluxstudio.screen import DEMO_EMAIL, DEMO_PASSWORD, DEMO_SLUG
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey, free_port
from valtier.testing import process_is_gone, wait_until

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in Linux's /proc"),
    pytest.mark.timeout(120),
]

_OWN = ("DATABASE_URL", "REDIS_URL", "USE_REDIS", "SECURE_COOKIES")
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 45.0  # a supervisor gives its server 20 s, and then ends it


class Run:
    """One `fluxstudio up`, in a process group of its own as a terminal would have it."""

    def __init__(self, data_dir: Path, *, port: int | None = None, **environ: str) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = data_dir.with_name(f"{data_dir.name}.{self.port}.txt")
        inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-m", "fluxstudio.cli", "up"),
                    *("--port", str(self.port), "--data-dir", str(data_dir)),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=inherited | environ,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(_STOP_DEADLINE_S)

    @property
    def output(self) -> str:
        return self._log.read_text()

    def until_ready(self) -> Self:
        wait_until(
            lambda: "Ctrl-C stops everything" in self.output or self.process.poll() is not None,
            _START_DEADLINE_S,
        )
        assert self.process.poll() is None, self.output
        return self

    def until_it_says(self, text: str) -> None:
        wait_until(lambda: text in self.output)

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def until_it_ended(self) -> int:
        return self.process.wait(_STOP_DEADLINE_S)

    def children(self, name: str = "") -> list[int]:
        """The processes that it has started itself, whose command line holds `name`."""
        return [pid for pid in children_of(self.process.pid) if name in command_line(pid)]

    def family(self) -> list[int]:
        """All that it has started, and what that has started."""
        found: list[int] = []
        heads = [self.process.pid]
        while heads:
            heads = [child for head in heads for child in children_of(head)]
            found += heads
        return found

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310
            return str(answer.read().decode())


def sign_in(run: Run) -> str:
    """Signs the demo user in, and returns the cookie with its attributes."""
    form = json.dumps({"email": DEMO_EMAIL, "password": DEMO_PASSWORD}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{run.url}/api/sign-in", data=form, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(answer.headers["set-cookie"])


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def all_gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: all(process_is_gone(pid) for pid in pids)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory that these tests share: the first run fills it, the later ones find it so."""
    return tmp_path_factory.mktemp("up") / "data"


@pytest.fixture(scope="module")
def studio(data_dir: Path) -> Iterator[Run]:
    """A FluxStudio that runs."""
    with Run(data_dir) as run:
        yield run.until_ready()


def test_it_serves_what_it_promises(studio: Run) -> None:
    assert json.loads(studio.get("/api/health"))["cache"]["connected"] is True
    assert "Aurora" in studio.get(f"/p/{DEMO_SLUG}")
    assert studio.url in studio.output
    assert "secure" not in sign_in(studio).lower()  # a browser would not send it back over http
    assert (
        len([pid for pid in studio.family() if "fluxstudio.cli serve" in command_line(pid)]) == 3
    )  # and 2 workers


def test_the_commands_that_it_shows_work_as_they_stand(studio: Run, tmp_path: Path) -> None:
    commands = re.findall(r"^  (curl .*)$", studio.output, re.MULTILINE)
    assert len(commands) == 4
    answers = [
        subprocess.run(  # noqa: S602
            f"{command} --silent --show-error --fail",
            shell=True,
            cwd=tmp_path,
            check=True,
            capture_output=True,
        ).stdout
        for command in commands
    ]
    signed_in, projects, found, health = (json.loads(answer) for answer in answers)
    assert "demo@fluxstudio.example" in json.dumps(signed_in)
    assert "Aurora" in json.dumps(projects)
    assert found["results"]
    assert health["database"]["connected"] is True


def test_mail_lands_in_a_mailbox_that_the_screen_names(studio: Run) -> None:
    assert f"{studio.url}/dev/mail" in studio.output
    body = json.dumps({"email": DEMO_EMAIL}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{studio.url}/api/forgot-password", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status == 202
    wait_until(lambda: "Set a new password" in studio.get("/dev/mail"))
    found = re.search(r'href="(/dev/mail/[^"]+)"', studio.get("/dev/mail"))
    assert found is not None
    assert f"{studio.url}/reset-password#" in studio.get(found[1])


def test_a_second_run_in_the_same_directory_is_told_of_the_first(studio: Run) -> None:
    second = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "fluxstudio.cli", "up", "--data-dir", str(studio.data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"already runs in {studio.data_dir}, at {studio.url} (pid {studio.process.pid})" in second.stdout
    assert f"make run PORT={studio.port + 1} DATA_DIR={studio.data_dir}2" in second.stdout
    studio.get("/api/ready")


def test_a_taken_port_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Run(tmp_path, port=taken.getsockname()[1]) as run:
        assert run.until_it_ended() == 1
        assert f"Port {run.port} is taken" in run.output
        assert "Traceback" not in run.output
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Run(tmp_path / "file") as run:
        assert run.until_it_ended() == 1
        assert "choose another data directory" in run.output
        assert "make run DATA_DIR=" in run.output
        assert "Traceback" not in run.output


def test_a_mistake_in_the_environment_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with Run(tmp_path, USE_REDIS="perhaps") as run:
        assert run.until_it_ended() == 1
        assert "USE_REDIS is 'perhaps'; set it to true or false" in run.output
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_state_with_the_databases_password_is_for_the_owner_only(studio: Run) -> None:
    for name in ("run.json", "fluxstudio.log"):
        assert (studio.data_dir / name).stat().st_mode & 0o077 == 0


def test_a_valkey_that_dies_is_brought_back_and_the_application_goes_on(studio: Run) -> None:
    (valkey,) = studio.children("valkey-server")
    os.kill(valkey, signal.SIGKILL)
    studio.until_it_says("Valkey ended (by SIGKILL)")
    studio.get("/api/ready")
    studio.until_it_says("Valkey runs again")
    wait_until(lambda: json.loads(studio.get("/api/health"))["cache"]["connected"])


def test_a_worker_that_dies_is_replaced(studio: Run) -> None:
    (server,) = studio.children("fluxstudio.cli serve")
    before = children_of(server)
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(children_of(server)) - set(before)) == 1)
    wait_until(lambda: studio.get("/api/ready"))


def test_a_second_ctrl_c_hastens_a_stop_that_hangs(studio: Run) -> None:
    family = studio.family()
    (server,) = studio.children("fluxstudio.cli serve")
    os.kill(server, signal.SIGSTOP)  # it will not answer SIGTERM
    studio.interrupt()
    studio.until_it_says("Stopping")
    studio.interrupt()
    assert studio.process.wait(5.0) == 0
    assert all_gone(family)()
    assert "Traceback" not in studio.output


def test_nothing_outlives_a_supervisor_that_is_killed_and_the_next_run_heals(data_dir: Path) -> None:
    with Run(data_dir) as run:
        family = run.until_ready().family()
        assert len(family) > 10
        run.process.kill()
        wait_until(all_gone(family))
    assert (data_dir / "run.json").exists()
    with Run(data_dir, port=run.port) as again:
        again.until_ready()
        assert "Aurora" in again.get(f"/p/{DEMO_SLUG}")
        family = again.family()
        again.interrupt()
        assert again.until_it_ended() == 0
        assert all_gone(family)()
        assert "Traceback" not in again.output
        assert not (data_dir / "run.json").exists()


def test_without_valkey_it_runs_and_without_postgresql_it_ends_and_says_so(data_dir: Path) -> None:
    with Run(data_dir, USE_REDIS="false") as run:
        family = run.until_ready().family()
        assert run.children("valkey-server") == []
        assert json.loads(run.get("/api/health"))["cache"]["status"] == "disabled"
        (postgres,) = run.children("postgres")
        os.kill(postgres, signal.SIGKILL)
        assert run.until_it_ended() == 1
        assert "PostgreSQL ended (by SIGKILL)" in run.output
        wait_until(all_gone(family))


def test_servers_that_are_given_are_used_and_left_running(
    tmp_path: Path, database_url: str, postgres_server: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    with Run(tmp_path / "data", DATABASE_URL=database_url, REDIS_URL=valkey.url) as run:
        family = run.until_ready().family()
        assert run.children("postgres") + run.children("valkey") == []
        (server,) = run.children("fluxstudio.cli serve")
        os.kill(server, signal.SIGKILL)
        assert run.until_it_ended() == 1
        assert "FluxStudio ended (by SIGKILL)" in run.output
        assert all_gone(family)()
    assert postgres_server.is_running
    assert valkey.is_running


def test_workers_end_with_a_server_that_is_killed(tmp_path: Path, database_url: str) -> None:
    environ = os.environ | {"DATABASE_URL": database_url, "USE_REDIS": "false", "DRAIN_WAIT": "0"}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "fluxstudio.cli", "serve", "--port", str(free_port())],
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with server:
        wait_until(lambda: len(children_of(server.pid)) == 2)
        workers = children_of(server.pid)
        wait_until(lambda: (tmp_path / "log").read_text().count("Started worker") == 2)
        server.kill()
    wait_until(all_gone(workers))
