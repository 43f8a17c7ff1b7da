"""States and verdicts of rollouts in words, each with the tone that repeats it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

ROBOT = "robot"
ENDED = ("rolled_back", "finished", "aborted")


class Word(NamedTuple):
    """A word and its tone."""

    text: str
    tone: str


_STATES = {
    "aborted": Word("Dropped", "quiet"),
    "draft": Word("Not started", "quiet"),
    "running": Word("Running", "calm"),
    "held": Word("Held", "warn"),
    "promoted": Word("Promoted", "good"),
    "standby": Word("Standby", "good"),
    "finished": Word("Finished", "good"),
    "rolled_back": Word("Rolled back", "bad"),
}
_VERDICTS = {
    "promote": Word("Promote", "good"),
    "wait": Word("Wait", "calm"),
    "hold": Word("Hold", "warn"),
    "rollback": Word("Roll back", "bad"),
}


def state_word(state: str) -> Word:
    """Return the word of a state; "held" is one here."""
    return _STATES.get(state, Word(state, "quiet"))


def verdict_word(verdict: str) -> Word:
    """Return the word of a verdict."""
    return _VERDICTS.get(verdict, Word(verdict, "quiet"))


def rollout_path(name: str, *parts: str, attempt: int | None = None) -> str:
    """Return the path of a rollout's page or of what lies under it."""
    path = "/".join(["/rollouts", *(quote(each, safe="") for each in (name, *parts))])
    return path if attempt is None else f"{path}?attempt={attempt}"
