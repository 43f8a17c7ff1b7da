"""Reads HTTP/1 from strangers: uvicorn's protocol with the limits and refusals that it lacks.

uvicorn's parser already refuses what smuggles requests by their framing: both lengths, repeated or
odd Content-Length, bad chunks, bare line feeds, folded lines, spaces in names. Added here:

- a total deadline for a request's header and for its body, and for a connection that says nothing;
- an upper size for the header, and for what trails a body;
- a request that offers an upgrade is read to its end: uvicorn would take its body for the next
  request;
- trailers stay out of the header; only `chunked` is understood as a transfer coding; one Host;
- refusals in the shape of OpenAI's errors, after which the connection is closed without losing
  them, and never in the middle of another answer.

A request that arrives in one piece costs no timer, a slower one at most one per connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from llm_canary.gateway.errors import error_body, error_type

MAX_HEADER_BYTES = 64 * 1024  # the target and all fields in sum
HEADER_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 65.0  # a little more than the gateway's own limit, whose refusal is recorded
_LINGER_S = 1.0  # closing while the client still sends would destroy the refusal on its way
_FIELD_BYTES = 4  # colon, space and line end


# What a connection is at. Plain numbers: an enumeration would cost a microsecond per request.
_BETWEEN: Final = 0  # no request is being received
_HEADER: Final = 1
_BODY: Final = 2
_REPLAY: Final = 3  # a new parser is told what the last one has read
_REFUSED: Final = 4


class _Refused(Exception):  # noqa: N818 - it ends the parsing and is caught here
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


_TOO_LARGE = (431, "header_too_large", f"the header has more than {MAX_HEADER_BYTES} bytes")


class HttpProtocol(HttpToolsProtocol):
    """One client's connection; give it to uvicorn as `http`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._phase: int = _BETWEEN
        self._framing = b""  # the field that tells how long the body is
        self._unread_bytes = 0  # of this read and those before it that completed nothing
        self._has_progress = False
        self._earlier: list[RequestResponseCycle] = []  # those that pipelined requests wait for
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request no longer than for the next one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and tell all who are answering; uvicorn tells only the last."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unset_keepalive_if_required()
        for cycle in self._earlier:
            self._tell_that_client_left(cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and see that what is still missing comes in time."""
        if self._phase == _REFUSED:
            return
        self._unset_keepalive_if_required()
        phase, scope = self._phase, self.scope
        self._unread_bytes += len(data)
        self._has_progress = False
        try:
            self._feed(data)
        except _Refused as refused:
            self._refuse(refused)
            return
        if self._has_progress:
            self._unread_bytes = 0
            if self._phase == _BETWEEN:
                self._deadline = None
                return
        elif self._unread_bytes > MAX_HEADER_BYTES:  # a header, a trailer, or empty lines
            self._refuse(_Refused(*_TOO_LARGE))
            return
        if self._phase != phase or self.scope is not scope:
            self._expect_within(HEADER_TIMEOUT_S if self._phase == _HEADER else BODY_TIMEOUT_S)
        elif self._deadline is None:
            self._expect_within(HEADER_TIMEOUT_S)  # empty lines are no request

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._phase != _REPLAY:
            self._phase = _HEADER
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to serve the request, unless its header is wrong."""
        if self._phase != _REPLAY:
            self._check_header()
            previous = self.cycle
            super().on_headers_complete()
            if self.pipeline:
                self._earlier = [*filter(self._is_answering, self._earlier), previous]
            self.headers = []  # a trailer comes too late to mean anything
        self._phase = _BODY
        self._has_progress = True

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._has_progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless the parser only thinks so because of an upgrade."""
        if self.parser.should_upgrade():
            return
        self._phase = _BETWEEN
        self._has_progress = True
        super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = memoryview(rest)[upgrade.args[0] :]
                self._decline_upgrade()
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, _Refused):
                    raise error.__context__ from None
                reason = (
                    "" if isinstance(error, httptools.HttpParserCallbackError) else f": {error}"
                )
                raise _Refused(
                    400, "invalid_http", f"the request is not valid HTTP/1.1{reason}"
                ) from None
            else:
                return

    def _decline_upgrade(self) -> None:
        """Go on in HTTP/1.1 after a header that offers something else.

        The parser has stopped behind that header; another one takes over, which has to know how
        long the body is.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._phase = _REPLAY
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % self._framing)

    def _check_header(self) -> None:
        hosts, self._framing = 0, b"content-length: 0"
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                self._framing = b"content-length: " + value
            elif name == b"transfer-encoding":
                self._framing = b"transfer-encoding: chunked"
                if (version := self.parser.get_http_version()) != "1.1":
                    raise _Refused(400, "invalid_http", f"HTTP/{version} has no Transfer-Encoding")
                if value.strip().lower() != b"chunked":
                    raise _Refused(
                        501, "transfer_encoding", "of transfer codings only chunked is understood"
                    )
        if hosts != 1 and (hosts > 1 or self.parser.get_http_version() == "1.1"):
            raise _Refused(400, "invalid_host", f"the request has {hosts} Host fields, not one")
        if self._unread_bytes > MAX_HEADER_BYTES:  # else the header cannot be larger either
            fields = sum(len(name) + len(value) + _FIELD_BYTES for name, value in self.headers)
            if len(self.url) + fields > MAX_HEADER_BYTES:
                raise _Refused(*_TOO_LARGE)

    def _expect_within(self, seconds: float) -> None:
        self._deadline = deadline = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """Act on the deadline, should it still stand and have passed."""
        self._timer = None
        if self._deadline is None or self.transport.is_closing():
            return
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._look)
        elif self._phase == _REFUSED:
            self.transport.close()
        elif self._is_our_turn():
            self._expect_within(HEADER_TIMEOUT_S)
        else:
            what = "body" if self._phase == _BODY else "header"
            limit_s = BODY_TIMEOUT_S if self._phase == _BODY else HEADER_TIMEOUT_S
            self._refuse(
                _Refused(
                    408,
                    "request_timeout",
                    f"the request's {what} was not complete after {limit_s:g} s; send it again",
                )
            )

    def _is_our_turn(self) -> bool:
        """Say whether the rest of the request waits for an earlier answer, or for its reader."""
        if self._phase == _BODY:
            return bool(self.pipeline) or self.flow.read_paused
        return self._is_answering(self.cycle)

    @staticmethod
    def _is_answering(cycle: RequestResponseCycle | None) -> bool:
        return cycle is not None and not cycle.response_complete

    def _tell_that_client_left(self, cycle: RequestResponseCycle | None) -> None:
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _refuse(self, refused: _Refused) -> None:
        """Say what is wrong where the client expects an answer, and close the connection."""
        cycle = self.cycle
        is_answering = self._is_answering(cycle)
        if self._phase == _BODY:
            may_answer = not self.pipeline and not cycle.response_started
        else:
            may_answer = not is_answering
        self._phase = _REFUSED
        self._tell_that_client_left(cycle)
        if not may_answer:
            self.transport.close()
            return
        body = error_body(refused.message, type_=error_type(refused.status), code=refused.code)
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[refused.status], len(body), body)
        )
        self.transport.write_eof()
        self._expect_within(_LINGER_S)
