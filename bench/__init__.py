"""Benches that are not part of a package: `python -m bench.wire`."""
