"""Libraries: the shapes that each user keeps to draw with, on all their devices."""
