"""An ordeal for boards and chat: many editors on several workers while everything is harmed.

`python -m fluxstudio.testing_boards --minutes 10` starts PostgreSQL, Valkey, the workers and the editors, harms them for so
long, and says whether all ended with the same; a test runs the same for less than a minute.
"""

from fluxstudio.testing_boards.ordeal import Outcome, ordeal

__all__ = ["Outcome", "ordeal"]
