"""The studio in a real browser: Chromium, two people, two workers, and faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxstudio.http.static import ROOT, Static
from fluxstudio.testing import Inbox
from fluxstudio.testing_stage import WEB, Stage
from valtier.embedded import EmbeddedValkey
from valtier.testing import VALKEY_SETTINGS
from valtier.testing.debian import ensure_program

DEADLINE_S = 250


@pytest.fixture(scope="module")
def stage(
    shared_database_url: str,
    mail_server: Inbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    if not Static(ROOT).built or not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.fail("the browser's side is not built; run: make web")
    ensure_program("chromium", "chromium")
    directory = tmp_path_factory.mktemp("valkey")
    with EmbeddedValkey(directory, settings=VALKEY_SETTINGS) as valkey:
        stage = Stage(shared_database_url, valkey, mail_server, tmp_path_factory.mktemp("assets"))
        stage.start()
        yield stage
        stage.stop()


def plays() -> list[str]:
    return sorted(path.name.removesuffix(".test.mjs") for path in (WEB / "tests").glob("*.test.mjs"))


def test_there_are_plays() -> None:
    assert plays()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", plays())
def test_in_the_browser(stage: Stage, tmp_path: Path, name: str) -> None:
    """Each promise is the name of a test in `fluxstudio/web/tests/NAME.test.mjs`."""
    stage.play(name, tmp_path, deadline_s=DEADLINE_S)
