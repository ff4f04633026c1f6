"""Both packages as they are given to others: wheels, in environments with nothing else but what they need."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from fluxstudio.http.static import ROOT as STATIC
from valtier.embedded import EmbeddedValkey, free_port

REPOSITORY = Path(__file__).parents[2]
LONG_S = 60


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both packages, built by their own build backend."""
    assert (STATIC / "index.html").exists(), "the browser's side is not built; run: make web"
    directory = tmp_path_factory.mktemp("wheels")
    for name in ("valtier", "fluxstudio"):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
        subprocess.run(build, cwd=REPOSITORY / name, check=True, capture_output=True)  # noqa: S603
    return {path.name.partition("-")[0]: path for path in directory.glob("*.whl")}


class Environment:
    """An environment without pip: the wheels, and the distributions that they need, borrowed from this one."""

    def __init__(self, directory: Path, wish: str, wheels: list[Path]) -> None:
        venv.create(directory, with_pip=False, symlinks=True)
        self.bin = directory / "bin"
        [self.site] = directory.glob("lib/python3*/site-packages")
        for name in _needs(wish):
            if name not in {"valtier", "fluxstudio"}:
                self._borrow(name)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--python",
            str(self.bin / "python"),
        ]
        install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", *map(str, wheels)]
        subprocess.run([*pip, *install], check=True)  # noqa: S603

    def _borrow(self, name: str) -> None:
        """Links a distribution's files, and the bytecode that there is: else it would be compiled anew at each import."""
        found = distribution(name)
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                source, link = Path(str(found.locate_file(file))), self.site / file
                self._link(source, link)
                if source.suffix == ".py":
                    compiled = Path(cache_from_source(str(source)))
                    if compiled.exists():
                        self._link(compiled, link.parent / "__pycache__" / compiled.name)

    def _link(self, source: Path, link: Path) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [self.bin / program, *arguments],
            env={"PATH": str(self.bin), **environment},
            cwd=self.bin,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-I", "-c", code)


def _needs(wish: str) -> list[str]:
    tool = [sys.executable, "tools/runtime_lock.py", "--list", wish]
    return subprocess.run(tool, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603


@pytest.fixture(scope="module")
def bare(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """valtier with what it cannot do without."""
    return Environment(tmp_path_factory.mktemp("bare"), "valtier", [wheels["valtier"]])


@pytest.fixture(scope="module")
def studio(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """FluxStudio with what it cannot do without."""
    return Environment(tmp_path_factory.mktemp("studio"), "fluxstudio", list(wheels.values()))


def test_wheels_have_types_scripts_and_screens_and_no_tests(wheels: dict[str, Path]) -> None:
    for name, path in wheels.items():
        files = zipfile.ZipFile(path).namelist()
        sources = {
            str(file.relative_to(REPOSITORY / name / "src"))
            for file in (REPOSITORY / name / "src").rglob("*")
            if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
        }
        assert f"{name}/py.typed" in files
        assert sources <= set(files), sorted(sources - set(files))[:5]
        assert not [file for file in files if "/tests/" in file or "node_modules" in file]
    assert [file for file in zipfile.ZipFile(wheels["valtier"]).namelist() if file.endswith(".lua")]
    assert "fluxstudio/static/index.html" in zipfile.ZipFile(wheels["fluxstudio"]).namelist()


def test_valtier_needs_three_packages() -> None:
    assert set(_needs("valtier")) == {"valtier", "hiredis", "msgspec", "zstandard"}


def test_valtier_alone_talks_to_valkey(bare: Environment, valkey: EmbeddedValkey) -> None:
    done = bare.run("valtier", "ping", REDIS_URL=valkey.url, USE_REDIS="true")
    assert done.returncode == 0, done.stderr
    code = f"""
import asyncio
from valtier import Tier

async def main():
    async with Tier.from_url({valkey.url!r}) as tier:
        async def load():
            return 42
        assert await tier.cache.get_or_set("answer", 60, load) == 42
        assert (await tier.limiter("api", points=2, duration=60).hit("me")).allowed
        assert (await tier.health())["cache"]["connected"]

asyncio.run(main())
"""
    done = bare.python(code)
    assert done.returncode == 0, done.stderr


def test_every_module_that_needs_no_extra_can_be_imported(bare: Environment) -> None:
    code = """
import importlib, pkgutil, valtier
extras = ("valtier.socketio", "valtier.top.", "valtier.testing", "valtier.tracing", "valtier.vitals.prometheus", "valtier.outbox.postgres", "valtier.sessions.postgres")
for module in pkgutil.walk_packages(valtier.__path__, "valtier.", onerror=lambda name: None):
    if not module.name.startswith(extras) and not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as exc:
            if exc.name != "asyncpg":
                raise
            print(module.name)
"""
    done = bare.python(code)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"valtier.sessions.durable"}


OUTBOX = """
import asyncio, valtier

async def main():
    async with valtier.Tier.from_url("redis://127.0.0.1:1", use_redis=False) as tier:
        async with tier.outbox("postgresql://127.0.0.1:1/x"):
            pass

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import valtier.socketio", "socketio"),
        ("import valtier.testing", "testing"),
        ("from valtier.embedded import EmbeddedValkey; EmbeddedValkey('/tmp/none').binary", "embedded"),
        (
            OUTBOX,
            "postgres",
        ),
    ],
)
def test_what_needs_an_extra_names_it(bare: Environment, code: str, extra: str) -> None:
    done = bare.python(code)
    assert done.returncode != 0
    assert f"valtier[{extra}]" in done.stderr.splitlines()[-1], done.stderr


def test_fluxstudio_explains_itself_and_names_the_extras_that_commands_need(studio: Environment) -> None:
    done = studio.run("fluxstudio", "--help")
    assert (done.returncode, "verify" in done.stdout) == (0, True), done.stderr
    for command, extra in ((["up"], "up"), (["verify", "http://127.0.0.1:1"], "verify")):
        done = studio.run("fluxstudio", *command)
        assert done.returncode == 1
        assert f"fluxstudio[{extra}]" in done.stderr, done.stderr


def test_a_worker_from_the_wheel_serves_the_studio(
    studio: Environment, database_url: str, valkey: EmbeddedValkey
) -> None:
    """Migrates, serves the page with its scripts, answers the API, and ends when it is told to."""
    settings = {"DATABASE_URL": database_url, "REDIS_URL": valkey.url, "USE_REDIS": "true", "DRAIN_WAIT": "0"}
    done = studio.run("fluxstudio", "migrate", **settings)
    assert done.returncode == 0, done.stderr
    with _serving(studio, settings) as url:
        page = _get(f"{url}/")
        script = page.partition('src="')[2].partition('"')[0]
        assert script.startswith("/assets/"), page
        assert len(_get(url + script)) > 1000
        assert '"status":"ready"' in _get(f"{url}/api/health")


@contextlib.contextmanager
def _serving(studio: Environment, settings: dict[str, str]) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(  # noqa: S603
        [studio.bin / "fluxstudio", "serve", "--port", str(port), "--workers", "1", "--log-level", "error"],
        env={"PATH": os.defpath, **settings},
        cwd=studio.bin,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + LONG_S
        while True:
            try:
                _get(f"{url}/api/ready")
                break
            except OSError:
                assert process.poll() is None, "it ended"
                assert time.monotonic() < deadline, "it does not answer"
                time.sleep(0.05)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        return str(answer.read().decode())


def test_the_images_packages_are_those_of_the_lock() -> None:
    """deploy/requirements.lock and build.lock are parts of requirements.lock: the part that is needed."""
    tool = [sys.executable, "tools/runtime_lock.py", "--check"]
    done = subprocess.run(tool, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout
