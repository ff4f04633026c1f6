"""The people of the studio: names, addresses, what they say of themselves and how they write."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from fluxstudio.seed.dice import Dice, Weighted
from fluxstudio.seed.vocabulary import NameGroup, Names, People, vocabulary

DEMO_EMAIL: Final = "demo@fluxstudio.example"
DEMO_PASSWORD: Final = "demo-studio-2026"  # noqa: S105 -- printed by `make run`; the seeded account is for everybody

_DEMO_NAME = ("Maya", "Lindqvist")
_DEMO_BIO = (
    "Runs this studio, at least until you sign up. Brand and type, mostly. Sign in as me and look around."
)

# Letters that Unicode does not take apart into a letter and an accent.
_FOLD = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "æ": "ae", "ı": "i", "ð": "d", "þ": "th"})
_NOT_LETTERS = re.compile(r"[^a-z]+")
_DOMAINS = ("example.com", "example.com", "example.com", "example.org", "example.net")


@dataclass(frozen=True, slots=True)
class Voice:
    """How somebody types."""

    lower: bool  # starts sentences with a small letter
    no_stop: bool  # leaves out the last full stop
    no_apostrophe: bool
    emoji: float  # how often a message ends in one


@dataclass(slots=True)
class Person:
    id: int
    given: str
    name: str
    email: str
    bio: str
    created_ms: int
    updated_ms: int
    voice: Voice


def ascii_letters(text: str) -> str:
    """`text` in the letters a–z, with accents and everything else taken off."""
    folded = unicodedata.normalize("NFKD", text.lower().translate(_FOLD))
    return _NOT_LETTERS.sub("", folded)


class Crowd:
    """Draws people one after the other, each with an address that nobody else has."""

    def __init__(self, dice: Dice) -> None:
        words = vocabulary()
        self._dice = dice
        self._people: People = words.people
        self._groups = _by_weight(words.names)
        self._addresses = {DEMO_EMAIL}

    def demo(self, *, created_ms: int) -> Person:
        given, family = _DEMO_NAME
        voice = Voice(lower=False, no_stop=False, no_apostrophe=False, emoji=0.05)
        return Person(1, given, f"{given} {family}", DEMO_EMAIL, _DEMO_BIO, created_ms, created_ms, voice)

    def person(self, person_id: int, *, created_ms: int, updated_ms: int) -> Person:
        given, family = self.name()
        return Person(
            id=person_id,
            given=given,
            name=f"{given} {family}",
            email=self._address(given, family),
            bio=self._bio(),
            created_ms=created_ms,
            updated_ms=updated_ms,
            voice=self._voice(),
        )

    def name(self) -> tuple[str, str]:
        dice = self._dice
        group = self._groups.pick(dice)
        home = self._groups.pick(dice) if dice.chance(0.1) else group
        given, family = dice.pick(group.given), dice.pick(home.family)
        if dice.chance(0.02):
            family = f"{family}-{dice.pick(home.family)}"
        return given, family

    def _address(self, given: str, family: str) -> str:
        dice = self._dice
        first, last = ascii_letters(given), ascii_letters(family)
        start = f"{first}.{last}" if dice.chance(0.85) else f"{first[0]}{last}"
        domain = dice.pick(_DOMAINS)
        while True:
            address = f"{start}{dice.between(2, 999)}@{domain}"
            if address not in self._addresses:
                self._addresses.add(address)
                return address

    def _bio(self) -> str:
        dice, words = self._dice, self._people
        if dice.chance(0.18):
            return ""  # many never fill it in
        role, role2 = dice.sample(words.roles, 2)
        return dice.pick(words.patterns).format(
            role=role,
            role_lower=_small(role),
            role2_lower=_small(role2),
            city=dice.pick(words.cities),
            aside=self._aside(),
            past=dice.pick(words.past),
        )

    def _aside(self) -> str:
        dice, words = self._dice, self._people
        like, like2, like3 = dice.sample(words.like, 3)
        aside = dice.pick(words.aside)
        return aside.format(
            like=like,
            like2=like2,
            like3=like3,
            Like=like[0].upper() + like[1:],
            dislike=dice.pick(words.dislike),
        )

    def _voice(self) -> Voice:
        dice = self._dice
        return Voice(
            lower=dice.chance(0.2),
            no_stop=dice.chance(0.4),
            no_apostrophe=dice.chance(0.05),
            emoji=0.15 if dice.chance(0.25) else 0.01,
        )


def _by_weight(names: Names) -> Weighted[NameGroup]:
    return Weighted(names.group, [group.weight for group in names.group])


def _small(role: str) -> str:
    return role if role[1].isdigit() or role[1].isupper() else role[0].lower() + role[1:]
