"""The HTTP edge: what every request passes before a slice sees it."""
