"""Compares valtier.limits with other limiters, in one run."""
