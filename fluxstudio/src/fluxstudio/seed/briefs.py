"""What projects are called and how they are described."""

import re
import unicodedata
from dataclasses import dataclass

from fluxstudio.seed.dice import Dice, Weighted
from fluxstudio.seed.people import Crowd
from fluxstudio.seed.vocabulary import Craft, DemoProject, Sector, vocabulary

_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_SLUG_LENGTH = 70
_PLURALS = {"Fox": "Foxes", "Goose": "Geese", "Ferryman": "Ferrymen", "Bakery": "Bakeries"}


@dataclass(frozen=True, slots=True)
class Brief:
    craft: Craft
    title: str
    description: str
    client: str
    contact: str  # the given name of whoever answers at the client's
    name: str  # what people call the project when they talk
    headline: str
    summary: str


def slug_of(text: str, *, words: int = 12) -> str:
    """`text` as part of an address: small letters, digits and hyphens, at most `words` words."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    parts = [part for part in _NOT_SLUG.sub(" ", plain.replace("'", "")).split() if part]
    return "-".join(parts[:words])[:_SLUG_LENGTH].strip("-") or "project"


class Desk:
    """Draws briefs one after the other."""

    def __init__(self, dice: Dice, crowd: Crowd) -> None:
        self._dice = dice
        self._crowd = crowd
        self._words = vocabulary()
        self._goods = [sector for sector in self._words.clients.sector if sector.goods]
        crafts = list(self._words.crafts.values())
        self._crafts = Weighted(crafts, [craft.weight for craft in crafts])

    def brief(self) -> Brief:
        dice = self._dice
        craft = self._crafts.pick(dice)
        sector = dice.pick(self._goods if craft.for_goods else self._words.clients.sector)
        client = self._client(sector)
        work = self._work()
        kind = dice.pick(craft.kinds)
        title = dice.pick(kind.titles).format(client=client, work=work, n=dice.between(2, 6))
        name = work if work in title else client
        contact = self._crowd.name()[0]
        scope = dice.pick(kind.scope)
        return Brief(
            craft=craft,
            title=title,
            description=self._description(scope, sector, client=client, contact=contact, name=name),
            client=client,
            contact=contact,
            name=name,
            headline=dice.pick(kind.headlines).format(client=client, work=name),
            summary=dice.pick(self._words.briefs.summary).format(scope=scope, contact=contact, client=client),
        )

    def demo(self, project: DemoProject) -> Brief:
        """The brief of a project that is written out in full, for the demo account."""
        return Brief(
            craft=self._words.crafts[project.craft],
            title=project.title,
            description=project.description,
            client=project.client,
            contact=self._crowd.name()[0],
            name=project.work or project.title.partition(":")[0],
            headline=project.headline,
            summary=project.summary,
        )

    def _client(self, sector: Sector) -> str:
        return f"{self._dice.pick(self._words.clients.first)} {sector.name}"

    def _work(self) -> str:
        dice, work = self._dice, self._words.clients.work
        noun, noun2 = dice.sample(work.noun, 2)
        title = dice.pick(work.patterns).format(
            adj=dice.pick(work.adj),
            noun=noun,
            noun2=noun2,
            nouns=_plural(noun),
            a_noun=f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}",
            place=dice.pick(work.place),
            given=self._crowd.name()[0],
        )
        return title[0].upper() + title[1:]

    def _description(self, scope: str, sector: Sector, *, client: str, contact: str, name: str) -> str:
        dice, words = self._dice, self._words.briefs
        month = dice.between(0, 11)
        intro = dice.pick(words.intro_client if name == client else words.intro_work)
        sentences = [
            intro.format(client=client, what=dice.pick(sector.what), name=name),
            scope,
            *dice.sample(words.condition, dice.between(0, 2)),
            dice.pick(words.timing).format(
                month=words.months[month],
                month2=words.months[(month + dice.between(2, 6)) % 12],
                weeks=dice.pick(words.weeks),
            ),
            dice.pick(words.contact).format(contact=contact),
        ]
        return " ".join(sentence for sentence in sentences if sentence)


def _plural(noun: str) -> str:
    return _PLURALS.get(noun, noun + "s")
