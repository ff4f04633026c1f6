"""Public pages; with the cache and without."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime

import pytest
from starlette.types import Message

from fluxstudio.app import Application
from fluxstudio.showcase import page
from fluxstudio.testing import Caller, World


async def test_everybody_sees_a_published_page(app: Application, world: World) -> None:
    response = await Caller(app).call("GET", f"/p/{world.slug}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "public, no-cache"
    for text in ("See our poster", "Harbour poster", "It is red.", "by <b>Ada</b>"):
        assert text in response.text


async def test_who_has_the_page_is_told_that_it_still_stands_until_it_changes(
    app: Application, world: World
) -> None:
    path, visitor, ada = f"/p/{world.slug}", Caller(app), Caller(app, world.ada)
    first = await visitor.call("GET", path)
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            again = await visitor.call(method, path, headers={"if-none-match": given})
            assert (again.status_code, again.content) == (304, b""), given
            assert "content-length" not in again.headers
            for name in ("etag", "cache-control", "content-security-policy"):
                assert again.headers[name] == first.headers[name]
    for given in ('"other"', tag.strip('"'), ""):
        assert (await visitor.call("GET", path, headers={"if-none-match": given})).status_code == 200, given
    showcase = f"/api/projects/{world.project}/showcase"
    await ada.put(showcase, {"slug": world.slug, "headline": "Changed"}, status=200)
    changed = await visitor.call("GET", path, headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert "Changed" in changed.text
    await ada.delete(showcase)
    for given in (tag, "*"):
        assert (await visitor.call("GET", path, headers={"if-none-match": given})).status_code == 404


async def test_a_page_runs_nothing_and_loads_nothing(app: Application, world: World) -> None:
    response = await Caller(app).call("GET", f"/p/{world.slug}")
    policy = dict(
        part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert not re.search(r"<script|\sstyle=|\ssrc=|\son\w+=", response.text)
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_what_people_write_stays_text(app: Application, world: World) -> None:
    evil = "</p><script>alert(\"1\")</script><img src=x onerror='a'>"
    ben = Caller(app, world.ben)
    await Caller(app, world.ada).patch("/api/me", {"name": "<b>Ada"})  # the owner: named on the page
    await ben.patch(f"/api/projects/{world.project}", {"title": "<i>&"})
    form = {"slug": f"evil-{world.project}", "headline": f"H {evil}", "summary": f"S {evil}\n\n{evil}"}
    await ben.put(f"/api/projects/{world.project}/showcase", form, status=200)
    html = await Caller(app).get(f"/p/evil-{world.project}")
    for tag in ("<script", "<img", "<i>", "<b><b>Ada"):
        assert tag not in html
    assert html.count("&lt;script&gt;") >= 3
    assert "&lt;b&gt;Ada" in html


async def test_an_unknown_page_says_so_in_html(app: Application) -> None:
    for slug in ("nothing-here", "UPPER", "a--b", "-", "a" * 81, "%00", "a%20b"):
        response = await Caller(app).call("GET", f"/p/{slug}")
        assert response.status_code == 404, slug
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert "Nothing is shown here" in response.text


async def test_publishing_shows_a_page_that_was_just_missing(app: Application, world: World) -> None:
    garden = f"/p/garden-{world.project}"
    assert (await Caller(app).call("GET", garden)).status_code == 404
    path = f"/api/projects/{world.other_project}/showcase"
    published = await Caller(app, world.dora).put(path, {"slug": garden[3:], "headline": "Film"}, status=200)
    assert (published["slug"], published["summary"]) == (garden[3:], "")
    assert "Film" in await Caller(app).get(garden)
    await Caller(app, world.dora).delete(path)
    assert (await Caller(app).call("GET", garden)).status_code == 404
    await Caller(app, world.dora).delete(path, status=404)


async def test_a_slug_belongs_to_one_project(app: Application, world: World) -> None:
    form = {"slug": world.slug, "headline": "Mine"}
    dora = Caller(app, world.dora)
    problem = await dora.put(f"/api/projects/{world.other_project}/showcase", form, status=409)
    assert problem["code"] == "slug-taken"
    assert problem["errors"][0]["field"] == "body.slug"
    assert "See our poster" in await Caller(app).get(f"/p/{world.slug}")


async def test_viewers_and_strangers_do_not_publish(app: Application, world: World) -> None:
    path = f"/api/projects/{world.project}/showcase"
    form = {"slug": "theirs", "headline": "Theirs"}
    for person, status in ((world.cy, 403), (world.dora, 404)):
        await Caller(app, person).put(path, form, status=status)
        await Caller(app, person).delete(path, status=status)


async def test_head_answers_like_get_without_the_body(app: Application, world: World) -> None:
    get = await Caller(app).call("GET", f"/p/{world.slug}?utm_source=mail")
    head: list[Message] = []  # as the server sees it: httpx would hide a body

    async def send(message: Message) -> None:
        head.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "HEAD", "path": f"/p/{world.slug}", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in head[0]["headers"]}
    for answer in (headers, get.headers):
        answer.pop("cache-status", None)
        answer.pop("x-request-id")
    assert headers == dict(get.headers)
    assert headers["content-length"] == str(len(get.content))
    assert b"".join(message.get("body", b"") for message in head) == b""


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ((), ""),
        (("A",), "by <b>A</b>"),
        (("A", "B"), "by <b>A and B</b>"),
        (("A", "B", "C"), "by <b>A, B and C</b>"),
    ],
)
def test_owners_are_enumerated(owners: tuple[str, ...], expected: str) -> None:
    day = datetime(2026, 3, 7, tzinfo=UTC)
    html = page.render(
        headline="H", summary="", published_at=day, updated_at=day, title="T", owners=owners
    ).decode()
    assert f'<p class="by">{expected}' in html
    assert "7 March 2026" in html
