"""The slots of a conversation: names, files, days and phrases, each chosen when it is first needed.

A slot keeps its value for the whole conversation, which is why an answer is about the thing that was asked. The
names of the slots, as the files under `words/` use them:

S, R, O                        who starts, who answers, somebody else
client, contact, name          the client, a person there, what the project is called
part, part2, part3, tweak …, doing …, decision …     different phrases of the project's craft
problem + fix, says + plan, ask + answer + answer2   phrases that belong together
file, next                     the file that is talked about, its next version
day, day2, yesterday, today, date, time, soon         when, seen from the time of the conversation
clock, hour                                           a time on another day, a time for lunch
n, m, px, sec, pct, price, price2, food, city        small change

A slot that is written with a capital (`{Part}`) has its value with a capital.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from fluxstudio.seed.dice import Decks, Dice
from fluxstudio.seed.sizes import moment
from fluxstudio.seed.vocabulary import Craft, Exchange, Vocabulary

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PX = ("12", "14", "16", "18", "20", "24", "28", "32")
_PER_CENT = ("30", "40", "60", "70", "75", "80", "85", "90")


class Slots(dict[str, str]):
    """A dictionary that fills itself: `template.format_map(slots)` asks for what the template needs."""

    __slots__ = ("craft", "decks", "dice", "exchange", "ms", "words")

    def __init__(
        self,
        dice: Dice,
        words: Vocabulary,
        craft: Craft,
        decks: Decks,
        *,
        exchange: Exchange | None,
        ms: int,
        given: dict[str, str],
    ) -> None:
        super().__init__(given)
        self.dice = dice
        self.words = words
        self.craft = craft
        self.decks = decks
        self.exchange = exchange
        self.ms = ms

    def __missing__(self, slot: str) -> str:
        if slot[0].isupper():
            text = self[slot[0].lower() + slot[1:]]
            self[slot] = text[0].upper() + text[1:]
        else:
            _FILL[slot](self)
        return self[slot]

    def fill(self, slot: str, phrase: str) -> None:
        self[slot] = phrase.format_map(self) if "{" in phrase else phrase

    def fill_different(self, slots: tuple[str, ...], phrases: list[str]) -> None:
        for slot, phrase in zip(slots, self.dice.sample(phrases, len(slots)), strict=True):
            self.fill(slot, phrase)

    def fill_pair(self, slots: tuple[str, str], pairs: list[tuple[str, str]]) -> None:
        for slot, phrase in zip(slots, self.decks.draw(slots[0], pairs), strict=True):
            self.fill(slot, phrase)


def small_start(phrase: str) -> str:
    """`phrase` with a small first letter, unless its first word needs the capital ("I'm", "PDF", a name)."""
    first = phrase.split(" ", 1)[0]
    if first[:1] == "{" or first == "I" or first.startswith("I'") or first[1:] != first[1:].lower():
        return phrase
    return phrase[0].lower() + phrase[1:]


def _weekday(slots: Slots, ahead: int) -> str:
    """The name of the working day that is about `ahead` days after the conversation."""
    day = moment(slots.ms).weekday() + ahead
    return _WEEKDAYS[day % 7] if day % 7 < 5 else _WEEKDAYS[0 if ahead > 0 else 4]


def _fill_days(slots: Slots) -> None:
    ahead = slots.dice.between(1, 3)
    slots["day"] = _weekday(slots, ahead)
    slots["day2"] = _weekday(slots, ahead + 3)
    slots["today"] = _WEEKDAYS[moment(slots.ms).weekday()]
    slots["yesterday"] = _weekday(slots, -1)


def _fill_date(slots: Slots) -> None:
    day = (moment(slots.ms) + timedelta(days=slots.dice.between(5, 18))).day
    ending = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    slots["date"] = f"the {day}{ending}"


def _fill_time(slots: Slots) -> None:
    """Some time later on the same day."""
    halves = slots.ms // 1_800_000 % 48 + slots.dice.between(2, 5)
    slots["time"] = f"{halves // 2 % 24}:{halves % 2 * 30:02}" if halves < 44 else "ten tomorrow"


def _fill_numbers(slots: Slots) -> None:
    n, m = slots.dice.sample(range(2, 10), 2)
    slots["n"], slots["m"] = str(n), str(m)


def _fill_exchange(slots: Slots) -> None:
    exchange = slots.exchange
    if exchange is None:
        raise KeyError("this scene has no exchanges, so it must not use {ask} or {answer}")
    answer, answer2 = slots.dice.sample(exchange.answers, 2)
    for slot, phrase in (("ask", exchange.ask), ("answer", answer), ("answer2", answer2)):
        slots.fill(slot, phrase)
    slots.fill("ask_small", small_start(exchange.ask))
    slots.fill("answer_small", small_start(answer))


def _fill_part(slots: Slots) -> None:
    slots.fill_different(("part", "part2", "part3"), slots.craft.parts)


def _fill_tweak(slots: Slots) -> None:
    slots.fill_different(("tweak", "tweak2", "tweak3"), slots.craft.tweaks)


def _fill_doing(slots: Slots) -> None:
    slots.fill_different(("doing", "doing2", "doing3"), slots.craft.doing)


def _fill_decision(slots: Slots) -> None:
    slots.fill_different(("decision", "decision2"), slots.craft.decisions)


def _fill_issue(slots: Slots) -> None:
    slots.fill_pair(("problem", "fix"), slots.craft.issues)


def _fill_says(slots: Slots) -> None:
    slots.fill_pair(("says", "plan"), slots.craft.says)


_FILL: Final[dict[str, Callable[[Slots], None]]] = {
    **dict.fromkeys(("part", "part2", "part3"), _fill_part),
    **dict.fromkeys(("tweak", "tweak2", "tweak3"), _fill_tweak),
    **dict.fromkeys(("doing", "doing2", "doing3"), _fill_doing),
    **dict.fromkeys(("decision", "decision2"), _fill_decision),
    **dict.fromkeys(("problem", "fix"), _fill_issue),
    **dict.fromkeys(("says", "plan"), _fill_says),
    **dict.fromkeys(("ask", "answer", "answer2", "ask_small", "answer_small"), _fill_exchange),
    **dict.fromkeys(("day", "day2", "today", "yesterday"), _fill_days),
    **dict.fromkeys(("n", "m"), _fill_numbers),
    "date": _fill_date,
    "praise": lambda slots: slots.fill("praise", slots.dice.pick(slots.craft.praise)),
    "milestone": lambda slots: slots.fill("milestone", slots.dice.pick(slots.craft.milestones)),
    "soon": lambda slots: slots.fill("soon", slots.dice.pick(slots.words.chat.soon)),
    "soon2": lambda slots: slots.fill("soon2", slots.dice.pick(slots.words.chat.soon2)),
    "time": _fill_time,
    "clock": lambda slots: slots.fill("clock", slots.dice.pick(slots.words.chat.clock)),
    "hour": lambda slots: slots.fill("hour", slots.dice.pick(slots.words.chat.hour)),
    "food": lambda slots: slots.fill("food", slots.dice.pick(slots.words.chat.food)),
    "price": lambda slots: slots.fill("price", slots.dice.pick(slots.words.chat.price)),
    "price2": lambda slots: slots.fill("price2", slots.dice.pick(slots.words.chat.price2)),
    "city": lambda slots: slots.fill("city", slots.dice.pick(slots.words.people.cities)),
    "px": lambda slots: slots.fill("px", slots.dice.pick(_PX)),
    "sec": lambda slots: slots.fill("sec", str(slots.dice.between(2, 12))),
    "pct": lambda slots: slots.fill("pct", slots.dice.pick(_PER_CENT)),
}
