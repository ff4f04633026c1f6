"""The search; with the cache and without."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fluxstudio.app import Application
from fluxstudio.search import service
from fluxstudio.search.queries import HIT_BEGIN, HIT_END
from fluxstudio.search.service import normalise, segments
from fluxstudio.testing import Caller, Database, World, expect

# fmt: off
ODD_QUERIES = [
    "'", '"', "';--", "a & | !", "((", "<->", "a:*", "\\", "%", "_", "*", ":", "!", "&", "|", "-", "--", "''",
    "a" * 200, "\u202e", "\ue000", "\x02\x03", "é" * 200, "🎨", "or", "or or or", '"unclosed', "- -a -b",
    "' OR 1=1 --", "$1", "{}", "%s", "\n", "a\tb",
]
# fmt: on


def hits(found: list[dict[str, object]]) -> set[str]:
    return {part["text"] for part in found if part["hit"]}  # type: ignore[misc]


async def test_projects_and_messages_are_found_and_hits_are_marked(app: Application, world: World) -> None:
    answer = await Caller(app, world.cy).get("/api/search?q=Lighthouses")
    assert answer["query"] == "lighthouses"
    kinds = [(found["kind"], found["message_id"]) for found in answer["results"]]
    assert kinds[0] == ("project", None)
    assert sorted(kinds[1:]) == [("message", world.first_message), ("message", world.newest_message)]
    assert all(hits(found["excerpt"]) == {"lighthouse"} for found in answer["results"])
    [message] = [found for found in answer["results"] if found["message_id"] == world.newest_message]
    assert message["author"] == {"id": world.ben.id, "name": "Ben"}
    assert "".join(part["text"] for part in message["title"]) == "Harbour poster"
    assert answer["results"][0]["author"] is None


async def test_a_title_ranks_above_a_description_above_a_message(
    app: Application, database: Database
) -> None:
    ada = await database.person("Ada")
    message = await database.project("Third", {ada: "owner"})
    await database.message(message, ada, "kite")
    described = await database.project("Second", {ada: "owner"}, "A kite")
    titled = await database.project("Kite", {ada: "owner"})
    results = (await Caller(app, ada).get("/api/search?q=kite"))["results"]
    assert [found["project_id"] for found in results] == [titled, described, message]


async def test_the_limit_keeps_the_best(app: Application, world: World) -> None:
    full = (await Caller(app, world.cy).get("/api/search?q=lighthouse"))["results"]
    first = (await Caller(app, world.cy).get("/api/search?q=lighthouse&limit=1"))["results"]
    assert first == full[:1]


async def test_nobody_finds_what_they_may_not_see(app: Application, world: World) -> None:
    def projects(answer: dict[str, list[dict[str, int]]]) -> set[int]:
        return {found["project_id"] for found in answer["results"]}

    for person, allowed in (
        (world.ada, {world.project}),
        (world.dora, {world.other_project}),
        (world.eve, set()),
    ):
        assert projects(await Caller(app, person).get("/api/search?q=lighthouse")) == allowed


async def test_operators_of_web_search_work(app: Application, world: World) -> None:
    async def found(query: str) -> set[int | None]:
        answer = await Caller(app, world.cy).get(f"/api/search?q={quote(query)}")
        return {result["message_id"] for result in answer["results"]}

    assert await found('"too small"') == {world.first_message}
    assert await found("lighthouse -larger") == {None, world.first_message}
    assert await found("small OR larger") == {world.first_message, world.newest_message}
    assert await found("the") == set()  # a stop word


async def test_no_character_upsets_it(app: Application, world: World) -> None:
    caller = Caller(app, world.cy)
    for query in ODD_QUERIES:
        response = await caller.call("GET", "/api/search", params={"q": query})
        assert response.status_code == (200 if query.strip() else 422), (query, response.text)


@given(st.lists(st.sampled_from(["-", '"', "(", ")", " ", "or", "a", "b", "-- ", "!", "&", "|"])))
@example(["-"] * 199 + ["a"])
@example(["- "] * 99 + ["a"])
@example(["-("] * 99 + ["a"])
@example(['-"'] * 99 + ["a"])
@example(["a -"] * 66)
@example(["- or "] * 40)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_sequence_of_operators_upsets_it(app: Application, world: World, pieces: list[str]) -> None:
    query = "".join(pieces)[:200]
    response = await Caller(app, world.cy).call("GET", "/api/search", params={"q": query})
    assert response.status_code == (200 if query.strip() else 422), (query, response.text)


async def test_a_run_of_hyphens_is_one_negation(app: Application, world: World) -> None:
    cy = Caller(app, world.cy)
    expected = await cy.get("/api/search?q=lighthouse%20-larger")
    assert len(expected["results"]) == 2
    for query in (f"lighthouse {'-' * 40}larger", "lighthouse - - -larger", "lighthouse -(-(larger)"):
        assert (await cy.get(f"/api/search?q={quote(query)}"))["results"] == expected["results"]


async def test_what_is_too_intricate_for_postgresql_is_told(
    app: Application, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "normalise", lambda query: query)
    response = await Caller(app, world.cy).call("GET", "/api/search", params={"q": "-" * 40 + "a"})
    [error] = expect(response, 422).json()["errors"]
    assert error == {
        "field": "query.q",
        "message": "is too intricate; look for fewer words, with fewer operators",
    }


async def test_marks_in_the_text_do_not_pass_for_hits(app: Application, database: Database) -> None:
    ada = await database.person("Ada")
    project = await database.project("Plain", {ada: "owner"})
    await database.message(project, ada, f"{HIT_BEGIN}fake{HIT_END} & <b>bold</b> real lighthouse")
    [found] = (await Caller(app, ada).get("/api/search?q=lighthouse"))["results"]
    assert hits(found["excerpt"]) == {"lighthouse"}
    assert HIT_BEGIN not in str(found)


async def test_spelling_differences_share_one_entry(app: Application, world: World) -> None:
    caller = Caller(app, world.cy)
    first = await caller.get("/api/search?q=Red%20%20lighthouse")
    assert await caller.get("/api/search?q=red+LIGHTHOUSE+") == first
    if app.settings.use_redis:
        stats = app.studio.tier.cache.stats()["search"]  # type: ignore[union-attr]
        assert (stats.hits, stats.misses) == (1, 1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Red  DOOR", "red door"),
        ("a - -- b", "a -b"),
        ("--(-a", "-a"),
        ('"x"-- y', '"x"-y'),
        ('"a - -- b" --c', '"a - -- b" -c'),
        ("well--known a- - b", "well--known a- -b"),
    ],
)
def test_only_runs_of_hyphens_that_negate_are_shortened(query: str, expected: str) -> None:
    assert normalise(query) == expected


@given(st.text(max_size=200) | st.text(alphabet='-"() a', max_size=200))
def test_normalising_twice_changes_nothing_more(query: str) -> None:
    assert normalise(normalise(query)) == normalise(query)


@given(st.lists(st.tuples(st.text(alphabet="ab <&", min_size=1), st.booleans())))
def test_segments_are_the_text_in_order(parts: list[tuple[str, bool]]) -> None:
    headline = "".join(f"{HIT_BEGIN}{text}{HIT_END}" if hit else text for text, hit in parts)
    found = segments(headline)
    assert "".join(part.text for part in found) == "".join(text for text, _ in parts)
    assert [part.text for part in found if part.hit] == [text for text, hit in parts if hit]


async def test_boards_are_found_by_title_folder_and_what_is_written_on_them(
    app: Application, world: World
) -> None:
    ben, cy = Caller(app, world.ben), Caller(app, world.cy)
    made = await ben.post(
        f"/api/projects/{world.project}/boards", {"title": "Colour study", "folder": "Autumn / Print"}
    )
    path = f"/api/boards/{made['id']}/elements"

    async def found(query: str, caller: Caller = cy) -> list[tuple[str, int | None]]:
        answer = await caller.get(f"/api/search?q={quote(query)}")
        return [(one["kind"], one["board_id"]) for one in answer["results"]]

    assert await found("autumn study") == [("board", made["id"])]
    assert await found("kingfisher") == []
    text = {"id": "t", "type": "text", "version": 1, "versionNonce": 1, "text": "A kingfisher\nblue"}
    await ben.post(path, {"elements": [text]}, status=200)
    assert await found("kingfisher") == [("board", made["id"])]
    [one] = (await cy.get("/api/search?q=kingfishers%20colour"))["results"]
    assert (one["kind"], one["board_id"], one["message_id"]) == ("board", made["id"], None)
    assert hits(one["excerpt"]) == {"kingfisher"}
    assert hits(one["board_title"]) == {"Colour"}
    assert "".join(part["text"] for part in one["board_title"]) == "Autumn/Print / Colour study"
    assert await found("kingfisher", Caller(app, world.dora)) == []
    await ben.post(path, {"elements": [text | {"version": 2, "isDeleted": True}]}, status=200)
    assert await found("kingfisher") == []
    await ben.patch(f"/api/boards/{made['id']}", {"title": "Kingfisher"})
    assert await found("kingfisher") == [("board", made["id"])]
    await ben.delete(f"/api/boards/{made['id']}")
    assert await found("kingfisher") == []
