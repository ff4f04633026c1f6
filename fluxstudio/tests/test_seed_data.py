"""What the seed puts into a database: people, projects and conversations in the shapes of real use."""
# ruff: noqa: S608 -- the names of our own tables

import re
from collections.abc import Iterator

import argon2
import pytest

from fluxstudio.seed import DEMO_EMAIL, DEMO_PASSWORD, NOW, SIZES, load, seed
from fluxstudio.seed.vocabulary import vocabulary
from fluxstudio.testing import ask, in_a_thread, value
from valtier.embedded import EmbeddedPostgres

SMALL = SIZES["small"]


@pytest.fixture(scope="module")
def seeded(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """The URL of a small database that tests only read."""
    url = f"{postgres_server.url.rpartition('/')[0]}/seeded"
    ask(postgres_server.url, f"CREATE DATABASE seeded TEMPLATE {template_database} STRATEGY file_copy")
    in_a_thread(lambda: seed(url, "small", progress=False))
    yield url
    ask(postgres_server.url, "DROP DATABASE seeded WITH (FORCE)")


def test_the_small_size_has_what_it_says(seeded: str) -> None:
    counts = {table: value(seeded, f"SELECT count(*) FROM {table}") for table in load.TABLES}
    assert (counts["users"], counts["projects"], counts["messages"]) == (100, 50, 3_000)
    assert 250 <= counts["members"] <= 400
    assert counts["assets"] >= 100
    assert counts["showcase_pages"] >= 5


def test_everybody_is_in_a_project_and_every_project_has_2_to_20_members_and_one_owner(seeded: str) -> None:
    assert value(seeded, "SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM members)") == 0
    sizes = [
        row["members"] for row in ask(seeded, "SELECT count(*) AS members FROM members GROUP BY project_id")
    ]
    assert len(sizes) == SMALL.projects
    assert 2 <= min(sizes) <= max(sizes) <= 20
    assert 5 <= sum(sizes) / len(sizes) <= 8
    owners = "SELECT count(*) FROM members WHERE role = 'owner' GROUP BY project_id"
    assert {row[0] for row in ask(seeded, owners)} == {1}
    assert value(seeded, "SELECT count(*) FROM projects p JOIN members m ON m.project_id = p.id AND m.role = 'owner'"
                 " AND m.user_id <> p.created_by") == 0  # fmt: skip


def test_only_members_who_may_write_have_written_and_only_after_they_joined(seeded: str) -> None:
    query = """
        SELECT count(*), count(*) FILTER (WHERE m.role IN ('owner', 'editor') AND m.joined_at < g.created_at) AS fine
          FROM messages g LEFT JOIN members m ON (m.project_id, m.user_id) = (g.project_id, g.author_id)
    """
    assert tuple(ask(seeded, query)[0]) == (3_000, 3_000)


def test_ids_ascend_with_time(seeded: str) -> None:
    for table in ("users", "projects", "messages", "assets"):
        rows = ask(seeded, f"SELECT id, created_at FROM {table} ORDER BY id")
        times = [row["created_at"] for row in rows]
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1)), table
        assert times == sorted(times), table


def test_little_is_written_at_the_weekend_and_nothing_at_night(seeded: str) -> None:
    weekend = "SELECT count(*) FROM messages WHERE extract(isodow FROM created_at) > 5"
    assert 0 < value(seeded, weekend) < 450
    night = "SELECT count(*) FROM messages WHERE extract(hour FROM created_at AT TIME ZONE 'UTC') NOT BETWEEN 6 AND 21"
    assert value(seeded, night) == 0


def test_everything_happened_in_order_and_before_the_fixed_now(seeded: str) -> None:
    """A seed knows no clock: whatever the day, nothing in it is from the future."""
    columns = ask(
        seeded,
        """SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type LIKE 'timestamp%'""",
    )
    for table, column in columns:
        assert (value(seeded, f"SELECT max({column}) FROM {table}") or NOW) <= NOW, (table, column)
    late = """
        SELECT count(*) FROM members m JOIN users u ON u.id = m.user_id JOIN projects p ON p.id = m.project_id
         WHERE m.joined_at < u.created_at OR m.joined_at < p.created_at
    """
    assert value(seeded, late) == 0


def test_addresses_are_unique_and_names_varied(seeded: str) -> None:
    people = ask(seeded, "SELECT id, name, email FROM users ORDER BY id")
    assert len({person["name"] for person in people}) > 95
    pattern = re.compile(r"[a-z]+(\.[a-z]+)?[0-9]{1,3}@example\.(com|org|net)")
    assert [p["email"] for p in people if not pattern.fullmatch(p["email"])] == [DEMO_EMAIL]
    assert any(not person["name"].isascii() for person in people)


def test_what_is_said_is_varied_and_can_be_searched(seeded: str) -> None:
    assert value(seeded, "SELECT count(DISTINCT body) FROM messages") > 2_300
    hits = "SELECT count(*) FROM messages WHERE search @@ websearch_to_tsquery('english', $1)"
    for words in ("client", "deadline or review", "wordmark", "boss arena", '"rough cut"', "winter tins"):
        found = value(seeded, hits, words) + value(seeded, hits.replace("messages", "projects"), words)
        assert 0 < found < 1_500, words
    assert value(seeded, "SELECT count(*) FROM messages WHERE body ~ '[{}]|  '") == 0


def test_unread_counts_are_spread(seeded: str) -> None:
    """Many have read everything, some have tens to catch up on, and nobody has unread what they wrote."""
    rows = ask(
        seeded,
        """
        SELECT count(g.id) FILTER (WHERE g.id > m.last_read_message_id) AS unread,
               count(g.id) FILTER (WHERE g.id > m.last_read_message_id AND g.author_id = m.user_id) AS own
          FROM members m LEFT JOIN messages g ON g.project_id = m.project_id GROUP BY m.project_id, m.user_id
        """,
    )
    unread = [row["unread"] for row in rows]
    assert sum(row["own"] for row in rows) == 0
    assert unread.count(0) > len(unread) / 3
    assert sum(10 <= count < 100 for count in unread) > 15
    assert max(unread) > 99


def test_assets_are_the_files_of_the_chat(seeded: str) -> None:
    posted = ask(seeded, "SELECT project_id, filename, uploaded_by, created_at FROM assets")
    query = "SELECT count(*) FROM messages WHERE project_id = $1 AND author_id = $2 AND strpos(body, $3) > 0"
    said = sum(
        value(seeded, query, a["project_id"], a["uploaded_by"], a["filename"]) > 0 for a in posted[:30]
    )
    assert said >= 25  # the rest was posted without a word about it
    assert (
        value(seeded, "SELECT count(*) FROM assets WHERE content_type LIKE 'video/%' AND width IS NULL") == 0
    )


def test_the_demo_user_is_the_first_and_can_sign_in_as_the_only_one(seeded: str) -> None:
    rows = ask(seeded, "SELECT id, email, password_hash FROM users WHERE password_hash IS NOT NULL")
    assert [(row["id"], row["email"]) for row in rows] == [(1, "demo@fluxstudio.example")]
    assert DEMO_PASSWORD == "demo-studio-2026"
    assert argon2.PasswordHasher().verify(rows[0]["password_hash"], DEMO_PASSWORD)


def test_the_demo_user_has_lively_projects_with_unread_messages(seeded: str) -> None:
    rows = ask(
        seeded,
        """
        SELECT p.title, m.role, page.slug, count(g.id) AS messages,
               count(g.id) FILTER (WHERE g.id > m.last_read_message_id) AS unread,
               count(g.id) FILTER (WHERE g.author_id = 1) AS own, max(g.created_at) AS last
          FROM members m JOIN projects p ON p.id = m.project_id JOIN messages g ON g.project_id = p.id
          LEFT JOIN showcase_pages page ON page.project_id = p.id
         WHERE m.user_id = 1 GROUP BY p.id, m.role, page.slug, m.last_read_message_id
        """,
    )
    planned = {project.title: project for project in vocabulary().demo}
    assert {row["title"] for row in rows} == set(planned)
    assert {row["slug"] for row in rows} - {None} == {"aurora-identity"}
    for row in rows:
        project = planned[row["title"]]
        assert (row["role"], row["messages"], row["unread"]) == (
            project.role,
            project.messages,
            project.unread,
        )
        assert (row["own"] > 0) == (project.role != "viewer")
        assert (NOW - row["last"]).days <= 1
