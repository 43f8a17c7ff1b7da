"""Reads the token counts of an answer, whose names differ between endpoints and providers."""

from __future__ import annotations

from typing import Any

from llm_canary.pricing import Usage

_MAX_TOKENS = 2**53


def usage_of(reported: dict[str, Any] | None) -> Usage | None:
    """Return the counts; None unless both the prompt's and the answer's are there.

    Anthropic counts cached tokens beside the input, the others within it: here they are always part
    of the prompt. What is no count (negative, a fraction, a truth value) is missing, not zero.
    """
    if reported is None:
        return None
    prompt, completion = _count(reported, "prompt_tokens"), _count(reported, "completion_tokens")
    if prompt is not None and completion is not None:
        return Usage(
            prompt=prompt,
            completion=completion,
            cached=_count(reported.get("prompt_tokens_details"), "cached_tokens"),
            reasoning=_count(reported.get("completion_tokens_details"), "reasoning_tokens"),
        )
    prompt, completion = _count(reported, "input_tokens"), _count(reported, "output_tokens")
    if prompt is None or completion is None:
        return None
    read = _count(reported, "cache_read_input_tokens")
    written = _count(reported, "cache_creation_input_tokens")
    if read is None and written is None:
        read_within = _count(reported.get("input_tokens_details"), "cached_tokens")
        reasoning = _count(reported.get("output_tokens_details"), "reasoning_tokens")
        return Usage(prompt=prompt, completion=completion, cached=read_within, reasoning=reasoning)
    return Usage(
        prompt=prompt + (read or 0) + (written or 0),
        completion=completion,
        cached=read,
        cache_write=written,
    )


def _count(counts: object, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_TOKENS:
        return value
    return None
