"""What can go wrong with a seed."""


class SeedError(Exception):
    """The database was not seeded, and is as it was. The message says what to do."""


class DatabaseNotEmptyError(SeedError):
    """There are users already: a seed never mixes with data that somebody may need."""


class SeedRunningError(SeedError):
    """Another seed, or something else that holds the tables, is at work in this database."""
