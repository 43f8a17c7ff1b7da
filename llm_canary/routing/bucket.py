"""Deterministic hashes: a unit's bucket, which decides its arm, and the hash that is stored.

Reference vectors (no seed, clock or process state takes part):

>>> unit_bucket("salt", "user-1234")
828499
>>> unit_hash(b"secret", "user-1234")
'cb1cf8a08d66b13c087d3dcc90682ea3'
"""

from __future__ import annotations

from hashlib import blake2b

from llm_canary.routing.table import BUCKETS


def unit_bucket(salt: str, unit: str) -> int:
    """Return the bucket of `unit` under `salt`, in [0, BUCKETS).

    The salt belongs to one rollout, so that a user's luck in one says nothing about the next.
    """
    # NUL ends the salt: ("ab", "c") and ("a", "bc") must not meet.
    text = f"{salt}\0{unit}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") % BUCKETS


def unit_hash(secret: bytes, unit: str) -> str:
    """Return the 32 hex digits that are stored for `unit`; a guess needs `secret` to be tested."""
    text = unit.encode(errors="surrogatepass")
    return blake2b(text, digest_size=16, key=secret).hexdigest()


def hidden_value(secret: bytes, segment: str, value: str) -> str:
    """Return what is stored instead of a segment's value: equal values stay equal."""
    return "h-" + unit_hash(secret, f"{segment}\0{value}")[:12]


def canary_buckets(share: float) -> int:
    """Return how many buckets, counted from 0, belong to the canary at `share`."""
    return round(share * BUCKETS)


def in_canary(bucket: int, share: float) -> bool:
    """Say whether `bucket` is served by the canary: raising `share` only ever adds buckets."""
    return bucket < canary_buckets(share)
