"""Limits through a running gateway: what clients see, and that nothing leaks."""

import concurrent.futures
import json
import socket
import time

import openai
import pytest
from msgspec.structs import replace
from raw_client import chat
from running_gateway import make_split
from test_keys_at_the_gateway import SECRET, bearer, stored, text_of
from test_stored_answers import provide

from llm_canary.routing.limits import Limits
from llm_canary.routing.table import StoredKeys
from llm_canary.telemetry.events import InferenceEvent, Terminal

HI = [{"role": "user", "content": "Hi"}]


def limit(gateway, *, route=None, **limits):
    gateway.swap(
        routes={"bot": replace(gateway.table.routes["bot"], **route or {})},
        stored=StoredKeys(
            secret=SECRET,
            any_made=True,
            keys=(stored("app", limits=Limits(**limits) if limits else None), stored("free")),
        ),
    )


@pytest.fixture(autouse=True)
def answers(upstream):
    upstream.script = provide


def rows(gateway):
    return [each for each in list(gateway.events) if isinstance(each, InferenceEvent)]


def test_every_answer_of_a_limited_key_says_what_is_left(gateway):
    limit(gateway, requests_per_minute=2, tokens_per_minute=100_000)

    answer = chat(gateway, headers=bearer("app"))

    headers = answer.headers
    assert answer.status == 200
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-reset-requests"] == "30s"
    assert headers["x-ratelimit-limit-tokens"] == "100000"


def test_a_key_without_limits_gets_no_such_header(gateway):
    limit(gateway, requests_per_minute=2)

    assert "x-ratelimit-limit-requests" not in chat(gateway, headers=bearer("free")).headers


def late_body(gateway):
    """Send a request but its body; return the connection and the body."""
    body = json.dumps({"model": "bot", "messages": HI}).encode()
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"authorization: Bearer %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % (text_of("app").encode(), len(body))
    )
    return connection, body


def status_of(connection, body):
    with connection:
        connection.sendall(body)
        return int(connection.recv(65_536).split()[1])


def test_a_body_that_comes_late_brings_no_time_back(gateway):
    """Else whoever sends headers early and bodies late would have the minute refilled by each."""
    limit(gateway, requests_per_minute=6)
    late = [late_body(gateway) for _ in range(8)]
    first = [chat(gateway, headers=bearer("app")).status for _ in range(6)]
    time.sleep(1.6)

    statuses = []
    for each in late:
        statuses += [status_of(*each), chat(gateway, headers=bearer("app")).status]

    assert first == [200] * 6
    assert set(statuses) == {429}


def test_a_body_that_comes_late_is_counted_when_it_comes(gateway):
    limit(gateway, requests_per_minute=30)
    late = late_body(gateway)
    use_up(gateway)
    time.sleep(2.2)

    assert status_of(*late) == 200


def use_up(gateway):
    while chat(gateway, headers=bearer("app")).status == 200:
        pass


def ask_without_end(client):
    while True:
        client.chat.completions.create(model="bot", messages=HI)


def test_openais_client_raises_rate_limit_error_and_waits_as_long_as_it_is_told(gateway):
    limit(gateway, requests_per_minute=20)
    client = openai.OpenAI(base_url=gateway.base_url, api_key=text_of("app"), max_retries=0)
    with pytest.raises(openai.RateLimitError) as raised:
        ask_without_end(client)
    assert raised.value.type == "rate_limit_error"
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "3"

    began = time.monotonic()
    client.with_options(max_retries=1).chat.completions.create(model="bot", messages=HI)

    assert 1.5 <= time.monotonic() - began < 10.0


def test_200_requests_at_the_edge_of_a_budget_overspend_by_what_was_in_flight_at_most(gateway):
    chat_cost = _cost_of_one(gateway)
    budget = chat_cost * 10
    limit(gateway, concurrent_streams=20, budget_nanousd_per_day=budget)

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(lambda _: chat(gateway, headers=bearer("app")).status, range(200)))

    spent = statuses.count(200) * chat_cost
    assert set(statuses) == {200, 429}
    assert budget <= spent <= budget + 20 * chat_cost
    refused = chat(gateway, headers=bearer("app"))
    assert refused.json["error"]["type"] == "insufficient_quota"


def _cost_of_one(gateway):
    limit(gateway)
    chat(gateway, headers=bearer("app"))
    gateway.writer.wait(2)
    [row] = rows(gateway)
    assert row.cost_nanousd
    return row.cost_nanousd


def test_limited_requests_are_spread_over_the_arms_by_chance_and_enter_no_comparison(gateway):
    limit(gateway, route={"split": make_split(0.5)}, requests_per_minute=100)
    users = [f"user-{number}" for number in range(400)]

    statuses = [chat(gateway, headers={**bearer("app"), "x-canary-user": u}).status for u in users]

    assert statuses.count(429) > 200
    gateway.writer.wait(1 + len(users))  # the use of the key is an event, too
    refused = [row for row in rows(gateway) if row.status == 429]
    assert {row.terminal for row in refused} == {Terminal.REJECTED}
    assert not any(row.eligible or row.assigned or row.rollout_id for row in refused)
    # The same users, unlimited: in which arm would those have been that were refused?
    limit(gateway, route={"split": make_split(0.5)})
    seen = len(rows(gateway))
    for user in users:
        chat(gateway, headers={**bearer("app"), "x-canary-user": user})
    gateway.writer.wait(2 * (1 + len(users)))
    arms = [row.assigned for row in rows(gateway)[seen:]]
    share = {
        arm: sum(s == 429 for s, a in zip(statuses, arms, strict=True) if a == arm)
        / arms.count(arm)
        for arm in ("control", "canary")
    }
    # Four standard errors of a difference of two shares of about 200 each.
    assert abs(share["control"] - share["canary"]) < 0.2


async def hang_up(_request, client):
    client.hang_up()


async def break_off(_request, client):
    await client.begin_stream()
    await client.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n')
    client.hang_up()


async def refuse(_request, client):
    await client.answer(b"no", status=500)


async def nonsense(_request, client):
    await client.answer(b"no")


async def silent(_request, client):
    await client.wait_closed()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", [provide, hang_up, break_off, refuse, nonsense, silent])
def test_whichever_way_requests_end_no_slot_is_kept(gateway, upstream, script, stream):
    gateway.change(upstream={"first_byte_timeout_s": 0.05})
    limit(gateway, concurrent_streams=2)
    meter = gateway.state.snapshot.key_of(text_of("app")).caller.meter
    upstream.script = script

    statuses = [chat(gateway, headers=bearer("app"), stream=stream).status for _ in range(4)]

    assert 429 not in statuses
    assert meter.in_flight == 0


def test_a_client_that_leaves_frees_its_slot(gateway, upstream):
    limit(gateway, concurrent_streams=1)
    meter = gateway.state.snapshot.key_of(text_of("app")).caller.meter
    upstream.script = silent
    body = b'{"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        f"authorization: Bearer {text_of('app')}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: meter.in_flight == 1)
        refused = chat(gateway, headers=bearer("app"))
        assert refused.status == 429
        assert "under way" in refused.json["error"]["message"]

    wait_until(lambda: meter.in_flight == 0)


def wait_until(is_so):
    deadline = time.monotonic() + 5.0
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
