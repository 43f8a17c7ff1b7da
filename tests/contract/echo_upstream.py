"""An upstream that says in every way what it was told: in answers, errors, states and broken ends.

The client chooses the way by the header `x-client-request-id`, which the gateway passes on.
"""

import asyncio
import json

from simulated_upstream import DONE, USAGE, completion, event

USAGE_OF_MESSAGES = {"input_tokens": 3, "output_tokens": 5}


def _answer(path, text, **state):
    """Return a whole answer of the endpoint."""
    if path.endswith("/embeddings"):
        return {
            "object": "list",
            "model": "real-model",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    if path.endswith("/messages"):
        block = {"type": "text", "text": text}
        reason = state.get("finish", "end_turn")
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "real-model",
            "content": [block],
            "stop_reason": reason,
            "usage": USAGE_OF_MESSAGES,
        }
    if path.endswith("/responses"):
        part = {"type": "output_text", "text": text, "annotations": []}
        return {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": "real-model",
            "service_tier": state.get("tier"),
            "output": [{"type": "message", "role": "assistant", "content": [part]}],
            "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
        }
    if path.endswith("chat/completions"):
        whole = completion(text, service_tier=state.get("tier"))
        choice = whole["choices"][0]
        choice["finish_reason"] = state.get("finish", "stop")
        if state.get("tool"):
            call = {"name": "send", "arguments": json.dumps({"to": text})}
            choice["message"]["tool_calls"] = [{"id": "c", "type": "function", "function": call}]
        return whole
    choice = {"index": 0, "text": text, "finish_reason": state.get("finish", "stop")}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "model": "real-model",
        "choices": [choice],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def _named(kind, **fields):
    data = json.dumps({"type": kind} | fields)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def _stream(path, text, **state):
    """Return the beginning and the end of a stream of the endpoint."""
    if path.endswith("/messages"):
        head = {"id": "msg_1", "type": "message", "role": "assistant", "usage": USAGE_OF_MESSAGES}
        begin = _named("message_start", message=head) + _named(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": text}
        )
        end = _named(
            "message_delta",
            delta={"stop_reason": state.get("finish", "end_turn")},
            usage={"output_tokens": 5},
        )
        return begin, end + _named("message_stop")
    if path.endswith("/responses"):
        begin = _named("response.created", response={"id": "resp_1", "object": "response"})
        begin += _named("response.output_text.delta", delta=text, output_index=0, content_index=0)
        return begin, _named("response.completed", response=_answer(path, text, **state))
    if path.endswith("chat/completions"):
        delta = {"content": text}
        if state.get("tool"):
            call = {"name": "send", "arguments": json.dumps({"to": text})}
            delta = {"tool_calls": [{"index": 0, "id": "c", "function": call}]}
        begin = event({"role": "assistant", "content": ""}) + event(delta)
        end = event({}, finish=state.get("finish", "stop"), service_tier=state.get("tier"))
        return begin, end + USAGE + DONE

    def chunk(text, reason=None):
        choice = {"index": 0, "text": text, "finish_reason": reason}
        return b"data: " + json.dumps({"id": "cmpl-1", "choices": [choice]}).encode() + b"\n\n"

    return chunk(text), chunk("", state.get("finish", "stop")) + USAGE + DONE


def _error(text):
    return {"error": {"message": text, "type": text, "param": text, "code": text}}


WAYS = (
    *("well", "tool", "state", "error 400", "error 500", "error 401", "html", "error in 200"),
    *("other error", "dies", "hangs", "hangs in the middle", "error event", "no end", "slow"),
)


async def echo(got, client):
    """Answer `got` with what it says."""
    way = got.headers.get("x-client-request-id", "well")
    text = got.body.decode(errors="replace") + got.path
    stream = b'"stream":true' in got.body.replace(b" ", b"")
    if way.startswith("error 4") or way == "error 500":
        await client.answer(_error(text), status=int(way[6:]))
    elif way == "html":
        await client.answer(f"<p>{text}</p>".encode(), kind="text/html")
    elif way == "other error":
        await client.answer({"detail": text}, status=422, headers=[("x-request-id", "up-1")])
    elif way == "hangs":
        await client.wait_closed()
    elif way == "error in 200":
        error = _error(text)
        data = b"data: " + json.dumps(error).encode() + b"\n\n"
        await (client.stream(data) if stream else client.answer(error))
    else:
        await _say(got, client, way, text, stream=stream)


async def _say(got, client, way, text, *, stream):
    state = {"finish": text, "tier": text} if way == "state" else {"tool": way == "tool"}
    if not stream:
        body = json.dumps(_answer(got.path, text, **state)).encode()
        if way in ("dies", "hangs in the middle", "slow"):
            head = (
                f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            )
            await client.raw(head.encode() + b"\r\n\r\n" + body[:-9])
            await _end(client, way, body[-9:])
        else:
            await client.answer(body)
        return
    begin, end = _stream(got.path, text, **state)
    await client.begin_stream()
    await client.chunk(begin)
    if way == "error event":
        await client.chunk(b"data: " + json.dumps(_error(text)).encode() + b"\n\n")
    elif way in ("dies", "hangs in the middle", "slow"):
        await _end(client, way, None)
        if way == "slow":
            await client.chunk(end)
    elif way != "no end":
        await client.chunk(end)
    if not client.writer.transport.is_closing():
        await client.end_stream()


async def _end(client, way, rest):
    await asyncio.sleep(0.05)
    if way == "dies":
        client.hang_up()
    elif way == "hangs in the middle":
        await client.wait_closed()
    else:
        await asyncio.sleep(0.2)
        if rest is not None:
            await client.raw(rest)
