"""The staleness checker: caches under random faults, a history of what was read and written, and rules that it must obey."""
