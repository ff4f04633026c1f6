"""The studio in a browser: how quick its screens are, in a real Chromium."""
