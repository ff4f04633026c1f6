"""Slots: in which of the cluster's 16,384 parts a key lies. Pure.

Source: "Valkey Cluster specification", sections "Key distribution model" and "Hash tags".
"""

from __future__ import annotations

from binascii import crc_hqx  # CRC16/XMODEM, the cluster's checksum

SLOTS = 16_384


def slot_of(key: str | bytes | float) -> int:
    """Returns the slot of a key (0 to 16,383), as `CLUSTER KEYSLOT` would. Text is UTF-8, a number its digits.

    Of a key such as `user:{42}:name` only what stands in the first braces counts, so keys with one hash tag share a
    slot. Braces with nothing in them are no hash tag.
    """
    if isinstance(key, str):
        key = key.encode()
    elif not isinstance(key, bytes):
        key = repr(key).encode()
    start = key.find(b"{") + 1
    if start:
        end = key.find(b"}", start)
        if end > start:
            key = key[start:end]
    return crc_hqx(key, 0) & 0x3FFF
