"""Composes the data plane: gateway, telemetry writer, and the table file it follows.

Nothing heavy is imported here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from time import perf_counter

import msgspec

from llm_canary.gateway.app import GatewayApp
from llm_canary.gateway.continuations import Continuations
from llm_canary.gateway.state import GatewayState
from llm_canary.routing import table as routing_table
from llm_canary.routing.limits import Spending
from llm_canary.telemetry.writer import TelemetryWriter

TABLE_FILE = "table.json"
SPENDING_FILE = "spending.json"
CONTINUATIONS_FILE = "continuations.db"
PROCESSES = "LLM_CANARY_PROCESSES"
_POLL_S = 0.2


class DataPlane:
    """The gateway with what it needs to serve while everything else is down."""

    def __init__(self, data_dir: Path) -> None:
        self._table_path = data_dir / TABLE_FILE
        self._spending_path = data_dir / SPENDING_FILE
        self._seen: tuple[int, int, int] | None = None
        self._seen_spending = 0
        self.writer = TelemetryWriter(data_dir / "spool")
        self.state = GatewayState(
            self.writer,
            continuations=Continuations(data_dir / CONTINUATIONS_FILE),
            processes=int(os.environ.get(PROCESSES, "1")),
        )
        self.app = GatewayApp(self.state)
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the writer and follow the table file."""
        self.writer.start()
        await self.state.start()
        self.reload_table()
        self.reload_spending()
        self._follower = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following, close upstream connections, flush telemetry to the spool."""
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower
        await self.state.close()
        await asyncio.to_thread(self.writer.close, 10.0)

    def reload_table(self) -> bool:
        """Swap in the table file when it is new; keep the present table when it cannot be read."""
        try:
            stat = self._table_path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen:
                return False
            table = routing_table.decode(self._table_path.read_bytes())
            self.state.swap(table)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return False
        self._seen = seen
        return True

    def reload_spending(self) -> None:
        """Take over what all gateways have spent, when that is new and can be read."""
        with contextlib.suppress(OSError, ValueError):
            written = self._spending_path.stat().st_mtime_ns
            if written != self._seen_spending:
                data = self._spending_path.read_bytes()
                self.state.meters.publish(msgspec.json.decode(data, type=Spending), perf_counter())
                self._seen_spending = written

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            self.reload_table()
            self.reload_spending()


def default_data_dir() -> Path:
    """Return LLM_CANARY_DATA_DIR, or `.llm_canary` in the working directory."""
    return Path(os.environ.get("LLM_CANARY_DATA_DIR") or ".llm_canary")
