"""The plan of the studio: who exists, which projects there are, who is in them and how much is said."""

from array import array
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from fluxstudio.seed.briefs import Brief, Desk
from fluxstudio.seed.dice import Dice, Weighted
from fluxstudio.seed.people import Crowd, Person
from fluxstudio.seed.shapes import conversation_lengths, member_count, zipf_shares
from fluxstudio.seed.sizes import DAY_MS, DAYS, END_MS, Size
from fluxstudio.seed.vocabulary import DemoProject, vocabulary

Role = Literal["owner", "editor", "viewer"]

CONVERSATIONS_A_DAY = 4
_MOST_PROJECTS_OF_ONE = 60
_DEMO_CREATED_MS = 9 * 3_600_000  # on the first day, before anybody else


@dataclass(slots=True)
class Member:
    person: Person
    role: Role
    joined_ms: int
    weight: float  # how much of the talking this one does
    unread: int | None = None  # exactly so many, if given
    quiet_after_ms: int = END_MS
    last_written: int = 0


@dataclass(slots=True)
class Project:
    brief: Brief
    first_day: int
    last_day: int
    lengths: list[int]  # of the conversations
    demo: DemoProject | None = None
    id: int = 0
    created_ms: int = 0
    updated_ms: int = 0
    members: list[Member] = field(default_factory=list)
    message_ids: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Studio:
    people: list[Person]
    projects: list[Project]
    messages: int


@dataclass(slots=True)
class _Seat:
    """A membership before the people have got their ids: `who` is an index, 0 is the demo user."""

    who: int
    role: Role
    joined_ms: int
    weight: float


def plan_studio(size: Size, dice: Dice) -> Studio:
    """Everything but the messages. Costs about 20 µs a person and 100 µs a project."""
    crowd = Crowd(dice)
    projects = _plan_projects(size, dice, Desk(dice, crowd))
    seats = _plan_seats(size, dice, projects)
    people = _plan_people(size, dice, crowd, seats)
    for project, row in zip(projects, seats, strict=True):
        project.members = [Member(people[seat.who], seat.role, seat.joined_ms, seat.weight) for seat in row]
    return Studio(sorted(people, key=attrgetter("id")), projects, sum(sum(p.lengths) for p in projects))


def _plan_projects(size: Size, dice: Dice, desk: Desk) -> list[Project]:
    demo = vocabulary().demo
    counts = [project.messages * size.demo_factor for project in demo]
    shares = zipf_shares(size.messages - sum(counts), size.projects - len(demo), flatten=size.flatten)
    projects = [_plan_project(dice, desk.demo(d), n, demo=d) for d, n in zip(demo, counts, strict=True)]
    projects += [_plan_project(dice, desk.brief(), count) for count in shares]
    for project in projects:
        project.created_ms = project.first_day * DAY_MS + dice.between(7 * 60, 9 * 60) * 60_000
        project.updated_ms = min(END_MS, project.created_ms + int(dice.exponential(9) * DAY_MS))
    projects.sort(key=attrgetter("created_ms"))
    for project_id, project in enumerate(projects, 1):
        project.id = project_id
    return projects


def _plan_project(dice: Dice, brief: Brief, messages: int, demo: DemoProject | None = None) -> Project:
    lengths = conversation_lengths(dice, messages)
    # Five days in seven are worked on; at most about two conversations fall on one of them.
    days = min(DAYS - 2, 10 + int(dice.exponential(80)) + int(len(lengths) / 2 * 7 / 5))
    alive = demo is not None or dice.chance(0.4)
    last_day = DAYS - 1 if alive else dice.between(days + 1, DAYS - 1)
    return Project(brief, last_day - days, last_day, lengths, demo)


def _plan_seats(size: Size, dice: Dice, projects: list[Project]) -> list[list[_Seat]]:
    """Who sits in which project: everybody somewhere, the busy in many."""
    counts = [max(member_count(dice, sum(p.lengths)), 5 if p.demo else 0) for p in projects]
    newcomers = dice.sample(range(1, size.users), size.users)
    busy = dice.sample(range(1, size.users), size.users)
    likely = Weighted(busy, [1.0 / (rank + 25) ** 0.85 for rank in range(len(busy))])
    taken = [0] * size.users
    homeless = len(newcomers) / sum(counts)  # this part of all seats goes to somebody without one
    rows: list[list[int]] = []
    for project, count in zip(projects, counts, strict=True):
        who = [0] if project.demo else []
        while len(who) < count:
            one = newcomers.pop() if newcomers and dice.chance(homeless * 1.05) else likely.pick(dice)
            if one not in who and taken[one] < _MOST_PROJECTS_OF_ONE:
                who.append(one)
                taken[one] += 1
        rows.append(who)
    for one in newcomers:
        if not taken[one]:  # left over by chance
            place = dice.between(0, len(rows) - 1)
            rows[place].append(one)
    return [_seat_them(dice, project, who) for project, who in zip(projects, rows, strict=True)]


def _seat_them(dice: Dice, project: Project, who: list[int]) -> list[_Seat]:
    row = [_seat(dice, project, one, rank) for rank, one in enumerate(who)]
    if project.demo and project.demo.role != "owner":
        row[0].role, row[1].role = project.demo.role, "owner"
    return row


def _seat(dice: Dice, project: Project, who: int, rank: int) -> _Seat:
    role: Role = "owner" if rank == 0 else "editor" if rank < 3 or dice.chance(0.6) else "viewer"
    weight = 1.0 / (rank + 1) ** 0.8
    if rank == 0:
        joined = 0
    elif rank < 3 or dice.chance(0.6):
        joined = dice.between(1, 55) * 60_000  # before the first conversation
    else:
        joined = int(dice.random() * 0.6 * (project.last_day - project.first_day) * DAY_MS)
    return _Seat(who, role, project.created_ms + joined, weight)


def _plan_people(size: Size, dice: Dice, crowd: Crowd, seats: list[list[_Seat]]) -> list[Person]:
    """People in the order of their index, with ids in the order in which they signed up."""
    needed_ms = [END_MS] * size.users
    for row in seats:
        for seat in row:
            needed_ms[seat.who] = min(needed_ms[seat.who], seat.joined_ms)
    created = [max(DAY_MS // 2, ms - int(dice.exponential(20) * DAY_MS) - 60_000) for ms in needed_ms]
    created = [min(c, ms - 1_000) for c, ms in zip(created, needed_ms, strict=True)]
    created[0] = _DEMO_CREATED_MS
    people: list[Person | None] = [None] * size.users
    for person_id, who in enumerate(sorted(range(size.users), key=created.__getitem__), 1):
        if who == 0:
            people[0] = crowd.demo(created_ms=created[0])
        else:
            updated = min(END_MS, created[who] + int(dice.exponential(60) * DAY_MS))
            people[who] = crowd.person(person_id, created_ms=created[who], updated_ms=updated)
    return [person for person in people if person is not None]
