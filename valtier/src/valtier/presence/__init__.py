"""Presence: who is here, on how many devices, in which room and overall, over any number of workers.

```python
presence = tier.presence(ttl="30s")
async with presence:
    device = await presence.connect("ada", "laptop")  # here overall
    await device.join("project:7")
    await device.beat()  # every ttl, as the client's own beat arrives
    (await presence.roster("project:7")).users  # {"ada": 1}
    async with presence.watch("project:7") as changes:
        async for change in changes:  # a Roster first, then Diffs; a Roster again where changes may be missing
            ...
    await device.close()
```
"""

from valtier.presence.device import Device
from valtier.presence.presence import Presence, PresenceStats
from valtier.presence.room import COMMANDS, acl
from valtier.presence.watch import Change, Diff, Roster, Standing, Watch

__all__ = [
    "COMMANDS",
    "Change",
    "Device",
    "Diff",
    "Presence",
    "PresenceStats",
    "Roster",
    "Standing",
    "Watch",
    "acl",
]
