"""The words of the seed: TOML files under `words/`, checked against their types when they are read."""

from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

_WORDS = Path(__file__).parent / "words"

T = TypeVar("T")


class NameGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weight: float
    given: list[str]
    family: list[str]


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group: list[NameGroup]


class People(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patterns: list[str]
    roles: list[str]
    past: list[str]
    aside: list[str]
    cities: list[str]
    like: list[str]
    dislike: list[str]


class Sector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    what: list[str]
    goods: bool = False  # they sell things that come in a package


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patterns: list[str]
    adj: list[str]
    noun: list[str]
    place: list[str]


class Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first: list[str]
    sector: list[Sector]
    work: Work


class Briefs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    intro_client: list[str]
    intro_work: list[str]
    condition: list[str]
    timing: list[str]
    contact: list[str]
    months: list[str]
    weeks: list[str]
    summary: list[str]


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question together with the answers that fit it."""

    ask: str
    answers: list[str]


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sort of project within a craft: a picture book and a mural are both illustration."""

    titles: list[str]
    scope: list[str]
    headlines: list[str]


class Craft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a kind of project is made of, and what is said about it."""

    weight: float
    kinds: list[Kind]
    milestones: list[str]
    files: list[str]
    parts: list[str]
    tweaks: list[str]
    praise: list[str]
    issues: list[tuple[str, str]]  # (what is wrong, what would help)
    says: list[tuple[str, str]]  # (what the client says, what to do about it)
    doing: list[str]
    decisions: list[str]
    questions: list[Exchange]
    for_goods: bool = False  # only for clients who sell things


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said in projects of every craft."""

    issues: list[tuple[str, str]]
    says: list[tuple[str, str]]
    doing: list[str]
    decisions: list[str]
    questions: list[Exchange]


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    by: Literal["S", "R", "O"]
    say: list[str]
    chance: float = 1.0


class Scene(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of conversation; `talk.py` says how it is played."""

    name: str
    weight: float
    turns: list[Turn]
    opens: list[str] = []
    like: str = ""
    shares: bool = False
    craft_questions: bool = False
    early: bool = False  # only in a project's first days
    before_hour: int = 24  # a morning's conversation is not begun in the evening
    exchanges: list[Exchange] = []


class Scenes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scene: list[Scene]


class Chat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    food: list[str]
    soon: list[str]
    soon2: list[str]
    hour: list[str]
    clock: list[str]
    price: list[str]
    price2: list[str]
    emoji: list[str]


class DemoProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    craft: str
    title: str
    client: str
    description: str
    role: Literal["owner", "editor", "viewer"]
    messages: int
    unread: int
    work: str = ""
    slug: str = ""
    headline: str = ""
    summary: str = ""


class DemoProjects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    project: list[DemoProject]


class Vocabulary(msgspec.Struct, frozen=True):
    names: Names
    people: People
    clients: Clients
    briefs: Briefs
    chat: Chat
    crafts: dict[str, Craft]
    scenes: list[Scene]
    demo: list[DemoProject]


def _read(path: Path, kind: type[T]) -> T:
    return msgspec.toml.decode(path.read_bytes(), type=kind)


def _craft(path: Path, common: Common) -> Craft:
    craft = _read(path, Craft)
    return msgspec.structs.replace(
        craft,
        issues=craft.issues + common.issues,
        says=craft.says + common.says,
        doing=craft.doing + common.doing,
        decisions=craft.decisions + common.decisions,
        questions=craft.questions + common.questions,
    )


def _in_order(folder: str) -> list[Path]:
    return sorted((_WORDS / folder).glob("*.toml"))


@cache
def vocabulary() -> Vocabulary:
    """All the words, read once. Raises msgspec.ValidationError for a file that does not fit its type."""
    common = _read(_WORDS / "common.toml", Common)
    return Vocabulary(
        names=_read(_WORDS / "names.toml", Names),
        people=_read(_WORDS / "people.toml", People),
        clients=_read(_WORDS / "clients.toml", Clients),
        briefs=_read(_WORDS / "briefs.toml", Briefs),
        chat=_read(_WORDS / "chat.toml", Chat),
        crafts={path.stem: _craft(path, common) for path in _in_order("crafts")},
        scenes=[scene for path in _in_order("scenes") for scene in _read(path, Scenes).scene],
        demo=_read(_WORDS / "demo_projects.toml", DemoProjects).project,
    )
