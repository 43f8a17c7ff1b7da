"""Sends a request to its upstream and the answer to the client, byte for byte.

Every way this can end is one terminal state:

====================================  =================  ==========================================
what happened                         terminal           what the client gets
====================================  =================  ==========================================
a complete answer                     completed          the upstream's bytes
the client left                       client_cancelled   nothing; upstream aborted, or drained
no answer in time                     timeout            504
an HTTP error, or no answer at all    upstream_error     it, or 502 where it would mislead
the answer breaks off or falls mute   truncated          an error event in a stream, else 502
====================================  =================  ==========================================

Until the client has been sent anything, a failed attempt can be followed by another one: further
attempts of the same upstream as `retries` allows, then one of control, if the rollout says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from llm_canary.errors import RequestError
from llm_canary.gateway.asgi import ClientLeft, Receive, Send, send_bytes
from llm_canary.gateway.attempt import Attempt, Outgoing
from llm_canary.gateway.exchange import CLIENT_LEFT_STATUS, Exchange
from llm_canary.gateway.failure import Failure
from llm_canary.gateway.retries import wait_s
from llm_canary.gateway.state import GatewayState
from llm_canary.telemetry.events import Absorbed, Terminal

__all__ = ["Outgoing", "relay"]


async def relay(
    state: GatewayState,
    exchange: Exchange,
    outgoing: Outgoing,
    fallback: Callable[[], Outgoing] | None,
    receive: Receive,
    send: Send,
) -> None:
    """Serve `exchange` to its one end, whatever the upstream and the client do."""
    try:
        failure = await _attempts(state, exchange, outgoing, receive, send)
        if failure is not None and failure.may_be_answered_by_another and fallback is not None:
            _absorb(exchange, outgoing, failure)
            failure = await _attempts(state, exchange, fallback(), receive, send)
    except ClientLeft:
        exchange.end(Terminal.CLIENT_CANCELLED, status=CLIENT_LEFT_STATUS, code="client_cancelled")
        return
    except asyncio.CancelledError:
        # The server is shutting down: nobody's answer was bad, so nothing is to be compared.
        exchange.end(Terminal.CLIENT_CANCELLED, status=CLIENT_LEFT_STATUS, code="gateway_shutdown")
        raise
    if failure is not None:
        exchange.end(failure.terminal, status=failure.status, code=failure.code)
        exchange.response_headers.extend(failure.headers)
        await send_bytes(send, failure.status, failure.body, exchange.response_headers)


async def _attempts(
    state: GatewayState, exchange: Exchange, outgoing: Outgoing, receive: Receive, send: Send
) -> Failure | None:
    """Send the request until it is answered; return how the last attempt failed, if it did."""
    limits = outgoing.limits
    for attempt in range(limits.retries + 1):
        breaker = state.breakers.of(limits, outgoing.outbound.model)
        if not breaker.allows(perf_counter()):
            return Failure.of_open_breaker(
                exchange, limits.name, breaker.retry_after_s(perf_counter())
            )
        exchange.attempts += 1
        run = Attempt(state, exchange, outgoing, send)
        try:
            failure = await run.serve(receive)
        except RequestError:
            breaker.note_success()  # what the wire itself refuses says nothing about the upstream
            raise
        except BaseException:
            breaker.release()
            raise
        if failure is None or not failure.is_outage:
            breaker.note_success()
        else:
            breaker.note_failure(perf_counter())
        if failure is None or attempt == limits.retries:
            return failure
        pause_s = wait_s(attempt, failure.upstream_status, failure.headers, exchange.jitter)
        if pause_s is None:
            return failure
        _absorb(exchange, outgoing, failure)
        await asyncio.sleep(pause_s)
    return None


def _absorb(exchange: Exchange, outgoing: Outgoing, failure: Failure) -> None:
    exchange.absorbed += (
        Absorbed(
            upstream=outgoing.limits.name,
            model=outgoing.outbound.model,
            status=failure.upstream_status,
            code=failure.code,
            latency_ms=round(failure.latency_s * 1000, 3),
        ),
    )
