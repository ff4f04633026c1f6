"""What is said in a conversation: scenes are played with the people of a project.

A scene opens with a line of S; then its turns follow, each said with some chance. When a scene is shorter than the
conversation should be, another one begins where it ended.
"""

from dataclasses import dataclass
from typing import Final

from fluxstudio.seed.assets import Asset, Folder, make_asset
from fluxstudio.seed.dice import Decks, Dice, Weighted
from fluxstudio.seed.people import Voice
from fluxstudio.seed.sizes import DAY_MS
from fluxstudio.seed.slots import Slots, small_start
from fluxstudio.seed.studio import Member, Project
from fluxstudio.seed.vocabulary import Scene, vocabulary

_LONGEST_GAP_MS: Final = 7 * 60_000
_EARLY_MS: Final = 8 * DAY_MS


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    small: str  # for people who begin with a small letter
    posts_next: bool


@dataclass(frozen=True, slots=True)
class _Turn:
    by: str
    lines: list[Line]
    chance: float


@dataclass(frozen=True, slots=True)
class _Room:
    """What a project's chat has come to: its files, and what has been said lately."""

    project: Project
    folder: Folder
    decks: Decks


@dataclass(frozen=True, slots=True)
class Remark:
    ms: int
    member: Member
    body: str


def _lines(texts: list[str]) -> list[Line]:
    return [Line(text, small_start(text), "{next}" in text) for text in texts]


class Talk:
    """Plays conversations. Remembers each project's files, so a project's conversations must come in order."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._words = vocabulary()
        scenes = self._words.scenes
        self._scenes = Weighted(scenes, [scene.weight for scene in scenes])
        opens = {scene.name: scene.opens for scene in scenes}
        self._opens = {scene.name: _lines(scene.opens or opens[scene.like]) for scene in scenes}
        self._turns = {
            scene.name: [_Turn(turn.by, _lines(turn.say), turn.chance) for turn in scene.turns]
            for scene in scenes
        }
        self._rooms: dict[int, _Room] = {}
        self.assets: list[Asset] = []

    def converse(self, project: Project, start_ms: int, length: int) -> list[Remark]:
        """`length` remarks from `start_ms` on, mostly within an hour."""
        remarks: list[Remark] = []
        room = self._room(project)
        ms = start_ms
        cast = self._cast(project, start_ms)
        while len(remarks) < length:
            ms = self._play(self._scene(project, ms), room, cast, ms, length, remarks)
            cast = dict(zip(cast, self._dice.sample(list(cast.values()), len(cast)), strict=True))
        return remarks

    def _room(self, project: Project) -> _Room:
        room = self._rooms.get(project.id)
        if room is None:
            room = _Room(project, Folder(self._dice, project), Decks(self._dice))
            self._rooms[project.id] = room
        return room

    def _scene(self, project: Project, ms: int) -> Scene:
        hour = ms % DAY_MS // 3_600_000
        early = ms - project.created_ms < _EARLY_MS
        while True:
            scene = self._scenes.pick(self._dice)
            if hour < scene.before_hour and (early or not scene.early):
                return scene

    def _cast(self, project: Project, ms: int) -> dict[str, Member]:
        """Up to three different members who are there and may write; those who talk a lot are likelier."""
        present = [m for m in project.members if m.role != "viewer" and m.joined_ms < ms <= m.quiet_after_ms]
        talkers = Weighted(present, [m.weight for m in present])
        cast: dict[str, Member] = {}
        for role in ("S", "R", "O")[: len(present)]:
            one = talkers.pick(self._dice)
            while any(one is other for other in cast.values()):
                one = self._dice.pick(present)
            cast[role] = one
        return cast

    def _play(
        self, scene: Scene, room: _Room, cast: dict[str, Member], ms: int, length: int, remarks: list[Remark]
    ) -> int:
        dice = self._dice
        slots = self._slots(scene, room, cast, ms)
        if scene.shares:
            self._post(room, cast["S"], ms)
        ms = self._say(
            room.decks.draw(scene.like or scene.name, self._opens[scene.name]), cast["S"], slots, ms, remarks
        )
        for turn in self._turns[scene.name]:
            if len(remarks) == length:
                break
            if turn.by in cast and (turn.chance == 1.0 or dice.random() < turn.chance):
                line = dice.pick(turn.lines)
                if line.posts_next:
                    ms += dice.between(0, 20) * 60_000  # to make it takes a while
                    self._post(room, cast[turn.by], ms)
                ms = self._say(line, cast[turn.by], slots, ms, remarks)
        return ms

    def _slots(self, scene: Scene, room: _Room, cast: dict[str, Member], ms: int) -> Slots:
        dice, brief, folder = self._dice, room.project.brief, room.folder
        if scene.shares:
            folder.choose(dice)
        given = {
            "client": brief.client,
            "contact": brief.contact,
            "name": brief.name,
            "S": cast["S"].person.given,
            "R": cast["R"].person.given if "R" in cast else brief.contact,
            "O": cast["O"].person.given if "O" in cast else brief.contact,
            "file": folder.name(dice, ahead=1 if scene.shares else 0),
            "next": folder.name(dice, ahead=2),
        }
        exchanges = brief.craft.questions if scene.craft_questions else scene.exchanges
        exchange = room.decks.draw(f"{scene.name}?", exchanges) if exchanges else None
        return Slots(dice, self._words, brief.craft, room.decks, exchange=exchange, ms=ms, given=given)

    def _post(self, room: _Room, by: Member, ms: int) -> None:
        filename = room.folder.post(self._dice)
        self.assets.append(make_asset(self._dice, room.project.id, by.person.id, filename, ms))

    def _say(self, line: Line, by: Member, slots: Slots, ms: int, remarks: list[Remark]) -> int:
        voice = by.person.voice
        body = (line.small if voice.lower else line.text).format_map(slots)
        remarks.append(Remark(ms, by, self._in_voice(body, voice)))
        return ms + 15_000 + min(_LONGEST_GAP_MS - 15_000, int(self._dice.exponential(110_000)))

    def _in_voice(self, body: str, voice: Voice) -> str:
        if voice.no_stop and body.endswith("."):
            body = body[:-1]
        if voice.no_apostrophe:
            body = (
                body.replace("n't", "nt")
                .replace("I'm", "Im")
                .replace("it's", "its")
                .replace("that's", "thats")
            )
        if self._dice.random() < voice.emoji and body[-1].isascii() and "\n" not in body:
            body = f"{body} {self._dice.pick(self._words.chat.emoji)}"
        return body
