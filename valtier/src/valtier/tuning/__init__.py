"""Tuning: which TTL a namespace should have, from what a running fleet or a recorded trace shows of its traffic."""

from valtier.tuning.model import Picture, Target, change_rate, choose_ttl, hit_rate, stale_share

__all__ = ["Picture", "Target", "change_rate", "choose_ttl", "hit_rate", "stale_share"]
