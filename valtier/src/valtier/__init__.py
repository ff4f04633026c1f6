"""The Valkey tier for async Python web applications."""
