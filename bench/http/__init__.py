"""The response cache beside other libraries' and beside the bare server: `python -m bench.http`."""
