"""Showcase pages: some finished projects, and a few unfinished ones, shown to everybody."""

from collections.abc import Iterator
from dataclasses import dataclass

from fluxstudio.seed.briefs import slug_of
from fluxstudio.seed.dice import Dice
from fluxstudio.seed.sizes import DAY_MS, DAYS, END_MS
from fluxstudio.seed.studio import Project, Studio

_FINISHED_CHANCE = 0.3
_UNFINISHED_CHANCE = 0.04


@dataclass(frozen=True, slots=True)
class Page:
    project_id: int
    slug: str
    headline: str
    summary: str
    published_ms: int
    updated_ms: int


def publish(studio: Studio, dice: Dice) -> Iterator[Page]:
    """The pages in the order of their projects; no two have the same address."""
    taken = {project.demo.slug for project in studio.projects if project.demo}
    for project in studio.projects:
        if project.demo:
            if project.demo.slug:
                yield _page(project, project.demo.slug, dice)
        elif dice.chance(_FINISHED_CHANCE if project.last_day < DAYS - 1 else _UNFINISHED_CHANCE):
            slug = _free(slug_of(project.brief.title), taken)
            taken.add(slug)
            yield _page(project, slug, dice)


def _free(slug: str, taken: set[str]) -> str:
    number, candidate = 1, slug
    while candidate in taken:
        number += 1
        candidate = f"{slug}-{number}"
    return candidate


def _page(project: Project, slug: str, dice: Dice) -> Page:
    published = min(END_MS, project.last_day * DAY_MS + int(dice.exponential(8) * DAY_MS))
    updated = min(END_MS, published + int(dice.exponential(5) * DAY_MS))
    return Page(project.id, slug, project.brief.headline, project.brief.summary, published, updated)
