"""The code in the docs runs, page by page, on real servers; every page is in the site, and the site builds."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_worlds import DOCS, blocks_of, world_of

from valtier.embedded import EmbeddedValkey

ROOT = DOCS.parent
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "valtier" / "README.md", *sorted(DOCS.glob("*.md")))
    if blocks_of(path)
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
async def test_the_code_of_a_page_runs(
    path: Path,
    own_valkey: EmbeddedValkey,
    shared_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # where pages write files
    monkeypatch.setenv("REDIS_URL", own_valkey.url)
    monkeypatch.delenv("USE_REDIS", raising=False)
    async with world_of(path.name)(shared_database_url) as names:
        names["__name__"] = "page"
        for block in blocks_of(path):
            code = compile(
                "\n" * (block.line - 1) + block.code, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            )
            async with asyncio.timeout(30):
                running = eval(code, names)  # noqa: S307 - the docs are ours
                if inspect.isawaitable(running):
                    await running


def test_pages_with_code_are_found() -> None:
    """A page whose fences were written otherwise would pass by running nothing."""
    assert {"README.md", "cache.md", "tutorial.md", "recipes.md", "wire.md"} <= {path.name for path in PAGES}
    for path in DOCS.glob("*.md"):
        assert path.read_text().count("```python") == len(blocks_of(path)), path


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "get_or_set" in (tmp_path / "reference.html").read_text()
    assert (tmp_path / "bench" / "results" / "wire.html").exists()
