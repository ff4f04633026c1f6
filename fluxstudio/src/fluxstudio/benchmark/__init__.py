"""The before/after bench: FluxStudio's server on PostgreSQL alone, and with the cache, in one run."""

from fluxstudio.benchmark.options import BenchError, Options, parse_clients, short

__all__ = ["BenchError", "Options", "parse_clients", "short"]
