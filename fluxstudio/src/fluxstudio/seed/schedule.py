"""When everything is said: conversations in their places in time, and all messages in the order of their ids."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from fluxstudio.seed.dice import Dice
from fluxstudio.seed.shapes import days_of_work, unread
from fluxstudio.seed.sizes import DAY_MS
from fluxstudio.seed.studio import CONVERSATIONS_A_DAY, Project, Studio
from fluxstudio.seed.talk import Remark, Talk

_FIRST_SLOT_MS: Final = int(8.5 * 3_600_000)
_SLOT_MS: Final = 3 * 3_600_000  # longer than a conversation, so that those of one project do not overlap
_LATE_MS: Final = 1_800_000
_TIME_ZONES_MS: Final = int(1.5 * 3_600_000)  # a project's people live up to so far east or west


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    project_id: int
    author_id: int
    body: str
    created_ms: int


def write_messages(studio: Studio, talk: Talk, dice: Dice) -> Iterator[Message]:
    """All messages by time, ids from 1. Notes in the projects and members what was written.

    Lazy: besides one integer a message, it holds only the conversations that go on at the same time.
    """
    going_on: list[tuple[int, int, Project, Remark]] = []
    drawn = written = 0
    for start_ms, index, length in _conversations(studio, dice):
        while going_on and going_on[0][0] < start_ms:
            written += 1
            yield _write(written, going_on)
        project = studio.projects[index]
        for remark in talk.converse(project, start_ms, length):
            drawn += 1
            heappush(going_on, (remark.ms, drawn, project, remark))
    while going_on:
        written += 1
        yield _write(written, going_on)


def _write(message_id: int, going_on: list[tuple[int, int, Project, Remark]]) -> Message:
    ms, _, project, remark = heappop(going_on)
    remark.member.last_written = message_id
    project.message_ids.append(message_id)
    return Message(message_id, project.id, remark.member.person.id, remark.body, ms)


def _conversations(studio: Studio, dice: Dice) -> list[tuple[int, int, int]]:
    """(start, index of the project, length) of every conversation, by start."""
    return sorted(
        (start_ms, index, length)
        for index, project in enumerate(studio.projects)
        for start_ms, length in zip(_starts(project, dice), project.lengths, strict=True)
    )


def _starts(project: Project, dice: Dice) -> list[int]:
    zone = dice.between(-_TIME_ZONES_MS, _TIME_ZONES_MS)
    slots = days_of_work(
        dice,
        first=project.first_day + 1,
        last=project.last_day,
        wanted=len(project.lengths),
        per_day=CONVERSATIONS_A_DAY,
    )
    if project.demo:
        slots[-1] = (project.last_day, slots[-1][1])  # something was said on the last evening
    starts = [
        day * DAY_MS + _FIRST_SLOT_MS + slot * _SLOT_MS + zone + int(dice.random() * _LATE_MS)
        for day, slot in slots
    ]
    if project.demo:
        _keep_demo_quiet(project, starts, project.demo.unread)
    return starts


def _keep_demo_quiet(project: Project, starts: list[int], wanted: int) -> None:
    """Lets the demo user write nothing in the last conversations, so that `wanted` messages can be unread."""
    later = 0
    for start_ms, length in zip(reversed(starts), reversed(project.lengths), strict=True):
        if later >= wanted:
            break
        later += length
        project.members[0].quiet_after_ms = start_ms - 1
    project.members[0].unread = wanted


def last_read(project: Project, dice: Dice) -> list[int]:
    """For each member, the id of the last message that they have read (0: none). Nobody has unread what they wrote."""
    ids = project.message_ids
    marks = []
    for member in project.members:
        left = unread(dice) if member.unread is None else member.unread
        mark = ids[-1 - left] if left < len(ids) else 0
        marks.append(max(mark, member.last_written))
    return marks
