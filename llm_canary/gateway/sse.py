"""Watches a stream of server-sent events go by, by substring: nothing is parsed or re-framed.

One thing is taken out: the usage event that the gateway asked for and the client did not. To find
its borders, events are held back until complete from the first `finish_reason` on; until then
every read leaves as it came.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

MAX_KEPT_BYTES = 1024 * 1024
_OVERLAP = 64  # longer than any mark, so that a mark cut by two reads is still found
_BORDER_OVERLAP = 3  # one less than the longest border
_TAIL_READS = 16
_ID = re.compile(rb'"id"\s*:\s*"([!-~]{1,256}?)"')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_BORDER = re.compile(rb"\r?\n\r?\n|\r\r")
_BORDERS = (b"\n\n", b"\n\r\n", b"\r\r")
_BOM = b"\n\xef\xbb\xbf"  # as it stands behind the line end that is put before a stream


@dataclass(slots=True, frozen=True)
class Marks:
    """By what bytes a stream of one endpoint shows what it has come to.

    Inside a JSON string quotes are escaped, so text that quotes a mark does not match. A hint is a
    fixed string without which its mark cannot be there; it is searched first, as it costs less.
    """

    content: re.Pattern[bytes]  # text, a tool call or a refusal has begun
    done: re.Pattern[bytes]  # the stream is complete
    done_hint: bytes
    error: re.Pattern[bytes]  # the provider reports an error inside the stream
    error_hint: bytes
    finish: re.Pattern[bytes] | None = None  # one of the choices is complete
    usage: re.Pattern[bytes] | None = None  # the usage that the gateway may have asked for


class Tap:
    """What one stream has shown so far. Feed it every read in order."""

    __slots__ = (
        "_at_border",
        "_before",
        "_choices",
        "_held",
        "_is_framing",
        "_marks",
        "_usage",
        "has_content",
        "has_error",
        "is_done",
        "is_finished",
        "kept",
        "kept_bytes",
        "tail",
    )

    def __init__(self, marks: Marks, *, strips_usage: bool, choices: int) -> None:
        self._marks = marks
        self._usage = marks.usage if strips_usage else None
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
        marks = self._marks
        if not self.has_content:
            if window.startswith(_BOM):
                window = b"\n" + window[len(_BOM) :]
            self.has_content = marks.content.search(window) is not None
        if not self.is_finished and marks.finish is not None:
            self.is_finished = marks.finish.search(window) is not None
        if not self.is_done and marks.done_hint in window:
            self.is_done = marks.done.search(window) is not None
        if not self.has_error and marks.error_hint in window:
            self.has_error = marks.error.search(window) is not None
        began_at_border = self._at_border
        self._at_border = window.endswith(_BORDERS)
        end_of_last = self._before[-_BORDER_OVERLAP:]
        self._before = window[-_OVERLAP:]
        self._keep(chunk)
        if self._usage is None:
            return chunk
        if self._is_framing:
            return self._without_usage(self._held + chunk)
        if self.is_finished or self._usage.search(window):
            self._is_framing = True
            return self._begin_framing(chunk, b"" if began_at_border else end_of_last)
        return chunk

    def first_id(self) -> str | None:
        """Return the first `id` in the stream: that of the answer."""
        found = _ID.search(self.kept[0] if self.kept else b"")
        if found is None and len(self.kept) > 1:
            found = _ID.search(b"".join(self.kept[:_TAIL_READS]))
        return found[1].decode() if found else None

    def flush(self) -> bytes:
        """Return what is still held back once the stream is over."""
        rest, self._held = self._held, b""
        return b"" if self._is_usage_only(rest) else rest

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
            if not self._is_usage_only(event):
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

    def _is_usage_only(self, event: bytes) -> bool:
        return (
            self._usage is not None
            and self._usage.search(event) is not None
            and _NO_CHOICES.search(event) is not None
        )
