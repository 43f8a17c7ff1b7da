"""Finds e-mail addresses and IPv6 addresses, each from the sign that it cannot be without."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from llm_canary.privacy.kinds import Find, Kind

_LOCAL = re.compile(r"[\w.+%'-]{1,64}")  # read backwards from the @
_DOMAIN = re.compile(r"(?:[^\W_][\w-]{0,62}\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[^\W\d_]{2,24})")
_V6_SIGN = re.compile(r":[0-9A-Fa-f]{0,4}:")
_V6_PART = re.compile(r"[0-9A-Fa-f:]{0,39}")  # backwards, then forwards
_V6_REST = re.compile(r"[0-9A-Fa-f:.]{0,45}")
_V6_GROUPS = 3  # shorter ones are scopes of programs, such as `a::b`


def emails(text: str) -> Iterator[Find]:
    """Yield e-mail addresses."""
    at = text.find("@")
    while at >= 0:
        before = _LOCAL.match(text[max(0, at - 64) : at][::-1])
        domain = _DOMAIN.match(text, at + 1) if before is not None else None
        if before is not None and domain is not None:
            local = before[0][::-1].lstrip(".'-")
            if local:
                start, end = at - len(local), domain.end()
                yield Find(start, end, Kind.EMAIL, text[start:end].lower())
                at = end - 1
        at = text.find("@", at + 1)


def ipv6(text: str) -> Iterator[Find]:
    """Yield IPv6 addresses that belong to somebody."""
    position = 0
    while (sign := _V6_SIGN.search(text, position)) is not None:
        before = _V6_PART.match(text[max(0, sign.start() - 39) : sign.start()][::-1])
        rest = _V6_REST.match(text, sign.start())
        start = sign.start() - (len(before[0]) if before is not None else 0)
        end = rest.end() if rest is not None else sign.end()
        position = end
        while end > start and text[end - 1] in ".:" and text[end - 2 : end] != "::":
            end -= 1
        if (start and _is_word(text[start - 1])) or (end < len(text) and _is_word(text[end])):
            continue
        if (normal := _v6(text[start:end])) is not None:
            yield Find(start, end, Kind.IP, normal)


def _v6(text: str) -> str | None:
    groups = [group for group in text.split(":") if group]
    if len(groups) < _V6_GROUPS or not any(mark.isdigit() for mark in text):
        return None
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _is_word(mark: str) -> bool:
    return mark.isalnum() or mark == "_"
