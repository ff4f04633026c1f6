"""The site's hooks: the pages of `bench/` belong to it, where the repository has them beside `docs/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
_BENCH = ("bench/README.md", "bench/results/*.md", "bench/results/*.png")
_OUT_OF_DOCS = re.compile(r"\]\((?:\.\./)+bench/")
_INTO_DOCS = re.compile(r"\]\((?:\.\./)+docs/")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of the benches, where their links within the repository lead."""
    for pattern in _BENCH:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Turns links between `docs/` and `bench/` into links within the site."""
    up = "../" * page.file.src_uri.count("/")
    markdown = _OUT_OF_DOCS.sub(f"]({up}bench/", markdown)
    return _INTO_DOCS.sub(f"]({up}", markdown)
