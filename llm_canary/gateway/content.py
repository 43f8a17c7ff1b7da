"""What of prompts and answers is kept: nothing, a hash, a redacted copy, or all.

Done before anything reaches the disk, in the telemetry thread where it takes long. A redacted
request stays JSON: each text in it is read as what it means, for an escape or a tool's arguments
may hide an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from llm_canary.privacy.redact import Redactor
from llm_canary.routing.table import ContentStore

MAX_KEPT_CHARS = 256 * 1024
MEDIA = "[MEDIA]"  # an image, a recording or a file, in which nothing can be found
_SHORT_CHARS = 4 * 1024  # also few enough for JSON that is nothing but signs
_MAX_DEPTH = 64
_LEAST_DIGITS = 10**6
_LAST_WORD_CHARS = 256
_NUMBER_MARKS = "0123456789 ()+-./"
_DATA_URL = re.compile(r"data:[\w.+/;=-]{0,100}[;,]", re.IGNORECASE)
_LEAST_BASE64 = 1024
_JSON = frozenset("{[")  # how JSON begins that has texts in it
_SPECIAL = _JSON | frozenset("dD")  # and how data: begins
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]+")
_PLAIN_ESCAPES = ((rb"\n", b"\n"), (rb"\"", b'"'), (rb"\t", b"\t"), (rb"\r", b"\r"), (rb"\/", b"/"))
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """What is stored of one exchange."""

    content_hash: str | None
    request_text: str | None
    response_text: str | None


NOTHING = Kept(None, None, None)


def keep(
    policy: ContentStore, request: bytes, response: str, secret: bytes, redactor: Redactor | None
) -> Kept:
    """Return what `policy` lets be stored; without a redactor nothing is kept redacted."""
    kept = keep_or_defer(policy, request, response, secret, redactor)
    return kept if isinstance(kept, Kept) else kept()


def keep_or_defer(
    policy: ContentStore, request: bytes, response: str, secret: bytes, redactor: Redactor | None
) -> Kept | Callable[[], Kept]:
    """Return the same, or, where there may be something to redact, a function that does the work.

    Most short texts have nothing private in them. One look at a request and its answer together
    shows that, in a few microseconds; a closer look takes up to 2 ms per kilobyte. A long text
    nearly always has a number or a link that asks for it.
    """
    if policy is ContentStore.NONE or (policy is ContentStore.REDACTED and redactor is None):
        return NOTHING
    answer = response.encode(errors="surrogatepass")
    digest = blake2b(b"%b\0%b" % (request, answer), digest_size=16, key=secret)
    content_hash = digest.hexdigest()
    if policy is ContentStore.HASH:
        return Kept(content_hash, None, None)
    if policy is ContentStore.REDACTED and redactor is not None:
        if _is_plain(request, answer, redactor):
            return Kept(content_hash, request.decode(errors="replace"), response)
        return _redacted(content_hash, request, response, redactor)
    prompt = request[: 4 * MAX_KEPT_CHARS].decode(errors="replace")[:MAX_KEPT_CHARS]
    return Kept(content_hash, prompt, response[:MAX_KEPT_CHARS])


def _is_plain(request: bytes, response: bytes, redactor: Redactor) -> bool:
    """Say whether there is nothing to redact in a short exchange, as it is written.

    Most are so, and reading them as JSON would take three times as long. What could hide something,
    or is kept in another form, is not plain: escapes of letters, media, deep nesting.
    """
    if len(request) + len(response) > _SHORT_CHARS or redactor.has_patterns:
        return False
    if b"\\" in request:
        if rb"\u" in request:
            return False
        for escape, meaning in _PLAIN_ESCAPES:
            request = request.replace(escape, meaning)
        if b"\\" in request:
            return False
    both = b"%b\0%b" % (request, response)
    if both.count(b"[") + both.count(b"{") > _MAX_DEPTH or response[:5].lower() == b"data:":
        return False
    start = 0
    while len(both) - start >= _LEAST_BASE64:  # there is a space in each stretch of that length
        if (start := both.rfind(b" ", start, start + _LEAST_BASE64) + 1) == 0:
            return False
    return redactor.leaves(both)


def _redacted(
    content_hash: str, request: bytes, response: str, redactor: Redactor
) -> Kept | Callable[[], Kept]:
    texts: list[str] = []

    def gather(text: str) -> str:
        texts.append(text)
        return text

    def kept(redact: Callable[[str], str]) -> Kept:
        return Kept(content_hash, _request(request, redact), _answer(response, redact))

    if len(request) + len(response) <= _SHORT_CHARS and not redactor.has_patterns:
        as_they_are = kept(gather)
        if redactor.leaves("\0".join(texts).encode(errors="surrogatepass")):
            return as_they_are
    return partial(kept, redactor.redact)


def _request(request: bytes, redact: Callable[[str], str]) -> str | None:
    """Return a request redacted; None where it cannot be read, so that nothing can be found."""
    try:
        return _Document(redact).json(request)
    except (ValueError, RecursionError):
        return None


def _answer(response: str, redact: Callable[[str], str]) -> str:
    """Return an answer redacted; several of them, and tool calls, are JSON."""
    return _Document(redact).text(response)


class _Document:
    """Redacts a document's texts until as much is kept as may be."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._room = MAX_KEPT_CHARS

    def json(self, data: bytes) -> str:
        """Return JSON redacted; raise ValueError or RecursionError where it cannot be read."""
        return _encode(self._value(_decode(data), 0)).decode()

    def text(self, text: str, depth: int = 0) -> str:
        """Return a text redacted, JSON in it as JSON; what has no room is cut."""
        if text[:1] in _SPECIAL or len(text) >= _LEAST_BASE64:
            if _is_media(text):
                return MEDIA
            if text[:1] in _JSON and (nested := self._nested(text, depth)) is not None:
                return nested
        if len(text) > self._room:
            text = _cut(text, self._room)
        self._room -= len(text)
        return self._redact(text)

    def _nested(self, text: str, depth: int) -> str | None:
        try:
            value = _decode(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict | list):
            return None
        redacted = self._value(value, depth + 1)
        # As it was written, as long as nothing is found.
        return text if redacted == value else _encode(redacted).decode()

    def _value(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON
        if depth > _MAX_DEPTH:
            return None
        if isinstance(value, str):
            return self.text(value, depth)
        if isinstance(value, dict):
            return {
                self._redact(name[:_LAST_WORD_CHARS]): self._value(each, depth + 1)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [self._value(each, depth + 1) for each in value]
        if isinstance(value, int | float) and abs(value) >= _LEAST_DIGITS:
            text = str(value)
            return value if (redacted := self._redact(text)) == text else redacted
        return value


def _is_media(text: str) -> bool:
    if text[:5].lower() == "data:" and _DATA_URL.match(text) is not None:
        return True
    return len(text) >= _LEAST_BASE64 and _BASE64.fullmatch(text) is not None


def _cut(text: str, room: int) -> str:
    """Return the beginning of `text`, without the word or number in which the cut would lie."""
    kept = text[:room]
    place = max(kept.rfind(mark, max(0, room - _LAST_WORD_CHARS)) for mark in " \n\t,;")
    return kept[: max(place, 0) or max(0, room - _LAST_WORD_CHARS)].rstrip(_NUMBER_MARKS)
