"""Boards: whiteboards that many draw on at once, their revisions, share links and images."""
