"""What the users of the demonstration ask and how they vote; the same for the same seed.

Nothing here knows which arm answers, so the scripted votes are equally good in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from llm_canary.demo.project import (
    FACTS,
    FACTS_ROLLOUT,
    ORDERS,
    ORDERS_ROLLOUT,
    SUPPORT,
    SUPPORT_ROLLOUT,
)

THUMBS_UP = 0.9
_NAMES = (
    "Ana", "Ben", "Chen", "Dora", "Emil", "Fay", "Goran", "Hana",
    "Ivo", "Jana", "Kofi", "Lena", "Milo", "Nina", "Omar", "Pia",
)  # fmt: skip
_THINGS = (
    "mugs", "scarves", "notebooks", "lamps", "bells", "socks", "bottles", "chairs",
    "plates", "towels", "baskets", "clocks", "candles", "spoons", "pillows", "brushes",
)  # fmt: skip
_SUPPORT_QUESTIONS = (
    "How long is the warranty on my {thing}?",
    "How many days does the delivery of my {thing} take?",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One user, who asks once and votes once."""

    user: str
    text: str
    seed: int  # of the model's sampling
    thumb: bool


def visit(route: str, seed: int, number: int) -> Visit:
    """Return the visit `number` to `route`; every visit is another user's."""
    digest = blake2b(f"{seed}/{route}/{number}".encode(), digest_size=8).digest()
    name, thing = _NAMES[digest[0] % 16], _THINGS[digest[1] % 16]
    if route == ORDERS:
        text = f"{name} orders {2 + digest[2] % 8} {thing}."
    else:
        text = _SUPPORT_QUESTIONS[digest[2] % 2].format(thing=thing)
    return Visit(
        user=f"user-{seed}-{route}-{number}",
        text=text,
        seed=int.from_bytes(digest[4:8], "big") >> 1,
        thumb=digest[3] < THUMBS_UP * 256,
    )


@dataclass(frozen=True, slots=True)
class Act:
    """One rollout of the demonstration, and how it must end."""

    route: str
    rollout: str
    title: str
    expected: frozenset[str]  # states


PROMOTED, ROLLED_BACK = "finished", "rolled_back"
HELD = "held"
ENDED = frozenset({PROMOTED, ROLLED_BACK, "aborted"})


def acts(*, swap: bool, identical: bool) -> tuple[Act, ...]:
    """Return the acts of the chosen variation."""
    worse, better = frozenset({ROLLED_BACK}), frozenset({PROMOTED})
    if identical:
        # An open end is no mistake: what must never happen is a rollback.
        never_back = frozenset({PROMOTED, HELD, "running", "promoted", "standby"})
        titles: tuple[str, ...] = ("the canary is the control itself",) * 3
        ends = (never_back,) * 3
    elif swap:
        titles = (
            "the canary asks for JSON, the control does not",
            "the canary has the longer, dearer prompt",
            "the canary knows the facts, the control does not",
        )
        ends = (better, worse, better)
    else:
        titles = (
            "the control asks for JSON, the canary forgets to",
            "the canary has a shorter, cheaper prompt",
            "the canary never errs, and no longer knows the facts",
        )
        ends = (worse, better, worse)
    return (
        Act(ORDERS, ORDERS_ROLLOUT, titles[0], ends[0]),
        Act(SUPPORT, SUPPORT_ROLLOUT, titles[1], ends[1]),
        Act(FACTS, FACTS_ROLLOUT, titles[2], ends[2]),
    )
