"""nginx as it is shipped (`deploy/nginx.conf`), before a test's workers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from pathlib import Path
from typing import Self

from fluxstudio.testing_workers import StudioWorker
from valtier.embedded import free_port
from valtier.testing import eventually
from valtier.testing.certificates import Certificates
from valtier.testing.debian import ensure_program

CONFIG = Path(__file__).parents[3] / "deploy" / "nginx.conf"


class Nginx:
    """nginx with the shipped configuration: only addresses, ports and files are the test's own."""

    def __init__(self, directory: Path, workers: list[StudioWorker], certificates: Certificates) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self._access = directory / "access.log"
        self._errors = directory / "error.log"
        self._config = directory / "nginx.conf"
        own = {
            "/dev/stdout": str(self._access),
            "/dev/stderr": str(self._errors),
            "/tmp/nginx-": f"{directory}/",  # noqa: S108 - what the configuration says
            "listen [::]:8080;": "",
            "listen [::]:8443 ssl http2;": "",
            "listen 8080;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 8443 ": f"listen 127.0.0.1:{self.port} ",
            "/etc/nginx/tls/site.crt": str(certificates.server.certificate),
            "/etc/nginx/tls/site.key": str(certificates.server.key),
        } | {f"web{number}:8000": f"127.0.0.1:{worker.port}" for number, worker in enumerate(workers, 1)}
        text = CONFIG.read_text()
        for shipped, ours in own.items():
            if shipped not in text:
                raise AssertionError(f"{CONFIG.name} has no {shipped!r} any more")
            text = text.replace(shipped, ours)
        self._config.write_text(f"daemon off;\npid {directory}/nginx.pid;\n{text}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def check(self) -> subprocess.CompletedProcess[str]:
        """Lets nginx read its configuration."""
        return subprocess.run(  # noqa: S603 - our own file
            [ensure_program("nginx", "nginx-light"), "-t", "-c", self._config],
            capture_output=True,
            text=True,
            check=False,
        )

    def served(self) -> list[tuple[str, int]]:
        """Returns the ports and statuses of the workers that were asked, in the order of the answers."""
        found = []
        for line in self._access.read_text().splitlines():
            words = dict(word.split("=", 1) for word in line.replace(", ", ",").split() if "=" in word)
            addresses, statuses = words.get("upstream", "-").split(","), words.get("status", "-").split(",")
            for address, status in zip(addresses, statuses, strict=True):
                if status != "-":
                    found.append((address.rpartition(":")[2], int(status)))
        return found

    async def comes_to(self, worker: StudioWorker) -> None:
        """Returns when requests are sent to a worker again."""
        seen = len(self.served())
        await eventually(lambda: (str(worker.port), 200) in self.served()[seen:], 30)

    async def __aenter__(self) -> Self:
        program = await asyncio.to_thread(ensure_program, "nginx", "nginx-light")
        self._process = subprocess.Popen([program, "-c", self._config])  # noqa: ASYNC220, S603 - it returns at once

        async def listens() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return True
            return False

        await eventually(listens, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                await asyncio.to_thread(self._process.wait, 10)
