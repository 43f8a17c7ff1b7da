"""One attempt: the request goes out, and the answer reaches the client or fails unseen."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, NamedTuple

import orjson

from llm_canary.errors import UpstreamTimeout, UpstreamUnavailable
from llm_canary.gateway.asgi import JSON_TYPE, ClientLeft, Headers, Receive, Send, send_bytes
from llm_canary.gateway.dialects.dialect import Dialect
from llm_canary.gateway.exchange import CLIENT_LEFT_STATUS, Exchange
from llm_canary.gateway.failure import Failure, shape_of
from llm_canary.gateway.sse import Tap
from llm_canary.gateway.state import GatewayState
from llm_canary.gateway.upstream_error import (
    forwarded_headers,
    has_whole_error,
    is_credentials_failure,
    readable_error,
    shaped_error,
    stream_error,
)
from llm_canary.gateway.watch import UpstreamSilent, Watch
from llm_canary.opaque import without
from llm_canary.providers.wire import MAX_ANSWER_BYTES, Answer, AnswerCut, Outbound, Wire
from llm_canary.routing.table import Path, Upstream
from llm_canary.telemetry.events import Terminal

_NO_STREAM = (b"application/json", b"text/html")
_SSE_HEADERS: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
# How long, how many reads and how many bytes the first content of a stream is waited for, so that
# an error before it is still an HTTP error, and the request may be sent again.
_PEEK_S = 1.0
_PEEK_READS = 32
_PEEK_BYTES = 64 * 1024
# Of a relayed answer's header, beside its type, what describes its body.
_OF_BODY = frozenset({b"content-length", b"content-disposition", b"content-range", b"etag"})


class Outgoing(NamedTuple):
    """A request ready for its upstream."""

    wire: Wire
    limits: Upstream  # for its time limits and its name
    outbound: Outbound
    strips_usage: bool


class Attempt:
    """Serves an exchange by one request to one upstream."""

    def __init__(
        self, state: GatewayState, exchange: Exchange, outgoing: Outgoing, send: Send
    ) -> None:
        self._state = state
        self._exchange = exchange
        self._outgoing = outgoing
        self._send = send
        self._answer: Answer | None = None
        self._has_started = False  # the client has been sent something
        self._began = perf_counter()
        self._forwarded: Headers = []  # of the upstream's header what the client gets

    async def serve(self, receive: Receive) -> Failure | None:
        """Serve the exchange; return how it failed if the client has not seen anything of it.

        Raises ClientLeft, and InvalidRequest for what this upstream does not serve.
        """
        exchange = self._exchange
        exchange.path = self._outgoing.wire.path
        watch = Watch(receive, self._state.begin_drain if exchange.drains else None)
        try:
            with watch:
                failure = await self._run(watch)
        except UpstreamSilent:
            failure = await self._silent()
        except AnswerCut:
            failure = await self._cut()
        except UpstreamUnavailable as error:
            is_timeout = isinstance(error, UpstreamTimeout)
            failure = self._failure(
                error, Terminal.TIMEOUT if is_timeout else Terminal.UPSTREAM_ERROR
            )
        finally:
            if watch.is_draining:
                self._state.end_drain()
            self._abort_unless_complete()
        if watch.is_draining:
            raise ClientLeft
        return failure

    async def _run(self, watch: Watch) -> Failure | None:
        outgoing, limits = self._outgoing, self._outgoing.limits
        first_byte_s = limits.first_byte_timeout_s
        if not outgoing.outbound.stream:
            first_byte_s = min(first_byte_s, limits.total_timeout_s)
        watch.expect_within(first_byte_s)
        self._answer = answer = await outgoing.wire.send(outgoing.outbound)
        self._exchange.sent_params = answer.sent_params
        kind = self._take_headers(answer)
        if not 200 <= answer.status < 300:
            return self._error_of(answer, await self._read_all(answer, watch))
        if self._exchange.dialect is None:
            await self._relay_raw(answer, kind, watch)
            return None
        if outgoing.outbound.stream and not kind.lower().startswith(_NO_STREAM):
            return await self._relay_stream(answer, watch)
        await self._relay_whole(await self._read_all(answer, watch), kind, watch)
        return None

    def _take_headers(self, answer: Answer) -> bytes:
        """Take from the upstream's header what the client gets; return its content type."""
        kind, request_id, forwarded = forwarded_headers(answer.headers())
        if request_id is not None:
            forwarded.append((b"x-upstream-request-id", request_id))
            self._exchange.upstream_request_id = request_id.decode("latin-1")
        if forwarded and self._exchange.hold is not None:
            own = {name for name, _ in self._exchange.hold.headers}
            forwarded = [field for field in forwarded if field[0] not in own]
        self._forwarded = forwarded
        return kind

    async def _read_all(self, answer: Answer, watch: Watch) -> bytes:
        limits = self._outgoing.limits
        ends = self._began + limits.total_timeout_s
        parts, size = [], 0
        while True:
            watch.expect_within(min(limits.idle_timeout_s, ends - perf_counter()))
            part = await answer.read_some()
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamUnavailable(
                    f"the upstream's answer has more than {MAX_ANSWER_BYTES} bytes",
                    code="upstream_answer_too_large",
                )
            if not part or answer.at_end():
                return without(self._outgoing.wire.api_key, b"".join(parts))

    async def _relay_whole(self, body: bytes, kind: bytes, watch: Watch) -> None:
        exchange, dialect = self._exchange, self._dialect
        answer = self._checked(body, kind)
        exchange.answer = body
        exchange.status = 200
        if isinstance(response_id := answer.get("id"), str):
            exchange.response_id = response_id
        watch.client_turn()
        await self._send_whole(200, body, kind or b"application/json")
        if dialect.is_failed(answer):
            exchange.end(Terminal.UPSTREAM_ERROR, code="upstream_response_failed")
        else:
            self._complete(watch)

    def _checked(self, body: bytes, kind: bytes) -> dict[str, Any]:
        """Return the answer; raise UpstreamUnavailable when it is none, whatever its status."""
        name, dialect = self._outgoing.limits.name, self._dialect
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            shown = kind.decode("latin-1") or "no content type"
            raise UpstreamUnavailable(
                f"upstream {name!r} answered 200 with something that is not JSON ({shown}, "
                f"{len(body)} bytes); check its base_url",
                code="upstream_invalid_answer",
            ) from None
        if not isinstance(answer, dict) or not dialect.is_answer(answer):
            raise UpstreamUnavailable(
                f"upstream {name!r} answered 200 without `{dialect.expects}`"
                f"{': ' + text if (text := readable_error(answer)) else ''}",
                code="upstream_invalid_answer",
            )
        return answer

    async def _relay_stream(self, answer: Answer, watch: Watch) -> Failure | None:
        exchange, limit_s = self._exchange, self._outgoing.limits.idle_timeout_s
        request = exchange.request
        exchange.tap = tap = Tap(
            self._dialect.marks,
            strips_usage=self._outgoing.strips_usage,
            choices=request.choices() if request is not None else 1,
        )
        held = b""
        if self._outgoing.wire.path is Path.PASSTHROUGH:
            held = await self._peek(answer, tap, watch)
            if tap.has_error and not tap.has_content:
                exchange.tap = None
                return self._error_in(held)
            if not held and answer.at_end():
                raise AnswerCut
        await self._start_stream(held)
        while not answer.at_end():
            watch.expect_within(limit_s)
            chunk = await answer.read_some()
            if not chunk:
                break
            watch.client_turn()
            out = tap.feed(without(self._outgoing.wire.api_key, chunk))
            if exchange.first_content is None and tap.has_content:
                exchange.first_content = perf_counter()
            if out:
                await self._send({"type": "http.response.body", "body": out, "more_body": True})
        await self._end_stream(watch, "its answer ended before it was complete")
        return None

    async def _peek(self, answer: Answer, tap: Tap, watch: Watch) -> bytes:
        """Return what the stream says up to its first content, an error or its end."""
        held: list[bytes] = []
        size = 0
        limit_s = self._outgoing.limits.idle_timeout_s
        until = asyncio.get_running_loop().time() + _PEEK_S
        while size < _PEEK_BYTES and (len(held) < _PEEK_READS or tap.has_error):
            watch.expect_within(limit_s)
            try:
                async with asyncio.timeout_at(until):
                    chunk = await answer.read_some()
            except TimeoutError:
                break
            if not chunk:
                if not tap.is_complete and not tap.has_error:
                    raise AnswerCut
                break
            held.append(tap.feed(without(self._outgoing.wire.api_key, chunk)))
            size += len(chunk)
            if tap.has_content or tap.is_done:
                break
            if tap.has_error and has_whole_error(b"".join(held)):
                break
        return b"".join(held)

    async def _start_stream(self, held: bytes) -> None:
        exchange, tap = self._exchange, self._exchange.tap
        if exchange.first_content is None and tap is not None and tap.has_content:
            exchange.first_content = perf_counter()
        exchange.status = 200
        headers = exchange.response_headers
        headers.extend(self._forwarded)
        headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
        headers.extend(_SSE_HEADERS)
        self._has_started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if held:
            await self._send({"type": "http.response.body", "body": held, "more_body": True})

    async def _relay_raw(self, answer: Answer, kind: bytes, watch: Watch) -> None:
        """Relay an answer that is not looked into."""
        exchange, limit_s = self._exchange, self._outgoing.limits.idle_timeout_s
        exchange.status = answer.status
        headers = exchange.response_headers
        headers.extend(self._forwarded)
        if kind:
            headers.append((b"content-type", kind))
        headers.extend(
            (name.lower(), value) for name, value in answer.headers() if name.lower() in _OF_BODY
        )
        self._has_started = True
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": headers}
        )
        while not answer.at_end():
            watch.expect_within(limit_s)
            chunk = await answer.read_some()
            watch.client_turn()
            if chunk:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._complete(watch)
        await self._send({"type": "http.response.body", "body": b""})

    def _complete(self, watch: Watch) -> None:
        if watch.is_draining:
            self._exchange.end(
                Terminal.CLIENT_CANCELLED, status=CLIENT_LEFT_STATUS, code="client_cancelled"
            )
        else:
            self._exchange.end(Terminal.COMPLETED)

    async def _silent(self) -> Failure | None:
        """End an attempt whose upstream fell silent."""
        limits = self._outgoing.limits
        if self._has_started:
            await self._end_stream(None, f"nothing came for {limits.idle_timeout_s:g} s")
            return None
        if perf_counter() - self._began >= limits.total_timeout_s:
            what = f"was not done within {limits.total_timeout_s:g} s"
        elif self._answer is None:
            what = f"did not begin to answer within {limits.first_byte_timeout_s:g} s"
        else:
            what = f"sent nothing for {limits.idle_timeout_s:g} s before its answer was complete"
        error = UpstreamTimeout(
            f"upstream {limits.name!r} {what}; try again, or raise its timeouts"
        )
        return self._failure(error, Terminal.TIMEOUT)

    async def _cut(self) -> Failure | None:
        """End an attempt whose upstream broke its answer off."""
        if self._has_started:
            await self._end_stream(None, "its answer broke off before it was complete")
            return None
        error = UpstreamUnavailable(
            f"upstream {self._outgoing.limits.name!r} broke its answer off; try again",
            code="upstream_truncated",
        )
        return self._failure(error, Terminal.TRUNCATED)

    def _failure(self, error: UpstreamUnavailable, terminal: Terminal) -> Failure:
        self._exchange.tap = None
        return Failure(
            terminal=terminal,
            status=error.status,
            code=error.code,
            body=shape_of(self._exchange)(error.message, type_=error.type, code=error.code),
            latency_s=perf_counter() - self._began,
            headers=[JSON_TYPE, *self._forwarded],
            upstream_status=self._answer.status if self._answer is not None else 0,
        )

    def _abort_unless_complete(self) -> None:
        """Stop an upstream that may still be working; a complete answer's connection is kept."""
        if self._answer is not None and not self._answer.at_end():
            self._answer.abort()

    async def _end_stream(self, watch: Watch | None, what: str) -> None:
        """End a stream whose upstream has ended; `what` happened if it was not complete."""
        tap = self._exchange.tap
        if tap is not None and tap.has_error:
            self._exchange.end(Terminal.UPSTREAM_ERROR, code="upstream_stream_error")
        elif tap is not None and tap.is_complete and watch is not None:
            self._complete(watch)
        elif tap is not None and tap.is_complete:
            self._exchange.end(Terminal.COMPLETED)
        else:
            await self._end_truncated(what)
            return
        await self._send({"type": "http.response.body", "body": tap.flush()})

    async def _end_truncated(self, what: str) -> None:
        """End a stream that lacks its end; the client learns it by an error event."""
        exchange, tap = self._exchange, self._exchange.tap
        exchange.end(Terminal.TRUNCATED, code="upstream_truncated")
        if exchange.dialect is None:
            return  # without its end the client's library knows: the framing is incomplete
        message = f"upstream {self._outgoing.limits.name!r}: {what}; the answer is incomplete"
        frame = exchange.dialect.error_frame(
            message, type_="upstream_error", code="upstream_truncated"
        )
        # The break may lie inside an event; an empty line first lets this one stand alone.
        rest = (tap.flush() if tap is not None else b"") + b"\n\n" + frame
        await self._send({"type": "http.response.body", "body": rest})

    def _error_of(self, answer: Answer, body: bytes) -> Failure:
        """Return the failure that an HTTP error is."""
        status, name = answer.status, self._outgoing.limits.name
        if is_credentials_failure(status):
            raise UpstreamUnavailable(
                f"upstream {name!r} refused the gateway's credentials ({status}); "
                "your own key is fine, the gateway's operator must look",
                code="upstream_credentials",
            )
        if status < 400:
            raise UpstreamUnavailable(
                f"upstream {name!r} answered {status}, which is no answer to a request; "
                "check its base_url",
                code="upstream_invalid_answer",
            )
        code, shaped = shaped_error(body, status, name, shape_of(self._exchange))
        return self._upstream_error(status, code, shaped)

    def _error_in(self, held: bytes) -> Failure:
        """Return the failure that an error in a stream is before there is any content."""
        shape = shape_of(self._exchange)
        status, code, body = stream_error(held, self._outgoing.limits.name, shape)
        return self._upstream_error(status, code, body)

    def _upstream_error(self, status: int, code: str, body: bytes) -> Failure:
        return Failure(
            terminal=Terminal.UPSTREAM_ERROR,
            status=status,
            code=code,
            body=body,
            latency_s=perf_counter() - self._began,
            headers=[JSON_TYPE, *self._forwarded],
            upstream_status=status,
        )

    async def _send_whole(self, status: int, body: bytes, kind: bytes) -> None:
        headers = self._exchange.response_headers
        headers.extend(self._forwarded)
        headers.append((b"content-type", kind))
        self._has_started = True
        await send_bytes(self._send, status, body, headers)

    @property
    def _dialect(self) -> Dialect:
        dialect = self._exchange.dialect
        if dialect is None:
            raise AssertionError("only understood endpoints come here")
        return dialect
