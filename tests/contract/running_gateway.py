"""The data plane on uvicorn in a thread, with a list in place of the telemetry writer."""

import threading
import time
from contextlib import contextmanager

import msgspec
import uvicorn

from llm_canary.gateway.app import GatewayApp
from llm_canary.gateway.state import GatewayState
from llm_canary.opaque import Opaque
from llm_canary.routing.table import (
    Price,
    Route,
    RoutingTable,
    Split,
    Upstream,
    Variant,
    decode,
    encode,
)
from llm_canary.server.http_protocol import HttpProtocol

PRICE = Price(input=100.0, output=400.0, cached_input=50.0)
CONTROL = Variant(upstream="up", model="model-a", price=PRICE)
CANARY = Variant(upstream="up", model="model-b", price=PRICE)
UNIT = ("header:x-canary-user", "body:user")


class ListWriter:
    """Keeps events in a list; `wait(n)` returns them once there are `n`."""

    def __init__(self):
        self.events = []
        self._arrived = threading.Condition()

    def put(self, event):
        made = event() if callable(event) else event
        with self._arrived:
            self.events.append(made)
            self._arrived.notify_all()
        return True

    def wait(self, count=1, timeout_s=5.0):
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.events) >= count, timeout_s), self.events
            return list(self.events)


def make_split(share, canary=CANARY, **fields):
    return Split(
        rollout_id="rollout-1",
        rollout="support-v13",
        salt="salt-1",
        stage="initial",
        share=share,
        canary=canary,
        **fields,
    )


def make_table(base_url, *, route=None, upstream=None, **fields):
    route = {"name": "bot", "control": CONTROL, "unit": UNIT} | (route or {})
    limits = {"connect_timeout_s": 1.0, "first_byte_timeout_s": 5.0, "idle_timeout_s": 5.0}
    up = Upstream(name="up", kind="openai", base_url=base_url, **limits | (upstream or {}))
    made = Route(**route)
    return RoutingTable(
        config_hash="hash-1",
        version=1,
        routes={made.name: made},
        upstreams={"up": up},
        unit_secret=Opaque(b"\xab" * 32),
        **fields,
    )


class Gateway:
    """A running gateway."""

    def __init__(self, table):
        self.table = table
        self.writer = ListWriter()
        self.state = GatewayState(self.writer)

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def events(self):
        return self.writer.events

    def swap(self, **fields):
        self.table = msgspec.structs.replace(self.table, **fields)
        # As published: a file in between turns texts into enums, and checks the types.
        self.state.swap(decode(encode(self.table)))

    def change(self, *, route=None, upstream=None):
        """Serve on with another route or upstream."""
        replace = msgspec.structs.replace
        self.swap(
            routes={"bot": replace(self.table.routes["bot"], **route or {})},
            upstreams={"up": replace(self.table.upstreams["up"], **upstream or {})},
        )

    def event(self):
        """Return the one event there is."""
        [event] = self.writer.wait(1)
        return event

    async def app(self, scope, receive, send):
        if scope["type"] != "lifespan":
            await self._inner(scope, receive, send)
            return
        await receive()
        await self.state.start()
        self.state.swap(self.table)
        self._inner = GatewayApp(self.state)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.state.close()
        await send({"type": "lifespan.shutdown.complete"})


@contextmanager
def running(gateway):
    config = uvicorn.Config(
        gateway.app,
        port=0,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        interface="asgi3",
        proxy_headers=False,
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="error",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the gateway did not start"
        time.sleep(0.01)
    gateway.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield gateway
    finally:
        server.should_exit = True
        thread.join(10)
