"""Replaces what is private by placeholders such as `[EMAIL_3f2a]`.

The digits are a keyed hash of what was there, however it was written: the same address has the
same placeholder in all texts of an installation, so that a conversation can still be followed, and
without the installation's secret they say nothing. Sixteen bits tell the people of a conversation
apart, and cannot tell whose address it was.

The work is that of the text's length; redacting twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from llm_canary.opaque import Opaque
from llm_canary.privacy.addresses import emails, ipv6
from llm_canary.privacy.credentials import credentials
from llm_canary.privacy.custom import CustomPatterns
from llm_canary.privacy.hints import EMAIL, IPV6, NUMBER, has_hints, hints_of
from llm_canary.privacy.kinds import Find, Kind, disjoint
from llm_canary.privacy.numbers import numbers

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,63}_[0-9a-f]{4}\]")
_NUMBERS = frozenset({Kind.CARD, Kind.IBAN, Kind.IP, Kind.NATIONAL_ID, Kind.PHONE})
# What is replaced may uncover what it was a part of; more often than this only on purpose.
_MAX_PASSES = 6


class Redactor:
    """Redacts by one route's rules; immutable, and may be used by several threads."""

    def __init__(
        self,
        secret: bytes,
        kinds: Iterable[Kind] = tuple(Kind),
        patterns: Mapping[str, str] | None = None,
    ) -> None:
        self._secret = Opaque(secret)
        self._kinds = frozenset(kinds)
        self._numbers = self._kinds & _NUMBERS
        self._custom = CustomPatterns(patterns or {})

    def redact(self, text: str) -> str:
        """Return `text` with a placeholder for each private thing."""
        for _ in range(_MAX_PASSES):
            redacted = self._once(text)
            if redacted == text:
                break
            text = redacted
        return text

    @property
    def has_patterns(self) -> bool:
        """Whether the file's patterns are looked for: they have no signs by which to be quick."""
        return bool(self._custom)

    def leaves(self, texts: bytes) -> bool:
        """Say whether one look at `texts`, a NUL between any two, shows that all of them stay."""
        # A sign in one of them is one in all; none reaches over a NUL, so two do not make one.
        return not self._custom and not has_hints(texts)

    def _once(self, text: str) -> str:
        """Replace by one kind of look after the other, each at what the ones before have left."""
        if self._custom:
            text = self._by_patterns(text)
        hints = hints_of(text)
        if not hints:
            return text
        if Kind.KEY in self._kinds:
            text = self._replaced(text, credentials(text, hints))
        if Kind.EMAIL in self._kinds and EMAIL in hints:
            text = self._replaced(text, emails(text))
        if Kind.IP in self._kinds and IPV6 in hints:
            text = self._replaced(text, ipv6(text))
        if self._numbers and NUMBER in hints:
            text = self._replaced(text, numbers(text, self._numbers))
        return text

    def _by_patterns(self, text: str) -> str:
        """Look for the file's patterns between placeholders: they may match anything."""
        text = text.encode(errors="replace").decode()  # RE2 reads no lone surrogate
        parts, position = [], 0
        for placeholder in _PLACEHOLDER.finditer(text):
            part = text[position : placeholder.start()]
            parts += [self._replaced(part, self._custom.finds(part)), placeholder[0]]
            position = placeholder.end()
        part = text[position:]
        return "".join([*parts, self._replaced(part, self._custom.finds(part))])

    def _replaced(self, text: str, finds: Iterable[Find]) -> str:
        parts, position = [], 0
        for find in disjoint(finds):
            parts += [text[position : find.start], self._placeholder(find)]
            position = find.end
        if not parts:
            return text
        return "".join([*parts, text[position:]])

    def _placeholder(self, find: Find) -> str:
        # The label is part of what is hashed, and the purpose keeps it apart from other hashes.
        value = f"{find.label}\0{find.normal}".encode(errors="surrogatepass")
        mark = blake2b(value, digest_size=2, key=self._secret, person=b"redact").hexdigest()
        return f"[{find.label.upper()}_{mark}]"
