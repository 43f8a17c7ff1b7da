"""Sends a request to its upstream and the answer to the client, byte for byte.

Every way this can end is one terminal state:

====================================  =================  ==========================================
what happened                         terminal           what the client gets
====================================  =================  ==========================================
a complete answer                     completed          the upstream's bytes
the client left                       client_cancelled   nothing; the upstream is aborted at once
no answer in time                     timeout            504
an HTTP error, or no answer at all    upstream_error     it, or 502 where it would mislead
the answer breaks off or falls mute   truncated          an error event in a stream, else 502
====================================  =================  ==========================================
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

import orjson

from llm_canary.errors import UpstreamTimeout, UpstreamUnavailable
from llm_canary.gateway.asgi import JSON_TYPE, ClientLeft, Headers, Receive, Send, send_bytes
from llm_canary.gateway.errors import error_frame, send_refusal
from llm_canary.gateway.exchange import CLIENT_LEFT_STATUS, Exchange
from llm_canary.gateway.sse import Tap
from llm_canary.gateway.upstream_error import (
    forwarded_headers,
    is_credentials_failure,
    readable_error,
    shaped_error,
)
from llm_canary.gateway.watch import UpstreamSilent, Watch
from llm_canary.providers.openai_wire import (
    MAX_ANSWER_BYTES,
    Answer,
    AnswerCut,
    HeaderFields,
    Wire,
)
from llm_canary.routing.table import Upstream
from llm_canary.telemetry.events import Terminal

_SSE_HEADERS: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


@dataclass(slots=True, frozen=True)
class Outgoing:
    """A request ready for its upstream."""

    wire: Wire
    limits: Upstream  # for its time limits and its name
    path: str
    body: bytes
    headers: HeaderFields
    strips_usage: bool


class _Relay:
    def __init__(self, exchange: Exchange, outgoing: Outgoing, send: Send) -> None:
        self.exchange = exchange
        self.outgoing = outgoing
        self.send = send
        self.answer: Answer | None = None
        self.has_started = False

    async def run(self, receive: Receive) -> None:
        """Serve the exchange; raise what ends it early."""
        outgoing = self.outgoing
        with Watch(receive) as watch:
            watch.expect_within(outgoing.limits.first_byte_timeout_s)
            self.answer = answer = await outgoing.wire.send(
                outgoing.path, outgoing.body, outgoing.headers
            )
            kind = self._take_headers(answer)
            if not 200 <= answer.status < 300:
                await self._relay_error(answer, await self._read_all(answer, watch))
            elif self._is_stream(kind):
                await self._relay_stream(answer, watch)
            else:
                await self._relay_whole(await self._read_all(answer, watch), kind)

    def _take_headers(self, answer: Answer) -> bytes:
        """Add the upstream's header fields to ours; return its content type."""
        exchange = self.exchange
        kind, request_id, forwarded = forwarded_headers(answer.headers())
        exchange.response_headers.extend(forwarded)
        if request_id is not None:
            exchange.response_headers.append((b"x-upstream-request-id", request_id))
            exchange.upstream_request_id = request_id.decode("latin-1")
        return kind

    def _is_stream(self, kind: bytes) -> bool:
        """Say whether the answer is a stream; an upstream may answer a stream request at once."""
        request = self.exchange.request
        return (
            request is not None
            and request.stream
            and not kind.startswith((b"application/json", b"text/html"))
        )

    async def _read_all(self, answer: Answer, watch: Watch) -> bytes:
        limit_s = self.outgoing.limits.idle_timeout_s
        watch.expect_within(limit_s)
        first = await answer.read_some()
        if answer.at_end():
            return first
        parts, size = [first], len(first)
        while True:
            watch.expect_within(limit_s)
            part = await answer.read_some()
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamUnavailable(
                    f"the upstream's answer has more than {MAX_ANSWER_BYTES} bytes",
                    code="upstream_answer_too_large",
                )

    async def _relay_whole(self, body: bytes, kind: bytes) -> None:
        exchange = self.exchange
        self._check_answer(body, kind)
        exchange.answer = body
        exchange.status = 200
        exchange.response_headers.append((b"content-type", kind or b"application/json"))
        self.has_started = True
        await send_bytes(self.send, 200, body, exchange.response_headers)
        exchange.end(Terminal.COMPLETED)

    def _check_answer(self, body: bytes, kind: bytes) -> None:
        name = self.outgoing.limits.name
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            shown = kind.decode("latin-1") or "no content type"
            raise UpstreamUnavailable(
                f"upstream {name!r} answered 200 with something that is not JSON ({shown}, "
                f"{len(body)} bytes); check its base_url",
                code="upstream_invalid_answer",
            ) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
            raise UpstreamUnavailable(
                f"upstream {name!r} answered 200 without `choices`"
                f"{': ' + text if (text := readable_error(answer)) else ''}",
                code="upstream_invalid_answer",
            )

    async def _relay_stream(self, answer: Answer, watch: Watch) -> None:
        exchange, send, limit_s = self.exchange, self.send, self.outgoing.limits.idle_timeout_s
        request = exchange.request
        exchange.tap = tap = Tap(
            strips_usage=self.outgoing.strips_usage,
            choices=request.choices() if request is not None else 1,
        )
        exchange.status = 200
        headers = exchange.response_headers
        headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
        headers.extend(_SSE_HEADERS)
        self.has_started = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            watch.expect_within(limit_s)
            chunk = await answer.read_some()
            if not chunk:
                break
            watch.pause()
            out = tap.feed(chunk)
            if exchange.first_content is None and tap.has_content:
                exchange.first_content = perf_counter()
            if out:
                await send({"type": "http.response.body", "body": out, "more_body": True})
        await self._end_stream()

    async def end_silent(self) -> None:
        """End an exchange whose upstream fell silent."""
        limits = self.outgoing.limits
        if self.has_started:
            await self._end_truncated(f"nothing came for {limits.idle_timeout_s:g} s")
            return
        if self.answer is None:
            what = f"did not begin to answer within {limits.first_byte_timeout_s:g} s"
        else:
            what = f"sent nothing for {limits.idle_timeout_s:g} s before its answer was complete"
        error = UpstreamTimeout(
            f"upstream {limits.name!r} {what}; try again, or raise its timeouts"
        )
        await self.end_failed(error, Terminal.TIMEOUT)

    async def end_cut(self) -> None:
        """End an exchange whose upstream broke its answer off."""
        if self.has_started:
            await self._end_stream()
            return
        error = UpstreamUnavailable(
            f"upstream {self.outgoing.limits.name!r} broke its answer off; try again",
            code="upstream_truncated",
        )
        await self.end_failed(error, Terminal.TRUNCATED)

    async def end_failed(self, error: UpstreamUnavailable, terminal: Terminal) -> None:
        """Tell the client, who has not seen anything yet, what went wrong."""
        self.exchange.end(terminal, status=error.status, code=error.code)
        await send_refusal(self.send, error, self.exchange.response_headers)

    def abort_unless_complete(self) -> None:
        """Stop an upstream that may still be working; a complete answer's connection is kept."""
        if self.answer is not None and not self.answer.at_end():
            self.answer.abort()

    async def _end_stream(self) -> None:
        """End a stream whose upstream has ended."""
        tap = self.exchange.tap
        if tap is None:
            return
        if tap.has_error:
            self.exchange.end(Terminal.UPSTREAM_ERROR, code="upstream_stream_error")
        elif tap.is_complete:
            self.exchange.end(Terminal.COMPLETED)
        else:
            await self._end_truncated("its answer broke off before it was complete")
            return
        await self.send({"type": "http.response.body", "body": tap.flush()})

    async def _end_truncated(self, what: str) -> None:
        """End a stream that lacks its end; the client learns it by an error event."""
        tap = self.exchange.tap
        self.exchange.end(Terminal.TRUNCATED, code="upstream_truncated")
        message = f"upstream {self.outgoing.limits.name!r}: {what}; the answer is incomplete"
        frame = error_frame(message, type_="upstream_error", code="upstream_truncated")
        # The break may lie inside an event; an empty line first lets this one stand alone.
        rest = (tap.flush() if tap is not None else b"") + b"\n\n" + frame
        await self.send({"type": "http.response.body", "body": rest})

    async def _relay_error(self, answer: Answer, body: bytes) -> None:
        exchange, status = self.exchange, answer.status
        name = self.outgoing.limits.name
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
        code, shaped = shaped_error(body, status, name)
        exchange.end(Terminal.UPSTREAM_ERROR, status=status, code=code)
        self.has_started = True
        exchange.response_headers.append(JSON_TYPE)
        await send_bytes(self.send, status, shaped, exchange.response_headers)


async def relay(exchange: Exchange, outgoing: Outgoing, receive: Receive, send: Send) -> None:
    """Serve `exchange` to its one end, whatever the upstream and the client do."""
    run = _Relay(exchange, outgoing, send)
    try:
        await run.run(receive)
    except ClientLeft:
        exchange.end(Terminal.CLIENT_CANCELLED, status=CLIENT_LEFT_STATUS, code="client_cancelled")
    except UpstreamSilent:
        await run.end_silent()
    except AnswerCut:
        await run.end_cut()
    except UpstreamUnavailable as error:
        is_timeout = isinstance(error, UpstreamTimeout)
        await run.end_failed(error, Terminal.TIMEOUT if is_timeout else Terminal.UPSTREAM_ERROR)
    except asyncio.CancelledError:
        # The server is shutting down: nobody's answer was bad, so nothing is to be compared.
        exchange.end(Terminal.CLIENT_CANCELLED, status=CLIENT_LEFT_STATUS, code="gateway_shutdown")
        raise
    finally:
        run.abort_unless_complete()
