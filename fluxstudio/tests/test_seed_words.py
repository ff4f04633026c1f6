"""The parts of the seed that need no database: its dice, its shapes and its words."""

from collections import Counter
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxstudio.seed.briefs import Desk, slug_of
from fluxstudio.seed.dice import Decks, Dice, Weighted
from fluxstudio.seed.people import Crowd, ascii_letters
from fluxstudio.seed.schedule import write_messages
from fluxstudio.seed.shapes import (
    conversation_length,
    conversation_lengths,
    days_of_work,
    member_count,
    unread,
    zipf_shares,
)
from fluxstudio.seed.sizes import SIZES
from fluxstudio.seed.slots import Slots, small_start
from fluxstudio.seed.studio import Studio, plan_studio
from fluxstudio.seed.talk import Talk
from fluxstudio.seed.vocabulary import Craft, Exchange, Scene, vocabulary

seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def medium() -> Studio:
    return plan_studio(SIZES["medium"], Dice(1))


# Dice


def test_dice_throw_the_same_on_every_python() -> None:
    """Pinned values: a change of these changes every seeded row."""
    dice = Dice(2026)
    thrown = [
        dice.between(1, 6),
        dice.pick("abcdef"),
        dice.chance(0.5),
        dice.sample(range(9), 3),
        int(dice.exponential(9)),
    ]
    assert thrown == [1, "d", False, [7, 1, 3], 8]


@given(seeds, st.lists(st.integers(), unique=True, max_size=30), st.integers(0, 40))
def test_a_sample_has_no_item_twice(seed: int, items: list[int], count: int) -> None:
    sample = Dice(seed).sample(items, count)
    assert len(sample) == len(set(sample)) == min(count, len(items))
    assert set(sample) <= set(items)


@given(seeds, st.integers(1, 60))
def test_a_deck_gives_every_card_before_any_comes_again(seed: int, count: int) -> None:
    decks = Decks(Dice(seed))
    for _ in range(2):
        assert sorted(decks.draw("cards", range(count)) for _ in range(count)) == list(range(count))


def test_weights_are_kept() -> None:
    dice, three = Dice(1), Weighted("abc", [1, 0, 3])
    drawn = Counter(three.pick(dice) for _ in range(4_000))
    assert drawn["b"] == 0
    assert 2.6 < drawn["c"] / drawn["a"] < 3.4


# Shapes


@given(st.integers(1, 300), st.integers(0, 5_000), st.floats(0.5, 1.5), st.floats(0, 100))
def test_shares_add_up_and_fall(parts: int, more: int, exponent: float, flatten: float) -> None:
    shares = zipf_shares(parts + more, parts, exponent=exponent, flatten=flatten)
    assert sum(shares) == parts + more
    assert shares == sorted(shares, reverse=True)
    assert min(shares) >= 1


@given(seeds, st.integers(0, 500))
def test_conversations_are_exactly_as_long_as_the_project_s_messages(seed: int, messages: int) -> None:
    lengths = conversation_lengths(Dice(seed), messages)
    assert sum(lengths) == messages
    assert all(1 <= length <= 14 for length in lengths)


@given(seeds, st.integers(0, 400), st.integers(1, 200), st.integers(1, 4), st.floats(0, 1))
def test_slots_of_work_are_different_ordered_and_within_the_days(
    seed: int, first: int, span: int, per_day: int, fullness: float
) -> None:
    wanted = int(span * per_day * fullness)
    last = first + span - 1
    slots = days_of_work(Dice(seed), first=first, last=last, wanted=wanted, per_day=per_day)
    assert slots == sorted(set(slots))
    assert len(slots) == wanted
    assert all(first <= day <= last and 0 <= slot < per_day for day, slot in slots)


def test_work_is_done_on_weekdays_and_comes_in_bursts() -> None:
    slots = days_of_work(Dice(1), first=0, last=699, wanted=300, per_day=4)
    days = {day for day, _ in slots}
    assert sum(day % 7 < 2 for day in days) < len(days) / 8
    assert sum(day + 1 in days for day in days) > len(days) / 2


def test_shapes_have_the_averages_that_are_promised() -> None:
    dice = Dice(1)
    assert 4 < mean(conversation_length(dice) for _ in range(5_000)) < 4.6
    assert min(member_count(dice, 20) for _ in range(2_000)) >= 2
    assert max(member_count(dice, 4_000) for _ in range(2_000)) == 20
    left = [unread(dice) for _ in range(5_000)]
    assert 0.45 < left.count(0) / 5_000 < 0.6
    assert sum(count > 99 for count in left) > 200


# The plan


def test_medium_is_as_large_as_it_says(medium: Studio) -> None:
    assert (len(medium.people), len(medium.projects), medium.messages) == (10_000, 5_000, 300_000)


def test_the_few_are_busy_and_the_many_are_not(medium: Studio) -> None:
    messages = sorted((sum(project.lengths) for project in medium.projects), reverse=True)
    assert 2_000 < messages[0] < 6_000
    assert median(messages) < 40
    assert sum(messages[:500]) > sum(messages) / 2  # a tenth of the projects has half of the messages
    projects = Counter(member.person.id for project in medium.projects for member in project.members)
    assert min(projects.values()) == 1
    assert max(projects.values()) >= 50
    assert 5.5 < mean(len(project.members) for project in medium.projects) < 6.5


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_everybody_is_in_a_project(seed: int) -> None:
    studio = plan_studio(SIZES["small"], Dice(seed))
    seated = {member.person.id for project in studio.projects for member in project.members}
    assert seated == {person.id for person in studio.people}


def test_nobody_sits_twice_in_a_project(medium: Studio) -> None:
    for project in medium.projects:
        ids = [member.person.id for member in project.members]
        assert len(ids) == len(set(ids))
        assert 2 <= len(ids) <= 20


def test_titles_are_varied_and_texts_fit_their_columns(medium: Studio) -> None:
    briefs = [project.brief for project in medium.projects]
    assert len({brief.title for brief in briefs}) > 4_700
    assert all(len(brief.title) <= 120 and len(brief.headline) <= 120 for brief in briefs)
    assert all(len(brief.description) <= 4_000 and brief.description for brief in briefs)
    assert all(len(person.name) <= 80 and len(person.bio) <= 2_000 for person in medium.people)


def test_only_who_sells_things_has_packaging_designed() -> None:
    desk = Desk(Dice(1), Crowd(Dice(2)))
    packaging = vocabulary().crafts["packaging"]
    goods = tuple(sector.name for sector in vocabulary().clients.sector if sector.goods)
    briefs = [brief for brief in (desk.brief() for _ in range(500)) if brief.craft is packaging]
    assert briefs
    assert all(brief.client.endswith(goods) for brief in briefs)


def test_conversations_of_one_project_do_not_interleave_and_messages_come_by_time() -> None:
    studio = plan_studio(SIZES["small"], Dice(1))
    messages = list(write_messages(studio, Talk(Dice(2)), Dice(3)))
    assert [message.id for message in messages] == list(range(1, 3_001))
    assert [m.created_ms for m in messages] == sorted(m.created_ms for m in messages)
    by_project = Counter(message.project_id for message in messages)
    assert by_project == {project.id: sum(project.lengths) for project in studio.projects}


# Words


def test_names_become_plain_letters() -> None:
    names = ("Øyvind", "Łukasz", "Đặng", "O'Brien", "van den Berg", "Eun-ji", "Yıldız", "Strauß")
    assert [ascii_letters(name) for name in names] == [
        *("oyvind", "lukasz", "dang", "obrien", "vandenberg", "eunji", "yildiz", "strauss")
    ]
    words = vocabulary().names.group
    assert all(ascii_letters(name) for group in words for name in group.given + group.family)


def test_nobody_gets_an_address_that_somebody_has() -> None:
    crowd = Crowd(Dice(1))
    addresses = [crowd.person(n, created_ms=0, updated_ms=0).email for n in range(20_000)]
    assert len(set(addresses)) == len(addresses)


@given(st.text())
def test_a_slug_fits_the_address_of_a_page(text: str) -> None:
    slug = slug_of(text)
    assert 1 <= len(slug) <= 70
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert "--" not in slug
    assert slug.strip("-") == slug


def test_a_small_start_spares_what_needs_its_capital() -> None:
    phrases = [
        "Do we need it?",
        "I'm in.",
        "I do.",
        "PDF only.",
        "ProRes master.",
        "{contact} has it.",
        "Yes.",
    ]
    assert [small_start(phrase) for phrase in phrases] == [
        *("do we need it?", "I'm in.", "I do.", "PDF only.", "ProRes master.", "{contact} has it.", "yes.")
    ]


def slots_of(craft: Craft, exchange: Exchange | None, seed: int = 1) -> Slots:
    given = {
        "client": "C",
        "contact": "K",
        "name": "N",
        "S": "Ada",
        "R": "Bo",
        "O": "Cy",
        "file": "f-v1",
        "next": "f-v2",
    }
    dice = Dice(seed)
    return Slots(dice, vocabulary(), craft, Decks(dice), exchange=exchange, ms=0, given=given)


@pytest.mark.parametrize("name", sorted(vocabulary().crafts))
def test_every_phrase_of_a_craft_can_be_filled(name: str) -> None:
    craft = vocabulary().crafts[name]
    phrases = [*craft.parts, *craft.tweaks, *craft.praise, *craft.doing, *craft.decisions, *craft.milestones]
    phrases += [text for pair in craft.issues + craft.says for text in pair]
    phrases += [text for question in craft.questions for text in (question.ask, *question.answers)]
    for phrase in phrases:
        check(phrase.format_map(slots_of(craft, None)))
    assert all(len(question.answers) >= 2 for question in craft.questions)
    for kind in craft.kinds:
        for text in kind.titles + kind.headlines:
            check(
                text.format(client="Isobel & Sons Coffee Roasters", work="The Road to the Upper Valley", n=3)
            )


@pytest.mark.parametrize("scene", vocabulary().scenes, ids=lambda scene: scene.name)
def test_every_line_of_a_scene_can_be_said_in_every_craft(scene: Scene) -> None:
    words = vocabulary()
    opens = scene.opens or next(other.opens for other in words.scenes if other.name == scene.like)
    lines = [*opens, *(line for turn in scene.turns for line in turn.say)]
    for seed, craft in enumerate(words.crafts.values()):
        exchanges: list[Exchange | None] = [*(craft.questions if scene.craft_questions else scene.exchanges)]
        for exchange in exchanges or [None]:
            for line in lines:
                check(line.format_map(slots_of(craft, exchange, seed)))


def check(text: str) -> None:
    assert "{" not in text, text
    assert "  " not in text, text
    assert ".." not in text.replace("...", ""), text
    assert text == text.strip(), text
    assert 1 <= len(text) <= 1_500, text
