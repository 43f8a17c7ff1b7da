"""Watches a stream of server-sent events go by, by substring: nothing is parsed or re-framed.

One thing is taken out: the usage event that the gateway asked for and the client did not. To find
its borders, events are held back until complete from the first `finish_reason` on; until then
every read leaves as it came.
"""

from __future__ import annotations

import re
from collections import deque

MAX_KEPT_BYTES = 1024 * 1024
_OVERLAP = 48  # longer than any marker below, so that a marker cut by two reads is still found
_BORDER_OVERLAP = 3  # one less than the longest border
_TAIL_READS = 16

# Inside a JSON string these quotes would be escaped, so text that quotes them does not match.
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_ERROR = re.compile(rb'[\r\n](?:data: ?\{\s*"error"\s*:\s*[{"]|event: ?error)')
_CONTENT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|text|arguments|name)"\s*:\s*"[^"]'
)
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_BORDER = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_BORDERS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Tap:
    """What one stream has shown so far. Feed it every read in order."""

    __slots__ = (
        "_at_border",
        "_before",
        "_choices",
        "_held",
        "_is_framing",
        "_strips_usage",
        "has_content",
        "has_error",
        "is_done",
        "is_finished",
        "kept",
        "kept_bytes",
        "tail",
    )

    def __init__(self, *, strips_usage: bool, choices: int) -> None:
        self._strips_usage = strips_usage
        self._choices = choices
        self._before = b"\n"
        self._at_border = True  # the next byte begins an event
        self._held = b""
        self._is_framing = False
        self.kept_bytes = 0
        self.has_content = False
        self.has_error = False
        self.is_finished = False  # some choice has its finish_reason
        self.is_done = False  # [DONE] was seen
        self.kept: list[bytes] = []  # the first MAX_KEPT_BYTES
        self.tail: deque[bytes] | None = None  # the last reads of a longer stream

    @property
    def is_complete(self) -> bool:
        """Whether the upstream said that it was finished.

        With several choices one finish_reason is not enough: another choice may have been cut.
        """
        return self.is_done or (self.is_finished and self._choices == 1)

    def feed(self, chunk: bytes) -> bytes:
        """Take note of `chunk` and return what the client gets now."""
        window = self._before + chunk
        if not self.has_content:
            self.has_content = _CONTENT.search(window) is not None
        if not self.is_finished:
            self.is_finished = _FINISH.search(window) is not None
        if b"[DONE]" in window and not self.is_done:
            self.is_done = _DONE.search(window) is not None
        if b"error" in window and not self.has_error:
            self.has_error = _ERROR.search(window) is not None
        began_at_border = self._at_border
        self._at_border = window.endswith(_BORDERS)
        end_of_last = self._before[-_BORDER_OVERLAP:]
        self._before = window[-_OVERLAP:]
        self._keep(chunk)
        if not self._strips_usage:
            return chunk
        if self._is_framing:
            return self._without_usage(self._held + chunk)
        if self.is_finished or _USAGE.search(window):
            self._is_framing = True
            return self._begin_framing(chunk, b"" if began_at_border else end_of_last)
        return chunk

    def flush(self) -> bytes:
        """Return what is still held back once the stream is over."""
        rest, self._held = self._held, b""
        return b"" if _is_usage_only(rest) else rest

    def _begin_framing(self, chunk: bytes, end_of_last: bytes) -> bytes:
        """Let the rest of an event go whose beginning already went.

        `end_of_last` is what went last, empty when `chunk` begins with a new event: the border may
        itself be cut in two.
        """
        if not end_of_last:
            return self._without_usage(chunk)
        for border in _BORDER.finditer(end_of_last + chunk):
            rest = border.end() - len(end_of_last)
            if rest > 0:
                return chunk[:rest] + self._without_usage(chunk[rest:])
        self._is_framing = False  # still inside that event
        return chunk

    def _without_usage(self, data: bytes) -> bytes:
        """Return the complete events of `data` but the usage event; hold back the last part."""
        start, out = 0, []
        for border in _BORDER.finditer(data):
            event = data[start : border.end()]
            if not _is_usage_only(event):
                out.append(event)
            start = border.end()
        self._held = data[start:]
        return b"".join(out)

    def _keep(self, chunk: bytes) -> None:
        if self.tail is not None:
            self.tail.append(chunk)
            return
        self.kept_bytes += len(chunk)
        if self.kept_bytes <= MAX_KEPT_BYTES:
            self.kept.append(chunk)
        else:
            self.tail = deque([chunk], maxlen=_TAIL_READS)


def _is_usage_only(event: bytes) -> bool:
    return _USAGE.search(event) is not None and _NO_CHOICES.search(event) is not None
