"""Every fault of an upstream or a client, played against the running data plane: what came of it.

`rows()` plays all of them and returns the table of docs/faults.md.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from raw_client import chat, open_chat
from running_gateway import CANARY, Gateway, make_split, make_table, running
from simulated_upstream import DONE, HELLO, USAGE, SimulatedUpstream, completion, event, free_port

from llm_canary.routing.table import OnDisconnect

HEAD = ("what happens", "request", "the client sees", "terminal state", "tokens", "cost")
STOP = event({}, finish="stop")
SILENCE_S = 0.25
BUSY = {"error": {"message": "busy", "type": "server_error", "param": None, "code": "busy"}}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, and when."""

    name: str
    script: Callable  # the upstream's part
    streams: tuple[bool, ...] = (False, True)
    leaves: bool = False  # the client goes once the upstream has said so
    reads: int = 0  # so many bytes before it goes
    upstream: dict = field(default_factory=dict)  # changes to its settings
    route: dict = field(default_factory=dict)


async def refuses(_got, client):
    client.hang_up()


async def hangs(_got, client):
    await client.wait_closed()


async def fails(_got, client):
    await client.answer(BUSY, status=500)


async def is_unavailable(_got, client):
    await client.answer(BUSY, status=503)


async def is_wrong(_got, client):
    await client.answer(BUSY, status=400)


async def is_busy(_got, client):
    await client.answer(BUSY, status=429, headers=[("retry-after", "7")])


async def refuses_the_key(_got, client):
    await client.answer(BUSY, status=401)


async def redirects(_got, client):
    await client.answer(b"", status=307, headers=[("location", "http://127.0.0.1:9/v1")])


async def answers_in_html(_got, client):
    await client.answer(b"<html>Welcome</html>", kind="text/html")


async def errs_in_a_200(got, client):
    if got.json.get("stream"):
        await client.stream(b"data: " + json.dumps(BUSY).encode() + b"\n\n")
    else:
        await client.answer(BUSY)


async def begins(got, client):
    """Send the first half of an answer."""
    if got.json.get("stream"):
        await client.begin_stream()
        await client.chunk(HELLO)
    else:
        body = json.dumps(completion()).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        await client.raw(head.encode() + b"\r\n\r\n" + body[:40])


async def dies_in_the_middle(got, client):
    await begins(got, client)
    await asyncio.sleep(0.05)
    client.hang_up()


async def hangs_in_the_middle(got, client):
    await begins(got, client)
    await client.wait_closed()


async def errs_in_the_middle(_got, client):
    await client.stream(HELLO + b"data: " + json.dumps(BUSY).encode() + b"\n\n")


async def ends_without_an_end(_got, client):
    await client.stream(HELLO)


async def dies_after_finish_reason(_got, client):
    await client.begin_stream()
    await client.chunk(HELLO + STOP)
    await asyncio.sleep(0.05)
    client.hang_up()


async def hangs_after_finish_reason(_got, client):
    await client.begin_stream()
    await client.chunk(HELLO + STOP)
    await client.wait_closed()


async def sends_too_much(_got, client):
    await client.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(70):
            await client.raw(b" " * 1_048_576)


async def floods_with_one_event(_got, client):
    await client.stream(event({"content": "x" * 8_000_000}) + STOP + USAGE + DONE, size=65_536)


def floods(upstream):
    async def script(_got, client):
        await client.begin_stream()
        upstream.noticed.set()
        with contextlib.suppress(OSError):
            while not client.writer.transport.is_closing():
                await client.chunk(event({"content": "word " * 2_000}))
                await asyncio.sleep(0)

    return script


def says_when(upstream, part):
    """Play `part`, tell the client to go, then go on for those who drain."""

    async def script(got, client):
        if part == "before":
            upstream.noticed.set()
        elif part == "before content":
            await client.begin_stream()
            await client.chunk(event({"role": "assistant", "content": ""}))
            upstream.noticed.set()
        else:
            await begins(got, client)
            if part == "after finish_reason":
                await client.chunk(STOP)
            await asyncio.sleep(0.1)
            upstream.noticed.set()
        await asyncio.sleep(SILENCE_S)
        with contextlib.suppress(OSError):
            if not got.json.get("stream"):
                body = json.dumps(completion()).encode()
                await (client.raw(body[40:]) if part != "before" else client.answer(completion()))
                return
            if part == "before":
                await begins(got, client)
            elif part == "before content":
                await client.chunk(HELLO)
            if part != "after finish_reason":
                await client.chunk(STOP)
            await client.chunk(USAGE + DONE)
            await client.end_stream()

    return script


def faults(upstream):
    """Return all faults, in the order of the table."""
    yield from (
        Fault("upstream: closes the connection before it answers", refuses),
        Fault("upstream: silent before its first byte", hangs),
        Fault("upstream: answers 500", fails),
        Fault("upstream: answers 429", is_busy),
        Fault("upstream: refuses the gateway's key (401)", refuses_the_key),
        Fault("upstream: redirects (307)", redirects),
        Fault("upstream: answers 200 with HTML", answers_in_html),
        Fault("upstream: answers 200 with an error in it", errs_in_a_200),
        Fault("upstream: dies in the middle", dies_in_the_middle),
        Fault("upstream: falls silent in the middle", hangs_in_the_middle),
        Fault("upstream: sends an error event in the middle", errs_in_the_middle, (True,)),
        Fault("upstream: ends cleanly without finish_reason", ends_without_an_end, (True,)),
        Fault("upstream: dies after finish_reason", dies_after_finish_reason, (True,)),
        Fault("upstream: silent after finish_reason", hangs_after_finish_reason, (True,)),
        Fault("upstream: an answer of more than 64 MiB", sends_too_much, (False,)),
        Fault("upstream: one event of 8 MB", floods_with_one_event, (True,)),
        Fault(
            "upstream: floods without end until the client goes",
            floods(upstream),
            (True,),
            leaves=True,
            reads=1_000_000,
        ),
    )
    for policy in OnDisconnect:
        for when, part in (
            ("before the answer", "before"),
            ("after the upstream's header, before content", "before content"),
            ("in the middle", "middle"),
            ("after finish_reason", "after finish_reason"),
        ):
            yield Fault(
                f"client: leaves {when}, `on_disconnect: {policy.value}`",
                says_when(upstream, part),
                (True,) if part in ("before content", "after finish_reason") else (False, True),
                leaves=True,
                reads=0 if part.startswith("before") else 1,
                route={"on_disconnect": policy},
            )
    retried = {"retries": 1}
    yield from (
        Fault("answers 500, then well; `retries: 1`", first(fails), upstream=retried),
        Fault("answers 500 twice; `retries: 1`", fails, upstream=retried),
    )


def first(fault):
    """Play `fault` for the first request, and a good answer for the next."""
    before = []

    async def script(got, client):
        before.append(got)
        if len(before) % 2:
            await fault(got, client)
        elif got.json.get("stream"):
            await client.stream(HELLO + STOP + USAGE + DONE)
        else:
            await client.answer(completion())

    return script


def rows():
    """Play every fault on a gateway of its own and return the rows of the table."""
    upstream = SimulatedUpstream().start()
    other = SimulatedUpstream().start()
    try:
        made = [
            _play(upstream, fault, stream)
            for fault in list(faults(upstream))
            for stream in fault.streams
        ]
        unreached = [play(stream) for play in (_nobody_there, _no_room) for stream in (False, True)]
        return [*unreached, *made, *_fallbacks(other)]
    finally:
        upstream.stop()
        other.stop()


def _play(upstream, fault, stream):
    upstream.script = fault.script
    upstream.noticed.clear()
    limits = {"first_byte_timeout_s": 1.0, "idle_timeout_s": 1.0, "connect_timeout_s": 1.0}
    if "silent" in fault.name:
        limits |= {"first_byte_timeout_s": SILENCE_S, "idle_timeout_s": SILENCE_S}
    table = make_table(upstream.base_url, upstream=limits | fault.upstream, route=fault.route)
    with running(Gateway(table)) as gateway:
        if fault.leaves:
            with open_chat(gateway, stream=stream) as connection:
                assert upstream.noticed.wait(5)
                # A whole answer shows itself only at its end.
                left = fault.reads if stream else 0
                while left > 0:
                    left -= len(connection.recv(left))
            seen = "it is gone"
        else:
            seen = _seen(chat(gateway, stream=stream))
        return _row(fault.name, stream, seen, gateway.event())


def _nobody_there(stream):
    with running(Gateway(make_table(f"http://127.0.0.1:{free_port()}/v1"))) as gateway:
        seen = _seen(chat(gateway, stream=stream))
        return _row("upstream: nobody listens", stream, seen, gateway.event())


def _no_room(stream):
    """An upstream whose queue of connections is full: the connection is never accepted."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(address)
        table = make_table(
            f"http://127.0.0.1:{address[1]}/v1", upstream={"connect_timeout_s": SILENCE_S}
        )
        with running(Gateway(table)) as gateway:
            seen = _seen(chat(gateway, stream=stream))
            return _row("upstream: accepts no connection", stream, seen, gateway.event())


def _fallbacks(other):
    """The canary fails and control may answer, unless the client has already seen something."""
    made = (
        ("answers 503", is_unavailable),
        ("closes the connection before it answers", refuses),
        ("silent before its first byte", hangs),
        ("answers 400", is_wrong),
        ("dies in the middle", dies_in_the_middle),
    )
    for what, fault in made:
        for allowed in (False, True):
            setting = "`fallback: control`" if allowed else "`fallback: none`"
            for stream in (False, True):
                other.script = _by_control(fault)
                table = make_table(
                    other.base_url,
                    route={"split": make_split(1.0, fallback=allowed)},
                    upstream={"first_byte_timeout_s": SILENCE_S},
                )
                with running(Gateway(table)) as gateway:
                    seen = _seen(chat(gateway, stream=stream))
                    yield _row(f"canary: {what}, {setting}", stream, seen, gateway.event())


def _by_control(fault):
    async def script(got, client):
        if got.json["model"] == CANARY.model:
            await fault(got, client)
        elif got.json.get("stream"):
            await client.stream(HELLO + STOP + USAGE + DONE)
        else:
            await client.answer(completion())

    return script


def _seen(reply):
    if reply.status != 200:
        error = json.loads(reply.body)["error"]
        later = f", `retry-after: {wish}`" if (wish := reply.headers.get("retry-after")) else ""
        return f"{reply.status} `{error['code']}`{later}"
    if reply.headers["content-type"].startswith("text/event-stream"):
        text = reply.body.decode()
        if '"error"' in text:
            last = json.loads(text[text.rindex("data: {") + 6 :].partition("\n")[0])
            return f"200, what there was, then an error event `{last['error']['code']}`"
        return "200, all of it"
    assert json.loads(reply.body)["choices"]
    return "200, all of it"


def _row(name, stream, seen, recorded):
    tokens = recorded.usage_source.value
    if recorded.cost_nanousd is None:
        cost = "unknown"
    else:
        cost = "of reported tokens" if tokens == "provider" else "of estimated tokens"
    state = f"`{recorded.terminal.value}`"
    if recorded.served != recorded.assigned and recorded.assigned is not None:
        state += f", assigned {recorded.assigned}, served {recorded.served}"
    if recorded.absorbed:
        state += (
            f", absorbed {', '.join(str(each.status or each.code) for each in recorded.absorbed)}"
        )
    kind = "stream" if stream else "whole"
    return (name, kind, seen, state, tokens, cost)


def markdown(made):
    """Return the table as text."""
    lines = [HEAD, tuple("---" for _ in HEAD), *made]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
