"""The HTML of public pages: one small document, no scripts, its style inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from html import escape

_STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--ink:#1d1b18;--soft:#6b665e;--line:#e4dfd5;--spark:#c2410c}
@media(prefers-color-scheme:dark){:root{--paper:#16151a;--ink:#f1eee8;--soft:#a19b92;--line:#2e2c34;--spark:#fb923c}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;flex-direction:column;background:var(--paper);color:var(--ink);
font:1.125rem/1.65 ui-serif,Georgia,"Times New Roman",serif}
main,footer{width:100%;max-width:44rem;margin:0 auto;padding:0 1.5rem}
main{flex:1;padding-top:clamp(3rem,12vh,8rem);padding-bottom:4rem}
.over,footer,.by{font-family:ui-sans-serif,system-ui,sans-serif}
.over{margin:0 0 1rem;font-size:.8rem;font-weight:600;letter-spacing:.12em;text-transform:uppercase;color:var(--spark)}
h1{margin:0 0 1.25rem;font-size:clamp(2.2rem,7vw,3.8rem);line-height:1.08;letter-spacing:-.02em;text-wrap:balance;
overflow-wrap:anywhere}
.by{margin:0 0 2.5rem;padding-bottom:2rem;border-bottom:1px solid var(--line);font-size:.95rem;color:var(--soft)}
.by b{color:var(--ink);font-weight:600}
p{margin:0 0 1.1rem;overflow-wrap:anywhere}
footer{padding-top:1.5rem;padding-bottom:2rem;font-size:.8rem;color:var(--soft)}
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
}


def render(
    *,
    headline: str,
    summary: str,
    published_at: datetime,
    updated_at: datetime,
    title: str,
    owners: Sequence[str],
) -> bytes:
    """Returns a public page."""
    paragraphs = "\n".join(f"<p>{escape(text.strip())}</p>" for text in summary.split("\n") if text.strip())
    by = f"by <b>{escape(_enumerate(owners))}</b> · " if owners else ""
    date = f'<time datetime="{published_at:%Y-%m-%d}">{published_at.day} {published_at:%B %Y}</time>'
    changed = (
        f" · changed {updated_at.day} {updated_at:%B %Y}" if updated_at.date() > published_at.date() else ""
    )
    return _document(
        title=headline,
        description=" ".join(summary.split())[:200],
        main=(
            f'<p class="over">{escape(title)}</p>\n<h1>{escape(headline)}</h1>\n'
            f'<p class="by">{by}{date}{changed}</p>\n{paragraphs}'
        ),
    )


def render_error(status: int, title: str, detail: str) -> bytes:
    """Returns a page that says why there is no other."""
    return _document(
        title=title,
        description="",
        main=f'<p class="over">{status}</p>\n<h1>{escape(title)}</h1>\n<p>{escape(detail)}</p>',
    )


def _enumerate(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _document(*, title: str, description: str, main: str) -> bytes:
    meta = f'<meta name="description" content="{escape(description)}">\n' if description else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{meta}<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{main}\n</main>\n<footer>Made in FluxStudio</footer>\n</body>\n</html>\n"
    ).encode("utf-8", "replace")
