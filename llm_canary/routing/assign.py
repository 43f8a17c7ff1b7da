"""Which arm serves a request, and why.

The order is: a pin -> what it says; no rollout -> control; no unit -> control; not eligible ->
control; otherwise the unit's bucket decides. Only the last may enter a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from llm_canary.routing.bucket import unit_bucket
from llm_canary.routing.table import Reason, Role

CONVERSATION = "conversation"


class Source(NamedTuple):
    """One place where a unit or a segment's value may stand."""

    label: str  # as configured: "header:x-canary-user"
    header: bytes | None  # lower case
    body: tuple[str, ...]  # path of keys


@dataclass(slots=True, frozen=True)
class Unit:
    """Who is assigned: the clear value never leaves the process."""

    value: str
    source: str


@dataclass(slots=True, frozen=True)
class Assignment:
    """The arm of one request. `eligible` is true only when the hash decided."""

    role: Role
    reason: Reason
    eligible: bool
    bucket: int | None
    unit: str | None
    unit_source: str | None


class SplitRule(NamedTuple):
    """What of a running rollout decides an arm."""

    salt: str
    canary_buckets: int


def parse_source(label: str) -> Source:
    """Return the source that `label` names; raise ValueError when it is neither header nor body."""
    kind, _, name = label.partition(":")
    if kind == "header" and name:
        return Source(label, name.lower().encode(), ())
    if kind == "body" and name:
        return Source(label, None, tuple(name.split(".")))
    raise ValueError(f"unit source {label!r} is neither header:<name> nor body:<path>")


def header_text(value: bytes) -> str:
    """Return a header's value as text, so that one name in UTF-8 is one unit in header and body."""
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def find_unit(
    sources: Sequence[Source],
    headers: Mapping[bytes, bytes],
    body_value: Callable[[tuple[str, ...]], object],
) -> Unit | None:
    """Return the first non-empty unit in the order of `sources`."""
    for label, header, path in sources:
        if header is not None:
            raw = headers.get(header)
            value = header_text(raw) if raw else ""
        else:
            value = _unit_text(body_value(path))
        if value:
            return Unit(value, label)
    return None


def conversation_unit(secret: bytes, api_key: str, opening: Iterable[tuple[str, bytes]]) -> Unit:
    """Return a unit that stays the same through one conversation.

    `opening` are role and content of the messages up to and including the first user message: what
    every later request of the same conversation repeats.
    """
    digest = blake2b(digest_size=16, key=secret)
    digest.update(api_key.encode(errors="surrogatepass"))
    for role, content in opening:
        digest.update(b"\0%d\0" % len(content))
        digest.update(role.encode(errors="surrogatepass") + b"\0" + content)
    return Unit(f"{CONVERSATION}:{digest.hexdigest()}", CONVERSATION)


def assign(
    split: SplitRule | None, unit: Unit | None, *, pin: Role | None, is_eligible: bool
) -> Assignment:
    """Return the arm of one request."""
    value, source = (unit.value, unit.source) if unit is not None else (None, None)
    if pin is not None:
        return Assignment(pin, Reason.PIN, False, None, value, source)
    if split is None:
        return Assignment(Role.CONTROL, Reason.NO_ROLLOUT, False, None, value, source)
    if value is None:
        return Assignment(Role.CONTROL, Reason.ANONYMOUS, False, None, None, None)
    bucket = unit_bucket(split.salt, value)
    if not is_eligible:
        return Assignment(Role.CONTROL, Reason.INELIGIBLE, False, bucket, value, source)
    role = Role.CANARY if bucket < split.canary_buckets else Role.CONTROL
    return Assignment(role, Reason.HASH, True, bucket, value, source)


def _unit_text(value: object) -> str:
    """Return a unit of the body as text: only strings and whole numbers name somebody."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""
