"""`python -m bench.cache`: valtier's cache and the other libraries, in one run."""
