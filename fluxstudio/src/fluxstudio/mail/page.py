"""The HTML of the mailbox of development: no scripts, its style inside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape

from fluxstudio.mail.mailbox import Received

_STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--ink:#1d1b18;--soft:#6b665e;--line:#e4dfd5;--spark:#c2410c}
@media(prefers-color-scheme:dark){:root{--paper:#16151a;--ink:#f1eee8;--soft:#a19b92;--line:#2e2c34;--spark:#fb923c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 ui-sans-serif,system-ui,sans-serif}
main{max-width:48rem;margin:0 auto;padding:3rem 1.5rem}
h1{margin:0 0 1.5rem;font-size:1.6rem;line-height:1.2;overflow-wrap:anywhere}
a{color:var(--spark)}
ul{list-style:none;margin:0;padding:0;border-top:1px solid var(--line)}
li{padding:.8rem 0;border-bottom:1px solid var(--line)}
li a{font-weight:600;text-decoration:none}
.soft{color:var(--soft);font-size:.85rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;border-top:1px solid var(--line);padding-top:1.5rem}
"""

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

_LINK = re.compile(r"https?://[^\s<>\"]+")


def render_list(mails: Sequence[Received]) -> bytes:
    items = "\n".join(
        f'<li><a href="/dev/mail/{mail.name}">{escape(mail.subject) or "(no subject)"}</a>'
        f'<div class="soft">to {escape(mail.recipient)} · {mail.at:%H:%M:%S}</div></li>'
        for mail in mails
    )
    body = (
        f"<ul>\n{items}\n</ul>" if mails else '<p class="soft">No mail yet. Sign up, or reload the page.</p>'
    )
    return _document("Mailbox", f"<h1>Mailbox</h1>\n{body}")


def render_mail(mail: Received) -> bytes:
    return _document(
        mail.subject,
        f'<p><a href="/dev/mail">← Mailbox</a></p>\n<h1>{escape(mail.subject)}</h1>\n'
        f'<p class="soft">from {escape(mail.sender)}<br>to {escape(mail.recipient)}<br>{mail.at:%Y-%m-%d %H:%M:%S}</p>\n'
        f"<pre>{_linked(mail.text)}</pre>",
    )


def render_missing() -> bytes:
    return _document(
        "No such mail", '<p><a href="/dev/mail">← Mailbox</a></p>\n<h1>There is no such mail</h1>'
    )


def _linked(text: str) -> str:
    parts: list[str] = []
    end = 0
    for match in _LINK.finditer(text):
        url = escape(match[0])
        parts += [escape(text[end : match.start()]), f'<a href="{url}">{url}</a>']
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def _document(title: str, main: str) -> bytes:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{main}\n</main>\n</body>\n</html>\n"
    ).encode("utf-8", "replace")
