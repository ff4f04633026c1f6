"""The seed: a made-up studio with people, projects and conversations, to try FluxStudio and to measure it."""

from fluxstudio.seed.errors import DatabaseNotEmptyError, SeedError, SeedRunningError
from fluxstudio.seed.fill import Seeded, is_empty, seed
from fluxstudio.seed.people import DEMO_EMAIL, DEMO_PASSWORD
from fluxstudio.seed.sizes import NOW, SIZES

__all__ = [
    "DEMO_EMAIL",
    "DEMO_PASSWORD",
    "NOW",
    "SIZES",
    "DatabaseNotEmptyError",
    "SeedError",
    "SeedRunningError",
    "Seeded",
    "is_empty",
    "seed",
]
