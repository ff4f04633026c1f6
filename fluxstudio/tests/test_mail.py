"""The mail queue: what is committed is sent, whoever dies; what is not is not; and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from fluxstudio.db.pool import Pool, create_pool
from fluxstudio.mail import queries
from fluxstudio.mail.letter import Letter
from fluxstudio.mail.mailbox import Mailbox
from fluxstudio.mail.service import LEASE_S, Courier, Order, Post
from fluxstudio.mail.smtp import RefusedError, SmtpServer, UndeliveredError
from fluxstudio.testing import Inbox
from valtier.embedded import free_port
from valtier.testing import eventually


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database_url, size=4)
    yield pool
    await pool.close()


async def write(order: Order) -> Letter | None:
    return None if order.kind == "nothing" else Letter(order.recipient, order.kind, "Text")


class Sent:
    """Takes letters, or fails as it is told to."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, letter: Letter) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.letters.append(letter)


async def waiting(pool: Pool) -> list[tuple[int, bool]]:
    rows = await pool.fetch("SELECT attempts, failed_at IS NOT NULL AS failed FROM mail_queue ORDER BY id")
    return [(row["attempts"], row["failed"]) for row in rows]


async def be_due(pool: Pool) -> None:
    await pool.execute("UPDATE mail_queue SET due_at = now() WHERE failed_at IS NULL")


async def test_what_is_queued_with_a_change_is_sent_if_the_change_is_committed(pool: Pool) -> None:
    post, sent = Post(pool), Sent()
    courier = Courier(pool, post, write, sent)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await post.add(connection, "rolled back", "ada@example.org")
        await transaction.rollback()
    async with pool.acquire() as connection, connection.transaction():
        await post.add(connection, "committed", "ada@example.org")
    await post.queue("nothing", "ben@example.org")
    assert await courier.work() == 2
    assert [letter.subject for letter in sent.letters] == ["committed"]
    assert await waiting(pool) == []


async def test_a_courier_looks_at_once_when_this_process_has_queued_something(pool: Pool) -> None:
    post, sent = Post(pool), Sent()
    courier = Courier(pool, post, write, sent)
    courier.start()
    await post.queue("hello", "ada@example.org")
    await eventually(lambda: len(sent.letters) == 1)
    await courier.stop()


async def test_what_could_not_be_sent_is_tried_again_later_and_given_up_after_a_day(pool: Pool) -> None:
    sent = Sent()
    sent.failure = UndeliveredError("the server is away")
    courier = Courier(pool, Post(pool), write, sent)
    await courier._post.queue("hello", "ada@example.org")
    assert await courier.work() == 1
    assert await courier.work() == 0  # not before it is due
    assert await waiting(pool) == [(1, False)]
    for _ in range(9):
        await be_due(pool)
        assert await courier.work() == 1
    assert await waiting(pool) == [(10, True)]
    await be_due(pool)
    assert await courier.work() == 0
    assert await pool.fetchval("SELECT error FROM mail_queue") == "the server is away"


async def test_what_the_server_refuses_for_good_is_not_tried_again(pool: Pool) -> None:
    sent = Sent()
    sent.failure = RefusedError("no such mailbox")
    courier = Courier(pool, Post(pool), write, sent)
    await courier._post.queue("hello", "ada@example.org")
    await courier.work()
    assert await waiting(pool) == [(1, True)]


async def test_couriers_share_the_queue_and_send_nothing_twice(pool: Pool) -> None:
    post, sent = Post(pool), Sent()
    for number in range(60):
        await post.queue(str(number), "ada@example.org")
    couriers = [Courier(pool, post, write, sent) for _ in range(4)]

    async def drain(courier: Courier) -> None:
        while await courier.work():
            pass

    await asyncio.gather(*map(drain, couriers))
    assert sorted(int(letter.subject) for letter in sent.letters) == list(range(60))


async def test_what_a_courier_had_in_hand_when_it_died_is_sent_by_another(pool: Pool) -> None:
    post, sent = Post(pool), Sent()
    sent.gate.clear()
    dying = Courier(pool, post, write, sent)
    await post.queue("hello", "ada@example.org")
    dying.start()
    await eventually(lambda: _leased(pool))
    await dying.stop()
    sent.gate.set()
    other = Courier(pool, post, write, sent)
    assert await other.work() == 0  # it may still be alive
    await pool.execute("UPDATE mail_queue SET due_at = due_at - make_interval(secs => $1)", LEASE_S)
    assert await other.work() == 1
    assert [letter.subject for letter in sent.letters] == ["hello"]


async def _leased(pool: Pool) -> bool:
    return await waiting(pool) == [(1, False)]


async def test_a_letter_that_cannot_be_written_now_waits(pool: Pool) -> None:
    async def fail(order: Order) -> Letter | None:
        raise RuntimeError("Valkey is away")

    courier = Courier(pool, Post(pool), fail, Sent())
    await courier._post.queue("hello", "ada@example.org")
    await courier.work()
    assert await waiting(pool) == [(1, False)]


async def test_a_lease_is_for_one_courier(pool: Pool) -> None:
    await Post(pool).queue("hello", "ada@example.org")
    async with pool.acquire() as one, pool.acquire() as two, one.transaction():
        assert len(await queries.lease_due(one, 10, 60)) == 1
        assert await queries.lease_due(two, 10, 60) == []  # and does not wait


# -- SMTP --------------------------------------------------------------------------------------------------


async def test_a_letter_arrives_as_it_was_written(inbox: Inbox) -> None:
    letter = Letter(
        "zoë.reader@example.org".replace("ë", "e"), "Grüße — 123", "Hallo Zoë,\n\n.\n\nhttp://x/y#z\n"
    )
    await SmtpServer.parse(inbox.url).send(letter, sender="FluxStudio <studio@example.org>")
    received = await inbox.letter("zoe.reader@example.org")
    assert (received.subject, received.sender) == ("Grüße — 123", "FluxStudio <studio@example.org>")
    assert received.text.replace("\r\n", "\n") == letter.text


class _Refusing:
    def __init__(self, answer: str) -> None:
        self._answer = answer

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, *_: object) -> str:  # noqa: N802
        return self._answer


@pytest.mark.parametrize(
    ("answer", "error"), [("550 No such mailbox", RefusedError), ("451 Try later", UndeliveredError)]
)
async def test_refusals_for_good_and_for_now_are_told_apart(answer: str, error: type[Exception]) -> None:
    server = Controller(_Refusing(answer), hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        with pytest.raises(error):
            await SmtpServer.parse(f"smtp://127.0.0.1:{server.port}").send(
                Letter("ada@example.org", "Hello", "Text"), sender="studio@example.org"
            )
    finally:
        server.stop()


async def test_a_server_that_is_away_or_wants_more_is_asked_again_later(inbox: Inbox) -> None:
    letter = Letter("ada@example.org", "Hello", "Text")
    for url in (
        f"smtp://127.0.0.1:{free_port()}",
        inbox.url.replace("smtp://", "smtp://user:wrong@"),
        inbox.url.replace("smtp://", "smtps://"),
    ):
        with pytest.raises(UndeliveredError):
            await SmtpServer.parse(url).send(letter, sender="studio@example.org")


@pytest.mark.parametrize("recipient", ["ada@example.org\r\nBcc: eve@example.org", "ada@example.org\nX: y"])
async def test_no_address_smuggles_a_header_in(inbox: Inbox, recipient: str) -> None:
    with pytest.raises(RefusedError):
        await SmtpServer.parse(inbox.url).send(
            Letter(recipient, "Hello", "Text"), sender="studio@example.org"
        )


@pytest.mark.parametrize(
    ("url", "port", "tls", "starttls"),
    [
        ("smtp://mail.example.org", 587, False, True),
        ("smtp://u%40x:p%3Aw@mail.example.org:25", 25, False, True),
        ("smtp://mail.example.org?starttls=optional", 587, False, None),
        ("smtp://127.0.0.1:1025", 1025, False, None),
        ("smtps://mail.example.org", 465, True, False),
    ],
)
def test_passwords_and_letters_leave_this_machine_encrypted(
    url: str, port: int, tls: bool, starttls: bool | None
) -> None:
    server = SmtpServer.parse(url)
    assert (server.port, server.tls, server.starttls) == (port, tls, starttls)
    if server.username:
        assert (server.username, server.password) == ("u@x", "p:w")
    assert "p:w" not in repr(server)


@pytest.mark.parametrize("url", ["http://mail.example.org", "smtp://", "mail.example.org", "smtp://x?tls=no"])
def test_an_address_of_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"smtp|starttls"):
        SmtpServer.parse(url)


def test_the_mailbox_keeps_the_newest(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "mail")
    assert mailbox.newest() == []
    for number in range(205):
        mailbox.add(f"Subject: {number}\r\nTo: ada@example.org\r\n\r\nText".encode())
    subjects = [mail.subject for mail in mailbox.newest()]
    assert subjects[0] == "204"
    assert len(subjects) == 200
    assert mailbox.find("../../etc/passwd") is None
