"""Sessions: opaque tokens in a `__Host-` cookie, data in Valkey, durable in PostgreSQL if that is wanted.

```python
sessions = tier.sessions(durable=database_url_or_pool, data=Cart)  # `async with`; close it before the tier
app = SessionMiddleware(app, sessions)  # plain ASGI; within valtier.asgi.Together it looks up early

session = scope["valtier.session"]  # Session or None; scope["valtier.identity"]: its subject or None
visit = scope["valtier.visit"]  # Visit: what this request does to the browser's session; the cookie follows by itself
await visit.sign_in(user_id, remember=True)  # a new session with a new token; the one it came with ends
await visit.sign_out()
await session.set(theme="dark")  # field-wise, atomic, at once;  session.data, session.get("theme"), session.remove("theme")
await session.confirm()  # has authenticated again: new token, session.is_sudo for `sudo` (10 min)
await session.rotate()  # privileges have changed: new token, the old one ends at once

# without the middleware
session = await sessions.create(user_id, remember=False, replaces=old_session, user_agent=…, address=…)
session.token; name, value = sessions.cookie.give(session.token); sessions.cookie.take_back()
session = await sessions.load(token)  # Session or None; raises SessionUnavailableError (answer 503)
sessions.peek(token)  # what this process knows by heart, without waiting
await sessions.destroy(session); await sessions.destroy_all(user_id, except_=session)
[Device(id, user_agent, address, created, last_seen, current, remembered)] = await sessions.devices(user_id, current=session)
await sessions.revoke(user_id, device_id)
watch = sessions.watch(session, on_end); watch.stop()  # on_end(SessionEnd(device_id, reason)): to close its sockets
remove = sessions.on_end(listener)  # every end that this worker hears of
await sessions.create(…, connection=connection)  # in a transaction of the caller's; so do destroy_all, revoke, …

for statement in SessionSchema().create(): …  # in a migration; .grants(role) for the application's role
```
"""

from valtier.sessions.cookie import SessionCookie
from valtier.sessions.ends import EndReason, SessionEnd, Watch
from valtier.sessions.errors import (
    SessionEndedError,
    SessionError,
    SessionTooLargeError,
    SessionUnavailableError,
)
from valtier.sessions.middleware import SessionMiddleware, Visit
from valtier.sessions.schema import SessionSchema
from valtier.sessions.session import Session
from valtier.sessions.sessions import Sessions
from valtier.sessions.stats import SessionStats
from valtier.sessions.store import acl
from valtier.sessions.subjects import Device

__all__ = [
    "Device",
    "EndReason",
    "Session",
    "SessionCookie",
    "SessionEnd",
    "SessionEndedError",
    "SessionError",
    "SessionMiddleware",
    "SessionSchema",
    "SessionStats",
    "SessionTooLargeError",
    "SessionUnavailableError",
    "Sessions",
    "Visit",
    "Watch",
    "acl",
]
