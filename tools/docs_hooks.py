"""The site's hooks: the pages of `bench/` belong to it, where the repository has them beside `docs/`.

What else a page links to in the repository is named on the site, without a link.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
_BENCH = ("bench/README.md", "bench/results/*.md", "bench/results/*.png")
_OUT_OF_DOCS = re.compile(r"\]\((?:\.\./)+bench/")
_LINK = re.compile(r"\[([^\]\n]+)\]\((\.\./[^)\s]*)\)")
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
    markdown = _INTO_DOCS.sub(f"]({up}", markdown)
    folder = posixpath.dirname(page.file.src_uri)

    def named(link: re.Match[str]) -> str:
        leaves = posixpath.normpath(posixpath.join(folder, link[2])).startswith("..")
        return link[1] if leaves else link[0]

    return _LINK.sub(named, markdown)
