"""The browser's side: the files that the build of `fluxstudio/web` left in `fluxstudio/static`.

Files under /assets and /excalidraw carry a hash or a version in their names and are kept for ever; every other address
that nobody else answers is the application's page, which asks each time whether it still stands.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

ROOT = Path(__file__).parent.parent / "static"

CSP = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # Excalidraw cuts its fonts to size with WebAssembly
        "style-src 'self' 'unsafe-inline'",  # Excalidraw places its panels with style attributes
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
_SAFE = {
    "content-security-policy": CSP,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK = "no-cache"
_ENCODINGS = ((b"br", ".br"), (b"gzip", ".gz"))
_IN_MEMORY = 4 * 2**20
_NOT_PAGES = ("/api/", "/p/", "/dev/", "/socket.io/", "/assets/", "/excalidraw/", "/metrics")


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    etag: str


class Static:
    """ASGI for GET and HEAD. Files are read once and kept, unless they are large."""

    path = "static"
    """What all of it is called where requests are counted by route."""

    def __init__(self, root: Path | None) -> None:
        self._kept: dict[Path, _Kept] = {}
        names = [path for path in root.rglob("*") if path.is_file()] if root is not None else []
        self._files = {f"/{path.relative_to(root)}": path for path in names} if root is not None else {}

    @property
    def built(self) -> bool:
        """Whether there is anything to serve."""
        return "/index.html" in self._files

    def answers(self, scope: Scope) -> bool:
        """Whether somebody asks for a file of the build, or for one of the application's screens."""
        path = scope["path"]
        return scope["method"] in {"GET", "HEAD"} and (
            path in self._files or (self.built and not path.startswith(_NOT_PAGES))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        path = scope["path"]
        file = self._files.get(path)
        if file is None:
            path, file = "/index.html", self._files["/index.html"]
        headers = dict(_SAFE)
        lasting = path.startswith(("/assets/", "/excalidraw/"))
        headers["cache-control"] = _FOR_EVER if lasting else _ASK
        media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        if file.stat().st_size > _IN_MEMORY:
            return FileResponse(file, headers=headers, media_type=media_type)
        encoding, variant = self._variant(scope, path, file)
        if encoding:
            headers["content-encoding"] = encoding
        if f"{path}.br" in self._files:
            headers["vary"] = "accept-encoding"
        kept = self._read(variant)
        headers["etag"] = kept.etag
        if any(name == b"if-none-match" and kept.etag.encode() in value for name, value in scope["headers"]):
            return Response(status_code=304, headers=headers)
        body = b"" if scope["method"] == "HEAD" else kept.body
        response = Response(body, 200, headers, media_type)
        response.headers["content-length"] = str(len(kept.body))
        return response

    def _variant(self, scope: Scope, path: str, file: Path) -> tuple[str | None, Path]:
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        offered = {item.partition(b";")[0].strip() for item in accepted.split(b",") if b"q=0" not in item}
        for encoding, suffix in _ENCODINGS:
            if encoding in offered and (found := self._files.get(path + suffix)):
                return encoding.decode(), found
        return None, file

    def _read(self, path: Path) -> _Kept:
        kept = self._kept.get(path)
        if kept is None:
            body = path.read_bytes()
            kept = _Kept(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')
            self._kept[path] = kept
        return kept
