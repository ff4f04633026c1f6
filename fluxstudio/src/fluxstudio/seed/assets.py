"""Files: the versions that are posted in the chat, which are the project's assets."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from fluxstudio.seed.briefs import slug_of
from fluxstudio.seed.dice import Dice
from fluxstudio.seed.studio import Project
from fluxstudio.seed.vocabulary import Craft

# Extension: content type, typical size in kB, whether it has a width and a height.
_KINDS: Final[dict[str, tuple[str, int, bool]]] = {
    "aep": ("application/vnd.adobe.aftereffects.project", 9_000, False),
    "ai": ("application/postscript", 2_400, False),
    "blend": ("application/x-blender", 64_000, False),
    "csv": ("text/csv", 60, False),
    "docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", 240, False),
    "dwg": ("image/vnd.dwg", 5_200, False),
    "fig": ("application/octet-stream", 3_800, False),
    "flac": ("audio/flac", 38_000, False),
    "gif": ("image/gif", 1_900, True),
    "indd": ("application/x-indesign", 22_000, False),
    "jpg": ("image/jpeg", 2_600, True),
    "json": ("application/json", 40, False),
    "md": ("text/markdown", 9, False),
    "mov": ("video/quicktime", 420_000, True),
    "mp3": ("audio/mpeg", 7_500, False),
    "mp4": ("video/mp4", 95_000, True),
    "ogg": ("audio/ogg", 4_100, False),
    "pdf": ("application/pdf", 4_300, False),
    "png": ("image/png", 3_100, True),
    "psd": ("image/vnd.adobe.photoshop", 145_000, True),
    "rig": ("application/octet-stream", 12_000, False),
    "srt": ("application/x-subrip", 50, False),
    "svg": ("image/svg+xml", 26, False),
    "tiff": ("image/tiff", 88_000, True),
    "wav": ("audio/wav", 52_000, False),
    "xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", 90, False),
    "zip": ("application/zip", 180_000, False),
}
_FRAMES = ((1920, 1080), (1920, 1080), (3840, 2160), (1280, 720), (1080, 1920))
_PICTURES = (
    *((2480, 3508), (3508, 2480), (4000, 3000), (3000, 4000), (6000, 4000), (2048, 2048)),
    *((1600, 1200), (2400, 1600), (5472, 3648), (3000, 2000), (2732, 2048)),
)


@dataclass(frozen=True, slots=True)
class Asset:
    project_id: int
    uploaded_by: int
    filename: str
    content_type: str
    size_bytes: int
    width: int | None
    height: int | None
    sha256: bytes
    created_ms: int


class Folder:
    """The files of one project: each has a stem and counts its versions."""

    __slots__ = ("_craft", "_current", "_prefix", "_separator", "_style", "_versions")

    def __init__(self, dice: Dice, project: Project) -> None:
        self._craft: Craft = project.brief.craft
        self._prefix = max(slug_of(project.brief.name).split("-"), key=len)
        self._style = dice.between(0, 3)
        self._separator = dice.pick(("-", "-", "_"))
        self._versions: dict[str, int] = {}
        self._current = ""

    def choose(self, dice: Dice) -> None:
        """Turns to another file, more likely one that is being worked on already."""
        if self._versions and dice.chance(0.6):
            self._current = dice.pick(list(self._versions))
        else:
            self._current = dice.pick(self._craft.files)

    def name(self, dice: Dice, *, ahead: int = 0) -> str:
        """What the current file is called, or will be called `ahead` versions from now."""
        if not self._current:
            self.choose(dice)
        return self._named(self._current, max(1, self._versions.get(self._current, 0) + ahead))

    def post(self, dice: Dice) -> str:
        """Makes a new version of the current file; returns its name."""
        filename = self.name(dice, ahead=1)
        self._versions[self._current] = self._versions.get(self._current, 0) + 1
        return filename

    def _named(self, file: str, version: int) -> str:
        stem, extension = file.rsplit(".", 1)
        if self._style == 0:
            name = f"{stem}-v{version}"
        elif self._style == 1:
            name = f"{self._prefix}-{stem}-{version:02}"
        else:
            name = f"{self._prefix}-{stem}-v{version}"
        return f"{name.replace('-', self._separator)}.{extension}"


def make_asset(dice: Dice, project_id: int, uploaded_by: int, filename: str, created_ms: int) -> Asset:
    content_type, kilobytes, has_frame = _KINDS[filename.rsplit(".", 1)[1]]
    width: int | None = None
    height: int | None = None
    if has_frame:
        width, height = dice.pick(_FRAMES if content_type.startswith("video/") else _PICTURES)
    return Asset(
        project_id=project_id,
        uploaded_by=uploaded_by,
        filename=filename,
        content_type=content_type,
        size_bytes=int(kilobytes * 1024 * (0.15 + dice.exponential(0.85))),
        width=width,
        height=height,
        sha256=sha256(f"{project_id}/{filename}".encode()).digest(),
        created_ms=created_ms,
    )
