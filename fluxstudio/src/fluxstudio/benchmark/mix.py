"""What the bench's users ask for, and how often: the constants that decide what is measured."""

from itertools import accumulate

LIST_PROJECTS = "GET /api/projects"
LIST_MESSAGES = "GET /api/projects/{id}/messages"
GET_USER = "GET /api/users/{id}"
SEARCH = "GET /api/search"
SHOWCASE = "GET /p/{slug}"
GET_ASSET = "GET /api/assets/{id}"
GET_PROJECT = "GET /api/projects/{id}"
POST_MESSAGE = "POST /api/projects/{id}/messages"
MARK_READ = "PUT /api/projects/{id}/read"
UPDATE_PROFILE = "PATCH /api/me"
UPDATE_PROJECT = "PATCH /api/projects/{id}"

MIX = {
    LIST_PROJECTS: 0.30,
    LIST_MESSAGES: 0.18,
    GET_USER: 0.17,
    GET_ASSET: 0.09,
    SEARCH: 0.08,
    SHOWCASE: 0.08,
    GET_PROJECT: 0.05,
    POST_MESSAGE: 0.025,
    MARK_READ: 0.015,
    UPDATE_PROFILE: 0.005,
    UPDATE_PROJECT: 0.005,
}
"""The share of each endpoint; the last four are the 5 % writes."""

KINDS = tuple(MIX)
WRITES = (POST_MESSAGE, MARK_READ, UPDATE_PROFILE, UPDATE_PROJECT)

ZIPF_S = 1.0
"""The exponent: the user of rank r comes 1/r as often as the first. Of 10,000 users the first 100 make 53 %."""

VISIT = 20
"""Requests that a client makes as one of those people before it becomes another."""

OLDER_PAGE = 0.2
"""The share of message reads that scroll back (`before=`) and are not the newest page."""


def zipf_weights(count: int) -> list[float]:
    """Cumulative weights of ranks 1..count, as `random.choices(cum_weights=…)` takes them."""
    return list(accumulate(1 / rank**ZIPF_S for rank in range(1, count + 1)))
