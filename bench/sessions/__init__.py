"""valtier's sessions and starsessions, over one Valkey, in one run."""
