"""The data plane with a running 10 % split, for `bench.py`: `python benchmarks/gateway_app.py 9300`.

Every request is parsed, hashed, assigned, rewritten, relayed, tapped and recorded into a spool.
Set LLM_CANARY_BENCH_TELEMETRY=off to see what the recording costs, LLM_CANARY_BENCH_CONTENT=redacted
to see what redaction does, and LLM_CANARY_BENCH_GUARDS to what else is to be on: some of `key` (which
is KEY), `limits` (never met), `length` and `language` (segments by the first message) and `redaction`,
with commas between, or `on` for all of them.
"""

import gc
import os
import sys
import tempfile
from pathlib import Path

import uvicorn

from llm_canary.gateway.app import GatewayApp
from llm_canary.gateway.state import GatewayState
from llm_canary.opaque import Opaque
from llm_canary.routing.limits import Limits
from llm_canary.routing.table import (
    ContentStore,
    KeyRef,
    Price,
    Route,
    RoutingTable,
    Split,
    Upstream,
    Variant,
)
from llm_canary.server.http_protocol import HttpProtocol

UPSTREAM = os.environ.get("LLM_CANARY_BENCH_UPSTREAM", "http://127.0.0.1:9100/v1")
PRICE = Price(input=250.0, output=2000.0, cached_input=25.0)
PROMPT = "You are a careful assistant. Answer briefly and name your sources. " * 8


LIMITS = Limits(10_000_000, 10_000_000_000, 1_000_000, 10**18)
BY_TEXT = {"language": "detect", "length": "first_message"}
GUARDS = ("key", "limits", *BY_TEXT, "redaction")


class NoWriter:
    """Drops everything."""

    def put(self, event):
        del event
        return True

    def start(self):
        pass

    def close(self, timeout_s):
        del timeout_s


def guards_on():
    chosen = os.environ.get("LLM_CANARY_BENCH_GUARDS") or "none"
    if chosen in ("on", "none"):
        return GUARDS if chosen == "on" else ()
    guards = chosen.split(",")
    if unknown := set(guards) - set(GUARDS):
        raise SystemExit(f"no guards: {', '.join(sorted(unknown))}; there are {', '.join(GUARDS)}")
    return guards


def table():
    control = Variant(upstream="mock", model="mock-model-a", price=PRICE)
    canary = Variant(
        upstream="mock", model="mock-model-b", prompt="bench/v2", prompt_text=PROMPT, price=PRICE
    )
    split = Split(
        rollout_id="bench", rollout="bench", salt="bench", stage="initial", share=0.1, canary=canary
    )
    guards = guards_on()
    limits = LIMITS if "limits" in guards else None
    segments = {"tier": "header:x-canary-segment-tier", "hour": "derive"}
    segments |= {name: source for name, source in BY_TEXT.items() if name in guards}
    content = os.environ.get("LLM_CANARY_BENCH_CONTENT", "none")
    route = Route(
        name="mock-model",
        control=control,
        unit=("header:x-canary-user", "body:user"),
        segments=segments,
        split=split,
        limits=limits,
        content=ContentStore("redacted" if "redaction" in guards else content),
    )
    keys = ()
    if "key" in guards:
        os.environ["LLM_CANARY_BENCH_KEY"] = "KEY"
        keys = (KeyRef(name="bench", secret="${LLM_CANARY_BENCH_KEY}", limits=limits),)
    return RoutingTable(
        config_hash="bench",
        keys=keys,
        version=1,
        routes={route.name: route},
        upstreams={"mock": Upstream(name="mock", kind="openai", base_url=UPSTREAM)},
        unit_secret=Opaque(bytes(32)),
    )


def make_writer():
    if os.environ.get("LLM_CANARY_BENCH_TELEMETRY") == "off":
        return NoWriter()
    from llm_canary.telemetry.writer import TelemetryWriter  # noqa: PLC0415

    return TelemetryWriter(Path(tempfile.mkdtemp(prefix="llm-canary-bench-")))


def make_app():
    writer = make_writer()
    state = GatewayState(writer)
    gateway = GatewayApp(state)

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await gateway(scope, receive, send)
            return
        await receive()
        writer.start()
        await state.start()
        state.swap(table())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await state.close()
        writer.close(10.0)
        await send({"type": "lifespan.shutdown.complete"})

    return app


if __name__ == "__main__":
    # As a server does: what lives for ever need not be looked at again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvicorn.run(
        make_app(),
        port=int(sys.argv[1]),
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        proxy_headers=False,
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
        backlog=4096,
    )
