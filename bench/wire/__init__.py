"""The wire bench: valtier and the other asyncio clients for Python, against one server, in one run."""
