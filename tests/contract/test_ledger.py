"""Money is right: what the gateway recorded against the ledger of a simulated provider."""

import asyncio
import contextlib
import logging
import os
import random
from collections import Counter

import aiohttp
import msgspec
import pytest
from ledger_provider import PRICES, LedgerProvider
from running_gateway import Gateway, make_table, running

from llm_canary.routing.table import OnDisconnect, Price, Route, Upstream, Variant

WORDS = (  # noqa: SIM905
    "the parcel is on its way and should arrive tomorrow before noon unless weather delays the "
    "carrier please check your tracking number again or contact customer service with order "
    "details international shipments sometimes need documentation for customs clearance thank you"
).split()
ENDPOINTS = ("chat/completions", "responses", "completions", "embeddings", "messages")
STREAMED = ("chat/completions", "responses", "completions", "messages")


def price_of(tier):
    """Return dollars per million as nano-dollars per token."""
    each = {kind: float(value) * 1_000 for kind, value in PRICES[tier].items()}
    return Price(
        input=each["input"],
        output=each["output"],
        cached_input=each["cached"],
        cache_write=each["write"],
        reasoning=each["reasoning"],
    )


PRICE = msgspec.structs.replace(
    price_of("standard"), tiers={tier: price_of(tier) for tier in ("batch", "priority")}
)


def make_plans(count, seed):
    """Return so many exchanges: path, stream, body fields and what the provider is to do."""
    rng = random.Random(seed)
    for number in range(count):
        endpoint = rng.choice(ENDPOINTS)
        stream = endpoint in STREAMED and rng.random() < 0.6
        end = rng.choices(("well", "cut", "left"), (70, 15, 15))[0] if stream else "well"
        if not stream and rng.random() < 0.02:
            end = "slow"  # the client leaves meanwhile
        yield {
            "id": f"req-{number}",
            "endpoint": endpoint,
            "stream": stream,
            "end": end,
            "drains": rng.random() < 0.5,
            "asks": rng.random() < 0.5,
            # Where there is no usage at the end, it must be estimated; embeddings always report.
            "reports": endpoint == "embeddings" or rng.random() < 0.85,
            "fails": rng.choice((500, 503)) if rng.random() < 0.08 else 0,
            "tier": rng.choice(("standard", "standard", "batch", "priority"))
            if endpoint in ("chat/completions", "responses")
            else "standard",
            "cached": rng.choice((0, 0, 50, 90)),
            "write": rng.choice((0, 0, 10)),
            "reasoning": rng.choice((0, 0, 0, 37)),
            "prompt": " ".join(rng.choices(WORDS, k=rng.randrange(20, 120))),
            "text": " ".join(rng.choices(WORDS, k=rng.randrange(20, 80))),
        }


def body_of(plan):
    route = "drained" if plan["drains"] else "cancelled"
    if plan["endpoint"] == "messages":
        route += "-claude"
    body = {"model": route, "plan": plan}
    message = [{"role": "user", "content": plan["prompt"]}]
    if plan["endpoint"] in ("chat/completions", "messages"):
        body["messages"] = message
    else:
        body["prompt" if plan["endpoint"] == "completions" else "input"] = plan["prompt"]
    if plan["endpoint"] == "messages":
        body["max_tokens"] = 1000
    if plan["tier"] != "standard":
        body["service_tier"] = plan["tier"]
    if plan["stream"]:
        body["stream"] = True
        if plan["asks"] and plan["endpoint"] in ("chat/completions", "completions"):
            body["stream_options"] = {"include_usage": True}
    return body


def make_gateway(provider):
    table = make_table(provider.base_url)
    upstreams = {
        kind: Upstream(name=kind, kind=kind, base_url=provider.base_url, retries=1)
        for kind in ("openai", "anthropic")
    }
    routes = {}
    for policy, word in ((OnDisconnect.DRAIN, "drained"), (OnDisconnect.CANCEL, "cancelled")):
        for kind, name in (("openai", word), ("anthropic", f"{word}-claude")):
            control = Variant(upstream=kind, model="billed-model", price=PRICE)
            routes[name] = Route(name=name, control=control, unit=(), on_disconnect=policy)
    return Gateway(msgspec.structs.replace(table, routes=routes, upstreams=upstreams))


async def exchange(session, url, plan):
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        limit_s = 0.1 if plan["end"] == "slow" else 30
        async with asyncio.timeout(limit_s):
            async with session.post(f"{url}/{plan['endpoint']}", json=body_of(plan)) as response:
                if plan["end"] != "left":
                    await response.read()
                    return
                words, read = len(plan["text"].split(" ")) // 2, 0
                async for chunk in response.content.iter_any():
                    read += chunk.count(b"\n\n")
                    if read >= words:
                        response.close()
                        return


async def play(url, plans, at_once=24):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        waiting = iter(plans)

        async def worker():
            for plan in waiting:
                await exchange(session, url, plan)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())


@pytest.mark.parametrize(
    "count",
    [
        600,
        pytest.param(10_000, marks=[pytest.mark.simulation, pytest.mark.timeout(900)]),
    ],
)
def test_what_is_recorded_is_what_the_provider_bills(count):
    plans = list(make_plans(count, int(os.environ.get("LLM_CANARY_SIMULATION_SEED", "4"))))
    with LedgerProvider() as provider, running(make_gateway(provider)) as gateway:
        asyncio.run(play(gateway.base_url, plans))
        events = gateway.writer.wait(count, timeout_s=30)
        requests = provider.requests
        bills = dict(provider.bills)

    assert len(events) == count
    exact, billed, estimated, unknown = 0, 0, 0, 0
    wrong = []
    for event in events:
        bill = bills.get(event.upstream_request_id)
        if event.cost_nanousd is None:
            unknown += 1
            assert event.terminal == "client_cancelled" and event.usage_source == "none"
        elif event.usage_source == "provider":
            exact += 1
            if event.cost_nanousd != bill:
                wrong.append((event.upstream_request_id, event.cost_nanousd, bill))
        else:
            billed += bill
            estimated += event.cost_nanousd
    ends = Counter(event.terminal.value for event in events)
    sources = Counter(event.usage_source.value for event in events)
    absorbed = sum(len(event.absorbed) for event in events)
    logging.getLogger(__name__).info(
        "%s; %s; absorbed %d; estimated %d, billed %d: %+.2f %%",
        *(dict(ends), dict(sources), absorbed, estimated, billed),
        (estimated / billed - 1) * 100,
    )
    # Who left at once may have done so before the provider heard of it.
    assert 0 <= sum(event.attempts for event in events) - requests <= unknown

    assert wrong == []
    assert exact > count / 2 and ends["truncated"] > 0 and ends["client_cancelled"] > 0
    assert absorbed > 0 and unknown < count * 0.02
    assert abs(estimated / billed - 1) < 0.05
