"""The form of `routes.NAME.content`: what is kept of a route's texts, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm_canary.config.values import Name, PatternName, PatternText
from llm_canary.documents.entry import Entry
from llm_canary.privacy.custom import MAX_PATTERNS
from llm_canary.privacy.kinds import Kind
from llm_canary.routing.table import ContentStore


class RedactEntry(Entry):
    """What `store: redacted` looks for."""

    kinds: list[Annotated[Kind, Field(strict=False)]] = Field(
        default=list(Kind),
        description="`email`, `phone`, `card`, `iban`, `ip`, `key` (keys, tokens and passwords in "
        "URLs) and `national_id`; all of them by default",
    )
    patterns: dict[PatternName, PatternText] = Field(
        default={},
        max_length=MAX_PATTERNS,
        description="name -> pattern in RE2's syntax, such as `order_no: 'ORD-\\d{6}'`; found "
        "before all kinds and replaced by `[ORDER_NO_3f2a]`",
    )


class ContentEntry(Entry):
    """What is kept of prompts and answers."""

    store: Annotated[ContentStore, Field(strict=False)] = Field(
        default=ContentStore.NONE, description="`none`, `hash`, `redacted` or `full`"
    )
    retain_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="days that stored text is kept, with the comments on it; default: for ever",
    )
    rows_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="days that the facts of a request are kept: time, tokens, cost and so on; sums "
        "and decisions stay; default: for ever",
    )
    redact: RedactEntry = Field(
        default_factory=RedactEntry, description="what `redacted` looks for"
    )
    hash_segments: list[Name] = Field(
        default=[],
        description="segments of which only a keyed hash is stored and shown, such as `gender`; "
        "rules still read the value",
    )
