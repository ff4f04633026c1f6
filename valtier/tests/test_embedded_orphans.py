"""No server outlives the process that started it, however that ends, and the next run goes on with the data."""

import subprocess
import sys
from pathlib import Path

import pytest

from valtier.embedded import EmbeddedPostgres, EmbeddedValkey
from valtier.testing import POSTGRES_SETTINGS, process_is_gone, wait_until

OWNER = """
import sys, time
from pathlib import Path
from valtier.embedded import EmbeddedPostgres, EmbeddedValkey

root = Path(sys.argv[1])
postgres = EmbeddedPostgres(root / "postgres", settings={"fsync": "off"})
saving = EmbeddedValkey(root / "saving")
frozen = EmbeddedValkey(root / "frozen", settings={"save": ""})
for server in (postgres, saving, frozen):
    server.start()
saving.call("SET", "colour", "blue")
frozen.freeze()
print(postgres.pid, saving.pid, frozen.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has a parent-death signal")
def test_servers_end_with_an_owner_that_is_killed_and_start_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:  # noqa: S603
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert len(pids) == 3
    # At once: these two wait for what is still ending, instead of failing because of it.
    with (
        EmbeddedPostgres(tmp_path / "postgres", settings=POSTGRES_SETTINGS),
        EmbeddedValkey(tmp_path / "saving") as saving,
    ):
        for pid in pids:
            wait_until(lambda pid=pid: process_is_gone(pid))  # type: ignore[misc]
        assert saving.call("STRLEN", "colour") == 4


def test_a_server_that_was_left_behind_is_ended(tmp_path: Path) -> None:
    """Where no parent-death signal ends it, the next start does."""
    left = EmbeddedValkey(tmp_path)
    left.start()
    pid = left.pid
    left._lock.release()  # as the kernel does when the owner dies
    with EmbeddedValkey(tmp_path) as server:
        assert process_is_gone(pid) or server.pid == pid
        assert server.pid != pid
    left.kill()
